//! The properties of the record, judged at each write of a replica as the server applies it.

use std::time::Duration;

use incumbent_core::schedule::{CatchUp, Outcome, Run, ScheduleRecord, Tick, Timetable, When};

use super::calendar::{ZoneData, moment};
use super::store::Change;
use super::tally::ScheduleStep;
use super::world::World;

/// S1: the floor never falls, not even where the record was deleted while all clocks were right.
const FLOOR_NEVER_FALLS: &str = "floor-never-falls";
/// S1: a tick begins by the write that raises the floor to it, or as the next attempt.
const BEGINS_ONCE: &str = "begins-once";
/// S7: a run begins for a tick of the stored spec. Jitter is not part of it.
const TICKS_ARE_OF_THE_SPEC: &str = "ticks-are-of-the-spec";
/// S2: a run begins in a version in which its own term holds the lock.
const BEGINS_UNDER_ITS_TERM: &str = "begins-under-its-term";
/// S3: only its own process or a leader with a higher token replaces a run.
const RUN_IS_LEFT_ALONE: &str = "run-is-left-alone";
/// S4: no begin raises the floor past the server's time by more than clocks may differ.
const FLOOR_NOT_AHEAD: &str = "floor-not-ahead";
/// S5: each tick passed is counted once.
const EACH_TICK_COUNTED: &str = "each-tick-counted";
/// Ticks of a suspended schedule are counted as that.
const SUSPENDED_ARE_COUNTED: &str = "suspended-are-counted";
/// With catch-up of all, nothing is missed.
const NONE_MISSED: &str = "none-missed";
/// At the end, all ticks are decided.
const ALL_DECIDED: &str = "all-decided";
/// No more than three writes of the record for each tick.
const FEW_WRITES: &str = "few-writes";

impl World {
    pub(super) fn judge_write(&mut self, node: usize, life: u64, change: Change) {
        let Change { before, after } = change;
        self.tally.writes += 1;
        if self.history.len() >= 64 {
            self.history.drain(..32);
        }
        self.history.push(ScheduleRecord::clone(&after));
        match &before.schedule {
            None => self.tally.step(ScheduleStep::Created),
            Some(old) => {
                let zone = self.nodes[node].process.as_ref().map_or(0, |process| process.zone);
                let zone = self.plan.zones[zone];
                // A process that has died cannot be asked for its data.
                let is_known = self.process(node, life).is_some() || !self.plan.is_zoned;
                let is_restored = old.floor < self.judge.highest;
                if is_restored && after.floor >= self.judge.highest {
                    self.tally.step(ScheduleStep::FloorPutBack);
                }
                if is_known && !is_restored {
                    self.judge_counts(&zone, old, &after);
                }
                let holder = before.election.token().zip(before.election.session);
                let holder = holder.map(|(token, session)| (token.0, session.0));
                self.judge_run(old, &after, holder, u128::from(life));
                self.count(old, &after);
            }
        }
        self.judge_floor(before.schedule.as_deref(), &after);
    }

    fn judge_floor(&mut self, old: Option<&ScheduleRecord>, after: &ScheduleRecord) {
        let before = old.map(|old| old.floor);
        let is_right = self.judge.is_right(self.now);
        if before.is_some_and(|before| after.floor < before)
            || (is_right && old.is_none() && after.floor < self.judge.decided)
        {
            let decided = self.judge.decided;
            self.judge.breaks(
                FLOOR_NEVER_FALLS,
                format!("{:?} after {before:?} and {decided:?}", after.floor),
            );
        }
        let latest = moment(self.now) + Duration::from_secs(6);
        let has_decided = old.is_some_and(|old| after.counts.total() > old.counts.total());
        if is_right && has_decided && after.floor > latest {
            self.judge.breaks(FLOOR_NOT_AHEAD, format!("{:?} at {latest:?}", after.floor));
        }
        self.judge.highest = self.judge.highest.max(after.floor);
        if has_decided {
            self.judge.decided = self.judge.decided.max(after.floor);
        }
    }

    /// Each tick after the floor before, up to that after, is counted once.
    pub(super) fn judge_counts(
        &mut self,
        zone: &ZoneData,
        old: &ScheduleRecord,
        after: &ScheduleRecord,
    ) {
        let timetable = Timetable { calendar: zone, name: "report", jitter: Duration::ZERO };
        let (mut passed, mut doubled, mut last) = (0, 0, old.floor);
        while let Some(tick) = timetable.next(&old.spec, last).filter(|tick| *tick <= after.floor) {
            last = tick;
            let is_doubled = old.floor_civil.is_some() && civil(zone, tick) == old.floor_civil;
            (passed, doubled) =
                if is_doubled { (passed, doubled + 1) } else { (passed + 1, doubled) };
        }
        self.tally.ticks += passed;
        for _ in 0..doubled {
            self.tally.step(ScheduleStep::CivilDouble);
        }
        let counted = after.counts.total() - old.counts.total();
        if counted != passed {
            let detail = format!(
                "{passed} ticks after {:?} up to {:?}, but {:?} became {:?}",
                old.floor, after.floor, old.counts, after.counts
            );
            self.judge.breaks(EACH_TICK_COUNTED, detail);
        }
        let as_suspended = after.counts.suspended - old.counts.suspended;
        if old.suspended.is_some() && as_suspended != passed {
            let detail = format!("{passed} ticks, but {:?} became {:?}", old.counts, after.counts);
            self.judge.breaks(SUSPENDED_ARE_COUNTED, detail);
        }
        let catches_all = matches!(self.plan.policies.catch_up, CatchUp::All(_));
        if catches_all && after.counts.missed > old.counts.missed {
            self.judge.breaks(NONE_MISSED, format!("{:?}", after.counts));
        }
    }

    fn judge_run(
        &mut self,
        old: &ScheduleRecord,
        after: &ScheduleRecord,
        holder: Option<(u64, u128)>,
        writer: u128,
    ) {
        if old.run == after.run {
            return;
        }
        if let Some(run) = &after.run {
            if holder != Some((run.token.0, run.session.0)) {
                let detail = format!("{run:?} begins under {holder:?}");
                self.judge.breaks(BEGINS_UNDER_ITS_TERM, detail);
            }
            if !is_of(&old.spec.when, run.tick) && run.attempt == 1 {
                self.judge.breaks(TICKS_ARE_OF_THE_SPEC, format!("{run:?} of {:?}", old.spec));
            }
            if !begins_once(old, after, run) {
                self.judge.breaks(BEGINS_ONCE, format!("{run:?} begins after {old:?}"));
            }
        }
        let Some(run) = &old.run else { return };
        if let Some(past) = after.last.iter().find(|past| past.run == *run) {
            self.judge.recorded(run, past.outcome);
        }
        let closes = after.last.iter().any(|past| past.run == *run);
        let is_by_newer = holder.is_some_and(|(token, by)| token > run.token.0 && by == writer);
        if !(is_by_newer || run.session.0 == writer)
            || !(closes || is_next_attempt(run, after.run.as_ref()))
        {
            let detail = format!("{run:?} is replaced by {writer} under {holder:?}");
            self.judge.breaks(RUN_IS_LEFT_ALONE, detail);
        }
    }

    fn count(&mut self, old: &ScheduleRecord, after: &ScheduleRecord) {
        let (old_counts, counts) = (old.counts, after.counts);
        for (step, before, now) in [
            (ScheduleStep::Missed, old_counts.missed, counts.missed),
            (ScheduleStep::Skipped, old_counts.skipped, counts.skipped),
            (ScheduleStep::PassedSuspended, old_counts.suspended, counts.suspended),
        ] {
            (before..now).for_each(|_| self.tally.step(step));
        }
        if old.spec != after.spec {
            self.tally.step(ScheduleStep::NewSpec);
        }
        let has_ended = old.run.is_some() && old.run != after.run;
        let newest = after.last.first().filter(|_| has_ended);
        if newest.is_some_and(|past| past.outcome == Outcome::Replaced) {
            self.tally.step(ScheduleStep::Replaced);
        }
        match newest.map(|past| past.outcome) {
            Some(Outcome::InDoubt) => self.tally.step(ScheduleStep::InDoubt),
            Some(_) if after.run.is_none() => {
                let holder = self.store.object.as_ref().and_then(|object| object.election.session);
                if holder != newest.map(|past| past.run.session) {
                    self.tally.step(ScheduleStep::EndedWithoutTerm);
                }
            }
            _ => {}
        }
        if has_ended && after.run.is_some() {
            self.tally.step(ScheduleStep::EndedAndBegan);
        }
    }

    /// Everything was well for a long time.
    pub(super) fn judge_end(&mut self) {
        let Some(record) = self.store.record().cloned() else {
            return self.judge.breaks(ALL_DECIDED, "there is no record".to_owned());
        };
        let zone = self.plan.zones[0];
        let timetable = Timetable { calendar: &zone, name: "report", jitter: Duration::ZERO };
        let longest_wait = Duration::from_secs(30) + self.plan.policies.jitter;
        let next = timetable.next(&record.spec, record.floor);
        // A floor that was written by a wrong clock may be ahead.
        if next.is_some_and(|next| next + longest_wait < moment(self.now)) && !self.plan.is_zoned {
            self.judge.breaks(ALL_DECIDED, format!("{:?} is undecided: {record:?}", next));
        }
        let (writes, ticks) = (self.tally.writes, self.tally.ticks);
        let disturbances = self.tally.disturbances();
        if writes > 3 * ticks + 3 * disturbances + 10 {
            let detail = format!("{writes} writes for {ticks} ticks and {disturbances} faults");
            self.judge.breaks(FEW_WRITES, detail);
        }
    }
}

fn begins_once(old: &ScheduleRecord, after: &ScheduleRecord, run: &Run) -> bool {
    if run.attempt == 1 {
        return match run.tick {
            Tick::At(tick) => tick == after.floor && tick > old.floor,
            Tick::Asked { id, .. } => {
                old.asked.is_some_and(|asked| asked.id == id) && after.asked.is_none()
            }
        };
    }
    let before = old.run.as_ref().or_else(|| old.last.first().map(|past| &past.run));
    before.is_some_and(|before| is_next_attempt(before, Some(run)))
}

/// Replicas disagree about the ticks of a spec with a time zone.
fn is_of(when: &When, tick: Tick) -> bool {
    let (When::Every { period, anchor }, Tick::At(tick)) = (when, tick) else { return true };
    let since = tick.unix_micros() - anchor.unix_micros();
    since.rem_euclid(period.as_micros() as i64) == 0
}

fn is_next_attempt(before: &Run, run: Option<&Run>) -> bool {
    run.is_some_and(|run| run.tick == before.tick && run.attempt == before.attempt + 1)
}

fn civil(zone: &ZoneData, tick: incumbent_core::schedule::Moment) -> Option<String> {
    incumbent_core::schedule::Calendar::civil(zone, "", tick)
}
