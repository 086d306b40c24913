//! `incumbent get group/NAME`, and `get --groups`: a row for each group.

use std::process::ExitCode;

use futures_util::StreamExt;
use futures_util::stream;
use incumbent::Error;
use incumbent::group_survey::{GroupSurvey, GroupView};
use serde_json::Value;

use crate::commands::observe::groups::{changed, make_sure, missing, status, tell_blind};
use crate::flags::cluster::Operator;
use crate::flags::output_format::Format;
use crate::model::format;
use crate::model::group_row::{self, GroupColumns};
use crate::model::group_status::GroupStatus;
use crate::runtime::{exit, output};

/// How it is asked.
pub(crate) struct Asked {
    /// The groups, or none for all of them.
    pub(crate) names: Vec<String>,
    pub(crate) all_namespaces: bool,
    pub(crate) format: Format,
    pub(crate) has_heads: bool,
    pub(crate) is_sure: bool,
    pub(crate) watches: bool,
}

pub(crate) async fn run(operator: &Operator, asked: Asked) -> anyhow::Result<ExitCode> {
    let (client, namespace) = operator.connect().await?;
    let names: Vec<_> = match (asked.names.is_empty(), asked.all_namespaces) {
        (false, _) => asked.names.iter().map(|name| (namespace.clone(), name.clone())).collect(),
        (true, false) => {
            operator.within(GroupSurvey::list(client.clone(), Some(&namespace))).await?
        }
        (true, true) => operator.within(GroupSurvey::list(client.clone(), None)).await?,
    };
    let surveys = operator.within(surveys(client, names)).await?;
    let is_named = |survey: &GroupSurvey| !asked.names.is_empty() && !survey.view().exists();
    let (absent, mut found): (Vec<_>, Vec<_>) = surveys.into_iter().partition(is_named);
    if asked.is_sure {
        futures_util::future::join_all(found.iter_mut().map(|it| make_sure(it, None))).await;
    }
    let rows: Vec<_> = found.iter().map(|survey| status(survey, None)).collect();
    rows.iter().for_each(|(view, _)| tell_blind(view));
    if !rows.is_empty() || (asked.format == Format::Json && absent.is_empty()) {
        output::line(&asked.printed(&rows, asked.has_heads)?)?;
    } else if absent.is_empty() {
        let place = match asked.all_namespaces {
            true => "any namespace".to_owned(),
            false => format!("namespace {namespace}"),
        };
        eprintln!("no groups in {place}");
    }
    let code = absent
        .iter()
        .fold(ExitCode::SUCCESS, |_, survey| exit::report(&missing(&survey.view()).into()));
    match asked.watches && !found.is_empty() {
        true => asked.watch(found).await,
        false => Ok(code),
    }
}

/// A survey of each, a few at a time.
async fn surveys(
    client: kube::Client,
    names: Vec<(String, String)>,
) -> Result<Vec<GroupSurvey>, Error> {
    let started = names
        .into_iter()
        .map(|(namespace, name)| GroupSurvey::start(client.clone(), namespace, name));
    let started: Vec<_> = stream::iter(started).buffered(AT_ONCE).collect().await;
    started.into_iter().collect()
}

/// As many as do not burden a server.
const AT_ONCE: usize = 8;

impl Asked {
    fn columns(&self) -> GroupColumns {
        let is_wide = self.format == Format::Wide;
        GroupColumns { has_namespace: self.all_namespaces, is_wide }
    }

    fn printed(
        &self,
        rows: &[(GroupView, GroupStatus)],
        has_heads: bool,
    ) -> anyhow::Result<String> {
        Ok(match self.format {
            Format::Json => {
                let items: Value =
                    rows.iter().map(|(view, status)| group_row::json(view, status)).collect();
                format::printable_json(&serde_json::to_string_pretty(&items)?)
            }
            Format::Yaml => {
                let objects = rows.iter().flat_map(|(view, _)| objects(view));
                let texts: Result<Vec<_>, _> =
                    objects.map(|object| serde_saphyr::to_string(&object)).collect();
                texts?.join("---\n").trim_end().to_owned()
            }
            Format::Name => {
                let names = rows.iter().map(|(view, _)| format!("group/{}", view.name));
                names.collect::<Vec<_>>().join("\n")
            }
            Format::Table | Format::Wide => {
                let columns = self.columns();
                let rows: Vec<_> =
                    rows.iter().map(|(view, status)| columns.cells(view, status)).collect();
                let table = format::table(&columns.heads(), &rows);
                match has_heads {
                    true => table,
                    false => table.split_once('\n').map_or("", |(_, rows)| rows).to_owned(),
                }
            }
        })
    }

    /// A line for each change of a row.
    async fn watch(&self, surveys: Vec<GroupSurvey>) -> anyhow::Result<ExitCode> {
        let follow = |survey: GroupSurvey| {
            let first = self.told(&survey);
            stream::unfold((survey, first), async |(mut survey, mut known)| {
                loop {
                    changed(&mut survey).await;
                    let now = self.told(&survey);
                    if now.0 != known.0 {
                        known = now;
                        return Some((known.1.clone(), (survey, known)));
                    }
                }
            })
        };
        let mut changes =
            stream::select_all(surveys.into_iter().map(|survey| Box::pin(follow(survey))));
        while let Some((view, status)) = changes.next().await {
            let row = [(view, status)];
            output::line(&match self.format {
                Format::Json => {
                    format::printable_json(&group_row::json(&row[0].0, &row[0].1).to_string())
                }
                _ => self.printed(&row, false)?,
            })?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What makes a change worth a line, and what the line is made of.
    fn told(&self, survey: &GroupSurvey) -> (Vec<String>, (GroupView, GroupStatus)) {
        let (view, status) = status(survey, None);
        let what = vec![
            status.allocator.as_ref().and_then(|it| it.holder.clone()).unwrap_or_default(),
            status.present().count().to_string(),
            status.tasks.len().to_string(),
            status.waiting().count().to_string(),
            status.word().to_owned(),
            format!("{:?}", status.is_frozen),
        ];
        (what, (view, status))
    }
}

/// All objects of a group, without what the API server keeps for itself.
fn objects(view: &GroupView) -> Vec<Value> {
    let config = view.config.iter().map(|config| (*config.object).clone());
    let pages = view.pages.iter().map(|page| (*page.object).clone());
    let seats = view.seats.iter().map(|seat| seat.lock.view.object.clone());
    let allocator = view.allocator.iter().map(|lock| lock.view.object.clone());
    let bare = |mut object: Value| {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        object
    };
    let objects = config.chain(pages).chain(allocator).chain(seats);
    objects.filter(|object| !object.is_null()).map(bare).collect()
}
