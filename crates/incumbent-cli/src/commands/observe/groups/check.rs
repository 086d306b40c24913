//! `incumbent check group/NAME`: an exit code that says whether all tasks have owners.

use std::process::ExitCode;
use std::time::Duration;

use crate::commands::observe::groups::{existing, make_sure, status};
use crate::flags::cluster::Operator;
use crate::model::group_row::waiting_sentence;
use crate::model::group_status::GroupStatus;
use crate::runtime::{exit, output};

/// How it is asked.
pub(crate) struct Asked<'a> {
    pub(crate) group: &'a str,
    pub(crate) bound: Option<Duration>,
    pub(crate) is_sure: bool,
    pub(crate) is_quiet: bool,
}

pub(crate) async fn run(operator: &Operator, asked: Asked<'_>) -> anyhow::Result<ExitCode> {
    let mut survey = existing(operator, asked.group).await?;
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

pub(crate) fn judge(status: &GroupStatus) -> (u8, String) {
    let count = status.tasks.len();
    let (waiting, stuck) = (status.waiting().count(), status.stuck().count());
    let of = |task: &crate::model::group_status::TaskStatus| waiting_sentence(task);
    if !status.is_visible {
        return (exit::UNREACHABLE, "the table or the seats cannot be seen".to_owned());
    }
    if let Some(first) = status.stuck().next() {
        return (exit::NO, format!("{stuck} of {count} tasks are stuck; {}", of(first)));
    }
    if status.present().next().is_none() {
        return (exit::NO, "no member holds its seat".to_owned());
    }
    match status.waiting().next() {
        Some(first) => {
            (0, format!("{waiting} of {count} tasks wait, none for too long; {}", of(first)))
        }
        None => (0, format!("all {count} tasks have owners")),
    }
}
