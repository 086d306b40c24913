//! What goes wrong by chance, and how everything heals.

use std::time::Duration;

use incumbent_core::schedule::{Asked, Suspension, Timetable, resumed};

use super::calendar::moment;
use super::tally::ScheduleFault;
use super::world::{Happens, World};
use crate::clock::Micros;

impl World {
    pub(super) fn trouble(&mut self) {
        if self.is_healed {
            return;
        }
        // Troubles come in bursts: most of what goes wrong needs two or three of them.
        let longest_gap = match self.chance.permille(300) {
            true => 1_000_000,
            false => self.plan.trouble_gap * 2,
        };
        let gap = self.chance.between(1, longest_gap);
        self.at(self.now + gap, Happens::Trouble);
        let weight = |fault| if is_random_event(fault) { self.plan.rate(fault) } else { 0 };
        let weights: Vec<u64> =
            ScheduleFault::TABLE.iter().map(|(fault, _)| weight(*fault).into()).collect();
        let mut drawn = self.chance.below(weights.iter().sum());
        for ((fault, _), weight) in ScheduleFault::TABLE.iter().zip(weights) {
            if drawn < weight {
                return self.befalls(*fault);
            }
            drawn -= weight;
        }
    }

    fn befalls(&mut self, fault: ScheduleFault) {
        self.trace(format_args!("fault: {fault}"));
        // Mostly it is the leader.
        let leader = self
            .nodes
            .iter()
            .position(|node| node.process.as_ref().is_some_and(|process| process.term.is_some()));
        let drawn = self.chance.below(self.nodes.len() as u64) as usize;
        let node = leader.filter(|_| self.chance.permille(700)).unwrap_or(drawn);
        let has_happened = match fault {
            ScheduleFault::Crash => self.ends(node, "it is killed"),
            ScheduleFault::Freeze => self.freeze(node),
            ScheduleFault::CutOff => {
                self.nodes[node].cut_until = self.now + self.chance.below(40_000_000);
                true
            }
            ScheduleFault::ServerAway => {
                self.away_until = self.now + self.chance.below(40_000_000);
                true
            }
            ScheduleFault::ClockStep => self.step_clock(node),
            ScheduleFault::ServerClockStep => {
                let by = self.step();
                self.server_ahead = if self.server_ahead == 0 { by } else { 0 };
                self.judge.server_clock(self.now, self.server_ahead);
                true
            }
            ScheduleFault::HandOver => {
                self.leaves(node);
                true
            }
            ScheduleFault::Rollout => self.roll_out(),
            ScheduleFault::Suspend => self.suspend(),
            ScheduleFault::Ask => {
                let id = self.next_number();
                let at = moment(self.now);
                self.edit(|record| record.asked = Some(Asked { id, at }))
            }
            ScheduleFault::RecordDeleted => {
                self.judge.forgotten(self.now);
                self.store.edit(|schedule| *schedule = None);
                true
            }
            ScheduleFault::ObjectDeleted => self.delete_object(),
            ScheduleFault::RecordRestored => self.restore(),
            ScheduleFault::Touched => {
                self.store.edit(|_| {});
                true
            }
            _ => false,
        };
        if has_happened {
            self.tally.fault(fault);
        }
    }

    fn delete_object(&mut self) -> bool {
        self.judge.forgotten(self.now);
        let lease = self.plan.timing.lease_duration().as_micros() as Micros;
        self.judge.lock_gone_until = self.now + lease;
        self.store.object = None;
        true
    }

    fn edit(&mut self, change: impl FnOnce(&mut incumbent_core::schedule::ScheduleRecord)) -> bool {
        let has_record = self.store.record().is_some();
        self.store.edit(|schedule| {
            if let Some(record) = schedule {
                change(record);
            }
        });
        has_record
    }

    fn freeze(&mut self, node: usize) -> bool {
        let until = self.now + self.chance.below(30_000_000);
        self.nodes[node].frozen_until = self.nodes[node].frozen_until.max(until);
        let until = self.nodes[node].frozen_until;
        self.at(until + 1, Happens::Thawed(node));
        true
    }

    /// Up to ten minutes, and often exactly that.
    fn step(&mut self) -> i64 {
        let by = match self.chance.permille(500) {
            true => 600_000_000,
            false => self.chance.below(600_000_000).cast_signed(),
        };
        if self.chance.permille(500) { by } else { -by }
    }

    fn step_clock(&mut self, node: usize) -> bool {
        let by = self.step();
        let Some(process) = &mut self.nodes[node].process else { return false };
        process.clock.jump_wall(by);
        true
    }

    /// Replicas take the new version one after the other.
    fn roll_out(&mut self) -> bool {
        self.version += 1;
        let when = self.plan.spec(self.version).when;
        self.judge.rolled_out(self.now, when);
        for node in 0..self.nodes.len() {
            if self.chance.permille(700) {
                self.ends(node, "it is replaced by a new version");
            }
        }
        true
    }

    fn suspend(&mut self) -> bool {
        let since = moment(self.now);
        let is_suspended = self.store.record().is_none_or(|record| record.suspended.is_some());
        if is_suspended {
            return false;
        }
        self.judge.suspended(self.now);
        let after = self.chance.below(self.plan.period * 5_000_000);
        self.at(self.now + after, Happens::Resume);
        self.edit(|record| record.suspended = Some(Suspension { since, by: "jane".to_owned() }))
    }

    /// A person resumes it, and takes the server's time for now.
    pub(super) fn resume(&mut self) {
        let Some(before) = self.store.record().filter(|record| record.suspended.is_some()) else {
            return;
        };
        let zone = self.plan.zones[0];
        let timetable = Timetable { calendar: &zone, name: "report", jitter: Duration::ZERO };
        let before = before.clone();
        let after = resumed(&before, self.date(), timetable);
        self.trace(format_args!("resumed: {:?}", after.counts));
        self.judge_counts(&zone, &before, &after);
        self.judge.resumed(self.now);
        self.judge.highest = self.judge.highest.max(after.floor);
        self.edit(|record| *record = after);
    }

    fn restore(&mut self) -> bool {
        if self.store.record().is_none() || self.history.is_empty() {
            return false;
        }
        let newest = self.history.len() as u64;
        let drawn = newest - 1 - self.chance.below(newest.min(10));
        let old = self.history[drawn as usize].clone();
        self.judge.forgotten(self.now);
        self.store.edit(|schedule| *schedule = Some(Box::new(old)));
        true
    }

    /// All faults end.
    pub(super) fn heal(&mut self) {
        self.is_healed = true;
        self.trace(format_args!("everything heals"));
        self.away_until = 0;
        self.server_ahead = 0;
        self.judge.server_clock(self.now, 0);
        self.resume();
        for node in 0..self.nodes.len() {
            self.nodes[node].cut_until = 0;
            // A new process has a good clock, and no run that is stuck.
            self.ends(node, "it is started again");
            self.nodes[node].frozen_until = 0;
        }
    }
}

/// Faults that happen at random moments; the others happen to messages and runs.
fn is_random_event(fault: ScheduleFault) -> bool {
    use ScheduleFault as F;
    !matches!(
        fault,
        F::RequestLost
            | F::RequestLate
            | F::Doubled
            | F::Refused
            | F::SlowStart
            | F::StuckRun
            | F::RunFails
    )
}
