//! `incumbent wait --for=assigned group/NAME`: until tasks have owners.

use std::process::ExitCode;
use std::time::Duration;

use crate::commands::observe::groups::{changed, status, survey, tell_blind};
use crate::flags::cluster::Operator;
use crate::model::format::name;
use crate::model::group_row::waiting_sentence;
use crate::model::group_status::{GroupStatus, TaskStatus};
use crate::runtime::preflight::patiently;
use crate::runtime::{exit, output};

pub(crate) async fn run(
    operator: &Operator,
    group: &str,
    tasks: &[String],
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
            // Of tasks that nothing names, there is nothing to wait for.
            let is_all = now.are_known_ones_assigned() && !now.list.is_known();
            if now.is_surely_assigned(tasks) || (tasks.is_empty() && is_all) {
                return now;
            }
            changed(&mut survey).await;
        }
    };
    match tokio::time::timeout(patience.saturating_sub(started.elapsed()), came).await {
        Ok(now) => match now.doubt().filter(|_| tasks.is_empty()) {
            Some(doubt) => {
                let seen = told(&now, tasks);
                output::line(&format!(
                    "group/{group}: {seen}, as far as can be seen; unknown: {doubt}"
                ))?;
                Ok(ExitCode::from(exit::UNREACHABLE))
            }
            None => {
                output::line(&format!("group/{group}: {}", told(&now, tasks)))?;
                Ok(ExitCode::SUCCESS)
            }
        },
        Err(_) => late(&why_not(&status(&survey, None).1, tasks)),
    }
}

fn told(status: &GroupStatus, asked: &[String]) -> String {
    let known = |asked: &String| status.tasks.iter().find(|task| task.name == *asked);
    let owned =
        |task: &String| known(task).and_then(|task| Some((task.owner.as_ref()?, task.token?)));
    match (asked, asked.first().and_then(owned)) {
        ([task], Some((owner, token))) => {
            format!("task {} is assigned to {} under token {token}", name(task), name(owner))
        }
        ([], _) => {
            let (tasks, members) = (status.tasks.len(), status.present().count());
            format!("all {tasks} tasks are assigned to {members} members")
        }
        (tasks, _) => format!("{} tasks are assigned", tasks.len()),
    }
}

fn why_not(status: &GroupStatus, asked: &[String]) -> String {
    let is_asked = |task: &&TaskStatus| asked.is_empty() || asked.contains(&task.name);
    let is_known = |asked: &&String| status.tasks.iter().any(|known| known.name == **asked);
    let missing = asked.iter().find(|task| !is_known(task));
    match (missing, status.waiting().find(is_asked)) {
        _ if status.tasks.is_empty() => ": no task is known".to_owned(),
        (Some(task), _) => format!(": no task {} is known", name(task)),
        (None, Some(first)) => format!(": {}", waiting_sentence(first)),
        (None, None) => match status.doubt().filter(|_| asked.is_empty()) {
            Some(doubt) => format!(": {doubt}"),
            None => ": no renewal of each owner has been seen yet".to_owned(),
        },
    }
}
