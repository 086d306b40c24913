//! The properties of runs, judged at true time, which no simulated process can read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use incumbent_core::schedule::{Calendar, Moment, OnDeath, Outcome, Policies, Run, Tick, When};

use super::calendar::{ZoneData, moment};
use crate::clock::Micros;

/// A property that did not hold.
#[derive(Clone, Debug)]
pub struct Breach {
    /// Which one.
    pub property: &'static str,
    /// How.
    pub detail: String,
}

/// No two starts have the same tick and attempt.
const ONCE_PER_ATTEMPT: &str = "once-per-attempt";
/// A tick starts again only if its last attempt failed, or was interrupted and may be repeated.
const AGAIN_ONLY_AS_ALLOWED: &str = "again-only-as-allowed";
/// Never two runs at once.
pub(super) const NO_OVERLAP: &str = "no-overlap";
/// A run that made way for the next tick is recorded as replaced, so that it never starts again.
const WHAT_MADE_WAY_IS_REPLACED: &str = "what-made-way-is-replaced";
/// A run is stopped only for a tick that became due after it began.
pub(super) const MAKES_WAY_FOR_A_LATER_TICK: &str = "makes-way-for-a-later-tick";
/// While the server's clock is right, no run starts more than five seconds before its tick.
const NOT_EARLY: &str = "not-early";
/// A local time starts once, although the replicas have different time zone data.
const CIVIL_ONCE: &str = "civil-once";
/// No tick starts that was due while the schedule was suspended.
const NOT_WHILE_SUSPENDED: &str = "not-while-suspended";
/// No tick of a spec starts that is older than the spec.
const NOT_BEFORE_ITS_SPEC: &str = "not-before-its-spec";

/// Two clamped clocks, and the whole second of the server's.
const TOLERANCE: Duration = Duration::from_secs(6);

/// How long a wrong time of the server is carried forward at most, until a newer one has come.
const CARRIED: Micros = 120_000_000;

/// The longest pause before a run starts, and the longest freeze, twice.
const AFTER_FORGETTING: Micros = 120_000_000;

/// A run out of turn, or a tick.
type Key = (bool, i64);

pub(super) struct Judge {
    policies: Policies,
    pub(super) breach: Option<Breach>,
    attempts: BTreeSet<(Key, u32)>,
    /// The last attempt that started.
    last: BTreeMap<Key, u32>,
    /// How attempts ended, if that is recorded.
    recorded: BTreeMap<(Key, u32), Outcome>,
    /// Attempts that were stopped because the next tick was due.
    made_way: BTreeSet<(Key, u32)>,
    civil: BTreeSet<String>,
    /// Since when the server's clock is right; `None` while it is not.
    right_since: Option<Micros>,
    /// The highest floor that a replica has written.
    pub(super) highest: Moment,
    /// The highest tick that was decided and that a replica without memory can know of.
    pub(super) decided: Moment,
    /// Until then, a run may continue that began before the record was deleted or restored, so attempts may repeat.
    forgotten_until: Micros,
    /// Until then, the work of a leader whose lock was deleted may run beside that of the next leader, which cannot know
    /// of it.
    pub(super) lock_gone_until: Micros,
    suspended_at: Option<Micros>,
    suspensions: Vec<(Micros, Micros)>,
    /// When a program first had this rule.
    rolled_out: Vec<(When, Micros)>,
}

impl Judge {
    pub(super) fn new(policies: Policies, when: When) -> Self {
        Self {
            policies,
            breach: None,
            attempts: BTreeSet::new(),
            last: BTreeMap::new(),
            recorded: BTreeMap::new(),
            made_way: BTreeSet::new(),
            civil: BTreeSet::new(),
            right_since: Some(0),
            highest: Moment::default(),
            decided: Moment::default(),
            forgotten_until: 0,
            lock_gone_until: 0,
            suspended_at: None,
            suspensions: Vec::new(),
            rolled_out: vec![(when, 0)],
        }
    }

    pub(super) fn breaks(&mut self, property: &'static str, detail: String) {
        self.breach.get_or_insert(Breach { property, detail });
    }

    // What the judge hears.

    pub(super) fn server_clock(&mut self, now: Micros, ahead: i64) {
        self.right_since = (ahead == 0).then_some(now);
    }

    /// Whether the server's clock has been right since `since`, and so long before that no replica carries a wrong time
    /// forward.
    pub(super) fn is_right(&self, since: Micros) -> bool {
        self.right_since.is_some_and(|right| right == 0 || right + CARRIED <= since)
    }

    /// The record was deleted, or an old one was written back, of which no replica may know.
    pub(super) fn forgotten(&mut self, now: Micros) {
        self.forgotten_until = now + AFTER_FORGETTING;
        self.attempts.clear();
        self.last.clear();
        self.recorded.clear();
        self.made_way.clear();
        self.suspended_at = None;
        self.suspensions.clear();
        // With right clocks, a floor that is made again is higher than all before.
        if !self.is_right(now) || self.decided > moment(now) + TOLERANCE {
            self.decided = Moment::default();
        }
    }

    pub(super) fn suspended(&mut self, now: Micros) {
        self.suspended_at = Some(now);
    }

    pub(super) fn resumed(&mut self, now: Micros) {
        if let Some(since) = self.suspended_at.take() {
            self.suspensions.push((since, now));
        }
    }

    pub(super) fn rolled_out(&mut self, now: Micros, when: When) {
        if !self.rolled_out.iter().any(|(known, _)| *known == when) {
            self.rolled_out.push((when, now));
        }
    }

    pub(super) fn made_way(&mut self, run: &Run) {
        self.made_way.insert((key(run.tick), run.attempt));
    }

    pub(super) fn recorded(&mut self, run: &Run, outcome: Outcome) {
        let made_way = self.made_way.contains(&(key(run.tick), run.attempt));
        if made_way && matches!(outcome, Outcome::Stopped | Outcome::Unstarted) {
            let detail = format!("{run:?} made way, and is recorded as {outcome:?}");
            self.breaks(WHAT_MADE_WAY_IS_REPLACED, detail);
        }
        self.recorded.insert((key(run.tick), run.attempt), outcome);
    }

    // What it judges.

    pub(super) fn start(&mut self, now: Micros, run: &Run, when: &When) {
        if now >= self.forgotten_until {
            self.start_again(run);
        }
        self.start_in_time(now, run, when);
    }

    fn start_again(&mut self, run: &Run) {
        let key = key(run.tick);
        if !self.attempts.insert((key, run.attempt)) {
            let detail = format!("{:?} attempt {} starts twice", run.tick, run.attempt);
            self.breaks(ONCE_PER_ATTEMPT, detail);
        }
        let before = self.last.insert(key, run.attempt);
        let outcome = before.map(|attempt| self.recorded.get(&(key, attempt)));
        let may_start = match outcome {
            None => true,
            Some(Some(Outcome::Failed)) => self.policies.retries > 0,
            Some(Some(Outcome::Stopped | Outcome::InDoubt) | None) => {
                self.policies.on_death == OnDeath::Again
            }
            Some(_) => false,
        };
        if !may_start {
            let detail = format!("{:?} starts again, as attempt {}", run.tick, run.attempt);
            self.breaks(AGAIN_ONLY_AS_ALLOWED, detail);
        }
    }

    fn start_in_time(&mut self, now: Micros, run: &Run, when: &When) {
        let Tick::At(tick) = run.tick else { return };
        if self.is_right(now) && tick > moment(now) + Duration::from_secs(5) {
            let detail = format!("{tick:?} starts at {:?}", moment(now));
            self.breaks(NOT_EARLY, detail);
        }
        let current = self.suspended_at.map(|since| (since, now));
        let spans: Vec<_> = self.suspensions.iter().copied().chain(current).collect();
        for (since, until) in spans {
            let is_within = tick > moment(since) + TOLERANCE && tick + TOLERANCE < moment(until);
            if is_within && self.is_right(since) {
                let detail = format!("{tick:?} was suspended from {since} to {until}");
                self.breaks(NOT_WHILE_SUSPENDED, detail);
            }
        }
        let known = self.rolled_out.iter().find(|(known, _)| known == when);
        if let Some((_, rolled_out)) = known
            && self.is_right(*rolled_out)
            && *rolled_out > 0
            && run.attempt == 1
            && tick + TOLERANCE < moment(*rolled_out)
        {
            let detail = format!("{tick:?} of {when:?}, which came at {rolled_out}");
            self.breaks(NOT_BEFORE_ITS_SPEC, detail);
        }
    }

    pub(super) fn start_civil(&mut self, run: &Run, zone: ZoneData) {
        let Tick::At(tick) = run.tick else { return };
        let civil = zone.civil("", tick).unwrap_or_default();
        if run.attempt == 1 && !self.civil.insert(civil.clone()) {
            self.breaks(CIVIL_ONCE, format!("{civil} starts twice, now as {tick:?}"));
        }
    }
}

fn key(tick: Tick) -> Key {
    match tick {
        Tick::At(tick) => (false, tick.unix_micros()),
        Tick::Asked { id, .. } => (true, id.cast_signed()),
    }
}
