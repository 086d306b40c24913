//! `incumbent status`: one page about one lock.

use std::process::ExitCode;
use std::time::Duration;

use incumbent::survey::{ObservedLock, Registration};
use jiff::Timestamp;
use serde_json::Value;

use crate::commands::observe::get;
use crate::commands::observe::groups;
use crate::commands::observe::history::ended;
use crate::commands::observe::schedules;
use crate::flags::cluster::Operator;
use crate::flags::duration::duration;
use crate::flags::group::group_of;
use crate::flags::output_format::OutputFormat;
use crate::flags::schedule::{ScheduleName, target_text};
use crate::model::diagnosis::{Circumstances, concerns};
use crate::model::event;
use crate::model::format::{self, age, name};
use crate::model::lock_row;
use crate::model::lock_row::asked_for;
use crate::model::lock_status::LockStatus;
use crate::model::term_history::{Term, TermHistory};
use crate::model::time_bounds::TimeBounds;
use crate::runtime::events;
use crate::runtime::output;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Status {
    /// Which lock, group or schedule: NAME for a Lease, lease/NAME, configmap/NAME[:KEY], group/NAME or
    /// schedule/[CONFIGMAP/]NAME
    #[arg(value_parser = target_text)]
    lock: String,
    /// Watch until its state is certain: for a renewal, or until the term is over
    #[arg(long)]
    sure: bool,
    /// For a group: call a task stuck when it has waited for longer than this [default: the longest lease of a
    /// member and two retry periods: 19s with the usual timing]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    stuck_after: Option<Duration>,
    /// For a group whose program names the tasks: these tasks, which nothing in the cluster lists
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    tasks: Vec<String>,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "text")]
    output: OutputFormat,
    #[command(flatten)]
    operator: Operator,
}

const HELP: &str = "\
Examples:
  Show one election:
    $ incumbent status scanner
  Watch until the state is certain, and print it for a program:
    $ incumbent status lease/scanner --sure -o json
  Show the members and the tasks of a group, and watch until it is certain what is stuck:
    $ incumbent status group/indexers --sure

A task is stuck if it has had no owner, or its owner was asked to stop and has not, for too long. \">=12s~\" means that it \
has waited for at least 12 s, by the API server's clock. Without --sure, the command looks once, and a task may have waited \
longer than it can tell.

Exit codes:
  0  done; of a group, no task is stuck
  1  a task of the group is stuck
  3  the API server cannot be reached; of a group, it is unknown whether a task is stuck: something cannot be seen, or only \
the members' program names the tasks, and --tasks does not
  5  the lock or the group does not exist
  others as of incumbent";

pub(crate) async fn run(args: Status) -> anyhow::Result<ExitCode> {
    if let Some(group) = group_of(&args.lock) {
        let asked = groups::status::Asked {
            group,
            tasks: &args.tasks,
            bound: args.stuck_after,
            is_sure: args.sure,
            format: args.output,
        };
        return groups::status::run(&args.operator, asked).await;
    }
    groups::refuse_tasks(&args.tasks)?;
    if let Some(schedule) = ScheduleName::of(&args.lock) {
        return schedules::status(&args.operator, &schedule, args.output).await;
    }
    let (client, lock) = args.operator.lock(&args.lock).await?;
    let mut survey = args.operator.survey(client.clone(), lock.clone()).await?;
    if args.sure {
        get::make_sure(&mut survey).await;
    }
    let sighted = survey.get(&lock).ok_or_else(|| args.operator.missing(&lock))?;
    let (now, mut term_history) = (Timestamp::now(), TermHistory::default());
    let lock_status = LockStatus::of(&sighted, now);
    term_history.begin(now, &sighted);
    let events = events::of(&client, &lock).await;
    if let Ok(events) = &events {
        term_history.recall(&lock, events);
    }
    let terms: Vec<_> = term_history.terms(&lock).cloned().collect();
    let ten_minutes_ago = now - jiff::SignedDuration::from_mins(10);
    let concerns = concerns(&Circumstances {
        sighted: &sighted,
        now,
        recent_changes: term_history.changes(&lock, ten_minutes_ago),
        asked_since: None,
    });
    if args.output == OutputFormat::Json {
        let mut page = lock_row::json(&sighted, now);
        page["terms"] = terms.iter().map(|term| term.json(now, lock_status.is_led())).collect();
        let at = sighted.at.since_start();
        page["needs"] = concerns.iter().map(|concern| concern.json(at)).collect();
        output::line(&format::printable_json(&serde_json::to_string_pretty(&page)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&facts(&sighted, &lock_status, &terms, now))?;
    output::line(&line(&sighted))?;
    output::line(&history(&terms, &lock_status, now))?;
    match &events {
        Ok(events) => output::line(&told(events, now))?,
        Err(error) => {
            eprintln!("warning: {}", format::printable_text(&format!("{error:#}")));
        }
    }
    let needs = concerns.iter().map(|concern| format!("{}.\n    {}", concern.what, concern.to_do));
    output::line(&listed("Needs attention", needs.collect(), "nothing"))?;
    Ok(ExitCode::SUCCESS)
}

fn facts(
    sighted: &ObservedLock,
    lock_status: &LockStatus,
    terms: &[Term],
    now: Timestamp,
) -> String {
    let view = &*sighted.view;
    let mut facts = vec![
        ("Lock", format!("{} in namespace {}", view.lock, view.lock.namespace())),
        ("Leader", lock_status.who()),
        ("State", state(sighted, lock_status)),
    ];
    if let Some(term) = terms.last().filter(|term| lock_status.is_led() && term.end.is_none()) {
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
        facts.push(("Lease", format::or_none(lease)));
        facts.push(("Transitions", view.transitions.to_string()));
    }
    let limits = match view.registration {
        Registration::Foreign => " (writes no fencing token, ignores requests)",
        _ => "",
    };
    facts.push(("Client", lock_row::client(view) + limits));
    if let Some(request) = &view.hand_over {
        facts.push(("Asked to", format!("hand over to {}", name(asked_for(request)))));
    }
    if !view.paused.is_empty() {
        let names: Vec<_> = view.paused.iter().map(|identity| name(identity.as_str())).collect();
        facts.push(("Paused", names.join(", ")));
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

fn state(sighted: &ObservedLock, lock_status: &LockStatus) -> String {
    let left = lock_status.expires_in.filter(|_| lock_status.is_led());
    let left = left.map(|left| format!(", expires in {}", age(left))).unwrap_or_default();
    let hint =
        if sighted.is_certain || lock_status.mark().is_empty() { "" } else { " (see --sure)" };
    format!("{}: {}{left}{hint}", lock_status.word(), lock_status.basis())
}

fn line(sighted: &ObservedLock) -> String {
    let waiters = sighted.view.waitlist.iter().enumerate().map(|(place, waiter)| {
        let priority = match waiter.priority {
            0 => String::new(),
            priority => format!("   priority {priority}"),
        };
        format!("{}. {}{priority}", place + 1, name(waiter.identity.as_str()))
    });
    let none = match sighted.view.registration {
        Registration::Foreign => "unknown: candidates of this program are not in the waitlist",
        _ => "empty",
    };
    listed("Waitlist", waiters.collect(), none)
}

/// The last few terms, the newest first.
fn history(terms: &[Term], lock_status: &LockStatus, now: Timestamp) -> String {
    let rows = terms.iter().rev().take(FEW).map(|term| {
        let (end, lasted) = (ended(term, lock_status), term.lasted(now, lock_status.is_led()));
        let holder = format::short(&name(&term.holder));
        format!("{}  {:>8}  {holder}  ({end})", term.began.text(), lasted.text())
    });
    listed("History", rows.collect(), "nothing is known of earlier terms")
}

fn told(events: &[Value], now: Timestamp) -> String {
    let rows = events.iter().rev().take(FEW).map(|event| {
        let at = event::at(event).map(TimeBounds::mostly);
        let ago = at.map(|at| format!("{} ago", age(now.duration_since(at).unsigned_abs())));
        let message = event["message"].as_str().unwrap_or_default();
        format!("{:>8}  {}", format::or_none(ago), name(message))
    });
    listed("Events", rows.collect(), "none; candidates write them with --events")
}

fn listed(head: &str, rows: Vec<String>, nothing: &str) -> String {
    let rows = if rows.is_empty() { vec![nothing.to_owned()] } else { rows };
    format!("\n{head}\n  {}", rows.join("\n  "))
}

const FEW: usize = 8;
