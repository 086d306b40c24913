//! Numbers as text: `0-40,55`.

use std::collections::BTreeMap;

use super::{line, preparation};
use crate::group::table::{Assignment, Order, TaskName};

/// The lines of one term whose tasks are numbers: one line for all that have the same token and are revoked as of the
/// same version, and one for all that are to be prepared as of the same version.
pub(super) fn lines(order: &Order) -> String {
    let mut groups: BTreeMap<(u64, Option<u64>), (Assignment, Vec<u16>)> = BTreeMap::new();
    for (task, assignment) in &order.tasks {
        let key = (assignment.token.0, assignment.revoked);
        let (_, numbers) = groups.entry(key).or_insert_with(|| (*assignment, Vec::new()));
        numbers.extend(task.number());
    }
    let lines = groups.into_values().map(|(assignment, mut numbers)| {
        numbers.sort_unstable();
        line(&to_text(&numbers), assignment)
    });
    let mut next: BTreeMap<u64, Vec<u16>> = BTreeMap::new();
    for (task, since) in &order.next {
        next.entry(*since).or_default().extend(task.number());
    }
    let preparations = next.into_iter().map(|(since, mut numbers)| {
        numbers.sort_unstable();
        preparation(&to_text(&numbers), since)
    });
    lines.chain(preparations).collect()
}

/// `numbers` are in order.
fn to_text(numbers: &[u16]) -> String {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    let runs = runs.map(|run| match run {
        [one] => one.to_string(),
        run => format!("{}-{}", run[0], run[run.len() - 1]),
    });
    runs.collect::<Vec<_>>().join(",")
}

/// The tasks of these numbers, each below `count`. `None` if the text says nothing of the kind.
pub(super) fn tasks(text: &str, count: u16) -> Option<Vec<TaskName>> {
    let mut tasks = Vec::new();
    for run in text.split(',') {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        if last >= count {
            return None;
        }
        tasks.extend((first..=last).map(TaskName::numbered));
        // A text that names numbers twice must not take memory without end.
        if tasks.len() > usize::from(count) {
            return None;
        }
    }
    Some(tasks)
}
