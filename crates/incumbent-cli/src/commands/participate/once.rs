//! `incumbent once`: runs a command once, however many come to run it and whichever of them die.
//!
//! The record of it is in a ConfigMap, under a separate key beside the election's. Each change of it is
//! a compare-and-swap on what was read and judged. The command runs only under a term of that election, so a
//! leader that finds `running` under an older token knows that its runner has died; one that finds a newer
//! token knows that its own term is over, and writes nothing.

pub(crate) mod args;
mod page;
mod record;

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use incumbent::{Error, Leadership, Lock};
use rustix::fs::{Access, access};

use self::args::Settle;
use crate::commands::participate::guarded::{Cause, End};
use crate::commands::participate::run::{Runner, Wait};
use crate::model::format;
use crate::runtime::preflight::patiently;
use crate::runtime::{exit, output, stderr};
use page::{Page, Sight, Trouble};
use record::{Record, Rules, State, Step, Term};

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
    let page = Page::new(client, Lock::parse(&namespace, &args.key).map_err(Error::from)?)?;
    if let Some(settle) = settle {
        return Ok(page.settle(settle).await?);
    }
    let Sight { record, .. } = match args.wait {
        true => patiently(&page.lock.to_string(), async || page.look().await).await?,
        false => page.look().await?,
    };
    if let Some(code) = rules.over(record.as_ref()) {
        return Ok(page.tell(record.as_ref(), code));
    }
    if let Err((code, why)) = args.command().map_or(Ok(()), startable) {
        stderr::say(&format!("error: {why}\n  hint: nothing was started, and nothing is recorded"));
        return Ok(code);
    }
    page.make_room().await.map_err(Trouble::error)?;
    if let Some(record) = &record {
        args.raise_token_floor(record.token.saturating_add(1).min(HIGHEST_FLOOR));
    }
    let mut runner = match Runner::prepare(args.into_run()).await? {
        Ok(runner) => runner,
        Err(code) => return Ok(code),
    };
    let mut task = Task { page, rules, unbegun: Unbegun::default() };
    let outcome = task.take_part(&mut runner).await;
    task.withdraw().await;
    runner.leave().await;
    task.page.tidy().await;
    outcome
}

/// Whether there is such a program, as `execvp` would look for it. Otherwise the exit code, as shells say it, and why.
fn startable(program: &OsStr) -> Result<(), (u8, String)> {
    let is_path = program.as_encoded_bytes().contains(&b'/');
    let folders = env::var_os("PATH").filter(|_| !is_path);
    let found: Vec<_> = match &folders {
        Some(folders) => env::split_paths(folders).map(|folder| folder.join(program)).collect(),
        None => vec![program.into()],
    };
    let found: Vec<_> = found.into_iter().filter(|path| path.exists()).collect();
    let may_run = |path: &PathBuf| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    let program = program.display();
    match (found.is_empty(), found.iter().any(may_run)) {
        (_, true) => Ok(()),
        (true, _) => Err((127, format!("there is no program {program}"))),
        (false, _) => Err((
            126,
            format!("{program} cannot be run: it is not a program that this user may run"),
        )),
    }
}

struct Task {
    page: Page,
    rules: Rules,
    unbegun: Unbegun,
}

/// What was, or may have been, recorded as running while nothing was started.
#[derive(Default)]
struct Unbegun {
    marks: Vec<Record>,
    /// What stood in their place.
    before: Option<Record>,
}

impl Unbegun {
    fn is_in(&self, stored: Option<&Record>) -> bool {
        self.marks.iter().any(|mark| mark.is_open_in(stored))
    }

    fn add(&mut self, mark: &Record, before: Option<&Record>) {
        if !self.is_in(before) {
            self.before = before.cloned();
        }
        if self.marks.last() != Some(mark) {
            self.marks.push(mark.clone());
        }
    }
}

/// What came of the attempt to mark the task as running.
enum Begun {
    /// It is marked as this, and the command may start.
    Marked(Record),
    /// It is not run, and this is the exit code.
    Over(u8),
    /// The term is over, or a newer leader has been here.
    Stopped,
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
        let running = Record::running(runner.identity(), leadership.fencing_token().0);
        let begun = tokio::select! {
            biased;
            _ = leadership.lost() => return Ok(None),
            code = runner.told_to_end() => return Ok(Some(code)),
            begun = self.begin(running, leadership) => begun?,
        };
        let running = match begun {
            Begun::Marked(running) => running,
            Begun::Over(code) => return Ok(Some(code)),
            Begun::Stopped if !leadership.is_valid() => return Ok(None),
            Begun::Stopped => return Ok(Some(self.superseded(leadership))),
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
        self.unbegun = Unbegun::default();
        if cause == Cause::LostLeadership {
            stderr::say(
                "error: leadership was lost, and the command stopped: the task is in doubt",
            );
            return Ok(Some(exit::LOST));
        }
        Ok(Some(self.conclude(runner, &running, end.code()).await))
    }

    async fn begin(&mut self, running: Record, leadership: &Leadership) -> Result<Begun, Error> {
        let mut told = String::new();
        loop {
            let pause = match self.try_begin(&running, leadership).await {
                Ok(Some(begun)) => return Ok(begun),
                Ok(None) => PAUSE,
                Err(Trouble::Passing(error)) => {
                    let text = error.to_string();
                    if told != text {
                        tracing::warn!(%error, hint = error.hint(), "will retry");
                        told = text;
                    }
                    AFTER_TROUBLE
                }
                Err(Trouble::Lasting(error)) => return Err(error),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// None where another client was quicker to write.
    async fn try_begin(
        &mut self,
        running: &Record,
        leadership: &Leadership,
    ) -> Result<Option<Begun>, Trouble> {
        let sight = self.page.read().await?;
        let term = Term {
            token: leadership.fencing_token().0,
            is_valid: leadership.is_valid(),
            newest: self.page.newest_token(sight.object.as_ref()),
            unbegun: &self.unbegun.marks,
        };
        Ok(match self.rules.step(sight.record.as_ref(), term) {
            Step::Stop => Some(Begun::Stopped),
            Step::Over(code) => Some(Begun::Over(self.page.tell(sight.record.as_ref(), code))),
            Step::Doubt(doubt) => {
                let is_written = self.page.replace(sight, Some(&doubt)).await?;
                is_written.then(|| Begun::Over(self.page.tell(Some(&doubt), exit::IN_DOUBT)))
            }
            Step::Begin => {
                self.unbegun.add(running, sight.record.as_ref());
                let is_written = self.page.replace(sight, Some(running)).await?;
                is_written.then(|| Begun::Marked(running.clone()))
            }
        })
    }

    fn superseded(&self, leadership: &Leadership) -> u8 {
        stderr::say(&format!(
            "error: the record was written under a token that is not older than ours ({}), so nothing was \
             started\n  hint: run it again; if that does not help, name a higher token with --token-floor",
            leadership.fencing_token()
        ));
        exit::LOST
    }

    /// Records how the command ended. Needs no term: it replaces only what this very run has written.
    async fn conclude(&self, runner: &mut Runner, running: &Record, code: u8) -> u8 {
        let ended = running.clone().ended(code);
        let patience = runner.kill_after();
        let told_to_end = async {
            runner.told_to_end().await;
            tokio::time::sleep(patience).await;
        };
        let Err(failure) = in_time(self.page.conclude(running, &ended), told_to_end).await else {
            return code;
        };
        stderr::say(&format!(
            "error: the command has ended with {code}, which is not recorded: {failure}"
        ));
        self.page.hint();
        exit::IN_DOUBT
    }

    /// Another candidate leads, or a signal came.
    async fn give_up(&self, code: u8) -> u8 {
        let record = self.page.read().await.ok().and_then(|sight| sight.record);
        let code = match self.rules.over(record.as_ref()) {
            Some(known) if code == exit::CONFLICT => known,
            _ => code,
        };
        self.page.tell(record.as_ref(), code)
    }

    /// Takes back a mark for a command that was not started, so that nobody has to doubt it.
    ///
    /// A write of it that is still on its way may land later, if no other client has written meanwhile: then the
    /// next leader finds it in doubt.
    async fn withdraw(&mut self) {
        let unbegun = std::mem::take(&mut self.unbegun);
        if unbegun.marks.is_empty() {
            return;
        }
        let withdrawn = async {
            loop {
                match self.page.read().await {
                    Ok(sight) if !unbegun.is_in(sight.record.as_ref()) => return,
                    Ok(sight) => match self.page.replace(sight, unbegun.before.as_ref()).await {
                        Ok(true) | Err(Trouble::Lasting(_)) => return,
                        Ok(false) | Err(Trouble::Passing(_)) => {}
                    },
                    Err(_) => {}
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let _ = tokio::time::timeout(WITHDRAWAL, withdrawn).await;
    }
}

impl Page {
    async fn settle(&self, settle: Settle) -> Result<u8, Error> {
        loop {
            let sight = self.look().await?;
            let Some(seen) = &sight.record else { return Ok(0) };
            if seen.state == State::Running {
                // It may run right now; who leads next finds out, and says so.
                stderr::say(
                    "error: it is marked as running: to find out whether it runs, run this again",
                );
                return Ok(exit::CONFLICT);
            }
            let settled = match settle {
                Settle::Done => Some(seen.clone().settled_as_done()),
                Settle::Again => None,
            };
            if self.replace(sight, settled.as_ref()).await.map_err(Trouble::error)? {
                return Ok(0);
            }
        }
    }

    /// Writes how a run ended over what that run has written. Tries for as long as it is polled, whatever the
    /// trouble: a right that was taken away may be given back.
    async fn conclude(&self, running: &Record, ended: &Record) -> Result<(), NotRecorded> {
        let mut is_first = true;
        loop {
            let trouble = match self.read().await {
                Ok(sight) if sight.record.as_ref() == Some(ended) => return Ok(()),
                Ok(sight) if !running.is_open_in(sight.record.as_ref()) => {
                    return Err(NotRecorded::Changed);
                }
                Ok(sight) => match self.replace(sight, Some(ended)).await {
                    Ok(true) => return Ok(()),
                    Ok(false) => None,
                    // To write the same again would be stored in the same way.
                    Err(Trouble::Lasting(error @ Error::Altered { .. })) => {
                        return Err(NotRecorded::Altered(error));
                    }
                    Err(trouble) => Some(trouble.error()),
                },
                Err(trouble) => Some(trouble.error()),
            };
            if let Some(error) = trouble {
                if is_first {
                    tracing::warn!(%error, "the end of the command is not recorded yet: will retry");
                }
                is_first = false;
                tokio::time::sleep(AFTER_TROUBLE).await;
            }
        }
    }

    /// Says what is known, and returns the code. The code is the answer, also where nobody reads the words.
    fn tell(&self, seen: Option<&Record>, code: u8) -> u8 {
        let Some(record) = seen else { return code };
        if let Err(error) = output::line(&format::printable_json(&record.to_line())) {
            stderr::say(&format!("error: cannot write to standard output: {error}"));
        }
        if record.state == State::InDoubt {
            self.hint();
        }
        code
    }

    fn hint(&self) {
        stderr::say(&format!(
            "hint: check whether it was done, then: incumbent once {} --namespace {} --settle done (or \
             --settle again)",
            self.lock,
            self.lock.namespace()
        ));
    }
}

/// Why the end of a command is not recorded.
#[derive(Debug, thiserror::Error)]
enum NotRecorded {
    #[error("another client has changed its record in the meantime")]
    Changed,
    #[error(transparent)]
    Altered(Error),
    #[error("the API server did not accept it")]
    Refused,
    #[error("this program was told to end")]
    ToldToEnd,
}

/// Waits for the end of a command to be recorded, or says why it is not.
async fn in_time(
    recorded: impl Future<Output = Result<(), NotRecorded>>,
    told_to_end: impl Future<Output = ()>,
) -> Result<(), NotRecorded> {
    tokio::select! {
        biased;
        outcome = recorded => outcome,
        () = tokio::time::sleep(PATIENCE) => Err(NotRecorded::Refused),
        () = told_to_end => Err(NotRecorded::ToldToEnd),
    }
}

/// Half of what elections take for a token. A record above it was written by hand, and stays as it is.
const HIGHEST_FLOOR: u64 = 1 << 61;

/// How long the end of a command is tried to be recorded. Named in docs/once.md.
const PATIENCE: Duration = Duration::from_secs(300);

/// For taking back a mark, while somebody waits for this program to end.
const WITHDRAWAL: Duration = Duration::from_secs(10);

/// Between two writes that others were quicker than, while the term may end any moment.
const PAUSE: Duration = Duration::from_millis(50);

/// After a failure that passes.
const AFTER_TROUBLE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
