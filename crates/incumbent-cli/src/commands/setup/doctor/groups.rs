//! What the groups of a namespace show: tasks without owners, pages that nobody can read, and what was left behind.
//! Sends no request.

use std::time::Duration;

use incumbent::group_survey::{GroupView, PageState};
use incumbent::survey::Registration;
use jiff::Timestamp;

use super::Finding;
use super::facts::{Facts, GroupFacts};
use crate::model::diagnosis::Weight;
use crate::model::format::{duration, name, printable};
use crate::model::group_diagnosis::concerns;
use crate::model::group_status::GroupStatus;
use crate::model::lock_status::since;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let findings = facts.groups.iter().flat_map(|group| {
        let subject = format!("group/{}", group.name);
        of_one(facts, group).into_iter().map(move |finding| finding.of(&subject))
    });
    findings.collect()
}

fn of_one(facts: &Facts, group: &GroupFacts) -> Vec<Finding> {
    let view = match &group.view {
        Ok(view) => view,
        Err(why) => {
            let message = format!("it cannot be seen: {}", printable(why));
            return vec![Finding::fail("group", message)];
        }
    };
    if !view.exists() {
        let message =
            "nothing of it exists: its members create what they need, if they have the permissions";
        let hint = format!("print the Role: incumbent manifests --group {}", view.name);
        return vec![Finding::warn("group", message).hint(hint)];
    }
    let status = GroupStatus::of(view, facts.now, None);
    let told = concerns(view, &status).into_iter().map(|concern| {
        let finding = match concern.weight {
            Weight::Bad => Finding::fail("group", concern.what),
            Weight::Warning | Weight::Note => Finding::warn("group", concern.what),
        };
        finding.hint(concern.to_do)
    });
    let mut findings: Vec<_> =
        told.chain(left_over(view, facts.now)).chain(nearly_full(view)).collect();
    findings.extend(view.blind.iter().map(|(_, why)| {
        Finding::skip("group", format!("not all of it can be seen: {}", printable(why)))
    }));
    if findings.is_empty() {
        let (members, tasks) = (status.present().count(), status.tasks.len());
        let message = match status.doubt() {
            None => format!("{members} members share {tasks} tasks, and none is stuck"),
            Some(doubt) => format!(
                "{members} members share {tasks} tasks, and none of these is stuck; unknown: {doubt}"
            ),
        };
        findings.push(Finding::ok("group", message));
    }
    findings
}

/// Seats that the allocator should have deleted: vacant for more than a day, and in no page.
fn left_over(view: &GroupView, now: Timestamp) -> Option<Finding> {
    let is_left_over = |seat: &&incumbent::group_survey::SeatView| {
        let lock = &seat.lock.view;
        let is_old = lock.renewed.is_some_and(|renewed| since(renewed, now) > LEFT);
        let is_named = view.tasks.iter().any(|task| task.owner == seat.member);
        lock.registration == Registration::Vacant && is_old && !is_named
    };
    let names: Vec<_> =
        view.seats.iter().filter(is_left_over).map(|seat| name(&seat.member)).collect();
    (!names.is_empty()).then(|| {
        let (count, first) = (names.len(), names.iter().take(FEW).cloned().collect::<Vec<_>>());
        let message = format!(
            "{count} seats of members that are gone for more than {} are still there: {}",
            duration(LEFT),
            first.join(", ")
        );
        let hint = "an allocator deletes them after a day: does its account have the verb delete on leases?";
        Finding::warn("left-over", message).hint(hint)
    })
}

/// A page that is longer takes no new tasks.
fn nearly_full(view: &GroupView) -> Option<Finding> {
    let pages = view.pages.iter().filter(|page| page.state == PageState::Open);
    let bytes = |page: &incumbent::group_survey::PageView| {
        let text = |key: &str| page.object["data"][key].as_str().unwrap_or_default().len();
        text("table") + text("tasks")
    };
    let full: Vec<_> = pages.filter(|page| bytes(page) > NEARLY_FULL).collect();
    let fullest = full.iter().max_by_key(|page| bytes(page))?;
    let message = format!(
        "{} of the {} pages are nearly full; configmap/{} has {} KiB, and 250 KiB is the most",
        full.len(),
        view.pages.len(),
        fullest.config_map,
        bytes(fullest) / 1024
    );
    let hint = format!(
        "list fewer tasks, or shorter names; for a table with more pages, delete configmap/{}.tasks, which stops all \
         tasks for about a minute",
        view.name
    );
    Some(Finding::warn("room", message).hint(hint))
}

const FEW: usize = 5;

/// An allocator deletes a seat when its member has been gone for a day.
const LEFT: Duration = Duration::from_secs(25 * 3600);

const NEARLY_FULL: usize = 225 * 1024;
