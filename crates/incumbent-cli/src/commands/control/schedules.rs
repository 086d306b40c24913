//! `incumbent pause`, `resume` and `trigger` of a schedule.

use std::process::ExitCode;

use incumbent::{Error, InvalidSetting, ScheduleControl};

use crate::commands::observe::schedules::look;
use crate::flags::cluster::Operator;
use crate::flags::schedule::{ScheduleName, schedule_text};
use crate::runtime::confirm::Confirmation;
use crate::runtime::{exit, output};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Trigger {
    /// Which schedule: schedule/NAME, or schedule/CONFIGMAP/NAME
    #[arg(value_parser = schedule_text)]
    schedule: ScheduleName,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    operator: Operator,
}

const HELP: &str = "\
Examples:
  Run a schedule once, now, beside its ticks:
    $ incumbent trigger schedule/report
  The same for a record in another ConfigMap, without a question:
    $ incumbent trigger schedule/jobs/report --yes

The replica that leads begins the run within five seconds, when no other run is in progress; also while the schedule is \
suspended. If no replica leads, the request waits.";

pub(crate) async fn trigger(args: Trigger) -> anyhow::Result<ExitCode> {
    let Trigger { schedule, confirmation, operator } = args;
    let what = "the replica that leads runs it once, out of turn";
    let told = ["a run was asked for", "a run had been asked for already, and has not begun"];
    let ask = async |control: ScheduleControl| control.run_now().await;
    send(&operator, &schedule, &confirmation, (what, told), ask).await
}

/// No tick is due any more.
pub(crate) async fn pause(
    operator: &Operator,
    schedule: &ScheduleName,
    candidates: &[String],
    confirmation: &Confirmation,
) -> anyhow::Result<ExitCode> {
    only_whole(candidates)?;
    let what = "no tick is due until it is resumed; a run in progress continues";
    let told = ["suspended", "it was suspended already"];
    let by = std::env::var("USER").unwrap_or_else(|_| "incumbent pause".to_owned());
    let ask = async |control: ScheduleControl| control.suspend(&by).await;
    send(operator, schedule, confirmation, (what, told), ask).await
}

pub(crate) async fn resume(
    operator: &Operator,
    schedule: &ScheduleName,
    candidates: &[String],
    confirmation: &Confirmation,
) -> anyhow::Result<ExitCode> {
    only_whole(candidates)?;
    let what = "its ticks are due again; those that passed are not caught up";
    let told = ["resumed", "it was not suspended"];
    let ask = async |control: ScheduleControl| control.resume().await;
    send(operator, schedule, confirmation, (what, told), ask).await
}

/// Says what will happen, asks, does it, and says whether something was changed.
async fn send(
    operator: &Operator,
    schedule: &ScheduleName,
    confirmation: &Confirmation,
    (what, told): (&str, [&str; 2]),
    ask: impl AsyncFnOnce(ScheduleControl) -> Result<bool, Error>,
) -> anyhow::Result<ExitCode> {
    let _ = look(operator, schedule).await?;
    if !confirmation.given(&format!("{}: {what}", schedule.text()))? {
        return Ok(ExitCode::from(exit::NO));
    }
    let (client, namespace) = operator.connect().await?;
    let control = ScheduleControl::new(client, schedule.lock(&namespace), &schedule.name)?;
    let is_new = operator.within(ask(control.dry_run(confirmation.dry_run))).await?;
    let told = if is_new { told[0] } else { told[1] };
    output::line(&format!("{}: {told}", schedule.text()))?;
    Ok(ExitCode::SUCCESS)
}

fn only_whole(candidates: &[String]) -> Result<(), Error> {
    match candidates.is_empty() {
        true => Ok(()),
        false => Err(Error::Invalid(InvalidSetting::Program {
            what: "a schedule is suspended as a whole".to_owned(),
            hint: "leave --candidate out, or name the election whose candidate it is".to_owned(),
        })),
    }
}
