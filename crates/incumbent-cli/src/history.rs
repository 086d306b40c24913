//! `incumbent history`: the terms of the past, as far as Events tell.

use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::args::duration;
use crate::chronicle::{Chronicle, How, Term, between};
use crate::cluster::Operator;
use crate::row::{self, or_none, span};
use crate::{events, output};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct History {
    /// Which lock: NAME for a Lease, lease/NAME or configmap/NAME[:KEY]
    lock: String,
    /// Terms that ended no longer ago than this
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    since: Option<Duration>,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    operator: Operator,
}

const HELP: &str = "\
A lock remembers its present term alone. Of earlier ones tell the Events that candidates
write where asked to (--events), and client-go's by default; the API server keeps them
for an hour or so, and each for a whole second. GAP is how long nobody led before, as far as
that can be told. For all of it from now on: incumbent watch.";

pub(crate) async fn run(args: History) -> anyhow::Result<ExitCode> {
    let (client, view) = args.operator.look(&args.lock).await?;
    let (now, mut chronicle) = (Timestamp::now(), Chronicle::default());
    chronicle.begin(now, &view);
    chronicle.recall(&view.lock, &events::of(&client, &view.lock).await?);
    let all: Vec<_> = chronicle.terms(&view.lock).collect();
    let is_recent = |term: &Term| {
        let ended = term.end.map_or(now, |end| end.at);
        args.since.is_none_or(|since| between(ended, now) <= since)
    };
    let gap_before = |place: usize| {
        // Of an end that nobody told of, no more is known than that it came before.
        let before = all[..place].last()?.end.filter(|end| end.how != How::Unsaid)?;
        Some(between(before.at, all[place].began.max(before.at)))
    };
    let shown: Vec<_> = (0..all.len()).filter(|place| is_recent(all[*place])).collect();
    if args.json {
        let terms: Value = shown
            .iter()
            .map(|place| {
                let mut term = all[*place].json(now);
                term["gapBeforeMs"] = gap_before(*place).map(row::millis).into();
                term
            })
            .collect();
        output::line(&output::printable_json(&serde_json::to_string_pretty(&terms)?))?;
    } else if shown.is_empty() {
        eprintln!("nothing is known of {}'s terms", view.lock);
    } else {
        let rows: Vec<_> =
            shown.iter().map(|place| cells(all[*place], gap_before(*place), now)).collect();
        output::line(&output::table(&HEADS, &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

const HEADS: [&str; 5] = ["BEGAN", "LASTED", "HOLDER", "ENDED", "GAP"];

fn cells(term: &Term, gap: Option<Duration>, now: Timestamp) -> Vec<String> {
    vec![
        format!("{:.0}", term.began),
        span(term.lasted(now)),
        row::short(&output::printable(&term.holder)),
        term.end.map_or("goes on", |end| end.how.word()).to_owned(),
        or_none(gap.map(span)),
    ]
}
