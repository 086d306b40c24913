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
    let Some(control) = control(&operator, &schedule, &confirmation, what).await? else {
        return Ok(ExitCode::from(exit::NO));
    };
    let told = match operator.within(control.run_now()).await? {
        true => "a run was asked for",
        false => "a run had been asked for already, and has not begun",
    };
    tell(&schedule, told)
}

/// No tick is due any more. `by` says who asks.
pub(crate) async fn pause(
    operator: &Operator,
    schedule: &ScheduleName,
    candidates: &[String],
    confirmation: &Confirmation,
) -> anyhow::Result<ExitCode> {
    only_whole(candidates)?;
    let what = "no tick is due until it is resumed; a run in progress continues";
    let Some(control) = control(operator, schedule, confirmation, what).await? else {
        return Ok(ExitCode::from(exit::NO));
    };
    let by = std::env::var("USER").unwrap_or_else(|_| "incumbent pause".to_owned());
    let told = match operator.within(control.suspend(&by)).await? {
        true => "suspended",
        false => "it was suspended already",
    };
    tell(schedule, told)
}

pub(crate) async fn resume(
    operator: &Operator,
    schedule: &ScheduleName,
    candidates: &[String],
    confirmation: &Confirmation,
) -> anyhow::Result<ExitCode> {
    only_whole(candidates)?;
    let what = "its ticks are due again; those that passed are not caught up";
    let Some(control) = control(operator, schedule, confirmation, what).await? else {
        return Ok(ExitCode::from(exit::NO));
    };
    let told = match operator.within(control.resume()).await? {
        true => "resumed",
        false => "it was not suspended",
    };
    tell(schedule, told)
}

/// Says what will happen, and asks. `None` if the answer is no.
async fn control(
    operator: &Operator,
    schedule: &ScheduleName,
    confirmation: &Confirmation,
    what: &str,
) -> anyhow::Result<Option<ScheduleControl>> {
    let _ = look(operator, schedule).await?;
    if !confirmation.given(&format!("{}: {what}", schedule.text()))? {
        return Ok(None);
    }
    let (client, namespace) = operator.connect().await?;
    let control = ScheduleControl::new(client, schedule.lock(&namespace), &schedule.name)?;
    Ok(Some(control.dry_run(confirmation.dry_run)))
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

fn tell(schedule: &ScheduleName, told: &str) -> anyhow::Result<ExitCode> {
    output::line(&format!("{}: {told}", schedule.text()))?;
    Ok(ExitCode::SUCCESS)
}
