//! The commands of tasks: each runs from the moment that its task is this member's until nothing of it is left.

use std::cell::RefCell;
use std::io;
use std::time::{Duration, Instant};

use incumbent::{Error, Group, GroupHandle, Task};
use tokio::sync::Mutex;

use super::args::Work;
use super::failures::{AllFailures, Next, Rules};
use crate::commands::participate::guarded::{
    Cause, Company, Containment, Deadlines, End, GuardedChild, Guardians, Launch, Signals,
};
use crate::runtime::exit;

/// What the commands of all tasks have in common.
pub(crate) struct Commands<'a> {
    args: &'a Work,
    rules: Rules,
    member: String,
    namespace: String,
    containment: Containment,
    guardians: Guardians,
    handle: GroupHandle,
    /// How often to look whether the seat was renewed.
    tick: Duration,
    /// Of the next command to start.
    turn: Mutex<()>,
    failures: RefCell<AllFailures>,
}

impl<'a> Commands<'a> {
    pub(crate) fn new(
        args: &'a Work,
        group: &Group,
        namespace: String,
        containment: Containment,
        guardians: Guardians,
    ) -> Result<Self, Error> {
        Ok(Self {
            args,
            rules: Rules {
                restart: args.restart,
                max_restarts: args.max_restarts,
                are_permits: args.membership.shared.are_permits(),
            },
            member: group.member().to_owned(),
            namespace,
            containment,
            guardians,
            handle: group.handle(),
            tick: args.timing.timing()?.renew_interval() / 4,
            turn: Mutex::default(),
            failures: RefCell::default(),
        })
    }

    /// Runs the command while the task is this member's. The task is dropped, and so released, when this returns: how the
    /// command of a permit ended for good.
    pub(crate) async fn run(&self, task: Task, mut signals: Signals) -> Option<End> {
        while task.is_valid() {
            let begun = Instant::now();
            let (cause, end) = self.run_once(&task, &mut signals).await;
            if cause != Cause::ByItself || !task.is_valid() {
                return None;
            }
            match self.judge(task.name(), end, begun.elapsed()) {
                Next::GiveBack => return Some(end),
                Next::Rest => {
                    task.revoked().await;
                    return None;
                }
                Next::Again { pause, .. } => tokio::select! {
                    biased;
                    () = task.revoked() => return None,
                    () = tokio::time::sleep(pause) => {}
                },
            }
        }
        None
    }

    /// Runs the command one time. When this returns, nothing of it is left.
    async fn run_once(&self, task: &Task, signals: &mut Signals) -> (Cause, End) {
        let (group, name) = (&self.args.group, task.name());
        let mut guarded = match self.start(task).await {
            Ok(Some(guarded)) => guarded,
            Ok(None) => return (Cause::LostLeadership, End::Unstarted(exit::LOST)),
            Err(error) => {
                tracing::warn!(group, task = name, %error, "the command cannot be started");
                return (Cause::ByItself, End::REFUSED);
            }
        };
        let leadership = task.seat();
        let company = Company { leadership, tick: self.tick, kill_after: self.args.kill_after };
        let (cause, end) = company.keep(&mut guarded, task.revoked(), signals).await;
        let reason = match cause {
            Cause::LostLeadership => "task-revoked",
            cause => cause.word(),
        };
        let (end_word, code) = (end.word(), end.code());
        tracing::info!(group, task = name, reason, end = end_word, code, "the command has ended");
        (cause, end)
    }

    /// Starts the command, or nothing where the task is this member's no longer.
    async fn start(&self, task: &Task) -> io::Result<Option<GuardedChild>> {
        // One at a time: a member that gets a thousand tasks has to renew its seat meanwhile.
        let _turn = self.turn.lock().await;
        tokio::task::yield_now().await;
        if !task.is_valid() {
            return Ok(None);
        }
        let guarded = GuardedChild::start_aside(&Launch {
            command: &self.args.command,
            variables: &self.variables(task),
            containment: self.containment,
            deadlines: Deadlines::of(task.seat()),
            guardians: &self.guardians,
        });
        guarded.map(Some)
    }

    /// Says what to do after the command has ended by itself, and declines the task where it keeps failing.
    fn judge(&self, task: &str, end: End, lasted: Duration) -> Next {
        let mut failures = self.failures.borrow_mut();
        let (next, times) = failures.next(task, self.rules, end, lasted, Instant::now());
        let (group, code) = (&self.args.group, end.code());
        if end.code() != 0 {
            tracing::warn!(group, task, code, times, "the command of a task has failed");
        }
        if let Next::Again { decline_for: Some(time), .. } = next {
            let seconds = time.as_secs();
            tracing::warn!(group, task, seconds, "declining the task: other members should run it");
            self.handle.decline(task, true);
            let (handle, task) = (self.handle.clone(), task.to_owned());
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                handle.decline(&task, false);
            });
        }
        next
    }

    fn variables(&self, task: &Task) -> Vec<(&'static str, String)> {
        vec![
            ("INCUMBENT_TASK", task.name().to_owned()),
            ("INCUMBENT_TOKEN", task.fencing_token().to_string()),
            ("INCUMBENT_GROUP", self.args.group.clone()),
            ("INCUMBENT_MEMBER", self.member.clone()),
            ("INCUMBENT_NAMESPACE", self.namespace.clone()),
        ]
    }
}
