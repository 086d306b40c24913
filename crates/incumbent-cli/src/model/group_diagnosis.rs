//! What of a group needs attention, why, and what to do about it. Pure.

use std::collections::BTreeSet;

use incumbent::group_survey::{GroupView, PageState, PageView};

use crate::model::diagnosis::{Concern, Weight};
use crate::model::format::{cut, duration, name};
use crate::model::group_row::waiting_sentence;
use crate::model::group_status::{
    GroupStatus, List, MemberStatus, TaskState, TaskStatus, obeyed, versions,
};
use crate::model::lock_status::{Evidence, LockStatus};

/// What needs attention, the most important first.
pub(crate) fn concerns(view: &GroupView, status: &GroupStatus) -> Vec<Concern> {
    let mut concerns: Vec<_> = [pages(view), stuck(status)].into_iter().flatten().collect();
    let rules: [fn(&GroupView, &GroupStatus) -> Option<Concern>; 12] = [
        no_members,
        no_allocator,
        config,
        unknown_keys,
        late,
        hidden_owners,
        drained,
        pins_to_absent,
        pins_of_unknown,
        skew,
        frozen,
        alone,
    ];
    concerns.extend(rules.into_iter().filter_map(|rule| rule(view, status)));
    concerns.sort_by_key(|concern| std::cmp::Reverse(concern.weight));
    concerns
}

fn concern(
    weight: Weight,
    kind: &'static str,
    what: impl Into<String>,
    to_do: impl Into<String>,
) -> Concern {
    Concern { weight, kind, what: what.into(), to_do: to_do.into(), since: None }
}

/// Pages that no member obeys.
fn pages(view: &GroupView) -> Vec<Concern> {
    let of = |page: &PageView| {
        let config_map = format!("configmap/{}", page.config_map);
        Some(match &page.state {
            PageState::Unreadable(why) => concern(
                Weight::Bad,
                "unreadable-page",
                format!("{config_map} cannot be read: {why}"),
                "The allocator repairs it. If it is still there in two minutes, look at the allocator's log.",
            ),
            PageState::Missing => concern(
                Weight::Bad,
                "missing-page",
                format!("{config_map} does not exist; members work by its last version"),
                "The allocator creates it again. If it does not, look at its log.",
            ),
            PageState::Unknown(why) => concern(
                Weight::Warning,
                "hidden-page",
                format!("{config_map} cannot be seen, and members may obey it: {why}"),
                "The allocator puts a lost label back. If it does not, look at its log.",
            ),
            PageState::NotOpen => concern(
                Weight::Warning,
                "page-not-open",
                format!("{config_map} is not open yet: its tasks have no owner"),
                "It opens when each member has released it, at the latest a minute after the last one has. \
                 A member whose work does not stop prolongs that: look at the logs of the members.",
            ),
            PageState::OtherTable => concern(
                Weight::Warning,
                "page-of-another-table",
                format!("{config_map} belongs to another table, so no member obeys it"),
                "The allocator deletes it. If it does not, look at its log.",
            ),
            _ => return None,
        })
    };
    view.pages.iter().filter_map(of).collect()
}

/// Tasks that have waited for too long, in one concern for each state.
fn stuck(status: &GroupStatus) -> Vec<Concern> {
    let states = [
        (
            TaskState::Unowned,
            "unowned",
            "Is there an allocator, and a member that takes tasks? Look at the allocator's log.",
        ),
        (
            TaskState::Lost,
            "lost-owner",
            "An allocator assigns them again. Is there one, and a member that takes tasks?",
        ),
        (
            TaskState::Stopping,
            "stuck-revoke",
            "Its work does not stop, or its allocator does not see that. If the work hangs, end that process: its \
             tasks go to others when its lease is over.",
        ),
    ];
    let concerns = states.into_iter().filter_map(|(state, kind, to_do)| {
        let tasks: Vec<_> = status.stuck().filter(|task| task.state == state).collect();
        let what = named(&tasks)?;
        Some(concern(Weight::Bad, kind, what, to_do))
    });
    concerns.collect()
}

/// The first few of them, each in a sentence.
fn named(tasks: &[&TaskStatus]) -> Option<String> {
    let first: Vec<_> = tasks.iter().take(FEW).map(|task| waiting_sentence(task)).collect();
    let more = match tasks.len().saturating_sub(FEW) {
        0 => String::new(),
        more => format!("; and {more} more tasks"),
    };
    (!tasks.is_empty()).then(|| first.join("; ") + &more)
}

fn no_members(view: &GroupView, status: &GroupStatus) -> Option<Concern> {
    let has_none = status.knows_members() && status.present().next().is_none();
    let basis = basis(status.members.iter().map(|member| &member.seat));
    has_none.then(|| {
        concern(
            Weight::Bad,
            "no-members",
            format!("Group {} has no member{basis}", view.name),
            "Start its processes. If they run, look at their logs: a permission may be missing.",
        )
    })
}

fn no_allocator(_: &GroupView, status: &GroupStatus) -> Option<Concern> {
    let may_be_led = |allocator: &LockStatus| {
        allocator.is_led() || allocator.state == incumbent::survey::State::Unknown
    };
    let is_free = status.is_visible && !status.allocator.as_ref().is_some_and(may_be_led);
    let basis = basis(status.allocator.iter());
    (is_free && status.present().next().is_some()).then(|| {
        concern(
            Weight::Bad,
            "no-allocator",
            format!("No member is the allocator{basis}, so no task is assigned or moved"),
            "Another member takes over when the lease of the last one is over. If none does, look at their logs.",
        )
    })
}

/// By what it is known that no one of these is held.
fn basis<'a>(mut locks: impl Iterator<Item = &'a LockStatus>) -> &'static str {
    match locks.any(|lock| lock.evidence == Evidence::Clocks) {
        true => " by the wall clocks (--sure watches)",
        false => "",
    }
}

fn config(view: &GroupView, _: &GroupStatus) -> Option<Concern> {
    let config = view.config.as_ref()?;
    let config_map = format!("configmap/{}.config", view.name);
    if !config.has_label {
        let to_do = format!(
            "kubectl label --namespace {} configmap {}.config incumbent.dev/group={}",
            view.namespace, view.name, view.name
        );
        let what = format!("{config_map} lacks the group's label, so no member reads it");
        return Some(concern(Weight::Warning, "config", what, to_do));
    }
    let mistake = config.mistake.as_ref()?;
    let what =
        format!("{config_map} has a mistake, so members keep what they read before: {mistake}");
    let to_do =
        format!("kubectl edit --namespace {} configmap {}.config", view.namespace, view.name);
    Some(concern(Weight::Warning, "config", what, to_do))
}

/// A key that is written wrong has no effect, and no error says so.
fn unknown_keys(view: &GroupView, _: &GroupStatus) -> Option<Concern> {
    let data = view.config.as_ref()?.object["data"].as_object()?;
    let unknown =
        data.keys().filter(|key| !["tasks", "pins", "drain", "freeze"].contains(&key.as_str()));
    let keys = listed(unknown.map(String::as_str));
    (!keys.is_empty()).then(|| {
        concern(
            Weight::Note,
            "unknown-key",
            format!("configmap/{}.config has keys that members do not know: {keys}", view.name),
            "They know tasks, pins, drain and freeze.",
        )
    })
}

fn late(_: &GroupView, status: &GroupStatus) -> Option<Concern> {
    let late = status.tasks.iter().filter(|task| task.state == TaskState::Late);
    let owners: BTreeSet<_> = late.filter_map(|task| task.owner.as_deref()).collect();
    let members = listed(owners.into_iter());
    (!members.is_empty()).then(|| {
        concern(
            Weight::Warning,
            "late-member",
            format!("No renewal in time of {members}"),
            "Their work has stopped, or is about to. Others get their tasks when their leases are over.",
        )
    })
}

fn hidden_owners(_: &GroupView, status: &GroupStatus) -> Option<Concern> {
    let owners: BTreeSet<_> = status.hidden_owners().collect();
    let members = listed(owners.into_iter());
    (!members.is_empty()).then(|| {
        concern(
            Weight::Warning,
            "hidden-owner",
            format!("It cannot be seen whether these owners of tasks hold their seats: {members}"),
            "The column NOTE of the tasks says why. --sure watches until it is known.",
        )
    })
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(name).collect();
    cut(&names.join(", "), LONG)
}

fn drained(view: &GroupView, status: &GroupStatus) -> Option<Concern> {
    let drained = &obeyed(view).filter(|config| !config.drained.is_empty())?.drained;
    let takes = |member: &MemberStatus| member.takes_tasks;
    let is_known = status.knows_members() && status.present().next().is_some();
    if is_known && !status.present().any(takes) {
        return Some(concern(
            Weight::Warning,
            "all-drained",
            "No member takes tasks: all are drained, or leave",
            format!(
                "Their tasks stay where they are. To take one back: incumbent resume group/{}",
                view.name
            ),
        ));
    }
    let absent = drained.iter().filter(|name| status.is_absent(name));
    let absent = listed(absent.map(String::as_str));
    (!absent.is_empty()).then(|| {
        concern(
            Weight::Note,
            "drained-absent",
            format!("Drained, and not there: {absent}"),
            format!("To forget them: incumbent resume group/{} --candidate NAME", view.name),
        )
    })
}

fn pins_to_absent(view: &GroupView, status: &GroupStatus) -> Option<Concern> {
    let pins = &obeyed(view)?.pins;
    let absent: BTreeSet<_> = pins.values().filter(|member| status.is_absent(member)).collect();
    let names = listed(absent.into_iter().map(String::as_str));
    (!names.is_empty()).then(|| {
        concern(
            Weight::Note,
            "pinned-to-absent",
            format!("Tasks are pinned to members that are not there: {names}"),
            "Such a pin has no effect. A restarted Pod has another name, unless it is of a StatefulSet.",
        )
    })
}

/// Tasks that have left the list, or that never were in it.
fn pins_of_unknown(view: &GroupView, status: &GroupStatus) -> Option<Concern> {
    let is_unknown = |task: &&String| !status.tasks.iter().any(|known| known.name == **task);
    let unknown = obeyed(view)?.pins.keys().filter(is_unknown);
    let unknown = listed(unknown.map(String::as_str));
    let (what, is_hidden) = match status.list {
        List::Program | List::Unread => ("are not in the table", !status.hidden_pages.is_empty()),
        _ => ("do not exist", false),
    };
    (!unknown.is_empty() && !is_hidden).then(|| {
        concern(
            Weight::Note,
            "pinned-unknown",
            format!("Tasks are pinned that {what}: {unknown}"),
            format!("To take such a pin back: incumbent move group/{} TASK --release", view.name),
        )
    })
}

fn skew(_: &GroupView, status: &GroupStatus) -> Option<Concern> {
    let versions = versions(status);
    let words: Vec<_> =
        versions.iter().map(|(version, count)| format!("{count} of version {version}")).collect();
    (versions.len() > 1).then(|| {
        concern(
            Weight::Note,
            "versions",
            format!("Members of {} versions run: {}", versions.len(), words.join(", ")),
            "While they do, tasks move only if they must. Is a rollout stuck?",
        )
    })
}

fn frozen(view: &GroupView, status: &GroupStatus) -> Option<Concern> {
    (status.is_frozen == Some(true)).then(|| {
        concern(
            Weight::Note,
            "frozen",
            "The group is frozen: each task stays where it is for as long as its owner lives",
            format!("To let tasks move again: incumbent unfreeze group/{}", view.name),
        )
    })
}

fn alone(_: &GroupView, status: &GroupStatus) -> Option<Concern> {
    (status.knows_members() && status.present().count() == 1).then(|| {
        concern(
            Weight::Note,
            "no-standby",
            "Only one member runs",
            "When it ends, all tasks have no owner until another starts. Run a second replica.",
        )
    })
}

/// The bound by which a task is stuck, for people.
pub(crate) fn bound(status: &GroupStatus) -> String {
    format!("a task counts as stuck when it has waited for more than {}", duration(status.bound))
}

const FEW: usize = 5;
const LONG: usize = 200;
