//! `incumbent status`: one page about one lock.

use std::process::ExitCode;

use incumbent::survey::{Registration, Sighted, State};
use jiff::Timestamp;
use serde_json::Value;

use crate::chronicle::{Chronicle, Term};
use crate::cluster::Operator;
use crate::concern::{Circumstances, concerns};
use crate::row::{self, age, asked_for, span};
use crate::{events, get, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// Which lock: NAME for a Lease, lease/NAME or configmap/NAME[:KEY]
    lock: String,
    /// Look until its state was seen to be true: for a renewal, or for as long as the term lasts
    #[arg(long)]
    sure: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    operator: Operator,
}

pub(crate) async fn run(args: Status) -> anyhow::Result<ExitCode> {
    let (client, lock) = args.operator.lock(&args.lock).await?;
    let mut survey = args.operator.survey(client.clone(), lock.clone()).await?;
    if args.sure {
        get::make_sure(&mut survey).await;
    }
    let sighted = survey.get(&lock).ok_or_else(|| args.operator.missing(&lock))?;
    let (now, mut chronicle) = (Timestamp::now(), Chronicle::default());
    chronicle.begin(now, &sighted.view);
    let events = events::of(&client, &lock).await;
    if let Ok(events) = &events {
        chronicle.recall(&lock, events);
    }
    let terms: Vec<_> = chronicle.terms(&lock).cloned().collect();
    let ten_minutes_ago = now - jiff::SignedDuration::from_mins(10);
    let concerns = concerns(&Circumstances {
        sighted: &sighted,
        now,
        recent_changes: chronicle.changes(&lock, ten_minutes_ago),
        asked_since: None,
    });
    if args.json {
        let mut page = row::json(&sighted, now);
        page["history"] = terms.iter().map(|term| term.json(now)).collect();
        let at = sighted.at.since_start();
        page["needs"] = concerns.iter().map(|concern| concern.json(at)).collect();
        output::line(&output::printable_json(&serde_json::to_string_pretty(&page)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&facts(&sighted, &terms, now))?;
    output::line(&line(&sighted))?;
    output::line(&history(&terms, now))?;
    match &events {
        Ok(events) => output::line(&told(events, now))?,
        Err(error) => eprintln!("warning: {error:#}"),
    }
    let needs = concerns.iter().map(|concern| format!("{}.\n    {}", concern.what, concern.to_do));
    output::line(&listed("Needs attention", needs.collect(), "nothing"))?;
    Ok(ExitCode::SUCCESS)
}

fn facts(sighted: &Sighted, terms: &[Term], now: Timestamp) -> String {
    let view = &*sighted.view;
    let name = |name: &str| output::printable(name);
    let mut facts = vec![
        ("Lock", format!("{} in namespace {}", view.lock, view.lock.namespace())),
        ("Leader", leader(sighted)),
        ("State", state(sighted, now)),
    ];
    if let (Some(_), Some(term)) = (&view.holder, terms.last()) {
        let began = format!("{:.0} ({} ago)", term.began, age(term.lasted(now)));
        facts.push(("Since", began));
    }
    if let Some(token) = view.token {
        facts.push(("Token", token.to_string()));
    }
    if let Some(address) = &view.address {
        facts.push(("Address", name(address)));
    }
    if view.registration != Registration::Claim {
        let lease = view.lease_duration.map(|lease| format!("{} s", lease.as_secs()));
        facts.push(("Lease", row::or_none(lease)));
        facts.push(("Transitions", view.transitions.to_string()));
    }
    let limits = match view.registration {
        Registration::Foreign => " (writes no fencing token, heeds no request)",
        _ => "",
    };
    facts.push(("Client", row::client(view) + limits));
    if let Some(request) = &view.hand_over {
        facts.push(("Asked to", format!("hand over to {}", name(asked_for(request)))));
    }
    if !view.cordoned.is_empty() {
        let names: Vec<_> = view.cordoned.iter().map(|identity| name(identity.as_str())).collect();
        facts.push(("Cordoned", names.join(", ")));
    }
    let rows = facts.iter().map(|(what, value)| format!("{what:<13}{value}"));
    rows.collect::<Vec<_>>().join("\n")
}

fn leader(sighted: &Sighted) -> String {
    let holder = sighted.view.holder.as_deref().map(output::printable);
    match (sighted.state, holder) {
        (State::Vacant, _) | (_, None) => "nobody".to_owned(),
        (State::Expired, Some(holder)) => format!("nobody; the last was {holder}"),
        (State::Unknown, Some(holder)) => format!("unknown; the record names {holder}"),
        (_, Some(holder)) => holder,
    }
}

fn state(sighted: &Sighted, now: Timestamp) -> String {
    let word = row::state_word(sighted);
    let by = if sighted.is_certain { "" } else { ", by the holder's wall clock (see --sure)" };
    match (sighted.state, row::expires_in(sighted, now)) {
        (State::Held | State::Late, Some(left)) => {
            let silent = sighted.view.lease_duration.unwrap_or_default().saturating_sub(left);
            let silent = sighted.beat_age.unwrap_or(silent);
            format!("{word}: renewed {} ago, expires in {}{by}", age(silent), age(left))
        }
        (State::Expired, _) => format!("{word}: silent for longer than its term{by}"),
        _ => word,
    }
}

fn line(sighted: &Sighted) -> String {
    let waiters = sighted.view.line.iter().enumerate().map(|(place, waiter)| {
        let priority = match waiter.priority {
            0 => String::new(),
            priority => format!("   priority {priority}"),
        };
        format!("{}. {}{priority}", place + 1, output::printable(waiter.identity.as_str()))
    });
    let nobody = match sighted.view.registration {
        Registration::Foreign => "not known: this program's candidates stand in no line",
        _ => "nobody waits",
    };
    listed("Line", waiters.collect(), nobody)
}

/// The last few terms, the newest first.
fn history(terms: &[Term], now: Timestamp) -> String {
    let rows = terms.iter().rev().take(FEW).map(|term| {
        let end = term.end.map_or("goes on", |end| end.how.word());
        let holder = row::short(&output::printable(&term.holder));
        format!("{:.0}  {:>8}  {holder}  ({end})", term.began, span(term.lasted(now)))
    });
    listed("History", rows.collect(), "nothing is known of earlier terms")
}

fn told(events: &[Value], now: Timestamp) -> String {
    let rows = events.iter().rev().take(FEW).map(|event| {
        let at: Option<Timestamp> = events::at(event).and_then(|at| at.parse().ok());
        let ago = at.map(|at| format!("{} ago", age(now.duration_since(at).unsigned_abs())));
        let message = event["message"].as_str().unwrap_or_default();
        format!("{:>8}  {}", row::or_none(ago), output::printable(message))
    });
    listed("Events", rows.collect(), "none; candidates write them with --events")
}

fn listed(head: &str, rows: Vec<String>, nothing: &str) -> String {
    let rows = if rows.is_empty() { vec![nothing.to_owned()] } else { rows };
    format!("\n{head}\n  {}", rows.join("\n  "))
}

const FEW: usize = 8;
