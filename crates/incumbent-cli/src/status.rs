//! `incumbent status`: one page about one lock.

use std::process::ExitCode;

use incumbent::survey::{ObservedLock, Registration};
use jiff::Timestamp;
use serde_json::Value;

use crate::args::lock_text;
use crate::chronicle::{Chronicle, Term};
use crate::cluster::Operator;
use crate::concern::{Circumstances, concerns};
use crate::history::ended;
use crate::output::{self, Form};
use crate::row::{self, age, asked_for, name};
use crate::standing::Standing;
use crate::when::When;
use crate::{events, get};

#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// Which lock: NAME for a Lease, lease/NAME or configmap/NAME[:KEY]
    #[arg(value_parser = lock_text)]
    lock: String,
    /// Look until its state was seen to be true: for a renewal, or for as long as the term lasts
    #[arg(long)]
    sure: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
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
    let standing = Standing::of(&sighted, now);
    chronicle.begin(now, &sighted);
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
    if args.output == Form::Json {
        let mut page = row::json(&sighted, now);
        page["terms"] = terms.iter().map(|term| term.json(now, standing.is_led())).collect();
        let at = sighted.at.since_start();
        page["needs"] = concerns.iter().map(|concern| concern.json(at)).collect();
        output::line(&output::printable_json(&serde_json::to_string_pretty(&page)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&facts(&sighted, &standing, &terms, now))?;
    output::line(&line(&sighted))?;
    output::line(&history(&terms, &standing, now))?;
    match &events {
        Ok(events) => output::line(&told(events, now))?,
        Err(error) => {
            eprintln!("warning: {}", output::printable_text(&format!("{error:#}")));
        }
    }
    let needs = concerns.iter().map(|concern| format!("{}.\n    {}", concern.what, concern.to_do));
    output::line(&listed("Needs attention", needs.collect(), "nothing"))?;
    Ok(ExitCode::SUCCESS)
}

fn facts(sighted: &ObservedLock, standing: &Standing, terms: &[Term], now: Timestamp) -> String {
    let view = &*sighted.view;
    let mut facts = vec![
        ("Lock", format!("{} in namespace {}", view.lock, view.lock.namespace())),
        ("Leader", standing.who()),
        ("State", state(sighted, standing)),
    ];
    if let Some(term) = terms.last().filter(|term| standing.is_led() && term.end.is_none()) {
        facts.push(("Since", since(term, now)));
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
    if !view.paused.is_empty() {
        let names: Vec<_> = view.paused.iter().map(|identity| name(identity.as_str())).collect();
        facts.push(("Cordoned", names.join(", ")));
    }
    let rows = facts.iter().map(|(what, value)| format!("{what:<13}{value}"));
    rows.collect::<Vec<_>>().join("\n")
}

/// When the term began, where that is known.
fn since(term: &Term, now: Timestamp) -> String {
    match term.began.earliest {
        Some(began) => {
            let ago = age(now.duration_since(began).unsigned_abs());
            format!("{began:.0} by its holder's clock ({ago} ago)")
        }
        None => "unknown: the lock does not say".to_owned(),
    }
}

fn state(sighted: &ObservedLock, standing: &Standing) -> String {
    let left = standing.expires_in.filter(|_| standing.is_led());
    let left = left.map(|left| format!(", expires in {}", age(left))).unwrap_or_default();
    let hint = if sighted.is_certain || standing.mark().is_empty() { "" } else { " (see --sure)" };
    format!("{}: {}{left}{hint}", standing.word(), standing.basis())
}

fn line(sighted: &ObservedLock) -> String {
    let waiters = sighted.view.waitlist.iter().enumerate().map(|(place, waiter)| {
        let priority = match waiter.priority {
            0 => String::new(),
            priority => format!("   priority {priority}"),
        };
        format!("{}. {}{priority}", place + 1, name(waiter.identity.as_str()))
    });
    let nobody = match sighted.view.registration {
        Registration::Foreign => "not known: this program's candidates stand in no line",
        _ => "nobody waits",
    };
    listed("Line", waiters.collect(), nobody)
}

/// The last few terms, the newest first.
fn history(terms: &[Term], standing: &Standing, now: Timestamp) -> String {
    let rows = terms.iter().rev().take(FEW).map(|term| {
        let (end, lasted) = (ended(term, standing), term.lasted(now, standing.is_led()));
        let holder = row::short(&name(&term.holder));
        format!("{}  {:>8}  {holder}  ({end})", term.began.text(), lasted.text())
    });
    listed("History", rows.collect(), "nothing is known of earlier terms")
}

fn told(events: &[Value], now: Timestamp) -> String {
    let rows = events.iter().rev().take(FEW).map(|event| {
        let at = events::at(event).map(When::mostly);
        let ago = at.map(|at| format!("{} ago", age(now.duration_since(at).unsigned_abs())));
        let message = event["message"].as_str().unwrap_or_default();
        format!("{:>8}  {}", row::or_none(ago), name(message))
    });
    listed("Events", rows.collect(), "none; candidates write them with --events")
}

fn listed(head: &str, rows: Vec<String>, nothing: &str) -> String {
    let rows = if rows.is_empty() { vec![nothing.to_owned()] } else { rows };
    format!("\n{head}\n  {}", rows.join("\n  "))
}

const FEW: usize = 8;
