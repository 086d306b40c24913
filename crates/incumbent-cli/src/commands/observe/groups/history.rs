//! `incumbent history group/NAME`: what Events say of a group's past.

use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::commands::observe::groups::existing;
use crate::flags::cluster::Operator;
use crate::flags::output_format::OutputFormat;
use crate::model::event::at;
use crate::model::format::{self, name};
use crate::model::time_bounds::TimeBounds;
use crate::runtime::{events, output};

pub(crate) async fn run(
    operator: &Operator,
    group: &str,
    within: Option<Duration>,
    format: OutputFormat,
) -> anyhow::Result<ExitCode> {
    let survey = existing(operator, group).await?;
    let (client, namespace) = operator.connect().await?;
    let events = events::of_group(&client, &namespace, group).await?;
    let now = Timestamp::now();
    let is_recent = |event: &&Value| {
        let ago = at(event).map(|at| now.duration_since(at.mostly()).unsigned_abs());
        within.is_none_or(|within| ago.is_some_and(|ago| ago <= within))
    };
    let events: Vec<_> = events.iter().filter(is_recent).collect();
    if format == OutputFormat::Json {
        let events = events.iter().map(|event| {
            json!({
                "time": at(event).map(|at| at.mostly().to_string()),
                "reason": event["reason"],
                "object": event["involvedObject"]["name"],
                "type": event["type"],
                "message": event["message"],
            })
        });
        let page = json!({
            "group": survey.name(), "namespace": namespace, "events": events.collect::<Value>(),
        });
        output::line(&format::printable_json(&serde_json::to_string_pretty(&page)?))?;
    } else if events.is_empty() {
        eprintln!(
            "nothing is known of the past of group/{group}: its members write Events with --events"
        );
    } else {
        let rows: Vec<_> = events.iter().map(|event| cells(event)).collect();
        output::line(&format::table(&HEADS, &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

const HEADS: [&str; 4] = ["TIME", "OBJECT", "REASON", "MESSAGE"];

fn cells(event: &Value) -> Vec<String> {
    let text = |value: &Value| name(value.as_str().unwrap_or_default());
    vec![
        format::or_none(at(event).map(TimeBounds::text)),
        text(&event["involvedObject"]["name"]),
        text(&event["reason"]),
        format::printable(event["message"].as_str().unwrap_or_default()),
    ]
}
