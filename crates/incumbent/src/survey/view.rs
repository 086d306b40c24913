//! What one lock says about itself.

use std::time::Duration;

use incumbent_core::{FencingToken, HandOver, Identity, Record, Session, Snapshot, Stamp, Waiter};
use serde_json::Value;

use super::State;
use crate::error::Error;
use crate::lock::{
    GROUP_LABEL, KEYED_RECORD_ANNOTATION, Lock, LockKind, RECORD_ANNOTATION, TERM_ANNOTATION,
};
use crate::lock_api::LockApi;

/// What a lock says about itself.
///
/// This is what the record says. Only a candidate or an observer that watches the lock can tell
/// whether the holder is alive. The times come from the holder's own clock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockView {
    /// Which lock.
    pub lock: Lock,
    /// The holder that it names.
    pub holder: Option<String>,
    /// The token of the current term, if the holder writes one.
    pub token: Option<FencingToken>,
    /// How long the holder asks others to wait. `None` if it does not say, or if nothing expires.
    pub lease_duration: Option<Duration>,
    /// When the holder acquired the lock, by its own clock.
    pub acquired: Option<jiff::Timestamp>,
    /// When the holder last renewed, by its own clock.
    pub renewed: Option<jiff::Timestamp>,
    /// How often the holder has changed.
    pub transitions: u32,
    /// What kind of registration it is.
    pub registration: Registration,
    /// The process that holds the term, if it is a candidate of this project.
    pub session: Option<Session>,
    /// Where the holder can be reached, if it says so.
    pub address: Option<String>,
    /// The waiting candidates, the next one first. At most sixteen have a place.
    pub waitlist: Vec<Waiter>,
    /// The candidate to which the leader is asked to hand over, until it does.
    pub hand_over: Option<HandOver>,
    /// Which candidates must not lead; `*` means all.
    pub paused: Vec<Identity>,
    /// When the object was created, by the API server's clock.
    pub created: Option<jiff::Timestamp>,
    /// Which program wrote the record last, as known to the API server: the first word of its user
    /// agent.
    pub written_by: Option<String>,
    /// The object as the API server stores it, without `managedFields`.
    pub object: Value,
}

/// What kind of program wrote a registration, and how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Registration {
    /// It has no holder.
    Vacant,
    /// A term of this project's candidates.
    Term,
    /// A term of another program's elector, which has no fencing token.
    Foreign,
    /// A name on a [`Blackboard`](crate::Blackboard): it does not expire.
    Claim,
}

impl LockView {
    /// Reads one lock.
    ///
    /// # Errors
    /// If it does not exist, may not be read, or cannot be reached.
    pub async fn read(client: kube::Client, lock: Lock) -> Result<Self, Error> {
        Self::read_by(&LockApi::new(client, lock.checked()?)).await
    }

    pub(crate) async fn read_by(api: &LockApi) -> Result<Self, Error> {
        let lock = api.lock().clone();
        let object = api.object().await?;
        let object = object.ok_or_else(|| Error::Missing {
            what: format!("{lock} in namespace {}", lock.namespace()),
            hint: "to list the locks: incumbent get".to_owned(),
        })?;
        Self::of(lock, &object)
    }

    /// The locks that an object of this kind carries, with what each says. What is none of Kubernetes' carries
    /// none.
    pub(super) fn all_of(kind: LockKind, object: &Value) -> Vec<(Self, Snapshot)> {
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let lock = Lock::of_kind(kind, text("namespace"), text("name"));
        let locks = locks_in(lock, object).into_iter();
        locks.filter_map(|lock| Self::with_snapshot(lock, object)).collect()
    }

    /// What this lock says, where the object is one of Kubernetes'.
    pub(super) fn with_snapshot(lock: Lock, object: &Value) -> Option<(Self, Snapshot)> {
        let snapshot = lock.decode(object).ok()?;
        Some((Self::new(lock, object, snapshot.record.clone()), snapshot))
    }

    pub(crate) fn of(lock: Lock, object: &Value) -> Result<Self, Error> {
        let snapshot = lock.decode(object);
        let snapshot = snapshot
            .map_err(|error| Error::NotKubernetes { code: 200, message: error.to_string() })?;
        Ok(Self::new(lock, object, snapshot.record))
    }

    fn new(lock: Lock, object: &Value, record: Record) -> Self {
        let mut bare = object.clone();
        if let Some(metadata) = bare["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        let created = object["metadata"]["creationTimestamp"].as_str();
        Self {
            lock,
            registration: registration(&record),
            token: record.token(),
            lease_duration: record.lease_duration.filter(|duration| *duration < Duration::MAX),
            acquired: time(&record.acquired),
            renewed: time(&record.renewed),
            transitions: record.transitions,
            holder: record.holder.map(|holder| holder.to_string()),
            session: record.session,
            address: record.holder_info.address,
            waitlist: record.waitlist.waiters().to_vec(),
            hand_over: record.hand_over,
            paused: record.paused,
            created: created.and_then(|text| text.parse().ok()),
            written_by: last_writer(object),
            object: bare,
        }
    }

    /// The group that this is a seat of, by its label.
    pub fn group(&self) -> Option<&str> {
        self.object["metadata"]["labels"][GROUP_LABEL].as_str()
    }

    /// Whether `other` shows the same term: not only the same name.
    pub fn is_same_term(&self, other: &Self) -> bool {
        let term = |view: &Self| (view.session, view.token, view.acquired);
        self.holder == other.holder && term(self) == term(other)
    }

    /// What the wall clocks of the holder and of the reader say: a hint.
    pub(super) fn state_by_wall_clock(&self, now: jiff::Timestamp) -> State {
        let age = self.renewed.map(|renewed| now.duration_since(renewed));
        let age = age.map(|age| Duration::try_from(age).unwrap_or_default());
        match (age, self.lease_duration) {
            (Some(age), Some(lease)) if age > lease => State::Expired,
            (Some(age), Some(lease)) if is_late(age, lease.saturating_sub(age)) => State::Late,
            (Some(_), Some(_)) => State::Held,
            _ => State::Unknown,
        }
    }

    /// Whether `identity` is paused by name.
    pub fn is_paused(&self, identity: &str) -> bool {
        self.paused.iter().any(|name| name.as_str() == identity || name.as_str() == "*")
    }
}

/// Whether two thirds of a term have passed without a renewal.
pub(super) fn is_late(silent_for: Duration, left: Duration) -> bool {
    silent_for >= left * 2
}

/// Who wrote last what a candidate writes: the holder and its times.
fn last_writer(object: &Value) -> Option<String> {
    let entries = object["metadata"]["managedFields"].as_array()?.iter();
    let wrote_it = |entry: &&Value| {
        let fields = &entry["fieldsV1"];
        let annotations = fields["f:metadata"]["f:annotations"].as_object();
        fields["f:spec"]["f:renewTime"].is_object()
            || fields["f:spec"]["f:holderIdentity"].is_object()
            || annotations.is_some_and(|names| {
                names.keys().any(|name| {
                    name.ends_with("leader") || name.starts_with("f:incumbent.dev/term")
                })
            })
    };
    // All times of one server, and of one form.
    let last = entries.filter(wrote_it).max_by_key(|entry| entry["time"].as_str())?;
    last["manager"].as_str().map(str::to_owned)
}

fn registration(record: &Record) -> Registration {
    match (&record.holder, record.session) {
        (None, None) => Registration::Vacant,
        (_, Some(_)) => Registration::Term,
        (Some(_), None) if record.lease_duration == Some(Duration::MAX) => Registration::Claim,
        (Some(_), None) => Registration::Foreign,
    }
}

fn time(stamp: &Option<Stamp>) -> Option<jiff::Timestamp> {
    match stamp {
        Some(Stamp::At(time)) => jiff::Timestamp::from_microsecond(time.unix_micros()).ok(),
        Some(Stamp::Text(_)) | None => None,
    }
}

/// The locks that an object carries. Every Lease is one; a ConfigMap has one under its usual key if it shows
/// an election's annotation or the key of a claim, and one for each other key that names an election.
fn locks_in(lock: Lock, object: &Value) -> Vec<Lock> {
    let Some(usual_key) = lock.key() else { return vec![lock] };
    let annotations = object["metadata"]["annotations"].as_object();
    let names = || annotations.into_iter().flat_map(|annotations| annotations.keys());
    let is_lock = object["data"][usual_key].is_string()
        || names().any(|name| name == RECORD_ANNOTATION || name == TERM_ANNOTATION);
    let usual = is_lock.then(|| lock.clone());
    let prefix = format!("{KEYED_RECORD_ANNOTATION}.");
    let keys = names().filter_map(|name| name.strip_prefix(&prefix));
    usual.into_iter().chain(keys.map(|key| lock.clone().with_key(key))).collect()
}
