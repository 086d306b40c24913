//! Whether a run may start, judged at true time.

use incumbent_core::schedule::{Run, Tick, When};

use super::judge::NO_OVERLAP;
use super::tally::ScheduleStep;
use super::world::World;

impl World {
    pub(super) fn judge_start(&mut self, node: usize, run: &Run) {
        self.trace(format_args!("r{node} STARTS {:?} attempt {}", run.tick, run.attempt));
        self.tally.step(ScheduleStep::Started);
        if run.attempt > 1 {
            self.tally.step(ScheduleStep::AnotherAttempt);
        }
        if matches!(run.tick, Tick::Asked { .. }) {
            self.tally.step(ScheduleStep::OutOfTurn);
        }
        let others = (0..self.nodes.len()).filter(|other| *other != node);
        let running = others.filter(|other| self.is_running(*other)).collect::<Vec<_>>();
        // One that stands still does nothing; it is judged when it continues.
        if let Some(other) =
            running.into_iter().find(|other| self.nodes[*other].frozen_until <= self.now)
        {
            self.judge.breaks(NO_OVERLAP, format!("r{node} starts while r{other} runs"));
        }
        let when = self.store.record().map(|record| record.spec.when.clone());
        let stored = self.begun_under(run).or(when);
        if let Some(when) = stored {
            self.judge.start(self.now, run, &when);
        }
        let zone = self.nodes[node].process.as_ref().map(|process| process.zone);
        if let Some(zone) = zone.filter(|_| self.plan.is_zoned) {
            self.judge.start_civil(run, self.plan.zones[zone]);
        }
    }

    /// The rule that was stored when the run began.
    fn begun_under(&self, run: &Run) -> Option<When> {
        let begun = self.history.iter().rev().find(|record| record.run.as_ref() == Some(run));
        begun.map(|record| record.spec.when.clone())
    }

    pub(super) fn judge_thawed(&mut self, node: usize) {
        if self.nodes[node].frozen_until > self.now || !self.is_running(node) {
            return;
        }
        let others = (0..self.nodes.len()).filter(|other| *other != node);
        let mut running = others.filter(|other| self.is_running(*other));
        if let Some(other) = running.find(|other| self.nodes[*other].frozen_until <= self.now) {
            self.judge.breaks(NO_OVERLAP, format!("r{node} continues while r{other} runs"));
        }
    }

    fn is_running(&self, node: usize) -> bool {
        let process = self.nodes[node].process.as_ref();
        process.and_then(|process| process.work.as_ref()).is_some_and(|work| work.is_started)
    }
}
