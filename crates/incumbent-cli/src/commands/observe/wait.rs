//! `incumbent wait`: until there is a leader, another leader, or none.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use incumbent::survey::{LockView, ObservedLock};
use incumbent::{Error, InvalidSetting};
use jiff::Timestamp;

use crate::commands::observe::get;
use crate::commands::observe::groups;
use crate::flags::cluster::Operator;
use crate::flags::duration::duration;
use crate::flags::group::{group_of, target_text};
use crate::model::lock_status::LockStatus;
use crate::runtime::preflight::patiently;
use crate::runtime::{exit, output};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Wait {
    /// Which lock or group: NAME for a Lease, lease/NAME, configmap/NAME[:KEY] or group/NAME
    #[arg(value_parser = target_text)]
    lock: String,
    /// What to wait for: leader, holder=ID, change, or released; for a group, assigned [default: leader; for a group,
    /// assigned]
    #[arg(long = "for", value_name = "CONDITION")]
    condition: Option<Condition>,
    /// For a group: wait for these tasks alone
    #[arg(long = "task", visible_alias = "tasks", value_name = "NAME,...", value_delimiter = ',')]
    tasks: Vec<String>,
    /// Give up after this time [default: never]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    operator: Operator,
}

const HELP: &str = "\
Examples:
  Wait for a leader, for a minute at most:
    $ incumbent wait scanner --timeout 1m
  Wait until there is no leader:
    $ incumbent wait scanner --for released
  Wait until a task of a group has an owner:
    $ incumbent wait group/indexers --for assigned --task eu

Conditions:
  leader       a leader has been seen to renew
  holder=ID    this candidate has been seen to renew
  change       another term has begun since the command started
  released     there is no leader: the lock is vacant, or its term is over
  assigned     each task of a group has an owner that has been seen to renew; with --task, these ones

Exit codes:
  0  the condition is met
  1  it was not met in time
  3  the API server cannot be reached; or each task that the table names has an owner, and only the members' program \
names the tasks: name them with --task
  others as of incumbent";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Leader,
    Holder(String),
    Change,
    Released,
    Assigned,
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "leader" => Ok(Self::Leader),
            None if text == "change" => Ok(Self::Change),
            None if text == "released" => Ok(Self::Released),
            None if text == "assigned" => Ok(Self::Assigned),
            Some(("holder", id)) if !id.is_empty() => Ok(Self::Holder(id.to_owned())),
            _ => Err("it is one of leader, holder=ID, change, released, assigned".to_owned()),
        }
    }
}

pub(crate) async fn run(args: Wait) -> anyhow::Result<ExitCode> {
    let group = group_of(&args.lock);
    let is_about_tasks = !args.tasks.is_empty() || args.condition == Some(Condition::Assigned);
    match (group, args.condition.as_ref()) {
        (Some(group), None | Some(Condition::Assigned)) => {
            return groups::wait::run(&args.operator, group, &args.tasks, args.timeout).await;
        }
        (Some(_), _) => return Err(unfit("a group has no leader", "wait --for=assigned").into()),
        (None, _) if is_about_tasks => {
            return Err(unfit("a lock has no tasks", "write the group as group/NAME").into());
        }
        _ => {}
    }
    let condition = args.condition.unwrap_or(Condition::Leader);
    let (client, lock) = args.operator.lock(&args.lock).await?;
    let started = tokio::time::Instant::now();
    let never = Duration::MAX;
    let patience = args.timeout.unwrap_or(never);
    let start = async || args.operator.survey(client.clone(), lock.clone()).await;
    let late = || {
        eprintln!("{lock}: not within {patience:?}");
        Ok(ExitCode::from(exit::NO))
    };
    let survey = tokio::time::timeout(patience, patiently(&lock.to_string(), start)).await;
    let Ok(survey) = survey else { return late() };
    let mut survey = survey?;
    get::tell_blind(&survey);
    let first = survey.get(&lock).map(|sighted| sighted.view);
    let came = async {
        loop {
            let sighted = survey.get(&lock);
            if is_met(&condition, sighted.as_ref(), first.as_deref()) {
                return sighted;
            }
            survey.next().await;
        }
    };
    match tokio::time::timeout(patience.saturating_sub(started.elapsed()), came).await {
        Ok(sighted) => {
            let told = sighted.map(|sighted| lock_status(&sighted).sentence());
            let told = told.unwrap_or_else(|| "it does not exist".to_owned());
            output::line(&format!("{lock}: {told}"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(_) => late(),
    }
}

fn unfit(what: &str, hint: &str) -> Error {
    let (what, hint) = (what.to_owned(), hint.to_owned());
    Error::Invalid(InvalidSetting::Program { what, hint })
}

/// As it was seen, not as wall clocks say.
fn is_met(condition: &Condition, sighted: Option<&ObservedLock>, first: Option<&LockView>) -> bool {
    let Some(sighted) = sighted else { return *condition == Condition::Released };
    let lock_status = lock_status(sighted);
    let is_led = lock_status.is_surely_led();
    match condition {
        Condition::Leader => is_led,
        Condition::Holder(id) => is_led && sighted.view.holder.as_ref() == Some(id),
        Condition::Change => is_led && first.is_none_or(|first| !first.is_same_term(&sighted.view)),
        Condition::Released => lock_status.is_surely_free(),
        Condition::Assigned => false,
    }
}

fn lock_status(sighted: &ObservedLock) -> LockStatus {
    LockStatus::of(sighted, Timestamp::now())
}
