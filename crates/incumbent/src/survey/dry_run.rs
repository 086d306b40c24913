//! Trying what a candidate writes, without a write.

use http::Method;
use incumbent_core::{FencingToken, Identity, Record, Session, Snapshot, Stamp, Timing};
use serde_json::Value;

use crate::answer::Why;
use crate::clock::Clock;
use crate::error::Error;
use crate::lock::Lock;
use crate::lock_api::LockApi;

/// Sends the write of a candidate as a dry run, which the API server checks, lets webhooks change, and does not store.
/// A lock that is held is renewed in its holder's name, and any other is acquired.
///
/// The account needs `get` and `update`, or `create` where the lock does not exist.
///
/// # Errors
/// [`Error::Altered`] where something else would be stored than was written: then no candidate leads. Otherwise what a
/// candidate would be told.
pub async fn dry_run_write(client: kube::Client, lock: Lock, timing: Timing) -> Result<(), Error> {
    let api = LockApi::new(client, lock.checked_for_election()?);
    for _ in 0..MOST_TRIES {
        let object = api.object().await?;
        if try_write(&api, object, timing).await? {
            return Ok(());
        }
    }
    Ok(()) // A holder that renews this often stores what it writes.
}

/// Says whether no other write came first.
async fn try_write(api: &LockApi, object: Option<Value>, timing: Timing) -> Result<bool, Error> {
    let lock = api.lock();
    let known = object.as_ref().and_then(|object| lock.decode(object).ok());
    let record = written(known.as_ref(), timing);
    let (method, path, sent) = match &object {
        None => (Method::POST, lock.collection_path(), lock.create(&record)),
        Some(object) => (Method::PUT, lock.path(), lock.edit(object, &record)),
    };
    let verb = if object.is_some() { "update" } else { "create" };
    let answer = api.requests().send(method, &format!("{path}?dryRun=All"), Some(&sent)).await;
    let mut stored = match answer {
        Ok(stored) => stored,
        Err(failure) if matches!(failure.why, Why::Conflict | Why::Gone) => return Ok(false),
        Err(failure) => return Err(failure.into_error(lock, verb)),
    };
    // What is not stored has no version.
    let metadata = &mut stored["metadata"];
    if metadata.is_object() && metadata["resourceVersion"].is_null() {
        metadata["resourceVersion"] = "1".into();
    }
    let decoded = lock.decode(&stored);
    let decoded =
        decoded.map_err(|error| Error::NotKubernetes { code: 200, message: error.to_string() })?;
    let altered = lock.altered((&sent, &record), (&stored, &decoded.record));
    altered.map_or(Ok(true), |altered| Err(Error::altered(lock, altered)))
}

fn written(known: Option<&Snapshot>, timing: Timing) -> Record {
    let now = Stamp::At(Clock::system().now().wall);
    let before = known.map(|known| known.record.clone()).unwrap_or_default();
    if before.is_held() {
        return Record { renewed: Some(now), ..before };
    }
    let revision = known.map_or(1, |known| known.version.revision);
    Record {
        holder: Identity::new("incumbent-doctor"),
        session: Some(Session(1)),
        last_token: FencingToken(revision.max(before.last_token.0.saturating_add(1))),
        lease_duration: Some(timing.lease_duration()),
        acquired: Some(now.clone()),
        renewed: Some(now),
        hand_over: None,
        ..before
    }
}

/// Each failure means that another write came between the read and the write.
const MOST_TRIES: u32 = 5;
