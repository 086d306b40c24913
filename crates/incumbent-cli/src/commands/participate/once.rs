//! `incumbent once`: runs a command once, however many come to run it and whichever of them die.
//!
//! The record of it is in a ConfigMap, under a separate key beside the election's. Each change of it is
//! a compare-and-swap on what was read and judged. The command runs only under a term of that election, so a
//! leader that finds `running` under an older token knows that its runner has died; one that finds a newer
//! token knows that its own term is over, and writes nothing.

pub(crate) mod args;

use std::process::ExitCode;

use incumbent::once_parts::{Attempt, Begun, Page, Rules, Trouble};
use incumbent::{Clock, Error, Leadership, Lock, OnceRecord, OnceState};

use self::args::Settle;
use crate::commands::participate::guarded::{Cause, End};
use crate::commands::participate::run::{Runner, Wait};
use crate::commands::participate::startable::startable;
use crate::model::format;
use crate::runtime::preflight::patiently;
use crate::runtime::{exit, output, stderr};

pub(crate) async fn run(args: args::Once) -> ExitCode {
    match try_run(args).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => exit::report_as_wrapper(&error),
    }
}

async fn try_run(mut args: args::Once) -> anyhow::Result<u8> {
    let settle = args.settle;
    let rules = Rules { at_least_once: args.at_least_once, ttl: args.ttl };
    let (client, namespace) = args.cluster.connect().await?;
    let lock = Lock::parse(&namespace, &args.key).map_err(Error::from)?;
    let page = Page::new(client, lock, Clock::system())?;
    if let Some(settle) = settle {
        return Ok(self::settle(&page, settle).await?);
    }
    let record = match args.wait {
        true => patiently(&page.lock().to_string(), async || page.look().await).await?,
        false => page.look().await?,
    };
    if let Some(record) = record.as_ref().filter(|record| rules.is_over(record)) {
        return Ok(tell(&page, record));
    }
    if let Err((code, why)) = args.command().map_or(Ok(()), startable) {
        stderr::say(&format!("error: {why}\n  hint: nothing was started, and nothing is recorded"));
        return Ok(code);
    }
    page.make_room().await.map_err(Trouble::error)?;
    if let Some(record) = &record {
        args.raise_token_floor(record.token_floor());
    }
    let mut runner = match Runner::prepare(args.into_run()).await? {
        Ok(runner) => runner,
        Err(code) => return Ok(code),
    };
    let mut task = Task { attempt: Attempt::new(page, rules), rules };
    let outcome = task.take_part(&mut runner).await;
    task.attempt.withdraw().await;
    runner.leave().await;
    task.attempt.page().tidy().await;
    outcome
}

struct Task {
    attempt: Attempt,
    rules: Rules,
}

impl Task {
    /// Takes part until there is an exit code.
    async fn take_part(&mut self, runner: &mut Runner) -> anyhow::Result<u8> {
        loop {
            let leadership = match runner.wait().await? {
                Wait::Leads(leadership) => leadership,
                Wait::Over(code) => return Ok(self.give_up(code).await),
            };
            let outcome = self.lead(runner, &leadership).await;
            // Nothing of the command is left.
            leadership.release().await;
            if let Some(code) = outcome? {
                return Ok(code);
            }
        }
    }

    /// Runs the command, if that is still to do. None where the term has ended before anything was started.
    async fn lead(
        &mut self,
        runner: &mut Runner,
        leadership: &Leadership,
    ) -> anyhow::Result<Option<u8>> {
        let running = OnceRecord::running(runner.identity(), leadership.fencing_token().0);
        let begun = tokio::select! {
            biased;
            _ = leadership.lost() => return Ok(None),
            code = runner.told_to_end() => return Ok(Some(code)),
            begun = self.attempt.begin(&running, leadership) => begun?,
        };
        let running = match begun {
            Begun::Marked(running) => running,
            Begun::Over(record) => return Ok(Some(tell(self.attempt.page(), &record))),
            Begun::Stopped if !leadership.is_valid() => return Ok(None),
            Begun::Stopped => return Ok(Some(superseded(leadership))),
        };
        // Between the answer and this line there may be a pause of any length.
        if !leadership.is_valid() {
            return Ok(None);
        }
        let (cause, end) = match runner.run_command(leadership).await? {
            (_, End::Unstarted(exit::LOST)) => return Ok(None),
            (_, End::Unstarted(code)) => return Ok(Some(code)),
            ended => ended,
        };
        self.attempt.started();
        if cause == Cause::LostLeadership {
            stderr::say(
                "error: leadership was lost, and the command stopped: the task is in doubt",
            );
            return Ok(Some(exit::LOST));
        }
        Ok(Some(self.conclude(runner, &running, end.code()).await))
    }

    /// Records how the command ended.
    async fn conclude(&self, runner: &mut Runner, running: &OnceRecord, code: u8) -> u8 {
        let ended = running.clone().ended(code);
        let patience = runner.kill_after();
        let told_to_end = async {
            runner.told_to_end().await;
            tokio::time::sleep(patience).await;
        };
        let Err(failure) = self.attempt.conclude(running, &ended, told_to_end).await else {
            return code;
        };
        stderr::say(&format!(
            "error: the command has ended with {code}, which is not recorded: {failure}"
        ));
        hint(self.attempt.page());
        exit::IN_DOUBT
    }

    /// Another candidate leads, or a signal came.
    async fn give_up(&self, code: u8) -> u8 {
        let page = self.attempt.page();
        let Some(record) = page.look().await.ok().flatten() else {
            return code;
        };
        let known = tell(page, &record);
        if code == exit::CONFLICT && self.rules.is_over(&record) { known } else { code }
    }
}

fn superseded(leadership: &Leadership) -> u8 {
    stderr::say(&format!(
        "error: the record was written under a token that is not older than ours ({}), so nothing was \
         started\n  hint: run it again; if that does not help, name a higher token with --token-floor",
        leadership.fencing_token()
    ));
    exit::LOST
}

async fn settle(page: &Page, settle: Settle) -> Result<u8, Error> {
    if page.settle(settle == Settle::Done).await?.is_none() {
        return Ok(0);
    }
    // It may run right now; who leads next finds out, and says so.
    stderr::say("error: it is marked as running: to find out whether it runs, run this again");
    Ok(exit::CONFLICT)
}

/// Says what is known, and returns its code. The code is the answer, also where nobody reads the words.
fn tell(page: &Page, record: &OnceRecord) -> u8 {
    if let Err(error) = output::line(&format::printable_json(&record.to_line())) {
        stderr::say(&format!("error: cannot write to standard output: {error}"));
    }
    match record.state {
        OnceState::Done => 0,
        OnceState::Failed => exit::FAILED_BEFORE,
        OnceState::Running => exit::CONFLICT,
        OnceState::InDoubt => {
            hint(page);
            exit::IN_DOUBT
        }
    }
}

fn hint(page: &Page) {
    let lock = page.lock();
    stderr::say(&format!(
        "hint: check whether it was done, then: incumbent once {lock} --namespace {} --settle done (or \
         --settle again)",
        lock.namespace()
    ));
}
