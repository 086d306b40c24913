//! The page of one group: its members, who has which tasks, and what waits for what.

use std::collections::BTreeMap;

use incumbent::group_survey::TaskKind;
use maud::{Markup, html};

use super::Setting;
use super::board::Board;
use super::frame::{Ages, Frame, Part, watch, what};
use super::group_board::{GroupBoard, GroupName};
use super::timeline::colour;
use crate::model::format::{self, cut, duration, name, ranges};
use crate::model::group_row::{STATES, kind, notes, page_word};
use crate::model::group_status::{GroupStatus, List, MemberStatus, TaskState, TaskStatus};

pub(crate) fn page(setting: &Setting, board: &Board, group: &GroupBoard, filter: &str) -> String {
    let ages = Ages::of(board);
    let main = html! {
        nav .crumbs { a href="/" { "Overview" } }
        h1 { "group/" (group.name.name) " " small { (group.name.namespace) } }
        (now(board, group, ages))
        (waiting(group, ages))
        (members(group))
        section .tasks aria-labelledby="tasks-head" {
            div .head {
                h2 id="tasks-head" { "Tasks" }
                form .filter role="search" {
                    label { span .sr { "Filter" }
                        input type="search" name="q" placeholder="Task, owner or state, then Enter"
                            value=(filter) data-testid="task-filter" autocomplete="off"; }
                }
            }
            (tasks(group, filter))
        }
        (commands(group))
    };
    let query = encoded(filter);
    let (namespace, group_name) = (&group.name.namespace, &group.name.name);
    let source = format!("/events?group={namespace}/{group_name}&q={query}");
    let title = format!("group/{group_name} · incumbent");
    Frame { title: &title, events: &source, setting, board }.around(&main)
}

/// What of it is swapped. Where the group is gone, the page says so.
pub(crate) fn parts(board: &Board, name: &GroupName, filter: &str) -> Vec<Part> {
    let part = |id, html: Markup| Part { id, html: html.into_string() };
    let Some(group) = board.group(name) else {
        let gone = html! { section .now id="now" data-state="gone" { p { "The group is gone." } } };
        return if board.has_looked { vec![part("now", gone)] } else { Vec::new() };
    };
    let ages = Ages::Scripted;
    vec![
        part("now", now(board, group, ages)),
        part("waiting", waiting(group, ages)),
        part("members", members(group)),
        part("tasks", tasks(group, filter)),
    ]
}

fn now(board: &Board, group: &GroupBoard, ages: Ages) -> Markup {
    let status = &group.status;
    html! {
        section .now id="now" aria-label="Now" data-testid="now" data-state=(status.word()) {
            dl .facts {
                div .state { dt { "State" } dd { (state(group)) } }
                div { dt { "Members" } dd data-testid="members" { (status.present().count()) } }
                div { dt { "Tasks" } dd data-testid="tasks" { (counts(status)) } }
                div { dt { "Longest wait" } dd { @match group.longest() {
                    Some(since) => { (ages.since(since)) " or longer" }
                    None => "–",
                } } }
                div .who { dt { "Allocator" } dd { (allocator(status)) } }
                div { (watch(board, ages)) }
                (fact("Kind", status.kind.map(kind)))
                (fact("Listed", Some(listed(group))))
                (fact("Table", Some(table(group))))
                (fact("Stuck after", Some(duration(status.bound))))
            }
            @if let Some(trouble) = &group.trouble {
                p .asked { strong .cut { "Not up to date: " } (trouble) }
            } @else if let Some(doubt) = status.doubt() {
                p .asked { strong { "Unknown: " } (doubt) }
            }
            @if !group.concerns.is_empty() {
                ul .concerns {
                    @for concern in &group.concerns {
                        li class=(concern.weight.word()) data-testid="concern" data-kind=(concern.kind) {
                            span .mark { (concern.weight.word()) }
                            div { p { (what(concern, ages)) } p .todo { (concern.to_do) } }
                        }
                    }
                }
            }
        }
    }
}

fn fact(label: &str, value: Option<String>) -> Markup {
    html! { div { dt { (label) } dd { (value.unwrap_or_else(|| "–".to_owned())) } } }
}

/// The state in one word. Where nothing can be seen, it is unknown.
pub(crate) fn state(group: &GroupBoard) -> Markup {
    html! { span .badge title="of all tasks that are known" { (group.status.word()) } }
}

/// The allocator. A name that is not known to lead is not shown as one.
pub(crate) fn allocator(status: &GroupStatus) -> Markup {
    let allocator = status.allocator.as_ref().filter(|allocator| allocator.is_led());
    html! {
        @match allocator.and_then(|allocator| allocator.holder.as_ref().zip(Some(allocator))) {
            Some((holder, allocator)) => {
                span title=(allocator.evidence.basis()) { (member_name(holder)) (allocator.mark()) }
            }
            None if status.is_visible => span .none { "none" },
            None => span .none { "unknown" },
        }
    }
}

fn member_name(full: &str) -> Markup {
    html! {
        i class=(format!("dot c{}", colour(full))) aria-hidden="true" {}
        span title=(name(full)) { (format::short(&name(full))) }
    }
}

fn counts(status: &GroupStatus) -> String {
    let counts = STATES.iter().map(|state| (state.word().to_lowercase(), status.count(*state)));
    let counts = counts.filter(|(_, count)| *count > 0);
    let words: Vec<_> = counts.map(|(word, count)| format!("{count} {word}")).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn listed(group: &GroupBoard) -> String {
    let config_map = || format!("configmap/{}.config", group.name.name);
    match group.status.list {
        List::Numbered => "by the table".to_owned(),
        List::Config { unlisted: 0 } => format!("in {}", config_map()),
        List::Config { unlisted } => format!("in {}, except {unlisted}", config_map()),
        List::Given | List::Program => "in the members' program".to_owned(),
        List::Unread => format!("unknown: members do not read {} as it is", config_map()),
    }
}

fn table(group: &GroupBoard) -> String {
    let mut words: BTreeMap<&str, usize> = BTreeMap::new();
    for page in &group.view.pages {
        *words.entry(page_word(page)).or_default() += 1;
    }
    let words: Vec<_> = words.iter().map(|(word, count)| format!("{count} {word}")).collect();
    if words.is_empty() { "none".to_owned() } else { format!("pages: {}", words.join(", ")) }
}

/// The tasks on which no member may work, or that are to move: why, and since when.
fn waiting(group: &GroupBoard, ages: Ages) -> Markup {
    let waiting = group.status.waiting();
    let mut rows = rows(waiting, is_numbered(&group.status), |task| {
        (
            task.state,
            &task.owner,
            task.because,
            group.waits_since(task).map(|since| since.as_secs()),
        )
    });
    rows.sort_by_key(|(_, task)| group.waits_since(task));
    let more = rows.len().saturating_sub(MOST_WAITING);
    html! {
        section .waiting id="waiting" aria-labelledby="waiting-head" {
            h2 id="waiting-head" { "Waiting" }
            @if rows.is_empty() { p .calm { "No task that is known waits." } }
            @else {
                table .plain {
                    thead { tr {
                        th scope="col" { "Task" } th scope="col" { "State" } th scope="col" { "Last owner" }
                        th .num scope="col" { "For at least" } th .more scope="col" { "Because" }
                    } }
                    tbody {
                        @for (names, task) in rows.iter().take(MOST_WAITING) {
                            (waiting_row(group, names, task, ages))
                        }
                    }
                }
            }
            @if more > 0 { p .rest { "and " (more) " more" } }
        }
    }
}

fn waiting_row(group: &GroupBoard, names: &str, task: &TaskStatus, ages: Ages) -> Markup {
    let mark = task.waits.map(|waits| waits.mark()).unwrap_or_default();
    html! {
        tr data-testid="waiting" data-task=(names) data-state=(task.state.word()) {
            th scope="row" { (names) }
            td .state { (task_state(task.state)) }
            td { @if let Some(owner) = &task.owner { (member_name(owner)) } @else { "–" } }
            td .num { @if let Some(since) = group.waits_since(task) { (ages.since(since)) (mark) } }
            td .more { (task.because.unwrap_or("–")) }
        }
    }
}

fn task_state(state: TaskState) -> Markup {
    html! { span .badge { (state.word()) } }
}

/// The members with their loads: first those that need a look, then those with the most tasks.
fn members(group: &GroupBoard) -> Markup {
    let status = &group.status;
    let mut known: Vec<_> =
        status.members.iter().filter(|it| it.seat.is_led() || it.tasks > 0).collect();
    let is_well = |member: &MemberStatus| member.seat.is_led() && member.stopping == 0;
    known.sort_by_key(|member| (is_well(member), std::cmp::Reverse(member.tasks), &member.name));
    let gone = status.members.len() - known.len();
    let most = known.iter().map(|member| member.tasks).max().unwrap_or_default();
    let owned = owned(status);
    let more = known.len().saturating_sub(MOST_MEMBERS);
    html! {
        section .members id="members" aria-labelledby="members-head" {
            h2 id="members-head" { "Members" }
            @if known.is_empty() { p .calm { "None holds its seat." } }
            @else { table {
                thead { tr {
                    th scope="col" { "Member" } th scope="col" { "Load" } th scope="col" { "Seat" }
                    th scope="col" { "Tasks" } th .more scope="col" { "Capacity" } th .more scope="col" { "Version" }
                    th .more scope="col" { "Address" } th .more scope="col" { "Wants" }
                } }
                tbody { @for member in known.iter().take(MOST_MEMBERS) {
                    (member_row(member, most, owned.get(&member.name).map_or("", String::as_str)))
                } }
            } }
            @if more > 0 { p .rest { "and " (more) " more: incumbent members group/" (group.name.name) } }
            @if gone > 0 { p .rest { "and " (gone) " seats of members that are gone" } }
        }
    }
}

fn member_row(member: &MemberStatus, most: usize, tasks: &str) -> Markup {
    let or_dash = |text: Option<&str>| text.unwrap_or("–").to_owned();
    html! {
        tr data-testid="member" data-member=(name(&member.name)) data-tasks=(member.tasks)
            data-state=(format!("{:?}", member.seat.state)) {
            th scope="row" { (member_name(&member.name)) }
            td .load {
                progress max=(most.max(1)) value=(member.tasks) aria-label="tasks, of the most that a member has" {}
                " " (member.tasks)
                @if member.stopping > 0 { " " small { (member.stopping) " stopping" } }
            }
            td .state { span .badge title=(member.seat.evidence.basis()) { (member.seat.word()) } }
            td { (tasks) }
            td .more { (or_dash(member.capacity.map(|capacity| capacity.to_string()).as_deref())) }
            td .more { (or_dash(member.version.as_deref())) }
            td .more { (or_dash(member.address.as_deref())) }
            td .more { (or_dash(Some(member.wishes.join(", ").as_str()).filter(|wishes| !wishes.is_empty()))) }
        }
    }
}

/// The names of each member's tasks in brief: numbers as ranges.
fn owned(status: &GroupStatus) -> BTreeMap<String, String> {
    let mut owned: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for task in &status.tasks {
        if let Some(owner) = &task.owner {
            owned.entry(owner.clone()).or_default().push(&task.name);
        }
    }
    let brief = |tasks: Vec<&str>| match is_numbered(status) {
        true => cut(&ranges(tasks), LONGEST_LIST),
        false => cut(&format::printable(&tasks.join(", ")), LONGEST_LIST),
    };
    owned.into_iter().map(|(owner, tasks)| (owner, brief(tasks))).collect()
}

fn is_numbered(status: &GroupStatus) -> bool {
    matches!(status.kind, Some(TaskKind::Slots(_) | TaskKind::Permits(_)))
}

/// The tasks that match.
fn tasks(group: &GroupBoard, filter: &str) -> Markup {
    let matching = group.status.tasks.iter().filter(|task| is_about(task, filter));
    let same = |task: &'_ TaskStatus| {
        (
            task.state,
            task.owner.clone(),
            task.token,
            task.because,
            task.next.clone(),
            task.pin.clone(),
        )
    };
    let rows = rows(matching, is_numbered(&group.status), same);
    let more = rows.len().saturating_sub(MOST_TASKS);
    html! {
        div id="tasks" {
            @if rows.is_empty() {
                p .calm { (if filter.is_empty() { "None is known." } else { "No task matches." }) }
            } @else { table .plain {
                thead { tr {
                    th scope="col" { "Task" } th scope="col" { "State" } th scope="col" { "Owner" }
                    th .num scope="col" { "Token" } th .more scope="col" { "Note" }
                } }
                tbody { @for (names, task) in rows.iter().take(MOST_TASKS) { (task_row(names, task)) } }
            } }
            @if more > 0 { p .rest { "and " (more) " rows more: the filter finds them" } }
        }
    }
}

/// A row for each task; or, of tasks that are numbers, one for all that are the same in this.
fn rows<'a, K: Ord>(
    tasks: impl Iterator<Item = &'a TaskStatus>,
    are_numbers: bool,
    same: impl Fn(&'a TaskStatus) -> K,
) -> Vec<(String, &'a TaskStatus)> {
    if !are_numbers {
        return tasks.map(|task| (name(&task.name), task)).collect();
    }
    let mut rows: BTreeMap<K, (Vec<&str>, &TaskStatus)> = BTreeMap::new();
    for task in tasks {
        rows.entry(same(task)).or_insert_with(|| (Vec::new(), task)).0.push(&task.name);
    }
    let rows = rows.into_values();
    rows.map(|(names, task)| (cut(&ranges(names), LONGEST_LIST), task)).collect()
}

fn task_row(names: &str, task: &TaskStatus) -> Markup {
    let notes = notes(task);
    html! {
        tr data-testid="task" data-task=(names) data-state=(task.state.word())
            data-owner=(name(task.owner.as_deref().unwrap_or(""))) {
            th scope="row" { (names) }
            td .state { (task_state(task.state)) }
            td { @match (&task.owner, task.state) {
                (Some(owner), _) => (member_name(owner)),
                (None, TaskState::Unknown) => span .none { "unknown" },
                (None, _) => span .none { "no owner" },
            } }
            td .num { (task.token.map_or_else(|| "–".to_owned(), |token| token.to_string())) }
            td .more { (if notes.is_empty() { "–".to_owned() } else { notes.join(", ") }) }
        }
    }
}

fn is_about(task: &TaskStatus, text: &str) -> bool {
    let texts = [task.name.as_str(), task.owner.as_deref().unwrap_or(""), task.state.word()];
    let text = text.trim().to_lowercase();
    texts.iter().any(|known| known.to_lowercase().contains(&text))
}

/// Text as a part of a query.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Commands to copy. They hold for as long as the group exists, so they are never swapped.
fn commands(group: &GroupBoard) -> Markup {
    let (namespace, group) = (name(&group.name.namespace), name(&group.name.name));
    let target = format!("-n {namespace} group/{group}");
    let commands = [
        (
            "Look",
            format!("kubectl get -n {namespace} leases,configmaps -l incumbent.dev/group={group}"),
        ),
        ("All of it", format!("incumbent status {target}")),
        ("Follow it", format!("incumbent watch {target}")),
        ("Let no task move unless it must", format!("incumbent freeze {target}")),
        ("Move a task", format!("incumbent move {target} TASK --to MEMBER")),
        ("Give a member no tasks", format!("incumbent pause {target} --candidate MEMBER")),
        ("Find out what is wrong", format!("incumbent doctor {target}")),
    ];
    html! {
        section .commands id="commands" aria-labelledby="commands-head" {
            h2 id="commands-head" { "Commands" }
            ul { @for (label, command) in commands { li { span { (label) } code { (command) } } } }
        }
    }
}

/// The groups on the page of all elections.
pub(crate) fn overview(board: &Board, has_namespaces: bool, ages: Ages) -> Markup {
    html! {
        section .groups id="groups" hidden[board.groups.is_empty()] aria-labelledby="groups-head" {
            h2 id="groups-head" { "Groups" }
            table {
                thead { tr {
                    th scope="col" { "Group" } th scope="col" { "Allocator" } th scope="col" { "State" }
                    th scope="col" { "Waiting" } th .more scope="col" { "Longest" } th .num scope="col" { "Members" }
                    th .num scope="col" { "Tasks" } th .more scope="col" { "Kind" }
                } }
                tbody { @for group in &board.groups { (overview_row(group, has_namespaces, ages)) } }
            }
            @if board.groups_left_out > 0 {
                p .rest { "and " (board.groups_left_out) " that are not looked at, because there are so many" }
            }
        }
    }
}

fn overview_row(group: &GroupBoard, has_namespaces: bool, ages: Ages) -> Markup {
    let status = &group.status;
    html! {
        tr data-testid="group" data-group=(group.name.name) data-state=(status.word()) data-rank=(group.rank()) {
            th scope="row" {
                a href=(group.name.path()) { (group.name.name) }
                @if has_namespaces { " " small { (group.name.namespace) } }
            }
            td { (allocator(status)) }
            td .state { (state(group)) }
            td { (status.waiting().count()) }
            td .more { @match group.longest() { Some(since) => (ages.since(since)), None => "–" } }
            td .num { (status.present().count()) }
            td .num { (status.tasks.len()) }
            td .more { (status.kind.map(kind).unwrap_or_else(|| "–".to_owned())) }
        }
    }
}

/// More than these are not read by people, and cost a browser time.
const MOST_WAITING: usize = 50;
const MOST_MEMBERS: usize = 100;
const MOST_TASKS: usize = 200;

/// Of the names of one member's tasks.
const LONGEST_LIST: usize = 160;
