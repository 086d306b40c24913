//! What is shown of one group at one moment. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use incumbent::group_survey::GroupView;
use incumbent::survey::LockView;
use serde_json::Value;

use crate::model::diagnosis::{Concern, Weight};
use crate::model::format::{name, printable};
use crate::model::group_diagnosis::concerns;
use crate::model::group_row;
use crate::model::group_status::{GroupStatus, TaskStatus};

/// Which group.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What is known of a group.
#[derive(Debug)]
pub(crate) struct GroupBoard {
    pub(crate) name: GroupName,
    pub(crate) view: GroupView,
    pub(crate) status: GroupStatus,
    pub(crate) concerns: Vec<Concern>,
    /// Since when each task waits that waits, on the clock of the survey: no shorter.
    waits_since: BTreeMap<String, Duration>,
    /// Why nothing can be said of it yet, if something is wrong.
    pub(crate) trouble: Option<String>,
}

impl GroupName {
    /// The group that this lock is a seat of.
    pub(crate) fn of_seat(view: &LockView) -> Option<Self> {
        Some(Self { namespace: view.lock.namespace().to_owned(), name: view.group()?.to_owned() })
    }

    /// The path of its page.
    pub(crate) fn path(&self) -> String {
        format!("/group/{}/{}", self.namespace, self.name)
    }
}

impl GroupBoard {
    /// Before the first look.
    pub(crate) fn unseen(name: GroupName) -> Self {
        let view = GroupView::default();
        let status = GroupStatus::of(&view, jiff::Timestamp::UNIX_EPOCH, None);
        let status = GroupStatus { is_visible: false, ..status };
        Self {
            name,
            view,
            status,
            concerns: Vec::new(),
            waits_since: BTreeMap::new(),
            trouble: None,
        }
    }

    /// The first look has failed, and is tried again.
    pub(crate) fn cut_off(name: GroupName, why: String) -> Self {
        let trouble = Some(printable(&why));
        Self { trouble, ..Self::unseen(name) }
    }

    /// What was known at the moment `at`. What waits since the same moment as `before`, give or take, keeps that moment.
    pub(crate) fn of(view: GroupView, status: GroupStatus, at: Duration, before: &Self) -> Self {
        let waits = status.waiting().filter_map(|task| Some((task, task.waits?)));
        let since = waits.map(|(task, waits)| {
            let since = at.saturating_sub(waits.at_least);
            let known = before.waits_since.get(&task.name).copied();
            let since = known.filter(|known| known.abs_diff(since) < ROUGHLY).unwrap_or(since);
            (task.name.clone(), since)
        });
        let waits_since: BTreeMap<_, _> = since.collect();
        let concerns = timed(concerns(&view, &status), &status, &waits_since);
        let name = before.name.clone();
        let trouble = view.blind.first().map(|(_, why)| printable(why));
        Self { name, view, status, concerns, waits_since, trouble }
    }

    /// Whether something of it was seen, and is there.
    pub(crate) fn exists(&self) -> bool {
        self.view.exists()
    }

    /// How much it needs attention.
    pub(crate) fn rank(&self) -> u8 {
        match self.concerns.first().map(|concern| concern.weight) {
            Some(Weight::Bad) => 3,
            _ if !self.status.is_visible => 2,
            Some(Weight::Warning) => 2,
            Some(Weight::Note) => 1,
            None => 0,
        }
    }

    pub(crate) fn waits_since(&self, task: &TaskStatus) -> Option<Duration> {
        self.waits_since.get(&task.name).copied()
    }

    /// Since when the task waits that waits longest.
    pub(crate) fn longest(&self) -> Option<Duration> {
        self.waits_since.values().min().copied()
    }

    /// In a few numbers, for programs.
    pub(crate) fn json(&self) -> Value {
        self.with_more(group_row::json(&self.view, &self.status))
    }

    /// All that is known, for programs.
    pub(crate) fn whole_json(&self) -> Value {
        self.with_more(group_row::whole_json(&self.view, &self.status))
    }

    fn with_more(&self, mut json: Value) -> Value {
        json["group"] = self.name.name.clone().into();
        json["namespace"] = self.name.namespace.clone().into();
        json["page"] = self.name.path().into();
        json["trouble"] = self.trouble.clone().into();
        json
    }
}

/// Of the tasks that are stuck, the page tells the number and since when: a text that stays the same while time passes.
fn timed(
    concerns: Vec<Concern>,
    status: &GroupStatus,
    waits_since: &BTreeMap<String, Duration>,
) -> Vec<Concern> {
    let stuck: Vec<_> = status.stuck().collect();
    let longest = stuck.iter().filter_map(|task| waits_since.get(&task.name)).min().copied();
    let (mut first, mut rest): (Vec<_>, Vec<_>) =
        concerns.into_iter().partition(|concern| STUCK.contains(&concern.kind));
    first.truncate(1);
    for concern in &mut first {
        let names: Vec<_> = stuck.iter().take(FEW).map(|task| name(&task.name)).collect();
        let more = if stuck.len() > FEW { ", …" } else { "" };
        let (count, tasks) = (stuck.len(), if stuck.len() == 1 { "task is" } else { "tasks are" });
        concern.what = format!("{count} {tasks} stuck: {}{more}", names.join(", "));
        concern.since = longest;
    }
    first.append(&mut rest);
    first
}

/// The concerns that name tasks and how long each has waited.
const STUCK: [&str; 3] = ["unowned", "lost-owner", "stuck-revoke"];

const FEW: usize = 5;

/// The API server states whole seconds.
const ROUGHLY: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests;
