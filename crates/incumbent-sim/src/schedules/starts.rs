//! Whether a run may start, judged at true time.

use incumbent_core::schedule::{Run, Tick, Timetable, When};

use super::judge::{MAKES_WAY_FOR_A_LATER_TICK, NO_OVERLAP};
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
        // A frozen process does nothing. It is judged when it continues.
        if let Some(other) =
            running.into_iter().find(|other| self.nodes[*other].frozen_until <= self.now)
            && self.now >= self.judge.lock_gone_until
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

    /// The rule that was stored when the run began. Another may have replaced it before the run starts.
    fn begun_under(&self, run: &Run) -> Option<When> {
        let begun = self.history.iter().find(|record| record.run.as_ref() == Some(run));
        begun.map(|record| record.spec.when.clone())
    }

    /// The run is asked to stop, because a tick is due that was not when it began.
    pub(super) fn makes_way(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else { return };
        if let Some(work) = process.work.as_ref().filter(|work| !work.is_stopping) {
            let now = process.scheduler.now(process.clock.now(self.now));
            let zone = self.plan.zones[process.zone];
            let jitter = self.plan.policies.jitter;
            let timetable = Timetable { calendar: &zone, name: "report", jitter };
            let record = process.scheduler.record();
            let is_later = record.zip(now).is_some_and(|(record, now)| {
                let first = work.run.began - jitter;
                let ticks = std::iter::successors(Some(first), |last| {
                    timetable.next(&record.spec, *last).filter(|tick| *tick <= now)
                });
                let mut due = ticks.skip(1).map(|tick| timetable.due_at(tick));
                due.any(|due| due > work.run.began && due <= now)
            });
            let run = work.run.clone();
            self.judge.made_way(&run);
            if !is_later {
                let detail = format!("{run:?} makes way for a tick that was due before it");
                self.judge.breaks(MAKES_WAY_FOR_A_LATER_TICK, detail);
            }
        }
        self.stops(node);
    }

    pub(super) fn judge_thawed(&mut self, node: usize) {
        if self.nodes[node].frozen_until > self.now || !self.is_running(node) {
            return;
        }
        let others = (0..self.nodes.len()).filter(|other| *other != node);
        let mut running = others.filter(|other| self.is_running(*other));
        if let Some(other) = running.find(|other| self.nodes[*other].frozen_until <= self.now)
            && self.now >= self.judge.lock_gone_until
        {
            self.judge.breaks(NO_OVERLAP, format!("r{node} continues while r{other} runs"));
        }
    }

    fn is_running(&self, node: usize) -> bool {
        let process = self.nodes[node].process.as_ref();
        process.and_then(|process| process.work.as_ref()).is_some_and(|work| work.is_started)
    }
}
