//! The answers about the tasks of this member: each says for how long it is valid.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use incumbent::{Task, Timing};
use serde::Serialize;
use tokio::sync::watch;

use super::super::answers::{boot_time, millis};
use super::super::lifeline::{Lifeline, Lifelines};
use super::super::stop_time::StopTime;
use super::book::{Asker, Book, Entry, Held, NotHeld, State, Stopped};
use super::news::{Known, News};
use crate::model::format;

/// The tasks, to ask from anywhere.
#[derive(Clone, Debug)]
pub(crate) struct OwnTasks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    group: String,
    namespace: String,
    member: String,
    stop_time: StopTime,
    /// Distinguishes the numbers of changes of this process from those of its predecessor.
    start: String,
    lifelines: Lifelines,
    /// Whether tasks are shown only while a lifeline is open.
    needs_lifeline: bool,
    book: Mutex<Book<Owned>>,
    changes: watch::Sender<u64>,
}

/// A task in the book.
#[derive(Debug)]
struct Owned {
    task: Arc<Task>,
    stop_time: StopTime,
}

/// Which group and member this is, and how the application learns of its tasks.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) group: String,
    pub(crate) namespace: String,
    pub(crate) member: String,
    pub(crate) timing: Timing,
    pub(crate) lifelines: Lifelines,
    pub(crate) needs_lifeline: bool,
}

/// What `GET /v1/tasks` answers.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    pub(crate) group: String,
    pub(crate) namespace: String,
    pub(crate) member: String,
    pub(crate) tasks: Vec<TaskAnswer>,
    #[serde(flatten)]
    pub(crate) validity: Validity,
}

/// For how long the application may work on the tasks that run, if it hears nothing more.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Validity {
    /// How many tasks run.
    pub(crate) running: usize,
    /// 0 if none does.
    pub(crate) valid_for_ms: u64,
    pub(crate) valid_until_boot_ms: u64,
    pub(crate) stop_within_ms: u64,
    pub(crate) change: String,
}

/// One task.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskAnswer {
    pub(crate) name: String,
    pub(crate) number: Option<u16>,
    pub(crate) token: u64,
    pub(crate) state: State,
    /// For how long the application may work on it; 0 if it may not.
    pub(crate) valid_for_ms: u64,
    /// The same as a moment, in milliseconds on `CLOCK_BOOTTIME`, which is what `/proc/uptime` shows.
    pub(crate) valid_until_boot_ms: u64,
    /// By when work on it has to have stopped.
    pub(crate) stop_within_ms: u64,
}

/// What a listener gets.
#[derive(Debug)]
pub(crate) enum Told {
    News(News, TaskAnswer),
    Still(Validity),
}

/// A lifeline of the application. When it is dropped, the work that relied on it has ended.
#[derive(Debug)]
pub(crate) struct HeldLifeline {
    pub(crate) number: u64,
    tasks: OwnTasks,
    lifeline: Option<Lifeline>,
}

impl OwnTasks {
    pub(crate) fn new(facts: Facts) -> Self {
        let Facts { group, namespace, member, timing, lifelines, needs_lifeline } = facts;
        Self(Arc::new(Inner {
            group,
            namespace,
            member,
            stop_time: StopTime::of(&timing),
            start: format!("{:x}", boot_time().as_millis()),
            lifelines,
            needs_lifeline,
            book: Mutex::default(),
            changes: watch::Sender::default(),
        }))
    }

    pub(crate) fn group(&self) -> &str {
        &self.0.group
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.0.namespace
    }

    pub(crate) fn member(&self) -> &str {
        &self.0.member
    }

    /// This member owns the task. It is released when neither the book nor the caller holds it any more.
    pub(crate) fn assign(&self, task: &Arc<Task>) {
        let (name, token) = (task.name(), task.fencing_token().0);
        let owned = Owned { task: Arc::clone(task), stop_time: self.0.stop_time };
        self.book().assign(name, task.number(), token, owned);
        self.changed();
    }

    /// The task of this name is revoked, or lost.
    pub(crate) fn look(&self, name: &str) {
        self.book().look(name);
        self.changed();
    }

    /// The application says that the work on this task has stopped. Says whether the task is released with that.
    pub(crate) fn stopped(&self, name: &str, token: u64) -> Result<bool, NotHeld> {
        let stopped = self.book().stopped(name, token)?;
        self.changed();
        Ok(matches!(stopped, Stopped::Released(_)))
    }

    /// Releases what may be released, and says when to look again.
    pub(crate) fn settle(&self, has_ended: bool) -> Option<Duration> {
        let (due, next) = self.book().due(boot_time(), has_ended);
        if !due.is_empty() {
            self.changed();
        }
        next
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.book().is_empty()
    }

    /// All tasks as they are now. An application that gets this answer may work on them.
    pub(crate) fn ask(&self, asker: Asker) -> Answer {
        let mut book = self.book();
        let names: Vec<_> = book.entries().map(|(name, _)| name.to_owned()).collect();
        let tasks = names.iter().filter_map(|name| self.show(&mut book, name, asker));
        let tasks: Vec<_> = tasks.collect();
        // Before the book can change: an answer must not name a change that it does not show.
        let validity = self.validity(&tasks);
        drop(book);
        let (group, namespace) = (self.0.group.clone(), self.0.namespace.clone());
        Answer { group, namespace, member: self.0.member.clone(), tasks, validity }
    }

    /// What to tell a listener that knows this: what has happened to a task; if nothing has, and `is_due`, for how long
    /// all that it knows to run is still valid.
    pub(crate) fn next(&self, known: &mut Known, asker: Asker, is_due: bool) -> Option<Told> {
        let mut book = self.book();
        loop {
            if let Some((news, name, number, token)) = known.next(&mut book, self.shows_running()) {
                let shown = self.show(&mut book, &name, asker);
                let shown = shown.filter(|task| task.token == token);
                let gone = || TaskAnswer::gone(&name, number, token);
                return Some(Told::News(news, shown.unwrap_or_else(gone)));
            }
            if !is_due {
                return None;
            }
            let running = known.running().map(|name| self.show(&mut book, name, asker));
            let running: Option<Vec<_>> = running.collect();
            // A listener takes it as said of all that it knows to run. So nothing of that may have ended meanwhile.
            if let Some(running) = running
                && running.iter().all(|task| task.state == State::Running)
            {
                return Some(Told::Still(self.validity(&running)));
            }
        }
    }

    fn show(&self, book: &mut Book<Owned>, name: &str, asker: Asker) -> Option<TaskAnswer> {
        // Read before, so that a pause between the two makes the answer valid for less, not for more.
        let now = boot_time();
        if book.look(name) {
            self.changed();
        }
        let entry = book.get(name)?;
        let is_running = entry.state == State::Running;
        if is_running && !self.shows_running() {
            return None;
        }
        let valid_for = if is_running { entry.held.valid_for() } else { Duration::ZERO };
        let answer = self.answer(name, entry, now, valid_for);
        if is_running {
            let work_until =
                boot_time().saturating_add(valid_for).saturating_add(self.0.stop_time.budget);
            book.tell(name, asker, work_until);
        }
        Some(answer)
    }

    fn answer(
        &self,
        name: &str,
        entry: &Entry<Owned>,
        now: Duration,
        valid_for: Duration,
    ) -> TaskAnswer {
        let stop_within = match entry.state {
            State::Running => valid_for.saturating_add(self.0.stop_time.budget),
            State::Revoked | State::Lost => entry.work_may_run_for(now),
            State::Done => Duration::ZERO,
        };
        let valid_until = now.saturating_add(valid_for);
        TaskAnswer {
            name: name.to_owned(),
            number: entry.number,
            token: entry.token,
            state: entry.state,
            valid_for_ms: millis(valid_for),
            valid_until_boot_ms: if valid_for.is_zero() { 0 } else { millis(valid_until) },
            stop_within_ms: millis(stop_within),
        }
    }

    /// Of all that run, the least.
    fn validity(&self, tasks: &[TaskAnswer]) -> Validity {
        let running = || tasks.iter().filter(|task| task.state == State::Running);
        let least = |of: fn(&TaskAnswer) -> u64| running().map(of).min().unwrap_or(0);
        Validity {
            running: running().count(),
            valid_for_ms: least(|task| task.valid_for_ms),
            valid_until_boot_ms: least(|task| task.valid_until_boot_ms),
            stop_within_ms: least(|task| task.stop_within_ms),
            change: self.change(),
        }
    }

    /// Whether an answer may say that a task runs.
    fn shows_running(&self) -> bool {
        !self.0.needs_lifeline || self.0.lifelines.is_held()
    }

    /// Counts one more lifeline, unless there are too many.
    pub(crate) fn hold_lifeline(&self) -> Option<HeldLifeline> {
        let (lifeline, number) = (self.0.lifelines.hold()?, fresh_number());
        self.changed();
        Some(HeldLifeline { number, tasks: self.clone(), lifeline: Some(lifeline) })
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// What the latest change is called.
    pub(crate) fn change(&self) -> String {
        format!("{}-{}", self.0.start, *self.0.changes.borrow())
    }

    fn changed(&self) {
        self.0.changes.send_modify(|number| *number += 1);
    }

    fn book(&self) -> MutexGuard<'_, Book<Owned>> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TaskAnswer {
    /// It is no longer this member's.
    fn gone(name: &str, number: Option<u16>, token: u64) -> Self {
        Self {
            name: name.to_owned(),
            number,
            token,
            state: State::Lost,
            valid_for_ms: 0,
            valid_until_boot_ms: 0,
            stop_within_ms: 0,
        }
    }
}

impl Drop for HeldLifeline {
    fn drop(&mut self) {
        self.tasks.book().lifeline_closed(self.number);
        drop(self.lifeline.take());
        self.tasks.changed();
    }
}

impl Held for Owned {
    fn valid_for(&self) -> Duration {
        self.task.valid_for()
    }

    fn is_lost(&self) -> bool {
        !self.task.seat().is_valid()
    }

    fn stop_within(&self) -> Duration {
        self.stop_time.left(self.task.seat().stop_within())
    }
}

/// As JSON, in which nothing can move a terminal.
pub(crate) fn json(answer: &impl Serialize) -> String {
    let json = serde_json::to_string(answer).expect("it has only names and numbers");
    format::printable_json(&json)
}

fn fresh_number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static LATEST: AtomicU64 = AtomicU64::new(0);
    LATEST.fetch_add(1, Ordering::Relaxed)
}
