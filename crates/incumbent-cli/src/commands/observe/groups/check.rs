//! `incumbent check group/NAME`: an exit code that says whether all tasks have owners.

use std::process::ExitCode;
use std::time::Duration;

use incumbent::group_survey::TaskKind;

use crate::commands::observe::groups::{expecting, make_sure, status};
use crate::flags::cluster::Operator;
use crate::model::group_row::waiting_sentence;
use crate::model::group_status::{GroupStatus, TaskState};
use crate::runtime::{exit, output};

/// How it is asked.
pub(crate) struct Asked<'a> {
    pub(crate) group: &'a str,
    /// What the members' program names.
    pub(crate) tasks: &'a [String],
    pub(crate) bound: Option<Duration>,
    pub(crate) is_sure: bool,
    pub(crate) is_quiet: bool,
}

pub(crate) async fn run(operator: &Operator, asked: Asked<'_>) -> anyhow::Result<ExitCode> {
    let mut survey = expecting(operator, asked.group, asked.tasks).await?;
    if asked.is_sure {
        make_sure(&mut survey, asked.bound).await;
    }
    let (_, status) = status(&survey, asked.bound);
    let (code, words) = judge(&status);
    if !asked.is_quiet {
        output::line(&format!("group/{}: {words}", asked.group))?;
    }
    Ok(ExitCode::from(code))
}

/// The exit code, and why.
pub(crate) fn judge(status: &GroupStatus) -> (u8, String) {
    let (count, stuck) = (status.tasks.len(), status.stuck().count());
    if !status.is_visible {
        return (exit::UNREACHABLE, "unknown: the table or the seats cannot be seen".to_owned());
    }
    if let Some(first) = status.stuck().next() {
        let first = waiting_sentence(first);
        return (exit::NO, format!("{stuck} of {count} tasks are stuck; {first}"));
    }
    if status.present().next().is_none() {
        return match status.knows_members() {
            true => (exit::NO, "no member holds its seat".to_owned()),
            false => (
                exit::UNREACHABLE,
                "unknown: no seat shows whether its member still renews it".to_owned(),
            ),
        };
    }
    match status.doubt() {
        Some(doubt) => (
            exit::UNREACHABLE,
            format!("{}, as far as can be seen; unknown: {doubt}", seen(status)),
        ),
        None => (0, seen(status)),
    }
}

/// What is so of the tasks that are known, none of which is stuck.
fn seen(status: &GroupStatus) -> String {
    let (count, waiting) = (status.tasks.len(), status.waiting().count());
    if matches!(status.kind, Some(TaskKind::Permits(_))) && waiting == 0 {
        let (free, unknown) = (status.count(TaskState::Free), status.count(TaskState::Unknown));
        return format!(
            "{} of {count} permits have owners, {free} are free",
            count - free - unknown
        );
    }
    match (status.waiting().next(), status.count(TaskState::Unknown)) {
        (Some(first), _) => {
            let first = waiting_sentence(first);
            format!("{waiting} of {count} tasks wait, none for too long; {first}")
        }
        (None, 0) => format!("all {count} tasks have owners{}", late(status)),
        (None, unknown) => {
            format!("{} of {count} tasks have owners{}", count - unknown, late(status))
        }
    }
}

/// An owner that does not renew has stopped its work, or is about to.
fn late(status: &GroupStatus) -> String {
    match status.count(TaskState::Late) {
        0 => String::new(),
        count => format!(", and those of {count} have not renewed in time"),
    }
}
