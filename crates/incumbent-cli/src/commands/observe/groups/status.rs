//! `incumbent status group/NAME`: one page about one group.

use std::process::ExitCode;
use std::time::Duration;

use incumbent::group_survey::GroupView;
use jiff::Timestamp;

use crate::commands::observe::groups::{expecting, make_sure, status, tell_blind};
use crate::flags::cluster::Operator;
use crate::flags::output_format::OutputFormat;
use crate::model::format::{self, age, cut, name, ranges};
use crate::model::group_diagnosis::{bound, concerns};
use crate::model::group_row::{
    MEMBER_HEADS, STATES, TASK_HEADS, kind, member_cells, page_word, task_cells, whole_json,
};
use crate::model::group_status::{GroupStatus, List, TaskStatus, obeyed};
use crate::model::lock_status::since;
use crate::runtime::{exit, output};

/// How it is asked.
pub(crate) struct Asked<'a> {
    pub(crate) group: &'a str,
    /// What the members' program names.
    pub(crate) tasks: &'a [String],
    pub(crate) bound: Option<Duration>,
    pub(crate) is_sure: bool,
    pub(crate) format: OutputFormat,
}

pub(crate) async fn run(operator: &Operator, wanted: Asked<'_>) -> anyhow::Result<ExitCode> {
    let mut survey = expecting(operator, wanted.group, wanted.tasks).await?;
    if wanted.is_sure {
        make_sure(&mut survey, wanted.bound).await;
    }
    let (view, status) = status(&survey, wanted.bound);
    tell_blind(&view);
    let concerns = concerns(&view, &status);
    if wanted.format == OutputFormat::Json {
        let mut page = whole_json(&view, &status);
        page["needs"] = concerns.iter().map(|concern| concern.json(Duration::ZERO)).collect();
        output::line(&format::printable_json(&serde_json::to_string_pretty(&page)?))?;
    } else {
        output::line(&facts(&view, &status, Timestamp::now()))?;
        output::line(&members(&status))?;
        output::line(&tasks(&status))?;
        let needs = concerns.iter().map(|it| format!("{}.\n    {}", it.what, it.to_do));
        output::line(&listed("Needs attention", needs.collect(), "nothing"))?;
    }
    Ok(match (status.stuck().next(), status.doubt()) {
        (Some(_), _) => ExitCode::from(exit::NO),
        (None, Some(_)) => ExitCode::from(exit::UNREACHABLE),
        (None, None) => ExitCode::SUCCESS,
    })
}

fn facts(view: &GroupView, status: &GroupStatus, now: Timestamp) -> String {
    let allocator = status.allocator.as_ref().map_or_else(
        || "none: its Lease does not exist".to_owned(),
        |allocator| format!("{} ({})", allocator.who(), allocator.basis()),
    );
    let doubt = status.doubt().map(|doubt| format!("\n{:<13}{doubt}", "Unknown"));
    let facts = [
        ("Group", format!("group/{} in namespace {}", view.name, view.namespace)),
        ("Allocator", allocator),
        ("State", format!("{}; {}", status.word(), bound(status))),
        ("Tasks", counts(status)),
        ("Listed", list(view, status)),
        ("Table", table(view, now)),
        ("Asked", asked(view)),
        ("Heard", format!("the API server said so {} ago", age(view.heard_age))),
    ];
    let rows = facts.iter().map(|(what, value)| format!("{what:<13}{value}"));
    rows.collect::<Vec<_>>().join("\n") + &doubt.unwrap_or_default()
}

fn counts(status: &GroupStatus) -> String {
    let counts = STATES.iter().map(|state| (state.word().to_lowercase(), status.count(*state)));
    let words: Vec<_> = counts
        .filter(|(_, count)| *count > 0)
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    let kind = status.kind.map(|known| format!(", {}", kind(known))).unwrap_or_default();
    match words.is_empty() {
        true => format!("none{kind}"),
        false => format!("{}{kind}", words.join(", ")),
    }
}

fn list(view: &GroupView, status: &GroupStatus) -> String {
    match status.list {
        List::Numbered => "by the table, which counts them".to_owned(),
        List::Config { unlisted: 0 } => format!("in configmap/{}.config", view.name),
        List::Config { unlisted } => {
            format!("in configmap/{}.config, except {unlisted} that the table names", view.name)
        }
        List::Given => "by --tasks".to_owned(),
        List::Unread => {
            format!("unknown: members keep what they read of configmap/{}.config before", view.name)
        }
        List::Program => {
            "in the members' program: one that the table does not name cannot be seen".to_owned()
        }
    }
}

fn table(view: &GroupView, now: Timestamp) -> String {
    let written = view.pages.iter().filter_map(|page| page.written).max();
    let written = written
        .map(|written| format!("; last written {} ago~", age(since(written, now))))
        .unwrap_or_default();
    let mut words: Vec<(&str, usize)> = Vec::new();
    for page in &view.pages {
        let word = page_word(page);
        match words.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => words.push((word, 1)),
        }
    }
    let words: Vec<_> = words.iter().map(|(word, count)| format!("{count} {word}")).collect();
    match words.is_empty() {
        true => "there is none".to_owned(),
        false => format!("pages: {}{written}", words.join(", ")),
    }
}

/// What people ask for.
fn asked(view: &GroupView) -> String {
    let Some(config) = obeyed(view) else {
        return match &view.config {
            None => "nothing".to_owned(),
            Some(config) => {
                let why =
                    if config.has_label { "has a mistake" } else { "lacks the group's label" };
                format!(
                    "unknown: configmap/{}.config {why}, so members keep what they read before",
                    view.name
                )
            }
        };
    };
    let drained: Vec<_> = config.drained.iter().map(|member| name(member)).collect();
    let pins =
        config.pins.iter().map(|(task, member)| format!("{} to {}", name(task), name(member)));
    let pins: Vec<_> = pins.collect();
    let asked = [
        config.is_frozen.then(|| "freeze".to_owned()),
        (!drained.is_empty()).then(|| format!("drain {}", cut(&drained.join(", "), LONG))),
        (!pins.is_empty()).then(|| format!("pin {}", cut(&pins.join(", "), LONG))),
    ];
    let asked: Vec<_> = asked.into_iter().flatten().collect();
    if asked.is_empty() { "nothing".to_owned() } else { asked.join("; ") }
}

fn members(status: &GroupStatus) -> String {
    let (there, left): (Vec<_>, Vec<_>) =
        status.members.iter().partition(|member| member.seat.is_led() || member.tasks > 0);
    let rows: Vec<_> = there.iter().map(|member| member_cells(member)).collect();
    let mut lines: Vec<String> = match rows.is_empty() {
        true => vec!["none holds its seat".to_owned()],
        false => format::table(&MEMBER_HEADS, &rows).lines().map(str::to_owned).collect(),
    };
    if !left.is_empty() {
        lines.push(format!("and {} seats of members that are gone", left.len()));
    }
    listed("Members", lines, "none")
}

/// Those that wait come first.
fn tasks(status: &GroupStatus) -> String {
    let mut tasks: Vec<&TaskStatus> = status.tasks.iter().collect();
    tasks.sort_by_key(|task| task.waits.is_none());
    let rows = rows(&tasks, status.kind.is_some_and(|kind| kind.count().is_some()));
    let more = rows.len().saturating_sub(MANY);
    let shown: Vec<_> = rows.into_iter().take(MANY).collect();
    let mut lines: Vec<String> = match shown.is_empty() {
        true => Vec::new(),
        false => format::table(&TASK_HEADS, &shown).lines().map(str::to_owned).collect(),
    };
    if more > 0 {
        lines.push(format!("and {more} rows more: --output json shows all"));
    }
    listed("Tasks", lines, "none is known")
}

/// Numbers with the same owner and token are in one row.
fn rows(tasks: &[&TaskStatus], are_numbers: bool) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for task in tasks {
        let cells = task_cells(task);
        let same = rows.iter_mut().find(|row| are_numbers && row[1..] == cells[1..]);
        match same {
            Some(row) => row[0] = format!("{},{}", row[0], cells[0]),
            None => rows.push(cells),
        }
    }
    if are_numbers {
        rows.iter_mut().for_each(|row| row[0] = cut(&ranges(row[0].split(',')), LONG));
    }
    rows
}

fn listed(head: &str, rows: Vec<String>, nothing: &str) -> String {
    let rows = if rows.is_empty() { vec![nothing.to_owned()] } else { rows };
    format!("\n{head}\n  {}", rows.join("\n  "))
}

const MANY: usize = 60;
const LONG: usize = 200;
