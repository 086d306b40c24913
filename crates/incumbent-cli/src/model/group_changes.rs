//! What has changed of a group between two looks, in words. Pure.

use std::collections::{BTreeMap, BTreeSet};

use incumbent::survey::State;
use serde_json::{Value, json};

use crate::model::format::{cut, name, printable};
use crate::model::group_status::{GroupStatus, MemberStatus, TaskState, TaskStatus};
use crate::model::lock_status::LockStatus;

/// One change, for a line of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupEvent {
    /// A word for programs.
    pub(crate) event: &'static str,
    pub(crate) text: String,
    pub(crate) more: Value,
}

/// What is so now and was not before, in the order in which it has to have happened.
pub(crate) fn changes(before: &GroupStatus, after: &GroupStatus) -> Vec<GroupEvent> {
    let mut events = Vec::new();
    events.extend(visibility(before, after));
    events.extend(allocator(before, after));
    events.extend(members(before, after));
    events.extend(frozen(before, after));
    events.extend(tasks(before, after));
    events
}

fn event(event: &'static str, text: impl Into<String>, more: Value) -> GroupEvent {
    GroupEvent { event, text: text.into(), more }
}

fn visibility(before: &GroupStatus, after: &GroupStatus) -> Option<GroupEvent> {
    (before.is_visible != after.is_visible).then(|| match after.is_visible {
        true => event("seen", "the group can be seen again", Value::Null),
        false => event("unseen", "the group can no longer be seen", Value::Null),
    })
}

fn allocator(before: &GroupStatus, after: &GroupStatus) -> Option<GroupEvent> {
    let holder = |status: &GroupStatus| {
        let is_led = status.allocator.as_ref().is_some_and(LockStatus::is_led);
        status.allocator_name.clone().filter(|_| is_led)
    };
    let (was, is) = (holder(before), holder(after));
    (was != is).then(|| {
        let text = match &is {
            Some(holder) => format!("{} is the allocator", name(holder)),
            None => "no member is the allocator".to_owned(),
        };
        event("allocator", text, json!({ "member": is }))
    })
}

fn members(before: &GroupStatus, after: &GroupStatus) -> Vec<GroupEvent> {
    let known =
        |status: &GroupStatus, name: &str| -> Option<MemberStatus> { status.member(name).cloned() };
    let is_there =
        |member: &Option<MemberStatus>| member.as_ref().is_some_and(|member| member.seat.is_led());
    let mut names: Vec<_> =
        before.members.iter().chain(&after.members).map(|member| &member.name).collect();
    names.sort_unstable();
    names.dedup();
    let mut events = Vec::new();
    for member_name in names {
        let (was, is) = (known(before, member_name), known(after, member_name));
        let member = || json!({ "member": member_name });
        let shown = name(member_name);
        match (is_there(&was), is_there(&is)) {
            (false, true) => events.push(event("joined", format!("{shown} has joined"), member())),
            (true, false) => {
                let text = match &is {
                    Some(is) if is.seat.state == State::Expired => {
                        format!("{shown} is gone: {}", is.seat.basis())
                    }
                    Some(is) if is.seat.state == State::Unknown => {
                        format!("{shown} may be gone: its seat cannot be judged")
                    }
                    Some(_) => format!("{shown} is gone: its seat is vacant"),
                    None => format!("{shown} is gone: its seat was deleted, or lacks its label"),
                };
                events.push(event("gone", text, member()));
            }
            _ => {}
        }
        let wishes = |member: &Option<MemberStatus>| {
            member.as_ref().map(|member| member.wishes.clone()).unwrap_or_default()
        };
        let (wished, wishes) = (wishes(&was), wishes(&is));
        if wished != wishes && is_there(&is) {
            let words =
                if wishes.is_empty() { "takes tasks".to_owned() } else { wishes.join(", ") };
            let more = json!({ "member": member_name, "wishes": wishes });
            events.push(event("wishes", format!("{shown}: {words}"), more));
        }
    }
    events
}

fn frozen(before: &GroupStatus, after: &GroupStatus) -> Option<GroupEvent> {
    (before.is_frozen != after.is_frozen).then(|| match after.is_frozen {
        Some(true) => event("frozen", "the group is frozen", Value::Null),
        Some(false) => event("unfrozen", "tasks may move again", Value::Null),
        None => event(
            "config-unread",
            "members keep what they read of GROUP.config before: it has a mistake, or lacks its label",
            Value::Null,
        ),
    })
}

/// What tasks that changed in the same way have in common.
type Way = (&'static str, Option<String>, Option<String>, Option<u64>, Option<&'static str>);

fn tasks(before: &GroupStatus, after: &GroupStatus) -> Vec<GroupEvent> {
    let earlier: BTreeMap<_, _> = before.tasks.iter().map(|task| (&task.name, task)).collect();
    let mut ways: BTreeMap<Way, Vec<&str>> = BTreeMap::new();
    for task in &after.tasks {
        if let Some(way) = way(earlier.get(&task.name).copied(), task) {
            ways.entry(way).or_default().push(&task.name);
        }
    }
    let kept: BTreeSet<_> = after.tasks.iter().map(|task| &task.name).collect();
    for task in before.tasks.iter().filter(|task| !kept.contains(&task.name)) {
        let way = ("ended", task.owner.clone(), None, None, None);
        ways.entry(way).or_default().push(&task.name);
    }
    ways.into_iter().map(|(way, tasks)| told(way, &tasks)).collect()
}

fn way(was: Option<&TaskStatus>, is: &TaskStatus) -> Option<Way> {
    let before = |task: &TaskStatus| (task.state, task.owner.clone(), task.token);
    if was.map(before) == Some(before(is)) {
        return None;
    }
    let from = was.and_then(|was| was.owner.clone());
    let is_new_owner = was.map(|was| (&was.owner, was.token)) != Some((&is.owner, is.token));
    Some(match is.state {
        TaskState::Assigned | TaskState::Late | TaskState::Unknown
            if is_new_owner && is.owner.is_some() =>
        {
            ("assigned", from, is.owner.clone(), is.token, None)
        }
        TaskState::Assigned => ("held", from, is.owner.clone(), is.token, None),
        TaskState::Late => ("late", None, is.owner.clone(), None, is.because),
        TaskState::Unknown => ("unknown", None, is.owner.clone(), None, is.because),
        TaskState::Stopping => ("stopping", None, is.owner.clone(), is.token, None),
        TaskState::Lost => ("lost", None, is.owner.clone(), is.token, is.because),
        TaskState::Free => ("free", from, None, None, None),
        TaskState::Unowned => ("unowned", from, None, None, is.because),
    })
}

fn told((kind, from, to, token, because): Way, tasks: &[&str]) -> GroupEvent {
    let shown = cut(&printable(&tasks.join(", ")), LONG);
    let what = match tasks.len() {
        1 => shown,
        count => format!("{count} tasks ({shown})"),
    };
    let to_name = to.as_deref().map(name).unwrap_or_default();
    let from_name = from.as_deref().map(name);
    let under = token.map(|token| format!(" under token {token}")).unwrap_or_default();
    let because = because.map(|because| format!(": {because}")).unwrap_or_default();
    let text = match (kind, &from_name) {
        ("assigned", Some(from_name)) if from != to => {
            format!("{what}: {from_name} -> {to_name}{under}")
        }
        ("assigned", _) => format!("{what}: {to_name}{under}"),
        ("held", _) => format!("{what}: {to_name} renews again"),
        ("late", _) => format!("{what}: {to_name}{because}"),
        ("unknown", _) => format!("{what}: unknown{because}"),
        ("stopping", _) => format!("{what}: {to_name} was asked to stop"),
        ("lost", _) => format!("{what}: no living owner; the last was {to_name}{because}"),
        ("free", _) => format!("{what}: free"),
        ("unowned", _) => format!("{what}: no owner{because}"),
        _ => format!("{what}: no longer in the table"),
    };
    event(kind, text, json!({ "tasks": tasks, "from": from, "to": to, "token": token }))
}

const LONG: usize = 120;
