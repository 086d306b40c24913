//! What the application knows of each task, and when the task may be released. It reads no clock.
//!
//! The application relies on what it has learned. So a task that this member must give up is held until everything has
//! ended from which the application learned of it. An answer ends when its validity and the time to stop have passed. A
//! lifeline ends when it closes. A task is also released when the application says that the work has stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

/// The tasks of this member.
#[derive(Debug)]
pub(crate) struct Book<H> {
    entries: BTreeMap<String, Entry<H>>,
    /// The tasks whose work has to stop, so that nothing has to look through all tasks for them.
    stopping: BTreeSet<String>,
    /// Under which tokens the application has stopped its work on which tasks: the newest.
    stopped: BTreeSet<(u64, String)>,
}

/// One task that this member holds.
#[derive(Debug)]
pub(crate) struct Entry<H> {
    pub(crate) held: H,
    pub(crate) number: Option<u16>,
    pub(crate) token: u64,
    pub(crate) state: State,
    /// Until when, on the boot-time clock, work may run that relies on an answer.
    told_until: Duration,
    /// The open lifelines over which the application learned of the task.
    lifelines: BTreeSet<u64>,
}

/// What keeps a task this member's. When it is dropped, another member may get the task.
pub(crate) trait Held {
    /// For how much longer the work may run if no renewal succeeds; zero when the task is revoked or lost.
    fn valid_for(&self) -> Duration;
    /// Whether the seat of this member is lost, and the task with it.
    fn is_lost(&self) -> bool;
    /// Within which time the work must have stopped, whatever happens.
    fn stop_within(&self) -> Duration;
}

/// What the application may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Work on the task.
    Running,
    /// Stop the work, and say so: another member is to have the task.
    Revoked,
    /// The seat of this member is lost: the work must end in time.
    Lost,
    /// Nothing: it has said that the work has stopped. The task stays until it is assigned again.
    Done,
}

/// How the application learns of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// Not at all: a long poll waits for a change.
    Poll,
    /// By an answer or an event, which expires.
    Answer,
    /// Over the lifeline of this number, which closes when the application ends.
    Lifeline(u64),
}

/// What came of it that the application has stopped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stopped<H> {
    /// The task is released when this is dropped.
    Released(H),
    /// No other member is to have the task: it stays with this member, and counts as done.
    Kept,
}

/// Why nothing was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotHeld {
    /// This member does not have the task.
    Task,
    /// It has it under this token.
    Token(u64),
}

impl<H> Default for Book<H> {
    fn default() -> Self {
        let (stopping, stopped) = (BTreeSet::new(), BTreeSet::new());
        Self { entries: BTreeMap::new(), stopping, stopped }
    }
}

impl<H: Held> Book<H> {
    /// This member owns the task.
    pub(crate) fn assign(&mut self, name: &str, number: Option<u16>, token: u64, held: H) {
        let (told_until, lifelines) = (Duration::ZERO, BTreeSet::new());
        let state = State::Running;
        let entry = Entry { held, number, token, state, told_until, lifelines };
        self.stopping.remove(name);
        self.entries.insert(name.to_owned(), entry);
    }

    /// Looks whether the task is still this member's, and says whether its state is another than before.
    pub(crate) fn look(&mut self, name: &str) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return false };
        let before = entry.state;
        entry.look();
        if entry.is_to_stop() {
            self.stopping.insert(name.to_owned());
        }
        entry.state != before
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Entry<H>)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Entry<H>> {
        self.entries.get(name)
    }

    /// Whether the application has stopped the work on the task under this token, as far as that is remembered.
    pub(crate) fn was_stopped(&self, name: &str, token: u64) -> bool {
        self.stopped.contains(&(token, name.to_owned()))
    }

    /// The application is about to learn that it may work on the task until then.
    pub(crate) fn tell(&mut self, name: &str, asker: Asker, work_until: Duration) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        match asker {
            Asker::Poll => {}
            Asker::Answer => entry.told_until = entry.told_until.max(work_until),
            Asker::Lifeline(number) => drop(entry.lifelines.insert(number)),
        }
    }

    /// The application says that the work on the task, as it was assigned under this token, has stopped.
    pub(crate) fn stopped(&mut self, name: &str, token: u64) -> Result<Stopped<H>, NotHeld> {
        let entry = self.entries.get_mut(name).ok_or(NotHeld::Task)?;
        if entry.token != token {
            return Err(NotHeld::Token(entry.token));
        }
        entry.look();
        entry.forget();
        self.stopped.insert((token, name.to_owned()));
        if self.stopped.len() > MOST_STOPPED {
            self.stopped.pop_first();
        }
        if entry.state == State::Running {
            entry.state = State::Done;
        }
        if entry.state == State::Done {
            return Ok(Stopped::Kept);
        }
        self.stopping.remove(name);
        let entry = self.entries.remove(name).ok_or(NotHeld::Task)?;
        Ok(Stopped::Released(entry.held))
    }

    /// This lifeline has closed, so the work that relied on it has ended.
    pub(crate) fn lifeline_closed(&mut self, number: u64) {
        for entry in self.entries.values_mut() {
            entry.lifelines.remove(&number);
        }
    }

    /// Takes out what may be released, and says when to look again. `has_ended`: no work runs any more.
    pub(crate) fn due(&mut self, now: Duration, has_ended: bool) -> (Vec<H>, Option<Duration>) {
        let (mut due, mut next) = (Vec::new(), None);
        self.stopping.retain(|name| {
            let Some(entry) = self.entries.get(name) else { return false };
            let left = entry.work_may_run_for(now);
            if has_ended || left.is_zero() {
                due.extend(self.entries.remove(name).map(|entry| entry.held));
                return false;
            }
            next = next.into_iter().chain([left]).min();
            true
        });
        (due, next)
    }
}

impl<H: Held> Entry<H> {
    /// What is true now, also where nothing has said so yet.
    pub(crate) fn look(&mut self) {
        if !self.is_to_stop() && self.held.valid_for().is_zero() {
            self.state = State::Revoked;
        }
        if self.state == State::Revoked && self.held.is_lost() {
            self.state = State::Lost;
        }
    }

    fn is_to_stop(&self) -> bool {
        matches!(self.state, State::Revoked | State::Lost)
    }

    /// For how long work may still run that relies on what the application knows; but no longer than any work may.
    pub(crate) fn work_may_run_for(&self, now: Duration) -> Duration {
        let most = self.held.stop_within();
        match self.lifelines.is_empty() {
            true => self.told_until.saturating_sub(now).min(most),
            false => most,
        }
    }

    fn forget(&mut self) {
        self.told_until = Duration::ZERO;
        self.lifelines.clear();
    }
}

/// As many as the tasks that a member may have. A listener that is so far behind hears once more of the end of a task.
const MOST_STOPPED: usize = 16_384;

#[cfg(test)]
mod tests;
