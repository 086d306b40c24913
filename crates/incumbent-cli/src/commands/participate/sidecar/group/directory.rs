//! The owner of each task, and the members: an application sends its work there.

use std::sync::Arc;
use std::time::Duration;

use incumbent::{Error, GroupHandle, GroupMember, Owner};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::super::answers::{boot_time, millis};
use super::own_tasks::{OwnTasks, json};

/// What this member knows of the others.
#[derive(Clone)]
pub(crate) struct Directory {
    handle: GroupHandle,
    tasks: OwnTasks,
    has_slots: bool,
    /// The latest list of members as JSON, or why there is none.
    listed: Arc<Latest<Result<String, String>>>,
}

/// The latest outcome of a read. Each read costs a request, so not every question may cause one.
struct Latest<T>(Mutex<Option<(Instant, T)>>);

/// Whose owner is asked for.
pub(crate) enum Sought {
    Task(String),
    /// The slot that this key belongs to.
    Key(String),
}

/// What `GET /v1/owner` answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OwnerAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    state: &'static str,
    member: Option<String>,
    address: Option<String>,
    token: Option<u64>,
    is_self: bool,
    is_revoked: bool,
    /// For how long this is valid; 0 if nothing is known.
    pub(crate) valid_for_ms: u64,
    pub(crate) valid_until_boot_ms: u64,
}

/// What `GET /v1/members` answers.
#[derive(Debug, Serialize)]
struct Members<'a> {
    group: &'a str,
    namespace: &'a str,
    #[serde(rename = "self")]
    own: &'a str,
    members: Vec<MemberAnswer>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberAnswer {
    name: String,
    address: Option<String>,
    capacity: u32,
    version: Option<String>,
    zone: Option<String>,
    is_draining: bool,
    tasks: Vec<String>,
}

impl Directory {
    pub(crate) fn new(handle: GroupHandle, tasks: OwnTasks, has_slots: bool) -> Self {
        Self { handle, tasks, has_slots, listed: Arc::new(Latest::new()) }
    }

    /// The owner, as far as this member knows. `None` if keys belong to no task of this group.
    pub(crate) fn owner(&self, sought: Sought) -> Option<OwnerAnswer> {
        // Read before, so that a pause between the two makes the answer valid for less, not for more.
        let now = boot_time();
        let (task, key, owner) = match sought {
            Sought::Task(task) => {
                let owner = self.handle.owner_of(&task);
                (Some(task), None, owner)
            }
            Sought::Key(_) if !self.has_slots => return None,
            Sought::Key(key) => {
                let owner = self.handle.owner_of_key(&key);
                (None, Some(key), owner)
            }
        };
        let owner = owner.filter(|owner| owner.valid_for >= Duration::from_millis(1));
        let valid_for = owner.as_ref().map_or(Duration::ZERO, |owner| owner.valid_for);
        let is_self = |owner: &Owner| owner.member == self.tasks.member();
        Some(OwnerAnswer {
            task,
            key,
            state: if owner.is_some() { "owner" } else { "unknown" },
            is_self: owner.as_ref().is_some_and(is_self),
            is_revoked: owner.as_ref().is_some_and(|owner| owner.is_revoked),
            token: owner.as_ref().map(|owner| owner.fencing_token.0),
            address: owner.as_ref().and_then(|owner| owner.address.clone()),
            member: owner.map(|owner| owner.member),
            valid_for_ms: millis(valid_for),
            valid_until_boot_ms: match valid_for.is_zero() {
                true => 0,
                false => millis(now.saturating_add(valid_for)),
            },
        })
    }

    /// All members as JSON, by a list that began at most a second before the question.
    pub(crate) async fn members(&self) -> Result<String, String> {
        let list = async {
            let listed = self.handle.members().await;
            let why =
                |error: Error| format!("the members cannot be listed: {error}; {}", error.hint());
            listed.map(|members| self.list(members)).map_err(why)
        };
        self.listed.ask(list).await
    }

    fn list(&self, members: Vec<GroupMember>) -> String {
        let members = members.into_iter().map(|member| MemberAnswer {
            name: member.name,
            address: member.address,
            capacity: member.capacity,
            version: member.version,
            zone: member.zone,
            is_draining: member.is_draining,
            tasks: member.tasks,
        });
        let (group, namespace) = (self.tasks.group(), self.tasks.namespace());
        let (own, members) = (self.tasks.member(), members.collect());
        json(&Members { group, namespace, own, members })
    }
}

impl<T: Clone> Latest<T> {
    fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The outcome of a read that began at most a second before the question. All that ask during a read share the next.
    async fn ask(&self, read: impl Future<Output = T>) -> T {
        let asked_at = Instant::now();
        let mut latest = self.0.lock().await;
        if let Some((begun_at, known)) = &*latest
            && *begun_at + OLDEST > asked_at
        {
            return known.clone();
        }
        // What an answer says may have been true only when its request left.
        let begun_at = Instant::now();
        let outcome = read.await;
        *latest = Some((begun_at, outcome.clone()));
        outcome
    }
}

const OLDEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Asks with a read that takes so long; the outcome is the number of the read.
    async fn ask(latest: &Latest<u32>, reads: &Cell<u32>, seconds: f64) -> u32 {
        let read = async {
            reads.set(reads.get() + 1);
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            reads.get()
        };
        latest.ask(read).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_as_old_as_its_request() {
        let (latest, reads) = (Latest::new(), Cell::new(0));
        assert_eq!(ask(&latest, &reads, 0.9).await, 1);
        assert_eq!(ask(&latest, &reads, 0.9).await, 1);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(ask(&latest, &reads, 0.9).await, 2, "the request left 1.1 s ago");
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_during_a_slow_read_share_the_next() {
        let (latest, reads) = (Latest::new(), Cell::new(0));
        let later = async || {
            tokio::time::sleep(Duration::from_secs(2)).await;
            ask(&latest, &reads, 5.0).await
        };
        let answers = tokio::join!(ask(&latest, &reads, 5.0), later(), later(), later());
        assert_eq!(answers, (1, 2, 2, 2));
    }
}
