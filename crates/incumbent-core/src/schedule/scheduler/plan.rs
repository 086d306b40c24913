//! What a replica sends next, and when.

use std::time::Duration;

use super::{LONGEST_SLEEP, Local, RETRY_PERIOD, Scheduler};
use crate::message::Term;
use crate::record::Version;
use crate::schedule::judge::{BEFORE_THE_FIRST_TICK, Here, Judge, Verdict};
use crate::schedule::message::{ScheduleObject, ScheduleOperation, StoredSchedule, Trouble};
use crate::schedule::moment::Moment;
use crate::schedule::record::{Outcome, Run, ScheduleRecord};
use crate::schedule::ticks::{Calendar, Timetable};
use crate::time::{Instant, Now};

/// What to do next.
pub(super) struct Plan {
    pub(super) operation: Option<ScheduleOperation>,
    pub(super) begins: Option<Run>,
    pub(super) stop: bool,
    pub(super) wake: Instant,
}

impl Scheduler {
    pub(super) fn plan(&mut self, now: Now, calendar: &dyn Calendar) -> Plan {
        let term = self.term_at(now.instant);
        let must_close = matches!(self.local, Local::Ended(_)) || !self.unanswered.is_empty();
        if self.in_flight.is_some() || (term.is_none() && !must_close) {
            return Plan::wait(now.instant + LONGEST_SLEEP);
        }
        if now.instant < self.pause {
            return Plan::wait(self.pause);
        }
        let has_read = self.seen.is_some() && !self.is_outdated;
        if has_read && self.clock.now(now).is_none() {
            self.trouble = Some(Trouble::NoDate);
            let again = self.seen_at + LONGEST_SLEEP;
            return if now.instant < again { Plan::wait(again) } else { Plan::read(now.instant) };
        }
        let trusted = self.clock.now(now).filter(|_| !self.is_outdated);
        let (Some(trusted), Some(seen)) = (trusted, self.seen.clone()) else {
            return Plan::read(now.instant);
        };
        let age = now.instant.saturating_since(self.seen_at);
        let plan = match term {
            None => self.close(trusted, seen),
            Some(term) => self.lead(now.instant, trusted, term, seen, calendar),
        };
        let is_write = matches!(plan.operation, Some(ScheduleOperation::Replace { .. }));
        let is_stale = age >= if is_write { FRESH } else { LONGEST_SLEEP };
        if is_stale && !plan.stop { Plan::read(now.instant) } else { plan }
    }

    /// Without a term, the only write is the end of an own run that is still in the record.
    fn close(&mut self, trusted: Moment, seen: ScheduleObject) -> Plan {
        if let StoredSchedule::Readable(mut record) = seen.schedule
            && let Some(run) = &record.run
        {
            let end = match &self.local {
                Local::Ended(ended) if ended.run == *run => Some((ended.outcome, ended.at)),
                _ if self.unanswered.contains(run) => Some((Outcome::Unstarted, trusted)),
                _ => None,
            };
            if let Some((outcome, at)) = end {
                record.close(outcome, at);
                return Plan::replace(self.latest, seen.version, record, None);
            }
        }
        self.unanswered.clear();
        if let Local::Ended(_) = self.local {
            self.local = Local::Idle;
        }
        Plan::wait(self.latest + LONGEST_SLEEP)
    }

    fn lead(
        &mut self,
        now: Instant,
        trusted: Moment,
        term: Term,
        seen: ScheduleObject,
        calendar: &dyn Calendar,
    ) -> Plan {
        if seen.term != Some((term.token, self.settings.session)) {
            // It was read before the term began, or the term is over.
            let again = self.seen_at + RETRY_PERIOD;
            return if now < again { Plan::wait(again) } else { Plan::read(now) };
        }
        self.trouble = None;
        let record = match seen.schedule {
            StoredSchedule::Readable(record) => record,
            StoredSchedule::Unreadable => {
                self.trouble = Some(Trouble::Unreadable);
                return Plan::wait(now + LONGEST_SLEEP);
            }
            StoredSchedule::Missing if matches!(self.local, Local::Running(_)) => {
                self.trouble = Some(Trouble::Changed);
                return Plan::wait(now + LONGEST_SLEEP);
            }
            StoredSchedule::Missing => return self.create(now, trusted, seen),
        };
        if let Local::Running(run) = &self.local
            && record.run.as_ref() != Some(run)
        {
            // No run begins here before this one has ended.
            self.trouble = Some(Trouble::Changed);
            return Plan::wait(now + LONGEST_SLEEP);
        }
        self.compare_specs(trusted, &record);
        self.judge(now, trusted, term, (seen.version, &record), calendar)
    }

    /// Judges a record that this replica may write over.
    fn judge(
        &mut self,
        now: Instant,
        trusted: Moment,
        term: Term,
        (version, record): (Version, &ScheduleRecord),
        calendar: &dyn Calendar,
    ) -> Plan {
        let timetable = Timetable {
            calendar,
            name: &self.settings.name,
            jitter: self.settings.policies.jitter,
        };
        let judge = Judge {
            token: term.token,
            session: self.settings.session,
            now: trusted,
            timetable,
            policies: &self.settings.policies,
            own_spec: &self.settings.spec,
            changes_at: self.changes_at,
            remembered: self.remembered,
            unanswered: &self.unanswered,
        };
        let here = match &self.local {
            Local::Idle => Here::Nothing,
            Local::Running(run) => Here::Running(run),
            Local::Ended(ended) => Here::Ended(ended),
        };
        let has_no_tick = timetable.next(&record.spec, trusted).is_none();
        if has_no_tick && self.trouble.is_none() {
            self.trouble = Some(Trouble::NoTicks);
        }
        match judge.verdict(record, here) {
            Verdict::Stays(moment) => {
                let wake = moment.map_or(LONGEST_SLEEP, |at| at.saturating_since(trusted));
                if matches!(self.local, Local::Ended(_)) {
                    self.local = Local::Idle;
                }
                Plan::wait(now + wake)
            }
            Verdict::Stop => Plan { stop: true, ..Plan::wait(now + LONGEST_SLEEP) },
            Verdict::Write(next) => {
                let begins = next.run.clone().filter(|run| record.run.as_ref() != Some(run));
                Plan { begins, ..Plan::replace(now, version, next, None) }
            }
        }
    }

    /// Writes the first record: a new one, or that of the former name, which then stops.
    fn create(&mut self, now: Instant, trusted: Moment, seen: ScheduleObject) -> Plan {
        let was = match seen.was {
            StoredSchedule::Unreadable => {
                self.trouble = Some(Trouble::OldUnreadable);
                return Plan::wait(now + LONGEST_SLEEP);
            }
            StoredSchedule::Readable(was) if was.moved_to.is_none() => Some(was),
            StoredSchedule::Readable(_) | StoredSchedule::Missing => None,
        };
        let (record, was) = self.created(trusted, was);
        Plan::replace(now, seen.version, record, was)
    }

    fn created(
        &self,
        trusted: Moment,
        was: Option<Box<ScheduleRecord>>,
    ) -> (Box<ScheduleRecord>, Option<Box<ScheduleRecord>>) {
        let Some(was) = was else {
            let floor = (trusted + BEFORE_THE_FIRST_TICK).max(self.remembered.unwrap_or_default());
            return (Box::new(ScheduleRecord::new(self.settings.spec.clone(), floor)), None);
        };
        let moved_to = Some(self.settings.name.clone());
        let old = ScheduleRecord { moved_to, run: None, asked: None, ..*was.clone() };
        (was, Some(Box::new(old)))
    }

    /// Compares the specs: the higher revision counts, and with equal ones the leader's spec.
    fn compare_specs(&mut self, trusted: Moment, record: &ScheduleRecord) {
        let (own, stored) = (&self.settings.spec, &record.spec);
        let differs = own.when != stored.when;
        let takes_over = own.revision >= stored.revision && own != stored;
        self.trouble = match &record.moved_to {
            Some(name) => Some(Trouble::Moved(name.clone())),
            None if differs && own.revision == stored.revision => Some(Trouble::SameRevision),
            None if differs && own.revision < stored.revision => Some(Trouble::HigherRevision),
            None => None,
        };
        self.changes_at = takes_over.then(|| self.changes_at.unwrap_or(trusted));
    }
}

impl Plan {
    fn wait(wake: Instant) -> Self {
        Self { operation: None, begins: None, stop: false, wake }
    }

    fn read(now: Instant) -> Self {
        Self { operation: Some(ScheduleOperation::Read), ..Self::wait(now + LONGEST_SLEEP) }
    }

    fn replace(
        now: Instant,
        base: Version,
        record: Box<ScheduleRecord>,
        was: Option<Box<ScheduleRecord>>,
    ) -> Self {
        let operation = ScheduleOperation::Replace { base, record, was };
        Self { operation: Some(operation), ..Self::wait(now + LONGEST_SLEEP) }
    }
}

/// A write is based on a version that was read within this time. Older versions are mostly replaced, because renewals of
/// the election write the same object.
const FRESH: Duration = Duration::from_secs(1);
