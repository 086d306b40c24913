//! What a leader may write over a record, and which run that write begins.

use std::time::Duration;

use super::moment::Moment;
use super::policy::{CatchUp, OnDeath, Overlap, Policies};
use super::record::{Asked, Outcome, Past, Run, ScheduleRecord, Spec, Tick};
use super::ticks::{Due, Timetable};
use crate::identity::Session;
use crate::record::FencingToken;

/// A leader that judges a record in which its own term is running.
pub(super) struct Judge<'a> {
    pub(super) token: FencingToken,
    pub(super) session: Session,
    pub(super) now: Moment,
    pub(super) timetable: Timetable<'a>,
    pub(super) policies: &'a Policies,
    pub(super) own_spec: &'a Spec,
    /// When this leader first saw that the stored spec is not its own. Ticks up to then belong to the stored one.
    pub(super) changes_at: Option<Moment>,
    /// The highest floor that this process has seen.
    pub(super) remembered: Option<Moment>,
    /// Runs that this process has written and not started, because no answer came.
    pub(super) unanswered: &'a [Run],
}

/// What happens to a record.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It stays as it is. Look at it again at this moment at the latest.
    Stays(Option<Moment>),
    /// This replaces it. If it has a run that the old one does not have, that run starts once the write is answered.
    Write(Box<ScheduleRecord>),
    /// The run that is in progress here makes way for a tick that is due.
    Stop,
}

/// A run of this process that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) run: Run,
    pub(super) outcome: Outcome,
    pub(super) at: Moment,
}

/// What this process knows of the run in the record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Here<'a> {
    /// This very run is in progress here.
    Running(&'a Run),
    /// This very run is over.
    Ended(&'a Ended),
    /// No run is in progress here, and none has ended of which the record does not know.
    Nothing,
}

impl Judge<'_> {
    /// Decides what happens to `record`.
    pub(super) fn verdict(&self, record: &ScheduleRecord, here: Here<'_>) -> Verdict {
        let mut next = self.with_remembered_floor(record);
        match (&record.run, here) {
            (None, _) => {}
            (Some(run), Here::Running(own)) if run == own => return self.during(record, run),
            (Some(run), Here::Ended(ended)) if *run == ended.run => {
                next.close(ended.outcome, ended.at);
                self.skip(&mut next, run.began, ended.at);
            }
            // The write that begins it was applied, and its answer was lost. A read starts nothing.
            (Some(run), _) if self.unanswered.contains(run) => {
                if next.suspended.is_none() && next.moved_to.is_none() && run.token == self.token {
                    next.run = Some(run.again(self.token, self.session, self.now));
                    return written(record, next, None);
                }
                next.close(Outcome::Unstarted, self.now);
            }
            (Some(run), _) if run.token < self.token || self.is_own(run) => {
                next.close(Outcome::InDoubt, self.now);
            }
            // A newer leader has written it.
            (Some(_), _) => return Verdict::Stays(None),
        }
        let wake = match next.moved_to {
            Some(_) => None,
            None => self.begin(&mut next),
        };
        written(record, next, wake)
    }

    /// Whether this process began it in this term. If it is not in progress here, the record was restored.
    fn is_own(&self, run: &Run) -> bool {
        run.token == self.token && run.session == self.session
    }

    /// The run of this process is in progress.
    fn during(&self, record: &ScheduleRecord, run: &Run) -> Verdict {
        let mut next = self.with_remembered_floor(record);
        if record.moved_to.is_some() || record.suspended.is_some() {
            return written(record, next, None);
        }
        let due = self.due(record);
        if due.ticks.is_empty() {
            let is_complete = self.take_over_spec(&mut next, due.next);
            let wake = due.next.map(|tick| self.timetable.due_at(tick));
            return written(record, next, wake.filter(|_| !is_complete));
        }
        match self.policies.overlap {
            // Ticks that were due before it began wait for their turn.
            Overlap::Replace if self.timetable.is_due_since(record, run.began, self.now) => {
                Verdict::Stop
            }
            Overlap::Replace => {
                let wake = due.next.map(|tick| self.timetable.due_at(tick));
                written(record, next, wake.filter(|at| *at > self.now))
            }
            Overlap::Forbid if due.has_more => {
                self.skip(&mut next, run.began, self.now);
                written(record, next, None)
            }
            Overlap::Forbid | Overlap::Queue => written(record, next, None),
        }
    }

    /// Chooses the run that begins, and decides on the ticks before it. Otherwise says when to look again.
    fn begin(&self, next: &mut ScheduleRecord) -> Option<Moment> {
        let again = self.again(next);
        if let Again::First(run) = again {
            next.run = Some(run);
            return None;
        }
        if let Some(Asked { id, at }) = next.asked.filter(|_| !self.is_new(next)) {
            next.asked = None;
            next.run = Some(self.first_attempt(Tick::Asked { id, at }));
            return None;
        }
        let due = self.due(next);
        if next.suspended.is_some() {
            self.pass_suspended(next, &due);
            return None;
        }
        let waiting = due.next.map(|tick| self.timetable.due_at(tick));
        let is_free = due.ticks.is_empty();
        self.begin_tick(next, &due);
        if next.run.is_some() {
            return None;
        }
        if !due.has_more && self.take_over_spec(next, due.next) {
            return None;
        }
        match again {
            Again::From(moment, run) if is_free && moment <= self.now => {
                next.run = Some(run);
                None
            }
            Again::From(moment, _) if is_free => {
                Some(waiting.map_or(moment, |due| due.min(moment)))
            }
            _ => waiting,
        }
    }

    /// The ticks of the stored spec that are due.
    fn due(&self, record: &ScheduleRecord) -> Due {
        let mut due = self.timetable.due(record, self.now);
        if let Some(changes_at) = self.changes_at {
            let of_stored = due.ticks.partition_point(|tick| *tick <= changes_at);
            if of_stored < due.ticks.len() {
                due.next = Some(due.ticks[of_stored]);
                due.has_more = false;
                due.ticks.truncate(of_stored);
            }
        }
        due
    }

    fn begin_tick(&self, next: &mut ScheduleRecord, due: &Due) {
        let is_late = |tick: Moment| {
            self.now.saturating_since(self.timetable.due_at(tick)) > self.policies.deadline
        };
        let on_time = due.ticks.iter().position(|tick| !is_late(*tick));
        let late = on_time.unwrap_or(due.ticks.len());
        let first = match self.policies.catch_up {
            CatchUp::None => late,
            CatchUp::Last if on_time.is_none() && !due.has_more => late.saturating_sub(1),
            CatchUp::Last => late,
            CatchUp::All(most) => late.saturating_sub(most as usize),
        };
        // If these are not all, newer ones may count among the newest.
        let is_certain = on_time.is_some() || !due.has_more || first == 0;
        let begins = due.ticks.get(first).copied().filter(|_| is_certain);
        next.counts.missed += first as u64;
        if let Some(newest) = begins.or_else(|| first.checked_sub(1).map(|index| due.ticks[index]))
        {
            self.raise(next, newest);
        }
        if let Some(tick) = begins {
            next.counts.ran += 1;
            next.run = Some(self.first_attempt(Tick::At(tick)));
        }
    }

    /// Whether the record was created a moment ago, so that no run may begin: if it was deleted, a run of a former leader
    /// may still be in progress. A floor that is further ahead was written by a wrong clock.
    fn is_new(&self, record: &ScheduleRecord) -> bool {
        let floor = record.floor;
        self.now < floor && floor <= self.now + BEFORE_THE_FIRST_TICK
    }

    /// Raises the floor to a tick.
    fn raise(&self, next: &mut ScheduleRecord, tick: Moment) {
        debug_assert!(next.floor < tick && tick <= self.now, "the floor rises, up to now");
        next.floor = tick;
        next.floor_civil = self.timetable.civil(&next.spec, tick);
    }

    fn first_attempt(&self, tick: Tick) -> Run {
        Run {
            tick,
            attempt: 1,
            failures: 0,
            token: self.token,
            session: self.session,
            first: self.now,
            began: self.now,
        }
    }

    /// Ticks that were due during a run are skipped. Those that were due before it wait for their turn.
    fn skip(&self, next: &mut ScheduleRecord, began: Moment, ended: Moment) {
        if self.policies.overlap != Overlap::Forbid || next.suspended.is_some() {
            return;
        }
        let until = self.changes_at.unwrap_or(self.now).min(self.now).min(ended);
        let due = self.timetable.due(next, until);
        let is_first_after = |tick: &Moment| self.timetable.due_at(*tick) > began;
        if due.ticks.first().is_some_and(is_first_after) {
            next.counts.skipped += due.ticks.len() as u64;
            self.raise(next, due.ticks[due.ticks.len() - 1]);
        }
    }

    /// Counts the ticks that passed during a suspension, if there are many or the spec changes.
    fn pass_suspended(&self, next: &mut ScheduleRecord, due: &Due) {
        if due.ticks.len() >= MANY_SUSPENDED || self.changes_at.is_some() {
            next.counts.suspended += due.ticks.len() as u64;
            if let Some(newest) = due.ticks.last() {
                self.raise(next, *newest);
            }
        }
        if !due.has_more {
            self.take_over_spec(next, due.next);
        }
    }

    /// Takes over the own spec once each tick of the stored one is decided. `undecided` is the first that is not.
    fn take_over_spec(&self, next: &mut ScheduleRecord, undecided: Option<Moment>) -> bool {
        let Some(changes_at) = self.changes_at else { return false };
        if undecided.is_some_and(|tick| tick <= changes_at) {
            return false;
        }
        next.spec = self.own_spec.clone();
        next.floor = next.floor.max(changes_at);
        next.floor_civil = None;
        true
    }

    /// Decides whether the newest run is attempted again.
    fn again(&self, record: &ScheduleRecord) -> Again {
        let Some(Past { run, ended, outcome }) = record.last.first() else { return Again::No };
        let has_passed = matches!(run.tick, Tick::At(tick) if tick != record.floor);
        let due_at = self.timetable.due_at(run.tick.moment());
        let since = due_at.max(run.first);
        let is_late = self.now.saturating_since(since) > self.policies.deadline;
        if has_passed || is_late || record.suspended.is_some() {
            return Again::No;
        }
        let next = run.again(self.token, self.session, self.now);
        match outcome {
            Outcome::InDoubt | Outcome::Stopped if self.policies.on_death == OnDeath::InDoubt => {
                Again::No
            }
            Outcome::Unstarted | Outcome::InDoubt | Outcome::Stopped => {
                let pause = if *outcome == Outcome::Unstarted { PAUSE } else { Duration::ZERO };
                // It may have begun by a clock that was ahead.
                let at = due_at.max(*ended + pause);
                if at <= self.now { Again::First(next) } else { Again::From(at, next) }
            }
            Outcome::Failed if run.failures < self.policies.retries => {
                let next = Run { failures: run.failures + 1, ..next };
                Again::From(*ended + pause_after(run.failures), next)
            }
            _ => Again::No,
        }
    }

    /// The record with the highest floor that this process has seen: a record that was restored or edited may have a
    /// lower one.
    fn with_remembered_floor(&self, record: &ScheduleRecord) -> ScheduleRecord {
        let mut next = record.clone();
        if let Some(remembered) = self.remembered.filter(|remembered| *remembered > record.floor) {
            next.floor = remembered;
            next.floor_civil = None;
        }
        next
    }
}

/// A new schedule runs nothing for this long, so that a schedule whose record was deleted does not run the same tick
/// again. Two clocks may each be five seconds off, the server's time comes in whole seconds, and one second is spare.
pub(super) const BEFORE_THE_FIRST_TICK: Duration = Duration::from_secs(12);

/// Whether, and when, the newest run is attempted again.
enum Again {
    No,
    /// It was interrupted, so it goes before other ticks.
    First(Run),
    /// It has failed: from this moment on, if no other tick is due.
    From(Moment, Run),
}

/// Ticks that pass during a suspension are looked at in each step until they are counted. A schedule of each second has
/// as many in a quarter of an hour.
const MANY_SUSPENDED: usize = 1000;

/// How long to wait before a run that could not be started is attempted again.
const PAUSE: Duration = Duration::from_secs(1);

/// How long to wait before a failed run is attempted again: a second, and twice as long after each failure.
fn pause_after(failures: u32) -> Duration {
    PAUSE * (1 << failures.min(6))
}

fn written(record: &ScheduleRecord, next: ScheduleRecord, wake: Option<Moment>) -> Verdict {
    match next == *record {
        true => Verdict::Stays(wake),
        false => Verdict::Write(Box::new(next)),
    }
}

/// The record without its suspension. The ticks that passed during the suspension are counted, and never caught up.
pub fn resumed(record: &ScheduleRecord, now: Moment, timetable: Timetable<'_>) -> ScheduleRecord {
    let mut next = record.clone();
    if next.suspended.take().is_none() {
        return next;
    }
    let timetable = Timetable { jitter: Duration::ZERO, ..timetable };
    loop {
        let due = timetable.due(&next, now);
        next.counts.suspended += due.ticks.len() as u64;
        if let Some(newest) = due.ticks.last() {
            next.floor = *newest;
            next.floor_civil = timetable.civil(&next.spec, *newest);
        }
        if !due.has_more {
            break;
        }
    }
    if now > next.floor {
        next.floor = now;
        next.floor_civil = None;
    }
    next
}
