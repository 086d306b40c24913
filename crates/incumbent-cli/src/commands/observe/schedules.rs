//! The commands that look, where they look at schedules.

use std::process::ExitCode;

use incumbent::Error;
use incumbent::schedule_view::ScheduleView;
use jiff::Timestamp;
use serde_json::Value;

use crate::flags::cluster::Operator;
use crate::flags::output_format::{Format, OutputFormat};
use crate::flags::schedule::ScheduleName;
use crate::model::format;
use crate::model::schedule_row::{HEADS, RUN_HEADS, cells, facts, json, runs, target};
use crate::runtime::{exit, output};

/// How `get` is asked.
pub(crate) struct Asked {
    /// The schedules, or none for all of them.
    pub(crate) names: Vec<ScheduleName>,
    pub(crate) all_namespaces: bool,
    pub(crate) format: Format,
    pub(crate) has_heads: bool,
}

/// `incumbent get schedule/NAME`, and `get --schedules`: a row for each schedule.
pub(crate) async fn get(operator: &Operator, asked: Asked) -> anyhow::Result<ExitCode> {
    let (client, namespace) = operator.connect().await?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    if asked.names.is_empty() {
        let within = (!asked.all_namespaces).then_some(&*namespace);
        found = operator.within(ScheduleView::list(client, within)).await?;
    } else {
        for name in &asked.names {
            match look(operator, name).await {
                Ok(view) => found.push(view),
                Err(error @ Error::Missing { .. }) => missing.push(error),
                Err(error) => return Err(error.into()),
            }
        }
    }
    if !found.is_empty() || (asked.format == Format::Json && missing.is_empty()) {
        output::line(&asked.printed(&found)?)?;
    } else if missing.is_empty() {
        let place = match asked.all_namespaces {
            true => "any namespace".to_owned(),
            false => format!("namespace {namespace}"),
        };
        eprintln!("no schedules in {place}");
    }
    Ok(missing.into_iter().fold(ExitCode::SUCCESS, |_, error| exit::report(&error.into())))
}

impl Asked {
    fn printed(&self, found: &[ScheduleView]) -> anyhow::Result<String> {
        let items = || found.iter().map(json);
        Ok(match self.format {
            Format::Json => {
                let items: Value = items().collect();
                format::printable_json(&serde_json::to_string_pretty(&items)?)
            }
            Format::Yaml => {
                let texts: Result<Vec<_>, _> =
                    items().map(|item| serde_saphyr::to_string(&item)).collect();
                texts?.join("---\n").trim_end().to_owned()
            }
            Format::Name => {
                let names = found.iter().map(|view| target(&view.config_map, &view.name));
                names.collect::<Vec<_>>().join("\n")
            }
            Format::Table | Format::Wide => self.table(found),
        })
    }

    fn table(&self, found: &[ScheduleView]) -> String {
        let now = Timestamp::now();
        let namespace = self.all_namespaces.then_some("NAMESPACE");
        let heads: Vec<_> = namespace.into_iter().chain(HEADS).collect();
        let row = |view: &ScheduleView| {
            let namespace = self.all_namespaces.then(|| view.namespace.clone());
            namespace.into_iter().chain(cells(view, now)).collect::<Vec<_>>()
        };
        let rows: Vec<_> = found.iter().map(row).collect();
        let table = format::table(&heads, &rows);
        match self.has_heads {
            true => table,
            false => table.split_once('\n').map_or("", |(_, rows)| rows).to_owned(),
        }
    }
}

/// `incumbent status schedule/NAME`: one page about one schedule.
pub(crate) async fn status(
    operator: &Operator,
    name: &ScheduleName,
    format: OutputFormat,
) -> anyhow::Result<ExitCode> {
    let view = look(operator, name).await?;
    if format == OutputFormat::Json {
        output::line(&format::printable_json(&serde_json::to_string_pretty(&json(&view))?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let facts = facts(&view, Timestamp::now());
    let rows: Vec<_> = facts.iter().map(|(what, value)| format!("{what:<12}{value}")).collect();
    output::line(&rows.join("\n"))?;
    let runs = view.record.as_ref().map(runs).unwrap_or_default();
    let table = match runs.is_empty() {
        true => "none".to_owned(),
        false => format::table(&RUN_HEADS, &runs).replace('\n', "\n  "),
    };
    output::line(&format!("\nRuns\n  {table}"))?;
    Ok(ExitCode::SUCCESS)
}

/// The record of the schedule. That it does not exist is an error.
pub(crate) async fn look(operator: &Operator, name: &ScheduleName) -> Result<ScheduleView, Error> {
    let (client, namespace) = operator.connect().await?;
    operator.within(ScheduleView::read(client, &namespace, &name.config_map, &name.name)).await
}
