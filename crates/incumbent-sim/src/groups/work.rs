//! The work on tasks, at true time.

use incumbent_core::FencingToken;
use incumbent_core::group::{Event, Kind, TaskName};

use super::node::Work;
use super::tally::{GroupFault, Step};
use super::world::{Happens, World};

impl World {
    pub(super) fn start_work(&mut self, node: usize, task: TaskName, token: FencingToken) {
        self.trace(format_args!("n{node} starts {task} with token {token}"));
        self.tally.step(Step::Started);
        self.judge.starts(self.now, node, &task, token);
        if matches!(self.plan.kind, Kind::Permits(_)) {
            self.judge.counts_permits(node);
        }
        let process = self.nodes[node].process.as_mut().expect("it starts work");
        process.work.insert(task, Work { token, is_stopping: false });
    }

    pub(super) fn stop_work(&mut self, node: usize, task: TaskName) {
        let is_stuck = self.draws(GroupFault::StuckWork);
        let is_slow = self.draws(GroupFault::SlowStop);
        let delay = match is_slow {
            true => self.chance.below(30_000_000),
            false => [0, self.chance.below(200_000)][self.chance.below(2) as usize],
        };
        let life = self.nodes[node].life;
        let process = self.nodes[node].process.as_mut().expect("it stops work");
        let Some(work) = process.work.get_mut(&task) else { return };
        work.is_stopping = true;
        let token = work.token;
        self.trace(format_args!("n{node} is asked to stop {task}"));
        if !is_stuck {
            self.at(self.now + delay, Happens::Stopped { node, life, task, token });
        }
    }

    pub(super) fn stopped(&mut self, node: usize, life: u64, task: TaskName, token: FencingToken) {
        let runs = self
            .process(node, life)
            .is_some_and(|process| process.work.get(&task).is_some_and(|work| work.token == token));
        if runs {
            self.trace(format_args!("n{node} has stopped {task}"));
            self.tally.step(Step::Stopped);
            self.judge.stops(self.now, node, &task);
            let process = self.nodes[node].process.as_mut().expect("checked");
            process.work.remove(&task);
            self.step_member(node, Event::Stopped(task));
        }
    }
}
