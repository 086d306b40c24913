//! The work on tasks, at true time.

use incumbent_core::group::{Event, Kind, Orders, TaskName};
use incumbent_core::{FencingToken, HolderInfo, Input, Window};

use super::node::{Machine, Work};
use super::tally::{GroupFault, Step};
use super::world::{Happens, World};

impl World {
    pub(super) fn step_member(&mut self, node: usize, event: Event) {
        let now = self.now;
        let Some(process) = &mut self.nodes[node].process else { return };
        let orders = process.member.step(process.clock.instant(now), event);
        let Orders { stop, end_preparing, start, prepare, publish, wake } = orders;
        for task in stop {
            self.stop_work(node, task);
        }
        for task in end_preparing {
            let starts = start.iter().any(|(name, _)| *name == task);
            self.end_preparing(node, &task, starts);
        }
        for (task, token) in start {
            self.start_work(node, task, token);
        }
        for task in prepare {
            self.prepare(node, task);
        }
        if let Some(info) = publish {
            if info.released.exceptions.is_empty() {
                self.tally.step(Step::Released);
            } else if info.is_leaving {
                self.tally.step(Step::LeavingException);
            } else {
                self.tally.step(Step::Exception);
            }
            if let Some(process) = &mut self.nodes[node].process {
                process.holder_info =
                    HolderInfo { seat: Some(info), ..process.holder_info.clone() };
                let holder_info = process.holder_info.clone();
                self.step_seat(node, Input::Publish(holder_info));
            }
        }
        let wake = wake.map(|at| Window { earliest: at, latest: at });
        self.wake_at(node, Machine::Member, wake);
        self.give_up_seat(node);
    }

    /// A seat is given up only when nothing runs any more.
    fn give_up_seat(&mut self, node: usize) {
        let Some(process) = &mut self.nodes[node].process else { return };
        let wants_out = process.is_lost || process.is_leaving;
        if wants_out && process.member.is_idle() {
            process.is_lost = false;
            self.step_seat(node, Input::Release);
        }
    }

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

    /// One preparation of ten does not end, until all heals.
    pub(super) fn prepare(&mut self, node: usize, task: TaskName) {
        self.trace(format_args!("n{node} prepares {task}"));
        let is_stuck = !self.is_healed && self.chance_to_prepare.permille(100);
        let delay = self.chance_to_prepare.below(3_000_000);
        let life = self.nodes[node].life;
        let process = self.nodes[node].process.as_mut().expect("it prepares");
        process.preparing.insert(task.clone(), false);
        if !is_stuck {
            self.at(self.now + delay, Happens::Prepared { node, life, task });
        }
    }

    pub(super) fn end_preparing(&mut self, node: usize, task: &TaskName, starts: bool) {
        let process = self.nodes[node].process.as_mut().expect("it ends a preparation");
        match process.preparing.remove(task) {
            Some(true) if starts => self.tally.step(Step::StartedPrepared),
            Some(false) => self.tally.step(Step::PreparationEnded),
            _ => {}
        }
    }

    pub(super) fn prepared(&mut self, node: usize, life: u64, task: TaskName) {
        if self.process(node, life).is_none() {
            return;
        }
        let process = self.nodes[node].process.as_mut().expect("checked");
        let Some(is_done) = process.preparing.get_mut(&task) else { return };
        *is_done = true;
        self.trace(format_args!("n{node} has prepared {task}"));
        self.tally.step(Step::Prepared);
        self.step_member(node, Event::Prepared(task));
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
