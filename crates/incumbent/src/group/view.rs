//! What a group's objects say, to people who look from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use incumbent_core::FencingToken;
use incumbent_core::group::{Kind, Task, TaskName};
use serde_json::Value;

use super::config::Config;
use crate::lock::GROUP_LABEL;
use crate::survey::ObservedLock;

/// What a group's objects say at one moment, and for how long a [`GroupSurvey`](super::GroupSurvey) has seen them say so.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GroupView {
    /// The namespace.
    pub namespace: String,
    /// The name of the group.
    pub name: String,
    /// The Lease that the allocators compete for. `None` if it does not exist.
    pub allocator: Option<ObservedLock>,
    /// What the tasks are, as page 0 of the table says. `None` if there is no page 0 that can be read.
    pub kind: Option<TaskKind>,
    /// The pages of the table, in order, those that are missing among them.
    pub pages: Vec<PageView>,
    /// The tasks that a page of the table gives to a member, in order.
    pub tasks: Vec<TaskView>,
    /// The tasks that are known to belong to the group, and that no page gives to a member: all slots and permits, and
    /// of named tasks those that `GROUP.config` lists, or that the survey [expects](super::GroupSurvey::expect).
    pub unowned: Vec<UnownedView>,
    /// The tasks that the survey expects. `None` if it does not know what the members' program names.
    pub expected: Option<BTreeSet<String>>,
    /// The seats of the members, in the order of their names.
    pub seats: Vec<SeatView>,
    /// Owners of tasks whose seat no list of the group shows, if a read by name has found out why.
    pub hidden_seats: BTreeMap<String, HiddenSeat>,
    /// What people ask for. `None` if there is no `GROUP.config`.
    pub config: Option<ConfigView>,
    /// How long ago the API server last said something about the table.
    pub heard_age: Duration,
    /// What cannot be seen, why, and for how long.
    pub blind: Vec<(Duration, String)>,
}

/// What the tasks of a table are.
pub type TaskKind = Kind;

/// One page of a table.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PageView {
    /// The ConfigMap that it is.
    pub config_map: String,
    /// Its number.
    pub index: u8,
    /// What can be said of it.
    pub state: PageState,
    /// The `resourceVersion`; zero if it is missing.
    pub revision: u64,
    /// When it was last written, by the API server's clock, which states whole seconds.
    pub written: Option<jiff::Timestamp>,
    /// The object, as the API server stores it. Null if it is missing.
    pub object: Arc<Value>,
}

/// What can be said of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageState {
    /// It assigns tasks.
    Open,
    /// It assigns nothing yet.
    NotOpen,
    /// It belongs to another table than the present page 0, or has a number beyond its count, so no member obeys it.
    OtherTable,
    /// It is not as an allocator wrote it, and why. No member obeys it.
    Unreadable(String),
    /// The table has a page of this number, and a read by name has found none. Members work by its last version.
    #[default]
    Missing,
    /// It cannot be seen what it says, or whether members obey it, and why.
    Unknown(String),
}

/// A task that a page gives to a member.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TaskView {
    /// Its name.
    pub name: String,
    /// The number of its page.
    pub page: u8,
    /// The member.
    pub owner: String,
    /// The uid of the seat that the member must hold.
    pub seat: String,
    /// The token of the term that it must have on that seat.
    pub term: FencingToken,
    /// Where the member can be reached, if it says so.
    pub address: Option<String>,
    /// The token that the member works with.
    pub fencing_token: FencingToken,
    /// The member that is to have it next, and prepares it while this one still works on it.
    pub next: Option<String>,
    /// The version of the page that the member must have released. `None` if it was not asked to stop.
    pub revoked: Option<u64>,
    /// For how long the survey has seen the table say this.
    pub seen_for: Duration,
    /// For how long the survey has seen that this term is over, because the seat is gone, vacant, or held in a later
    /// term. `None` if the seat does not show that.
    pub ended_for: Option<Duration>,
}

/// A task that no page gives to a member.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct UnownedView {
    /// Its name.
    pub name: String,
    /// The number of its page.
    pub page: u8,
    /// Whether that page can be seen. If not, the task may have an owner.
    pub is_seen: bool,
    /// For how long the survey has seen that.
    pub seen_for: Duration,
}

/// Why no list of the group shows a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HiddenSeat {
    /// It does not exist.
    Missing,
    /// It exists, and lacks the group's label until its member renews it.
    Unlabelled,
}

/// The seat of a member.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SeatView {
    /// The member.
    pub member: String,
    /// The Lease, and what is known of its holder.
    pub lock: ObservedLock,
    /// The uid of the Lease.
    pub uid: String,
    /// The token of the last term, even if it has ended.
    pub last_token: FencingToken,
    /// How much the member can do, compared with others. `None` if the seat says nothing of its member, as a vacant seat.
    pub capacity: Option<u32>,
    /// The version of its program, if it says so.
    pub version: Option<String>,
    /// Where it runs, if it says so.
    pub zone: Option<String>,
    /// Whether it wants no tasks.
    pub is_draining: bool,
    /// Whether it leaves the group.
    pub is_leaving: bool,
    /// Tasks that it declines.
    pub declined: Vec<String>,
    /// The version of each page as of which the member has released what no longer is its own.
    pub released: BTreeMap<u8, u64>,
    /// Tasks that still run there although they were taken from it.
    pub still_running: Vec<String>,
}

/// What people ask for, in `GROUP.config`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ConfigView {
    /// The tasks that it lists. `None` if it has no list.
    pub tasks: Option<BTreeSet<String>>,
    /// The members that should own these tasks.
    pub pins: BTreeMap<String, String>,
    /// How much work these tasks are, if it is not 1.
    pub weights: BTreeMap<String, u32>,
    /// Members that should have no tasks.
    pub drained: BTreeSet<String>,
    /// Whether tasks stay where they are for as long as their owner lives.
    pub is_frozen: bool,
    /// What is wrong with it: members keep what they have read before.
    pub mistake: Option<String>,
    /// Whether it carries the group's label. Without, no member reads it.
    pub has_label: bool,
    /// When it was last written, by the API server's clock, which states whole seconds.
    pub written: Option<jiff::Timestamp>,
    /// The object, as the API server stores it.
    pub object: Arc<Value>,
}

impl GroupView {
    /// Whether anything of the group exists. The allocators' Lease alone may be any election of that name.
    pub fn exists(&self) -> bool {
        let is_there = |page: &PageView| match page.state {
            PageState::Missing => false,
            PageState::Unknown(_) => page.revision > 0,
            _ => true,
        };
        let has_page = self.pages.iter().any(is_there);
        has_page || !self.seats.is_empty() || self.config.is_some()
    }

    /// The seat of this member. `seats` has to be in order.
    pub fn seat(&self, member: &str) -> Option<&SeatView> {
        let found = self.seats.binary_search_by(|seat| seat.member.as_str().cmp(member));
        found.ok().map(|index| &self.seats[index])
    }

    /// The page of this number.
    pub fn page(&self, index: u8) -> Option<&PageView> {
        self.pages.iter().find(|page| page.index == index)
    }
}

impl ConfigView {
    /// Whether members read it as it is. If not, they keep what they have read before, which cannot be seen.
    pub fn is_obeyed(&self) -> bool {
        self.has_label && self.mistake.is_none()
    }

    /// What this object says to the members of `group`.
    pub(super) fn of(object: Arc<Value>, group: &str) -> Self {
        let has_label = object["metadata"]["labels"][GROUP_LABEL] == *group;
        let written = written(&object);
        let config = match Config::read(&object) {
            Ok(config) => config,
            Err(mistake) => {
                let mistake = Some(mistake.to_string());
                return Self { mistake, has_label, written, object, ..Self::default() };
            }
        };
        let named = || config.named().map(|name| (name, config.task(name)));
        let pin = |(name, task): (&TaskName, Task)| Some((name.to_string(), task.pin?.to_string()));
        let weights = named().filter(|(_, task)| task.weight != 1);
        let tasks = config.tasks.as_ref();
        Self {
            tasks: tasks.map(|tasks| tasks.keys().map(ToString::to_string).collect()),
            pins: named().filter_map(pin).collect(),
            weights: weights.map(|(name, task)| (name.to_string(), task.weight)).collect(),
            drained: config.drained.iter().map(ToString::to_string).collect(),
            is_frozen: config.is_frozen,
            mistake: None,
            has_label,
            written,
            object,
        }
    }
}

/// When the data of a ConfigMap was last written, as the API server remembers it.
pub(super) fn written(object: &Value) -> Option<jiff::Timestamp> {
    let entries = object["metadata"]["managedFields"].as_array()?.iter();
    let of_data = entries.filter(|entry| entry["fieldsV1"]["f:data"].is_object());
    of_data.filter_map(|entry| entry["time"].as_str()?.parse().ok()).max()
}
