//! `incumbent schedule`: runs a command on a schedule, once per tick, in the replica that leads.
//!
//! The library decides when a run begins, and records it before it starts. Each command has a guardian, as in
//! `incumbent run`, and the lock is released only when nothing of the command is left.

pub(crate) mod args;

use std::cell::{Cell, RefCell};
use std::process::ExitCode;

use incumbent::{Leadership, Outcome, ScheduleRunner, ScheduledRun};
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::commands::participate::guarded::{Cause, End, Signals, ends_by_default};
use crate::commands::participate::run::{Launcher, Runner, Wait};
use crate::commands::participate::startable::startable;
use crate::runtime::{exit, stderr};

pub(crate) async fn run(args: args::Schedule) -> ExitCode {
    match try_run(args).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => exit::report_as_wrapper(&error),
    }
}

async fn try_run(args: args::Schedule) -> anyhow::Result<u8> {
    let schedule = args.schedule();
    schedule.check()?;
    let program = args.command.first().map(|program| program.as_os_str());
    if let Err((code, why)) = program.map_or(Ok(()), startable) {
        stderr::say(&format!("error: {why}\n  hint: nothing was started, and nothing is recorded"));
        return Ok(code);
    }
    let name = args.name.clone();
    let mut runner = match Runner::prepare(args.into_run()).await? {
        Ok(runner) => runner,
        Err(code) => return Ok(code),
    };
    let mut turns = schedule.runner(runner.candidate())?;
    let outcome = take_part(&name, &mut runner, &mut turns).await;
    runner.leave().await;
    outcome
}

/// Takes part until there is an exit code.
async fn take_part(
    name: &str,
    runner: &mut Runner,
    turns: &mut ScheduleRunner,
) -> anyhow::Result<u8> {
    loop {
        let leadership = match runner.wait().await? {
            Wait::Leads(leadership) => leadership,
            Wait::Over(code) => return Ok(code),
        };
        let told_to_end = lead(name, runner, turns, &leadership).await;
        // No run is in progress now.
        leadership.release().await;
        if let Some(code) = told_to_end {
            return Ok(code);
        }
    }
}

/// Runs the schedule during one term. Returns the exit code of a signal that ended it.
async fn lead(
    name: &str,
    runner: &mut Runner,
    turns: &mut ScheduleRunner,
    leadership: &Leadership,
) -> Option<u8> {
    let (launcher, signals) = runner.split();
    let told_to_end = Cell::new(None);
    let relay = RefCell::new(None::<mpsc::UnboundedSender<i32>>);
    let until = async {
        loop {
            let signal = tokio::select! {
                biased;
                signal = signals.next() => signal,
                _ = leadership.asked_to_hand_over() => return,
            };
            if ends_by_default(signal) {
                told_to_end.set(Some(End::Signalled(signal).code()));
                return;
            }
            if let Some(relay) = &*relay.borrow() {
                let _ = relay.send(signal);
            }
        }
    };
    let work = |run: ScheduledRun| {
        let (sender, mut signals) = Signals::relayed();
        relay.replace(Some(sender));
        let launcher = &launcher;
        async move { run_once(name, launcher, leadership, &run, &mut signals).await }
    };
    turns.lead(leadership, until, work).await;
    told_to_end.get()
}

/// Runs the command one time. When this returns, nothing of it is left.
async fn run_once(
    name: &str,
    launcher: &Launcher<'_>,
    leadership: &Leadership,
    run: &ScheduledRun,
    signals: &mut Signals,
) -> Outcome {
    let variables = vec![
        ("INCUMBENT_SCHEDULE", name.to_owned()),
        ("INCUMBENT_TICK", tick(run)),
        ("INCUMBENT_ATTEMPT", run.attempt().to_string()),
        ("INCUMBENT_LATE_MS", run.late().as_millis().to_string()),
    ];
    match launcher.run(leadership, variables, run.asked_to_stop(), signals).await {
        Ok((_, End::Unstarted(_))) => Outcome::Unstarted,
        Ok((Cause::ByItself, end)) if end.code() == 0 => Outcome::Succeeded,
        Ok((Cause::ByItself, _)) => Outcome::Failed,
        Ok((Cause::LostLeadership | Cause::Asked, _)) => Outcome::Stopped,
        Err(error) => {
            tracing::warn!(schedule = name, %error, "the command cannot be started");
            Outcome::Unstarted
        }
    }
}

/// The scheduled instant, as people and programs read it.
fn tick(run: &ScheduledRun) -> String {
    let millis = run.tick_millis();
    Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |tick| tick.to_string())
}
