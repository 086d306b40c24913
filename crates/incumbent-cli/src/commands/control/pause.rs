//! `incumbent pause` and `resume`: who must not lead, and what must not run.

use std::process::ExitCode;

use incumbent::survey::{LockView, Registration};
use incumbent::{ElectionControl, Error, Identity};

use crate::commands::control::{groups, schedules};
use crate::flags::cluster::Operator;
use crate::flags::group::group_of;
use crate::flags::schedule::{ScheduleName, target_text};
use crate::model::format;
use crate::runtime::confirm::Confirmation;
use crate::runtime::{exit, output};

#[derive(Debug, clap::Args)]
#[command(after_help = PAUSE_HELP)]
pub(crate) struct Pause {
    /// Pause only this candidate, or drain this member of a group; can be repeated
    #[arg(long = "candidate", value_name = "ID")]
    candidates: Vec<String>,
    #[command(flatten)]
    request: Request,
}

#[derive(Debug, clap::Args)]
#[command(after_help = RESUME_HELP)]
pub(crate) struct Resume {
    /// Resume only this candidate or member; can be repeated [default: all]
    #[arg(long = "candidate", value_name = "ID")]
    candidates: Vec<String>,
    #[command(flatten)]
    request: Request,
}

/// What both have in common.
#[derive(Debug, clap::Args)]
struct Request {
    /// Which lock, group or schedule: NAME for a Lease, lease/NAME, configmap/NAME[:KEY], group/NAME or
    /// schedule/[CONFIGMAP/]NAME
    #[arg(value_parser = target_text)]
    lock: String,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    operator: Operator,
}

const PAUSE_HELP: &str = "\
Examples:
  Pause an election, so that no candidate leads until it is resumed:
    $ incumbent pause scanner
  Keep one candidate from leading:
    $ incumbent pause scanner --candidate scanner-1
  Drain a member of a group: its tasks move to others, and it gets no more:
    $ incumbent pause group/indexers --candidate indexers-1
  Suspend a schedule: no tick is due until it is resumed:
    $ incumbent pause schedule/report

A paused leader stops its work and releases the lock. A paused candidate does not acquire the lock, even if there \
is no leader, until you resume the election. A pause applies to a name: a restarted Pod has another name, unless you gave it a fixed one. Candidates of other programs do not know of a pause, and continue.

To drain a member of a group, the command adds it to the key `drain` of the ConfigMap GROUP.config, which every allocator \
obeys. Each of its tasks moves when its work has stopped. If no other member takes tasks, they stay.";

const RESUME_HELP: &str = "\
Examples:
  Let all candidates lead again:
    $ incumbent resume scanner
  Let one candidate lead again:
    $ incumbent resume scanner --candidate scanner-1
  Give a drained member of a group tasks again:
    $ incumbent resume group/indexers --candidate indexers-1
  Let the ticks of a schedule be due again:
    $ incumbent resume schedule/report";

pub(crate) async fn run(args: Pause) -> anyhow::Result<ExitCode> {
    let everybody = || vec![Identity::new("*").expect("it is a name")];
    let request = args.request;
    if let Some(group) = group_of(&request.lock) {
        let (operator, confirmation) = (&request.operator, &request.confirmation);
        return groups::pause(operator, group, &args.candidates, confirmation).await;
    }
    if let Some(schedule) = ScheduleName::of(&request.lock) {
        let (operator, confirmation) = (&request.operator, &request.confirmation);
        return schedules::pause(operator, &schedule, &args.candidates, confirmation).await;
    }
    let (client, view) = request.operator.look(&request.lock).await?;
    let names = named(&args.candidates, everybody);
    let what = what_a_pause_does(&view, &names);
    request.send(client, &view, &what, async |control| control.pause(&names).await).await
}

pub(crate) async fn resume(args: Resume) -> anyhow::Result<ExitCode> {
    let request = args.request;
    if let Some(group) = group_of(&request.lock) {
        let (operator, confirmation) = (&request.operator, &request.confirmation);
        return groups::resume(operator, group, &args.candidates, confirmation).await;
    }
    if let Some(schedule) = ScheduleName::of(&request.lock) {
        let (operator, confirmation) = (&request.operator, &request.confirmation);
        return schedules::resume(operator, &schedule, &args.candidates, confirmation).await;
    }
    let (client, view) = request.operator.look(&request.lock).await?;
    let names = named(&args.candidates, || view.paused.clone());
    let what = match view.paused.as_slice() {
        [] => format!("{}: no candidate is paused", view.lock),
        _ => format!("{}: {} may lead again", view.lock, listed(&names)),
    };
    request.send(client, &view, &what, async |control| control.resume(&names).await).await
}

/// Those that were named; else those that `unnamed` says.
fn named(candidates: &[String], unnamed: impl FnOnce() -> Vec<Identity>) -> Vec<Identity> {
    match candidates {
        [] => unnamed(),
        names => names.iter().filter_map(Identity::new).collect(),
    }
}

impl Request {
    /// Says what will happen, asks, does it, and says what is so now.
    async fn send(
        &self,
        client: kube::Client,
        view: &LockView,
        what: &str,
        ask: impl AsyncFnOnce(ElectionControl) -> Result<LockView, Error>,
    ) -> anyhow::Result<ExitCode> {
        if !self.confirmation.given(what)? {
            return Ok(ExitCode::from(exit::NO));
        }
        let control =
            ElectionControl::new(client, view.lock.clone())?.dry_run(self.confirmation.dry_run);
        let view = self.operator.within(ask(control)).await?;
        let state = match view.paused.as_slice() {
            [] => "no candidate is paused".to_owned(),
            names => format!("paused: {}", listed(names)),
        };
        output::line(&format!("{}: {state}", view.lock))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn what_a_pause_does(view: &LockView, names: &[Identity]) -> String {
    let is_meant =
        |holder: &String| names.iter().any(|name| name.as_str() == "*" || name.as_str() == holder);
    let leader = view.holder.as_ref().filter(|holder| is_meant(holder));
    let then = match (leader.map(|name| format::name(name)), view.registration) {
        (Some(holder), Registration::Term) => {
            format!("; {holder} stops its work and releases the lock")
        }
        (Some(holder), _) => format!("; {holder} does not know of a pause, and continues"),
        (None, _) => String::new(),
    };
    format!("{}: the pause keeps {} from leading{then}", view.lock, listed(names))
}

fn listed(names: &[Identity]) -> String {
    let names = names.iter().map(|name| match name.as_str() {
        "*" => "all candidates".to_owned(),
        name => format::name(name),
    });
    names.collect::<Vec<_>>().join(", ")
}
