//! A candidate that behaves like client-go (`tools/leaderelection`) and keeps its margin.
//!
//! It polls, and counts its renew deadline from the answer. When it sees another holder, it
//! continues until that deadline. It writes the whole record and leaves annotations unchanged. Its
//! create makes it the holder. Unlike client-go with `ReleaseOnCancel`, it releases nothing while
//! its work runs.

use std::time::Duration;

use incumbent_core::{Identity, Instant, Operation, Record, Reply, Snapshot, Stamp};

use super::network::Answer;
use super::{Event, World};
use crate::chance::Chance;
use crate::clock::{Clock, Micros, micros};
use crate::plan::Plan;
use crate::server::Ask;
use crate::tally::{Fault, Outcome};

pub(super) struct Foreign {
    clock: Clock,
    identity: Option<Identity>,
    lease: Duration,
    deadline: Duration,
    retry: Duration,
    /// The lock as last read or written.
    observed: Option<Snapshot>,
    /// When it noticed a change of the lock.
    observed_at: Instant,
    pub(super) leads: bool,
    /// When it stops trying to renew.
    renew_by: Instant,
    /// When its last write was applied, in true time.
    pub(super) landed_at: Micros,
    /// Another candidate has acquired while it led, with an excuse, and it has written nothing
    /// since.
    pub(super) void: bool,
    /// It confuses another term with one that it has seen before, and may acquire too early. (This
    /// happens if a lock is deleted and acquired again at the same microsecond of a wall clock that
    /// stands still.)
    pub(super) mistakes: bool,
    /// The number of its next tick, and below that of its request; zero if there is none.
    tick: u32,
    flight: u32,
    expects: Expects,
}

#[derive(PartialEq)]
enum Expects {
    Read,
    Written,
}

impl Foreign {
    pub(super) fn new(index: usize, plan: &Plan, chance: &mut Chance) -> Self {
        let timing = plan.candidates[0].timing;
        let rate = match plan.has(Fault::ClockRates) {
            true => chance.between(990_100, 1_009_900),
            false => 1_000_000,
        };
        Self {
            clock: Clock::new(chance.below(1_000_000_000), rate, 0, 1_000_000),
            identity: Identity::new(format!("foreign-{index}")),
            lease: timing.lease_duration(),
            deadline: timing.renew_deadline(),
            retry: timing.retry_period(),
            observed: None,
            observed_at: Instant::START,
            leads: false,
            renew_by: Instant::START,
            landed_at: 0,
            void: false,
            mistakes: false,
            tick: 0,
            flight: 0,
            expects: Expects::Read,
        }
    }

    /// Whether its lease was still running when the acquiring write of another candidate was
    /// applied.
    pub(super) fn leads_within_lease(&self, acquired_at: Micros) -> bool {
        self.leads && acquired_at < self.landed_at + micros(self.lease) * 100 / 101
    }

    fn is_holder(&self) -> bool {
        self.observed.as_ref().is_some_and(|lock| lock.record.holder == self.identity)
    }

    /// client-go's `isLeaseValid`: it counts from when the candidate noticed a change, for as long
    /// as the record says.
    fn must_wait(&self, now: Instant) -> bool {
        let Some(lock) = &self.observed else { return false };
        let lease = lock.record.lease_duration.unwrap_or_default();
        lock.record.holder.is_some() && !self.is_holder() && now < self.observed_at + lease
    }

    fn observe(&mut self, now: Instant, lock: Snapshot) {
        if let Some(seen) = &self.observed {
            let (old, new) = (&seen.record, &lock.record);
            let is_same_to_it =
                (&old.holder, old.lease_duration, &old.acquired, &old.renewed, old.transitions)
                    == (
                        &new.holder,
                        new.lease_duration,
                        &new.acquired,
                        &new.renewed,
                        new.transitions,
                    );
            let is_same = seen.version.uid == lock.version.uid
                && (old.session, old.last_token) == (new.session, new.last_token);
            self.mistakes = is_same_to_it && (self.mistakes || !is_same);
            if is_same_to_it {
                self.observed = Some(lock);
                return;
            }
        }
        self.observed_at = now;
        self.observed = Some(lock);
    }

    /// The record that it writes to acquire or renew.
    fn written(&self, wall: Stamp) -> Record {
        let old = self.observed.as_ref().map(|lock| &lock.record);
        let goes_on = self.is_holder();
        let acquired = old.filter(|_| goes_on).and_then(|old| old.acquired.clone());
        Record {
            holder: self.identity.clone(),
            lease_duration: Some(self.lease),
            acquired: acquired.or_else(|| Some(wall.clone())),
            renewed: Some(wall),
            transitions: old.map_or(0, |old| old.transitions + u32::from(!goes_on)),
            ..Record::default()
        }
    }
}

impl World {
    pub(super) fn foreign_starts_at(&mut self, index: usize, at: Micros) {
        let number = self.number();
        let foreign = &mut self.foreign[index];
        foreign.tick = number;
        foreign.flight = 0;
        foreign.observed = None;
        foreign.leads = false;
        self.at(at, Event::Foreign { index, number });
    }

    pub(super) fn foreign_crashes(&mut self, index: usize) {
        let client = self.nodes.len() + index;
        self.note_of(client, "crashes", String::new);
        let delay = self.chance.below(2 * micros(self.foreign[index].lease));
        self.foreign_starts_at(index, self.now + delay);
    }

    /// A tick, or the time-out of a request.
    pub(super) fn on_foreign(&mut self, index: usize, number: u32) {
        let foreign = &mut self.foreign[index];
        if number != foreign.tick {
            return;
        }
        self.tally.events += 1;
        let now = foreign.clock.instant(self.now);
        if foreign.leads && now >= foreign.renew_by {
            // It no longer leads, and its process exits.
            let client = self.nodes.len() + index;
            self.note_of(client, "LOST", String::new);
            let delay = self.chance.below(micros(self.foreign[index].lease));
            return self.foreign_starts_at(index, self.now + delay);
        }
        let renews = foreign.leads && foreign.is_holder();
        match foreign.observed.as_ref().filter(|_| renews) {
            Some(_) => self.foreign_writes(index),
            None => self.foreign_asks(index, Expects::Read, Operation::Read),
        }
    }

    fn foreign_writes(&mut self, index: usize) {
        let foreign = &self.foreign[index];
        let record = foreign.written(Stamp::At(foreign.clock.now(self.now).wall));
        let operation = match &foreign.observed {
            Some(lock) => Operation::Replace { base: lock.version.clone(), record },
            None => Operation::Create(record),
        };
        self.foreign_asks(index, Expects::Written, operation);
    }

    fn foreign_asks(&mut self, index: usize, expects: Expects, operation: Operation) {
        let flight = self.number();
        let client = self.nodes.len() + index;
        let patience = micros(self.foreign[index].deadline) / 2;
        self.foreign[index].flight = flight;
        self.foreign[index].expects = expects;
        // If no answer arrives by then, it tries again.
        self.foreign_ticks_after(index, patience);
        self.post(client, flight, Ask::Foreign(operation), self.now + patience);
    }

    fn foreign_ticks_after(&mut self, index: usize, delay: Micros) {
        let number = self.number();
        self.foreign[index].tick = number;
        self.after(delay, Event::Foreign { index, number });
    }

    pub(super) fn foreign_hears(&mut self, index: usize, flight: u32, answer: Answer) {
        let foreign = &mut self.foreign[index];
        if foreign.flight != flight {
            return;
        }
        foreign.flight = 0;
        self.tally.events += 1;
        let foreign = &mut self.foreign[index];
        let now = foreign.clock.instant(self.now);
        match answer.reply {
            Reply::Found(lock) => {
                foreign.observe(now, lock);
                if !foreign.must_wait(now) {
                    return self.foreign_writes(index);
                }
            }
            Reply::Missing if foreign.expects == Expects::Read => {
                foreign.observed = None;
                return self.foreign_writes(index);
            }
            Reply::Written(lock) => return self.foreign_has_written(index, lock),
            _ => {
                // It cannot use the fast path any more: the next attempt begins with a read.
                foreign.observed = foreign.observed.take().filter(|_| !foreign.leads);
            }
        }
        self.foreign_tries_again(index);
    }

    fn foreign_tries_again(&mut self, index: usize) {
        let foreign = &self.foreign[index];
        let retry = micros(foreign.retry);
        // JitterFactor is 1.2, which adds up to 120 % and not 20 %.
        let jitter = if foreign.leads { 0 } else { self.chance.below(retry * 12 / 10) };
        self.foreign_ticks_after(index, retry + jitter);
    }

    fn foreign_has_written(&mut self, index: usize, lock: Snapshot) {
        let client = self.nodes.len() + index;
        let foreign = &mut self.foreign[index];
        let now = foreign.clock.instant(self.now);
        foreign.observe(now, lock);
        foreign.observed_at = now;
        let starts = !std::mem::replace(&mut foreign.leads, true);
        foreign.renew_by = now + foreign.retry + foreign.deadline;
        let retry = micros(foreign.retry);
        if starts {
            self.tally.outcome(Outcome::ForeignTerm);
            self.note_of(client, "LEADS", String::new);
            self.check_alone(client);
        }
        self.foreign_ticks_after(index, retry);
    }
}
