//! A lock as people read it: in a table, as JSON, as YAML.

use std::time::Duration;

use clap::ValueEnum;
use incumbent::HandOver;
use incumbent::survey::{LockView, ObservedLock, Registration};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::output;
use crate::standing::{Evidence, Standing, expires};

/// How to print what a command has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    /// A table with more columns, and whole names
    Wide,
    Json,
    Yaml,
    /// The names alone
    Name,
}

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
        let (view, standing) = (&*sighted.view, Standing::of(sighted, now));
        let name = |name: &str| match self.is_wide {
            true => output::printable(name),
            false => short(&output::printable(name)),
        };
        let mut cells = vec![
            view.lock.to_string(),
            or_none(view.holder.as_deref().map(name)),
            standing.word(),
            renewed(&standing, view),
            expires_in(&standing),
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
                or_none(view.address.as_deref().map(output::printable)),
            ]);
        }
        cells
    }
}

const HEADS: [&str; 7] = ["NAME", "HOLDER", "STATE", "RENEWED", "EXPIRES", "TRANSITIONS", "AGE"];
const WIDE: [&str; 4] = ["TOKEN", "CANDIDATES", "CLIENT", "ADDRESS"];

/// How long ago the holder gave a sign of life: as it came in here, else as its wall clock says.
fn renewed(standing: &Standing, view: &LockView) -> String {
    match (standing.evidence, standing.age) {
        (Evidence::Watched | Evidence::Clocks, Some(silent)) if expires(view) => {
            format!("{} ago{}", age(silent), standing.mark())
        }
        _ => "<none>".to_owned(),
    }
}

/// In how long the term is over, unless it is renewed.
fn expires_in(standing: &Standing) -> String {
    match standing.expires_in {
        Some(left) if left.is_zero() => format!("over{}", standing.mark()),
        Some(left) => format!("{}{}", age(left), standing.mark()),
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
            Some(manager) => output::printable(manager),
            None => "foreign".to_owned(),
        },
        _ => "<none>".to_owned(),
    }
}

pub(crate) fn or_none(cell: Option<String>) -> String {
    cell.unwrap_or_else(|| "<none>".to_owned())
}

/// Text of others, for people: no tricks, and not so long that it pushes all else away.
pub(crate) fn name(text: &str) -> String {
    cut(&output::printable(text), LONGEST_NAME)
}

/// A name as a word of a shell. One with tricks in it is none that anybody should paste.
pub(crate) fn quoted(text: &str) -> Option<String> {
    let is_plain = output::printable(text) == text && text.chars().count() <= LONGEST_WORD;
    is_plain.then(|| format!("'{}'", text.replace('\'', r"'\''")))
}

const LONGEST_WORD: usize = 253;

/// No more than so many characters of it.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// A Pod's name and uid have a hundred at most; an annotation has room for a quarter of a million.
const LONGEST_NAME: usize = 120;

/// A Pod's name followed by its uid, without most of the uid; and no name longer than a column.
pub(crate) fn short(name: &str) -> String {
    let is_uid =
        |uid: &str| uid.len() == 36 && uid.bytes().filter(|byte| *byte == b'-').count() == 4;
    let name = match name.rsplit_once('_') {
        Some((pod, uid)) if is_uid(uid) => format!("{pod}_{}…", &uid[..4]),
        _ => name.to_owned(),
    };
    match name.chars().count() {
        0..=LONGEST => name,
        count => {
            let tail: String = name.chars().skip(count - LONGEST / 2).collect();
            name.chars().take(LONGEST - LONGEST / 2 - 1).collect::<String>() + "…" + &tail
        }
    }
}

const LONGEST: usize = 30;

/// As kubectl shows an age: the unit in which two digits or so are enough.
pub(crate) fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A span that is rarely long and may be very short.
pub(crate) fn span(span: Duration) -> String {
    match span {
        span if span < Duration::from_secs(1) => format!("{:.1} ms", span.as_secs_f64() * 1e3),
        span if span < Duration::from_secs(120) => format!("{:.1} s", span.as_secs_f64()),
        span => age(span),
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// All that is known of a lock, for programs.
pub(crate) fn json(sighted: &ObservedLock, now: Timestamp) -> Value {
    let view = &*sighted.view;
    let line = view
        .waitlist
        .iter()
        .map(|waiter| json!({ "identity": waiter.identity.as_str(), "priority": waiter.priority }));
    let mut all = json!({
        "lock": view.lock.to_string(),
        "namespace": view.lock.namespace(),
        "token": view.token.map(|token| token.0),
        "address": view.address,
        "client": client(view),
        "line": line.collect::<Value>(),
        "handOverTo": view.hand_over.as_ref().map(asked_for),
        "cordoned": view.paused.iter().map(|name| name.as_str()).collect::<Value>(),
        "acquireTime": view.acquired.map(|time| time.to_string()),
        "renewTime": view.renewed.map(|time| time.to_string()),
        "leaseDurationSeconds": view.lease_duration.map(|duration| duration.as_secs()),
        "transitions": view.transitions,
        "creationTimestamp": view.created.map(|time| time.to_string()),
    });
    output::add(&mut all, Standing::of(sighted, now).json(view));
    all
}

/// Whom a request to hand over names; `*` is whoever is next.
pub(crate) fn asked_for(request: &HandOver) -> &str {
    match request {
        HandOver::ToNext => "*",
        HandOver::To(identity) => identity.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_shown_in_the_unit_that_fits() {
        let shown = [0, 119, 120, 7_199, 7_200, 172_799, 172_800, 63_930_936_533];
        let shown = shown.map(|seconds| age(Duration::from_secs(seconds)));
        assert_eq!(shown, ["0s", "119s", "2m", "119m", "2h", "47h", "2d", "739941d"]);
    }

    #[test]
    fn a_name_has_no_tricks_and_an_end() {
        assert_eq!(name("john"), "john");
        assert_eq!(name("a\u{202e}b\u{7}"), "a\u{fffd}b\u{fffd}");
        assert_eq!(name(&"x".repeat(5000)).chars().count(), LONGEST_NAME);
    }

    #[test]
    fn a_long_name_keeps_its_beginning_and_its_end() {
        assert_eq!(short("john"), "john");
        let pod = "scanner-7d9f5c-abcde_3f0d2c52-8f3e-4d0c-9d55-0f3c5f1b7a10";
        assert_eq!(short(pod), "scanner-7d9f5c-abcde_3f0d…");
        let long = short("a-very-long-name-that-says-something-at-its-very-end-7");
        assert_eq!((long.chars().count(), long.ends_with("-very-end-7")), (30, true));
    }
}
