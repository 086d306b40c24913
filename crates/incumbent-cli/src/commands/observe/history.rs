//! `incumbent history`: the terms of the past, as far as Events tell.

use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;

use crate::commands::observe::groups;
use crate::flags::cluster::Operator;
use crate::flags::duration::duration;
use crate::flags::group::{group_of, target_text};
use crate::flags::output_format::OutputFormat;
use crate::model::format::{self, or_none};
use crate::model::lock_status::LockStatus;
use crate::model::term_history::{Term, TermHistory};
use crate::model::time_bounds::{DurationBounds, TimeBounds};
use crate::runtime::events;
use crate::runtime::output;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct History {
    /// Which lock or group: NAME for a Lease, lease/NAME, configmap/NAME[:KEY] or group/NAME
    #[arg(value_parser = target_text)]
    lock: String,
    /// Only terms that ended within this time; of a group, only Events of this time
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    since: Option<Duration>,
    /// How to print them
    #[arg(short, long, value_enum, default_value = "text")]
    output: OutputFormat,
    #[command(flatten)]
    operator: Operator,
}

const HELP: &str = "\
Examples:
  Show the terms that are known:
    $ incumbent history scanner
  Print those of the last hour for a program:
    $ incumbent history scanner --since 1h -o json
  Show what Events say of a group: its allocators, and what they assigned:
    $ incumbent history group/indexers

A lock stores only its present term. Earlier terms are known from Events. Candidates write them with --events, and \
those of client-go by default. The API server keeps them for about an hour.

GAP is the time without a leader before a term. Times are those of the candidates' own clocks, and as precise as an \
Event or the lock says: client-go's Events have whole seconds, so a gap between two of them is \"< 1 s\". To see \
every change from now on, use incumbent watch.";

pub(crate) async fn run(args: History) -> anyhow::Result<ExitCode> {
    if let Some(group) = group_of(&args.lock) {
        return groups::history::run(&args.operator, group, args.since, args.output).await;
    }
    let (client, lock) = args.operator.lock(&args.lock).await?;
    let survey = args.operator.survey(client.clone(), lock.clone()).await?;
    let sighted = survey.get(&lock).ok_or_else(|| args.operator.missing(&lock))?;
    let (now, mut term_history) = (Timestamp::now(), TermHistory::default());
    let lock_status = LockStatus::of(&sighted, now);
    term_history.begin(now, &sighted);
    term_history.recall(&lock, &events::of(&client, &lock).await?);
    let all: Vec<_> = term_history.terms(&lock).collect();
    let is_recent = |term: &Term| {
        let ended = term.end.map_or_else(|| TimeBounds::at(now), |end| end.when);
        args.since.is_none_or(|since| ended.until(TimeBounds::at(now)).least <= since)
    };
    let gap_before = |place: usize| Some(all[..place].last()?.end?.when.until(all[place].began));
    let shown: Vec<_> = (0..all.len()).filter(|place| is_recent(all[*place])).collect();
    if args.output == OutputFormat::Json {
        let terms = shown.iter().map(|place| {
            let mut term = all[*place].json(now, lock_status.is_led());
            term["gapBeforeMs"] = gap_before(*place).map(DurationBounds::json).into();
            term
        });
        let mut page = lock_status.json(&sighted.view);
        page["lock"] = lock.to_string().into();
        page["namespace"] = lock.namespace().into();
        page["terms"] = terms.collect();
        output::line(&format::printable_json(&serde_json::to_string_pretty(&page)?))?;
    } else if shown.is_empty() {
        eprintln!("nothing is known of {lock}'s terms");
    } else {
        let cells = |place: &usize| cells(all[*place], gap_before(*place), &lock_status, now);
        let rows: Vec<_> = shown.iter().map(cells).collect();
        output::line(&format::table(&HEADS, &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

const HEADS: [&str; 5] = ["BEGAN", "LASTED", "HOLDER", "ENDED", "GAP"];

fn cells(
    term: &Term,
    gap: Option<DurationBounds>,
    lock_status: &LockStatus,
    now: Timestamp,
) -> Vec<String> {
    vec![
        term.began.text(),
        term.lasted(now, lock_status.is_led()).text(),
        format::short(&format::name(&term.holder)),
        ended(term, lock_status),
        or_none(gap.map(DurationBounds::text)),
    ]
}

/// How a term ended; of the one that has no end, what is true of the lock.
pub(crate) fn ended(term: &Term, lock_status: &LockStatus) -> String {
    term.end.map_or_else(|| lock_status.word(), |end| end.how.word().to_owned())
}
