//! A lock as people and programs read it: as the row of a table, and as JSON.

use incumbent::HandOver;
use incumbent::survey::{LockView, ObservedLock, Registration};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::format::{age, or_none, printable, short};
use crate::model::lock_status::{Evidence, LockStatus, expires};

/// Which columns a table has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    pub(crate) has_namespace: bool,
    pub(crate) is_wide: bool,
}

impl Columns {
    pub(crate) fn heads(self) -> Vec<&'static str> {
        let namespace = self.has_namespace.then_some("NAMESPACE");
        let wide: &[&str] = if self.is_wide { &WIDE } else { &[] };
        namespace.into_iter().chain(HEADS).chain(wide.iter().copied()).collect()
    }

    pub(crate) fn cells(self, sighted: &ObservedLock, now: Timestamp) -> Vec<String> {
        let (view, lock_status) = (&*sighted.view, LockStatus::of(sighted, now));
        let name = |name: &str| match self.is_wide {
            true => printable(name),
            false => short(&printable(name)),
        };
        let mut cells = vec![
            view.lock.to_string(),
            or_none(view.holder.as_deref().map(name)),
            lock_status.word(),
            renewed(&lock_status, view),
            expires_in(&lock_status),
            view.transitions.to_string(),
            or_none(view.created.map(|created| age(now.duration_since(created).unsigned_abs()))),
        ];
        if self.has_namespace {
            cells.insert(0, view.lock.namespace().to_owned());
        }
        if self.is_wide {
            cells.extend([
                or_none(view.token.map(|token| token.to_string())),
                candidates(view),
                client(view),
                or_none(view.address.as_deref().map(printable)),
            ]);
        }
        cells
    }
}

const HEADS: [&str; 7] = ["NAME", "HOLDER", "STATE", "RENEWED", "EXPIRES", "TRANSITIONS", "AGE"];

const WIDE: [&str; 4] = ["TOKEN", "CANDIDATES", "CLIENT", "ADDRESS"];

/// How long ago the holder gave a sign of life: as it came in here, else as its wall clock says.
fn renewed(lock_status: &LockStatus, view: &LockView) -> String {
    match (lock_status.evidence, lock_status.age) {
        (Evidence::Watched | Evidence::Clocks, Some(silent)) if expires(view) => {
            format!("{} ago{}", age(silent), lock_status.mark())
        }
        _ => "<none>".to_owned(),
    }
}

/// In how long the term is over, unless it is renewed.
fn expires_in(lock_status: &LockStatus) -> String {
    match lock_status.expires_in {
        Some(left) if left.is_zero() => format!("over{}", lock_status.mark()),
        Some(left) => format!("{}{}", age(left), lock_status.mark()),
        None => "<none>".to_owned(),
    }
}

/// How many take part, as far as the lock tells: who leads, and who stands in line.
pub(crate) fn candidates(view: &LockView) -> String {
    let leads = usize::from(view.holder.is_some());
    match view.registration {
        Registration::Foreign => format!("{}+", leads + view.waitlist.len()),
        _ => (leads + view.waitlist.len()).to_string(),
    }
}

/// Which program holds the lock, as far as that can be told.
pub(crate) fn client(view: &LockView) -> String {
    match view.registration {
        Registration::Term => "incumbent".to_owned(),
        Registration::Claim => "claim".to_owned(),
        Registration::Foreign => match view.written_by.as_deref() {
            Some("OpenAPI-Generator") => "python/java".to_owned(),
            Some(manager) => printable(manager),
            None => "foreign".to_owned(),
        },
        _ => "<none>".to_owned(),
    }
}

/// All that is known of a lock, for programs.
pub(crate) fn json(sighted: &ObservedLock, now: Timestamp) -> Value {
    let view = &*sighted.view;
    let waitlist = view
        .waitlist
        .iter()
        .map(|waiter| json!({ "identity": waiter.identity.as_str(), "priority": waiter.priority }));
    let mut all = json!({
        "lock": view.lock.to_string(),
        "namespace": view.lock.namespace(),
        "token": view.token.map(|token| token.0),
        "address": view.address,
        "client": client(view),
        "waitlist": waitlist.collect::<Value>(),
        "handOverTo": view.hand_over.as_ref().map(asked_for),
        "paused": view.paused.iter().map(|name| name.as_str()).collect::<Value>(),
        "acquireTime": view.acquired.map(|time| time.to_string()),
        "renewTime": view.renewed.map(|time| time.to_string()),
        "leaseDurationSeconds": view.lease_duration.map(|duration| duration.as_secs()),
        "transitions": view.transitions,
        "creationTimestamp": view.created.map(|time| time.to_string()),
    });
    add(&mut all, LockStatus::of(sighted, now).json(view));
    all
}

/// Whom a request to hand over names; `*` is the next in the waitlist.
pub(crate) fn asked_for(request: &HandOver) -> &str {
    match request {
        HandOver::ToNext => "*",
        HandOver::To(identity) => identity.as_str(),
    }
}

/// Adds the fields of another JSON object to one.
pub(crate) fn add(to: &mut Value, more: Value) {
    if let (Value::Object(to), Value::Object(more)) = (to, more) {
        to.extend(more);
    }
}
