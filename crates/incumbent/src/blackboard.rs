//! The blackboard: the process that writes its name first leads, until it removes the name.
//!
//! This is leader election in its first form. A ConfigMap holds the leader's name. The process that replaces
//! the version without a name leads. The API server refuses all others (409 Conflict), and they read who
//! leads. A claim does not expire, so a leader that dies remains the leader for ever: if leadership must move
//! by itself, use a [`Candidate`](crate::Candidate).

use std::time::Duration;

use futures_util::StreamExt;
use incumbent_core::Reply;
use serde_json::{Value, json};

use crate::error::Error;
use crate::invalid::InvalidSetting;
use crate::lock::{Altered, Lock, escaped_pointer};
use crate::lock_api::{Answer, LockApi};
use crate::requests::WATCH_LIFETIME;

mod members;
mod registry;

pub use members::{Member, MembersObserver, Membership};

/// First-come registration under a key of a ConfigMap, and a list of members in the same ConfigMap.
/// Other keys stay as they are.
#[derive(Clone, Debug)]
pub struct Blackboard {
    api: LockApi,
}

/// The result of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The name is on the blackboard.
    Yours {
        /// The version that shows it.
        resource_version: String,
    },
    /// Another name is there.
    Taken {
        /// The name.
        by: String,
        /// The version that shows it.
        resource_version: String,
    },
    /// There is no name, but the version that should be replaced is not the latest.
    Stale {
        /// The latest.
        resource_version: String,
    },
}

impl Blackboard {
    /// The ConfigMap `name` in `namespace`, key `leader`.
    pub fn new(
        client: kube::Client,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self::on(client, Lock::config_map(namespace, name))
    }

    /// The key of the ConfigMap that `lock` names.
    ///
    /// A Lease cannot contain a name that does not expire, so with a Lease each call fails with
    /// [`Error::Invalid`].
    pub fn on(client: kube::Client, lock: Lock) -> Self {
        Self { api: LockApi::new(client, lock) }
    }

    /// The same blackboard under another key.
    pub fn key(self, key: impl Into<String>) -> Self {
        Self { api: self.api.map_lock(|lock| lock.with_key(key)) }
    }

    /// Writes `who` on the blackboard if there is no name yet.
    ///
    /// If `who` already has the claim, this succeeds and changes nothing.
    ///
    /// # Errors
    /// If the API server refuses or cannot be reached, or if the ConfigMap does not exist
    /// and may not be created.
    pub async fn claim(&self, who: &str) -> Result<Claim, Error> {
        crate::identity::checked(who.to_owned())?;
        loop {
            let seen = self.read_or_create().await?;
            if let Some(by) = seen.holder {
                return Ok(seen.version.claim_of(who, by));
            }
            if let Some(stored) = self.write(&seen.object, who).await? {
                return Ok(Claim::Yours { resource_version: resource_version(&stored) });
            }
        }
    }

    /// The same, but replaces exactly version `based_on`. If two processes have read the same
    /// version, this decides which of them is first.
    ///
    /// # Errors
    /// Those of [`claim`](Self::claim).
    pub async fn claim_version(&self, who: &str, based_on: &str) -> Result<Claim, Error> {
        crate::identity::checked(who.to_owned())?;
        // Without one, or with 0, a ConfigMap would be replaced whatever it says.
        let is_version = based_on.bytes().all(|byte| byte.is_ascii_digit());
        if !is_version || based_on.is_empty() || based_on.starts_with('0') {
            return Err(InvalidSetting::ResourceVersion(based_on.to_owned()).into());
        }
        let seen = self.read().await?;
        if seen.version.0 == based_on
            && let Some(by) = seen.holder
        {
            return Ok(seen.version.claim_of(who, by));
        }
        let mut object = seen.object;
        object["metadata"]["resourceVersion"] = based_on.into();
        if let Some(stored) = self.write(&object, who).await? {
            return Ok(Claim::Yours { resource_version: resource_version(&stored) });
        }
        let now = self.read().await?;
        Ok(match now.holder {
            Some(by) => now.version.claim_of(who, by),
            None => Claim::Stale { resource_version: now.version.0 },
        })
    }

    /// The name that is on the blackboard, if there is one.
    ///
    /// # Errors
    /// Those of [`claim`](Self::claim).
    pub async fn holder(&self) -> Result<Option<String>, Error> {
        Ok(self.read().await?.holder)
    }

    /// Removes `who` from the blackboard. If another name is there, returns that name and leaves it
    /// alone.
    ///
    /// # Errors
    /// Those of [`claim`](Self::claim).
    pub async fn release(&self, who: &str) -> Result<Option<String>, Error> {
        loop {
            let seen = self.read().await?;
            if seen.holder.as_deref() != Some(who) {
                return Ok(seen.holder);
            }
            if self.write(&seen.object, "").await?.is_some() {
                return Ok(None);
            }
        }
    }

    /// Follows the name on the blackboard.
    pub fn observe(&self) -> BlackboardObserver {
        BlackboardObserver { blackboard: self.clone(), known: None }
    }

    async fn read(&self) -> Result<Seen, Error> {
        self.try_read().await?.ok_or_else(|| self.missing())
    }

    async fn try_read(&self) -> Result<Option<Seen>, Error> {
        let key = self.key_or_error()?;
        let answer = self.in_time("get", self.api.read()).await;
        match (answer.reply, answer.object) {
            (Reply::Missing, _) => Ok(None),
            (Reply::Found(_), Some(object)) => {
                let holder = object["data"][key].as_str().filter(|name| !name.is_empty());
                let version = Revision(resource_version(&object));
                Ok(Some(Seen { holder: holder.map(str::to_owned), version, object }))
            }
            _ => Err(trouble(answer.trouble)),
        }
    }

    async fn read_or_create(&self) -> Result<Seen, Error> {
        if let Some(seen) = self.try_read().await? {
            return Ok(seen);
        }
        // As for an election: what is created is vacant, and is then claimed by a replace.
        let lock = self.api.lock();
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": lock.name(), "namespace": lock.namespace() },
            "data": { self.key_or_error()?: "" },
        });
        let answer = self.in_time("create", self.api.create(&object)).await;
        match (answer.reply, answer.trouble) {
            (Reply::Refused { .. }, Some(trouble)) => match *trouble.error {
                Error::Forbidden { .. } => Err(self.missing()),
                error => Err(error),
            },
            _ => self.read().await,
        }
    }

    /// Replaces the version that `object` shows by one with this name; `None` where another process was
    /// quicker. An answer that never came is resolved by reading.
    async fn write(&self, object: &Value, name: &str) -> Result<Option<Value>, Error> {
        let key = self.key_or_error()?;
        let mut object = object.clone();
        if !object["data"].is_object() {
            object["data"] = json!({});
        }
        object["data"][key] = name.into();
        let answer = self.in_time("update", self.api.replace(&object)).await;
        match answer.reply {
            Reply::Written(_) => {
                let stored = answer.object.unwrap_or_default();
                let pointer = format!("/data/{}", escaped_pointer(key));
                let altered = Altered::at(&pointer, &object, &stored);
                altered.map_or(Ok(Some(stored)), |altered| {
                    Err(Error::altered(self.api.lock(), altered))
                })
            }
            Reply::Conflict | Reply::Missing => Ok(None),
            Reply::Unknown if self.holder().await?.unwrap_or_default() == name => {
                Ok(Some(self.read().await?.object))
            }
            _ => Err(trouble(answer.trouble)),
        }
    }

    async fn in_time(&self, verb: &'static str, answer: impl Future<Output = Answer>) -> Answer {
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, answer).await;
        answer.unwrap_or_else(|_| Answer::timed_out(verb))
    }

    fn key_or_error(&self) -> Result<&str, Error> {
        self.api.lock().clone().checked()?;
        self.api.lock().key().ok_or_else(|| InvalidSetting::Blackboard.into())
    }

    fn missing(&self) -> Error {
        let lock = self.api.lock();
        Error::Missing {
            what: format!("{lock} in namespace {}", lock.namespace()),
            hint: format!(
                "make it beforehand: kubectl create configmap {} --namespace {}",
                lock.name(),
                lock.namespace()
            ),
        }
    }
}

/// Follows the name on a [`Blackboard`].
#[derive(Clone, Debug)]
pub struct BlackboardObserver {
    blackboard: Blackboard,
    known: Option<Option<String>>,
}

impl BlackboardObserver {
    /// The first call returns the current name. Each further call waits until another name is
    /// there, or none.
    ///
    /// # Errors
    /// Those of [`Blackboard::claim`].
    pub async fn changed(&mut self) -> Result<Option<String>, Error> {
        loop {
            let seen = self.blackboard.read().await?;
            if self.known.as_ref() != Some(&seen.holder) {
                self.known = Some(seen.holder.clone());
                return Ok(seen.holder);
            }
            // Without permission to watch, or while the server is away, it looks again by and by.
            let next = async {
                match self.blackboard.api.watch(Some(&seen.version.0)).await {
                    Ok(events) => std::pin::pin!(events).next().await.is_some(),
                    Err(_) => false,
                }
            };
            match tokio::time::timeout(WATCH_LIFETIME, next).await {
                Ok(true) | Err(_) => {}
                Ok(false) => tokio::time::sleep(POLL_PERIOD).await,
            }
        }
    }
}

struct Seen {
    holder: Option<String>,
    version: Revision,
    object: Value,
}

struct Revision(String);

impl Revision {
    fn claim_of(self, who: &str, by: String) -> Claim {
        match by == who {
            true => Claim::Yours { resource_version: self.0 },
            false => Claim::Taken { by, resource_version: self.0 },
        }
    }
}

fn resource_version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
}

fn trouble(trouble: Option<crate::lock_api::Trouble>) -> Error {
    let unexpected = || Error::NotKubernetes { code: 200, message: "it makes no sense".to_owned() };
    trouble.map_or_else(unexpected, |trouble| *trouble.error)
}

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_PERIOD: Duration = Duration::from_secs(2);
