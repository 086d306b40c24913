//! A group as people and programs read it: as the row of a table, and as JSON.

use std::collections::BTreeMap;

use incumbent::group_survey::{GroupView, PageState, PageView, TaskKind};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::format::{age, millis, name, or_none, short};
use crate::model::group_status::{
    GroupStatus, List, MemberStatus, TaskState, TaskStatus, Waits, obeyed, versions,
};
use crate::model::lock_status::Evidence;

/// Which columns a table of groups has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupColumns {
    pub(crate) has_namespace: bool,
    pub(crate) is_wide: bool,
}

const HEADS: [&str; 7] = ["NAME", "ALLOCATOR", "MEMBERS", "TASKS", "WAITING", "STATE", "HEARD"];

const WIDE: [&str; 5] = ["KIND", "PAGES", "LOADS", "VERSIONS", "ASKED"];

impl GroupColumns {
    pub(crate) fn heads(self) -> Vec<&'static str> {
        let namespace = self.has_namespace.then_some("NAMESPACE");
        let wide: &[&str] = if self.is_wide { &WIDE } else { &[] };
        namespace.into_iter().chain(HEADS).chain(wide.iter().copied()).collect()
    }

    pub(crate) fn cells(self, view: &GroupView, status: &GroupStatus) -> Vec<String> {
        let waiting = status.waiting().count();
        let mut cells = vec![
            format!("group/{}", view.name),
            allocator(status, self.is_wide),
            format!("{}{}", status.present().count(), members_mark(status)),
            status.tasks.len().to_string(),
            format!(
                "{waiting}{}",
                longest(status).map(|it| format!(" ({it})")).unwrap_or_default()
            ),
            status.word().to_owned(),
            format!("{} ago", age(view.heard_age)),
        ];
        if self.has_namespace {
            cells.insert(0, view.namespace.clone());
        }
        if self.is_wide {
            cells.extend([
                or_none(status.kind.map(kind)),
                view.pages.len().to_string(),
                loads(status),
                listed(versions(status).into_iter().map(|(version, of)| format!("{version}×{of}"))),
                listed(asked(view, status).into_iter()),
            ]);
        }
        cells
    }
}

/// The name of the allocator, as far as is known.
fn allocator(status: &GroupStatus, is_wide: bool) -> String {
    let Some(allocator) = status.allocator.as_ref().filter(|allocator| allocator.is_led()) else {
        return "<none>".to_owned();
    };
    let holder = allocator.holder.clone().unwrap_or_default();
    let holder = if is_wide { holder } else { short(&holder) };
    format!("{holder}{}", allocator.mark())
}

/// `~` where wall clocks say that a member lives.
fn members_mark(status: &GroupStatus) -> &'static str {
    let by_clocks = status.present().any(|member| member.seat.evidence == Evidence::Clocks);
    if by_clocks { "~" } else { "" }
}

/// For how long the task that waits longest has waited.
fn longest(status: &GroupStatus) -> Option<String> {
    let waits =
        status.waiting().filter_map(|task| task.waits).max_by_key(|waits| waits.at_least)?;
    Some(format!("{}{}", age(waits.at_least), waits.mark()))
}

/// The fewest and the most tasks of a member.
fn loads(status: &GroupStatus) -> String {
    let loads = || status.present().map(|member| member.tasks);
    match (loads().min(), loads().max()) {
        (Some(least), Some(most)) if least == most => most.to_string(),
        (Some(least), Some(most)) => format!("{least}-{most}"),
        _ => "<none>".to_owned(),
    }
}

fn listed(words: impl Iterator<Item = String>) -> String {
    let words: Vec<_> = words.collect();
    if words.is_empty() { "<none>".to_owned() } else { words.join(",") }
}

/// What people ask of the group.
fn asked(view: &GroupView, status: &GroupStatus) -> Vec<String> {
    let Some(frozen) = status.is_frozen else { return vec!["unknown".to_owned()] };
    let Some(config) = obeyed(view) else { return Vec::new() };
    let count = |count: usize, what: &str| (count > 0).then(|| format!("{what}:{count}"));
    let mut asked: Vec<_> = frozen.then(|| "frozen".to_owned()).into_iter().collect();
    asked.extend(count(config.drained.len(), "drain"));
    asked.extend(count(config.pins.len(), "pins"));
    asked
}

/// `named`, `1024 slots`, `3 permits`.
pub(crate) fn kind(kind: TaskKind) -> String {
    match kind {
        TaskKind::Named => "named".to_owned(),
        TaskKind::Slots(count) => format!("{count} slots"),
        TaskKind::Permits(count) => format!("{count} permits"),
    }
}

/// What can be said of a page, in a word or two.
pub(crate) fn page_word(page: &PageView) -> &'static str {
    match &page.state {
        PageState::Open => "open",
        PageState::NotOpen => "not open yet",
        PageState::OtherTable => "of another table",
        PageState::Unreadable(_) => "unreadable",
        PageState::Missing => "missing",
        _ => "unknown",
    }
}

/// A group in a few numbers, for programs.
pub(crate) fn json(view: &GroupView, status: &GroupStatus) -> Value {
    let allocator = status.allocator.as_ref().zip(view.allocator.as_ref());
    let counts: BTreeMap<_, _> =
        STATES.iter().map(|state| (state.word().to_lowercase(), status.count(*state))).collect();
    json!({
        "group": view.name,
        "namespace": view.namespace,
        "state": status.word().to_lowercase(),
        "doubt": status.doubt(),
        "kind": status.kind.map(kind),
        "allocator": allocator.map(|(status, lock)| status.json(&lock.view)),
        "members": status.present().count(),
        "tasks": status.tasks.len(),
        "taskStates": counts,
        "waiting": status.waiting().count(),
        "stuck": status.stuck().count(),
        "stuckAfterMs": millis(status.bound),
        "frozen": status.is_frozen,
        "heardAgeMs": millis(view.heard_age),
    })
}

/// All that is known of a group, for programs.
pub(crate) fn whole_json(view: &GroupView, status: &GroupStatus) -> Value {
    let mut all = json(view, status);
    let members = status.members.iter().zip(&view.seats);
    all["members"] = members
        .map(|(member, seat)| member_json(member, member.seat.json(&seat.lock.view)))
        .collect();
    all["tasks"] = status.tasks.iter().map(|task| task_json(task, status)).collect();
    all["pages"] = view.pages.iter().map(page_json).collect();
    all["taskList"] = match status.list {
        List::Numbered => "table",
        List::Config { .. } => "configmap",
        List::Given => "given",
        List::Program => "program",
        List::Unread => "unread",
    }
    .into();
    // What members read of it; or, where they do not read it, why.
    all["config"] = view.config.as_ref().map_or(Value::Null, |config| {
        json!({
            "pins": config.pins,
            "weights": config.weights,
            "drained": config.drained,
            "frozen": config.is_frozen,
            "mistake": config.mistake,
            "hasLabel": config.has_label,
            "obeyed": config.is_obeyed(),
        })
    });
    all
}

fn member_json(member: &MemberStatus, seat: Value) -> Value {
    json!({
        "name": member.name,
        "seat": seat,
        "address": member.address,
        "capacity": member.capacity,
        "version": member.version,
        "zone": member.zone,
        "wishes": member.wishes,
        "tasks": member.tasks,
        "stopping": member.stopping,
    })
}

fn task_json(task: &TaskStatus, status: &GroupStatus) -> Value {
    json!({
        "name": task.name,
        "state": task.state.word().to_lowercase(),
        "owner": task.owner,
        "address": task.address,
        "token": task.token,
        "next": task.next,
        "pin": task.pin,
        "because": task.because,
        "waitsAtLeastMs": task.waits.map(|waits| millis(waits.at_least)),
        "evidence": task.waits.map(|waits| waits.evidence.word()),
        "stuck": task.waits.is_some_and(|waits| waits.at_least > status.bound),
    })
}

fn page_json(page: &PageView) -> Value {
    let why = match &page.state {
        PageState::Unreadable(why) | PageState::Unknown(why) => Some(why.as_str()),
        _ => None,
    };
    json!({
        "configMap": page.config_map,
        "state": page_word(page),
        "why": why,
        "resourceVersion": page.revision,
        "written": page.written.map(|time| time.to_string()),
    })
}

pub(crate) const STATES: [TaskState; 7] = [
    TaskState::Assigned,
    TaskState::Late,
    TaskState::Unknown,
    TaskState::Free,
    TaskState::Stopping,
    TaskState::Lost,
    TaskState::Unowned,
];

/// The columns of the members of one group.
pub(crate) const MEMBER_HEADS: [&str; 8] =
    ["MEMBER", "SEAT", "RENEWED", "TASKS", "CAPACITY", "VERSION", "ADDRESS", "ASKED"];

pub(crate) fn member_cells(member: &MemberStatus) -> Vec<String> {
    let renewed = match (member.seat.is_led(), member.seat.age) {
        (true, Some(silent)) => format!("{} ago{}", age(silent), member.seat.mark()),
        _ => "<none>".to_owned(),
    };
    let tasks = match member.stopping {
        0 => member.tasks.to_string(),
        stopping => format!("{} ({stopping} stopping)", member.tasks),
    };
    vec![
        short(&name(&member.name)),
        member.seat.word(),
        renewed,
        tasks,
        or_none(member.capacity.map(|capacity| capacity.to_string())),
        or_none(member.version.clone()),
        or_none(member.address.clone()),
        listed(member.wishes.iter().cloned()),
    ]
}

/// The columns of the tasks of one group.
pub(crate) const TASK_HEADS: [&str; 6] = ["TASK", "STATE", "OWNER", "TOKEN", "WAITS", "NOTE"];

pub(crate) fn task_cells(task: &TaskStatus) -> Vec<String> {
    vec![
        name(&task.name),
        task.state.word().to_owned(),
        or_none(task.owner.as_deref().map(|owner| short(&name(owner)))),
        or_none(task.token.map(|token| token.to_string())),
        or_none(task.waits.map(waits)),
        listed(notes(task).into_iter()),
    ]
}

/// More about a task: why it is in its state, and which members are to have it.
pub(crate) fn notes(task: &TaskStatus) -> Vec<String> {
    let next = task.next.as_ref().map(|member| format!("{} prepares it", name(member)));
    let pin = task.pin.as_ref().map(|member| format!("pinned to {}", name(member)));
    task.because.map(str::to_owned).into_iter().chain(next).chain(pin).collect()
}

/// `>=12s~`
pub(crate) fn waits(waits: Waits) -> String {
    format!(">={}{}", age(waits.at_least), waits.mark())
}

/// A sentence about a task that waits.
pub(crate) fn waiting_sentence(task: &TaskStatus) -> String {
    let because = task.because.map(|because| format!(": {because}")).unwrap_or_default();
    let waits = task.waits.map(|waits| format!("{}{}", age(waits.at_least), waits.mark()));
    let (waits, task_name) = (waits.unwrap_or_default(), name(&task.name));
    match (task.state, task.owner.as_deref().map(name)) {
        (TaskState::Stopping, Some(owner)) => {
            format!("{owner} was asked at least {waits} ago to stop task {task_name}{because}")
        }
        (TaskState::Lost, Some(owner)) => format!(
            "task {task_name} has had no living owner for {waits} or longer; the last was {owner}{because}"
        ),
        _ => format!("task {task_name} has had no owner for {waits} or longer{because}"),
    }
}

/// When this was so, for a line of its own.
pub(crate) fn at(now: Timestamp) -> String {
    format!("{now:.3}")
}
