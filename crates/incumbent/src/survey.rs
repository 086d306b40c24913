//! What the locks of a namespace say, for people and tools that look from outside.

use std::time::Duration;

use incumbent_core::{FencingToken, Record, Stamp};
use serde_json::Value;

use crate::api::Api;
use crate::error::Error;
use crate::lock::{KEYED_RECORD_ANNOTATION, Lock, RECORD_ANNOTATION, TERM_ANNOTATION};

/// What a lock says about itself.
///
/// This is the record, not the truth: only a candidate or an observer that watches the lock can tell
/// whether its holder is alive. The times are the holder's own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockView {
    /// Which lock.
    pub lock: Lock,
    /// Whom it names.
    pub holder: Option<String>,
    /// The token of the running term, where the holder writes one.
    pub token: Option<FencingToken>,
    /// How long the holder asks others to wait. `None` where it does not say, or never expires.
    pub lease_duration: Option<Duration>,
    /// When the holder says that it acquired the lock.
    pub acquired: Option<jiff::Timestamp>,
    /// When the holder says that it last renewed.
    pub renewed: Option<jiff::Timestamp>,
    /// How often the holder has changed.
    pub transitions: u32,
    /// What kind of registration it is.
    pub registration: Registration,
}

/// Who wrote a registration, and how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Registration {
    /// Nobody's.
    Vacant,
    /// A term of this project's candidates.
    Term,
    /// A term of another program's elector: no fencing token.
    Foreign,
    /// A name on a [`Blackboard`](crate::Blackboard): it does not expire.
    Claim,
}

impl LockView {
    /// Reads one lock.
    ///
    /// # Errors
    /// Where it does not exist, may not be read, or cannot be reached.
    pub async fn read(client: kube::Client, lock: Lock) -> Result<Self, Error> {
        let lock = lock.checked()?;
        let object = Api::new(client, lock.clone()).fetch(&lock.path()).await?;
        let object = object.ok_or_else(|| Error::Missing {
            what: format!("{lock} in namespace {}", lock.namespace()),
            hint: "list what there is with: incumbent get".to_owned(),
        })?;
        Self::of(lock, &object)
    }

    /// Reads all Leases of a namespace, and the ConfigMaps that carry an election or a claim.
    ///
    /// # Errors
    /// Where they may not be listed, or cannot be reached.
    pub async fn list(client: kube::Client, namespace: &str) -> Result<Vec<Self>, Error> {
        let mut views = Vec::new();
        for any in [Lock::lease(namespace, "any"), Lock::config_map(namespace, "any")] {
            let any = any.checked()?;
            let path = any.collection_path();
            let list = Api::new(client.clone(), any.clone()).fetch(&path).await?;
            let items = list.as_ref().and_then(|list| list["items"].as_array());
            for object in items.into_iter().flatten() {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                for lock in locks_in(any.clone().with_name(name), object) {
                    views.push(Self::of(lock, object)?);
                }
            }
        }
        Ok(views)
    }

    fn of(lock: Lock, object: &Value) -> Result<Self, Error> {
        let snapshot = lock.decode(object).map_err(|message| Error::Rejected {
            lock: lock.clone(),
            verb: "get",
            code: 200,
            message,
        })?;
        let record = snapshot.record;
        Ok(Self {
            lock,
            registration: registration(&record),
            token: record.token(),
            lease_duration: record.lease_duration.filter(|duration| *duration < Duration::MAX),
            acquired: time(&record.acquired),
            renewed: time(&record.renewed),
            transitions: record.transitions,
            holder: record.holder.map(|holder| holder.to_string()),
        })
    }
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
