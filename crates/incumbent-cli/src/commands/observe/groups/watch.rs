//! `incumbent watch group/NAME`: a line for each change of a group, as it happens.

use std::process::ExitCode;

use incumbent::group_survey::GroupView;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::commands::observe::groups::{changed, status, survey, tell_blind};
use crate::flags::cluster::Operator;
use crate::flags::output_format::OutputFormat;
use crate::model::format;
use crate::model::group_changes::{GroupEvent, changes};
use crate::model::group_row;
use crate::model::group_status::GroupStatus;
use crate::model::lock_row::add;
use crate::runtime::output;
use crate::runtime::preflight::patiently;

pub(crate) async fn run(
    operator: &Operator,
    group: &str,
    format: OutputFormat,
) -> anyhow::Result<ExitCode> {
    let start = async || survey(operator, group).await;
    let mut survey = patiently(&format!("group/{group}"), start).await?;
    let (view, mut known) = status(&survey, None);
    tell_blind(&view);
    tell(&view, format, &first(&view, &known))?;
    loop {
        changed(&mut survey).await;
        let (view, now) = status(&survey, None);
        if known.is_visible && !now.is_visible {
            tell_blind(&view);
        }
        for event in changes(&known, &now) {
            tell(&view, format, &event)?;
        }
        known = now;
    }
}

/// What is so at the start.
fn first(view: &GroupView, status: &GroupStatus) -> GroupEvent {
    let text = match view.exists() {
        false => "nothing of the group exists yet".to_owned(),
        true => {
            let (members, tasks) = (status.present().count(), status.tasks.len());
            let waiting = status.waiting().count();
            format!("{}: {members} members, {tasks} tasks, {waiting} of them wait", status.word())
        }
    };
    GroupEvent { event: "now", text, more: group_row::whole_json(view, status) }
}

fn tell(view: &GroupView, format: OutputFormat, event: &GroupEvent) -> anyhow::Result<()> {
    let now = Timestamp::now();
    if format == OutputFormat::Json {
        let mut line = json!({
            "time": now.to_string(),
            "event": event.event,
            "group": view.name,
            "namespace": view.namespace,
        });
        if event.more != Value::Null {
            add(&mut line, event.more.clone());
        }
        return Ok(output::line(&format::printable_json(&line.to_string()))?);
    }
    let name = format!("group/{}", view.name);
    Ok(output::line(&format!("{}  {name}  {}", group_row::at(now), event.text))?)
}
