//! `incumbent wait --for=assigned group/NAME`: until tasks have owners.

use std::process::ExitCode;
use std::time::Duration;

use crate::commands::observe::groups::{TICK, status, survey, tell_blind};
use crate::flags::cluster::Operator;
use crate::model::group_row::waiting_sentence;
use crate::model::group_status::GroupStatus;
use crate::runtime::preflight::patiently;
use crate::runtime::{exit, output};

pub(crate) async fn run(
    operator: &Operator,
    group: &str,
    task: Option<&str>,
    patience: Option<Duration>,
) -> anyhow::Result<ExitCode> {
    let patience = patience.unwrap_or(Duration::MAX);
    let started = tokio::time::Instant::now();
    let late = |why: &str| {
        eprintln!("group/{group}: not within {patience:?}{why}");
        Ok(ExitCode::from(exit::NO))
    };
    let start = async || survey(operator, group).await;
    let looked = tokio::time::timeout(patience, patiently(&format!("group/{group}"), start)).await;
    let Ok(survey) = looked else { return late("") };
    let mut survey = survey?;
    tell_blind(&survey.view());
    let came = async {
        loop {
            let (_, now) = status(&survey, None);
            if now.is_surely_assigned(task) {
                return now;
            }
            let _ = tokio::time::timeout(TICK, survey.next()).await;
        }
    };
    match tokio::time::timeout(patience.saturating_sub(started.elapsed()), came).await {
        Ok(now) => {
            output::line(&format!("group/{group}: {}", told(&now, task)))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(_) => late(&why_not(&status(&survey, None).1, task)),
    }
}

fn told(status: &GroupStatus, task: Option<&str>) -> String {
    let owned = task.and_then(|name| status.tasks.iter().find(|task| task.name == name));
    match owned.and_then(|task| Some((task, task.owner.as_ref()?, task.token?))) {
        Some((task, owner, token)) => {
            format!("task {} is assigned to {owner} under token {token}", task.name)
        }
        None => {
            let (tasks, members) = (status.tasks.len(), status.present().count());
            format!("all {tasks} tasks are assigned to {members} members")
        }
    }
}

fn why_not(status: &GroupStatus, task: Option<&str>) -> String {
    let mut waiting = status.waiting().filter(|known| task.is_none_or(|task| known.name == task));
    let is_known = task.is_none_or(|task| status.tasks.iter().any(|known| known.name == task));
    match waiting.next() {
        _ if status.tasks.is_empty() => ": no task is known".to_owned(),
        _ if !is_known => ": no such task is known".to_owned(),
        Some(first) => format!(": {}", waiting_sentence(first)),
        None => ": no renewal of each owner has been seen yet".to_owned(),
    }
}
