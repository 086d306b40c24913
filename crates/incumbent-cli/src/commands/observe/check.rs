//! `incumbent check`: an exit code that says whether there is a leader.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use incumbent::survey::{ObservedLock, State};
use incumbent::{Error, InvalidSetting};
use jiff::Timestamp;

use crate::commands::observe::get;
use crate::commands::observe::groups;
use crate::flags::cluster::Operator;
use crate::flags::duration::duration;
use crate::flags::group::{group_of, target_text};
use crate::model::format;
use crate::model::lock_status::LockStatus;
use crate::runtime::{exit, output};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Check {
    /// Which lock or group: NAME for a Lease, lease/NAME, configmap/NAME[:KEY] or group/NAME
    #[arg(value_parser = target_text)]
    lock: String,
    /// Check whether this candidate leads
    #[arg(long, value_name = "ID", conflicts_with = "is_self")]
    holder: Option<String>,
    /// Check whether this Pod leads: as INCUMBENT_IDENTITY, or as POD_NAME and POD_UID
    #[arg(long = "self")]
    is_self: bool,
    /// Check whether the leader has renewed within this time
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_age: Option<Duration>,
    /// For a group: call a task stuck when it has waited for longer than this [default: the longest lease of a
    /// member and two retry periods: 19s with the usual timing]
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with_all = ["holder", "is_self", "max_age"])]
    stuck_after: Option<Duration>,
    /// For a group whose program names the tasks: these tasks, which nothing in the cluster lists
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    tasks: Vec<String>,
    /// Watch until the answer is certain: for a renewal, or until the term is over
    #[arg(long)]
    sure: bool,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    operator: Operator,
}

const HELP: &str = "\
Examples:
  Ask in a probe whether this Pod leads:
    $ incumbent check scanner --self --quiet
  Ask whether a leader has renewed within a minute:
    $ incumbent check scanner --max-age 1m
  Ask whether each task of a group has an owner, or has waited for less than a minute:
    $ incumbent check group/indexers --stuck-after 1m
  The same, where the members' program names the tasks:
    $ incumbent check group/indexers --tasks eu,us,ap

Exit codes:
  0  yes
  1  no: there is no leader, another candidate leads, or the last renewal is too old; a task of the group is stuck, or no \
member holds its seat
  3  unknown: the API server cannot be reached, or the record does not say; of a group, something cannot be seen, or only \
the members' program names the tasks, and --tasks does not
  4  a permission is missing
  5  the lock or the group does not exist

The answer of a single look rests on wall clocks, and is marked with ~. Do not act as a leader because of it: for \
that, ask a sidecar, or take part.";

pub(crate) async fn run(args: Check) -> anyhow::Result<ExitCode> {
    if let Some(group) = group_of(&args.lock) {
        if args.holder.is_some() || args.is_self || args.max_age.is_some() {
            return Err(Error::Invalid(InvalidSetting::Program {
                what: "--holder, --self and --max-age ask about the leader of a lock".to_owned(),
                hint: format!("ask about the allocator: incumbent check lease/{group} --self"),
            })
            .into());
        }
        let asked = groups::check::Asked {
            group,
            tasks: &args.tasks,
            bound: args.stuck_after,
            is_sure: args.sure,
            is_quiet: args.quiet,
        };
        return groups::check::run(&args.operator, asked).await;
    }
    groups::refuse_tasks(&args.tasks)?;
    let wanted = if args.is_self { Some(own_identity()?) } else { args.holder.clone() };
    let (client, lock) = args.operator.lock(&args.lock).await?;
    let mut survey = args.operator.survey(client, lock.clone()).await?;
    if args.sure {
        get::make_sure(&mut survey).await;
    }
    let sighted = survey.get(&lock).ok_or_else(|| args.operator.missing(&lock))?;
    let (code, words) = judge(&sighted, wanted.as_deref(), args.max_age, Timestamp::now());
    if !args.quiet {
        output::line(&format!("{lock}: {words}"))?;
    }
    Ok(ExitCode::from(code))
}

fn own_identity() -> anyhow::Result<String> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let of_pod = || Some(format!("{}_{}", set("POD_NAME")?, set("POD_UID")?));
    set("INCUMBENT_IDENTITY").or_else(of_pod).context(
        "the identity of this Pod is unknown: set INCUMBENT_IDENTITY, or let the Pod's manifest set POD_NAME and \
            POD_UID",
    )
}

fn judge(
    sighted: &ObservedLock,
    wanted: Option<&str>,
    max_age: Option<Duration>,
    now: Timestamp,
) -> (u8, String) {
    let lock_status = LockStatus::of(sighted, now);
    let holder = sighted.view.holder.as_deref().unwrap_or_default();
    let age = lock_status.age.filter(|_| lock_status.state != State::Claimed);
    let sentence = lock_status.sentence();
    match max_age {
        _ if lock_status.state == State::Unknown => (exit::UNREACHABLE, sentence),
        _ if !lock_status.is_led() => (exit::NO, sentence),
        _ if wanted.is_some_and(|wanted| wanted != holder) => (exit::NO, sentence),
        Some(most) if age.is_none_or(|age| age > most) => {
            let ago =
                age.map_or_else(|| "never".to_owned(), |age| format!("{} ago", format::age(age)));
            let (name, mark) = (format::name(holder), lock_status.mark());
            (exit::NO, format!("{name} renewed {ago}{mark}"))
        }
        _ => (0, sentence),
    }
}
