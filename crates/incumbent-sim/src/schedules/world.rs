//! The simulated world: its events, and the machines of each process.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::rc::Rc;

use incumbent_core::schedule::{
    Moment, Outcome, Run, ScheduleEvent, ScheduleOperation, ScheduleOrders, ScheduleRecord,
    ScheduleReply,
};
use incumbent_core::{Change, Input, Instant, Operation, Output, Reply, Window};

use super::calendar::moment;
use super::judge::Judge;
use super::plan::REPLICAS;
use super::replica::{Machine, Process, Replica, Work};
use super::store::{Store, Stored};
use super::tally::{ScheduleFault, ScheduleStep, ScheduleTally};
use super::{SchedulePlan, ScheduleRun};
use crate::Trace;
use crate::chance::Chance;
use crate::clock::{Clock, Micros};

/// Where an answer belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub(super) node: usize,
    pub(super) life: u64,
    pub(super) machine: Machine,
    pub(super) number: u64,
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "they are moved, and short-lived")]
pub(super) enum Call {
    Elector(Operation),
    Scheduler(ScheduleOperation),
}

/// An answer, with the server's time and the object that it shows.
#[derive(Clone, Debug)]
pub(super) struct Response {
    pub(super) reply: Answer,
    pub(super) date: Option<Moment>,
    pub(super) object: Option<Rc<Stored>>,
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "they are moved, and short-lived")]
pub(super) enum Answer {
    Elector(Reply),
    Scheduler(ScheduleReply),
}

/// What happens at a moment.
pub(super) enum Happens {
    Arrive { address: Address, call: Call, is_answered: bool },
    Answer(Address, Response),
    Timeout(Address),
    Wake { node: usize, life: u64, machine: Machine },
    Begin { node: usize, life: u64, number: u64 },
    RunEnds { node: usize, life: u64, number: u64, outcome: Outcome },
    Kill { node: usize, life: u64, number: u64 },
    Thawed(usize),
    Start(usize),
    Trouble,
    Resume,
    Heal,
    End,
}

pub(super) struct World {
    pub(super) plan: SchedulePlan,
    pub(super) chance: Chance,
    pub(super) now: Micros,
    number: u64,
    queue: BinaryHeap<Reverse<(Micros, u64)>>,
    happenings: BTreeMap<u64, Happens>,
    pub(super) store: Store,
    /// Records that replicas have written.
    pub(super) history: Vec<ScheduleRecord>,
    pub(super) nodes: Vec<Replica>,
    pub(super) away_until: Micros,
    /// How far the server's clock is ahead.
    pub(super) server_ahead: i64,
    /// The newest version of the program.
    pub(super) version: u64,
    pub(super) judge: Judge,
    pub(super) tally: ScheduleTally,
    pub(super) is_healed: bool,
    has_ended: bool,
    trace: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(plan: SchedulePlan, trace: Trace) -> Self {
        Self {
            chance: Chance::new(plan.seed),
            now: 0,
            number: 0,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            store: Store::default(),
            history: Vec::new(),
            nodes: (0..REPLICAS).map(|_| Replica::default()).collect(),
            away_until: 0,
            server_ahead: 0,
            version: 0,
            judge: Judge::new(plan.policies.clone(), plan.spec(0).when),
            tally: ScheduleTally::NOTHING,
            is_healed: false,
            has_ended: false,
            trace: (trace == Trace::On).then(Vec::new),
            plan,
        }
    }

    pub(super) fn run(mut self) -> ScheduleRun {
        for node in 0..self.nodes.len() {
            let at = self.chance.below(2_000_000);
            self.at(at, Happens::Start(node));
        }
        self.at(self.plan.trouble_gap, Happens::Trouble);
        self.at(self.plan.heal_at, Happens::Heal);
        self.at(self.plan.end_at, Happens::End);
        while let Some(Reverse((at, number))) = self.queue.pop() {
            let Some(happens) = self.happenings.remove(&number) else { continue };
            self.now = at;
            self.tally.events += 1;
            self.happens(happens);
            if self.judge.breach.is_some() || self.has_ended {
                break;
            }
        }
        let Self { plan, tally, judge, trace, .. } = self;
        ScheduleRun { plan, tally, breach: judge.breach, trace: trace.unwrap_or_default() }
    }

    pub(super) fn at(&mut self, at: Micros, happens: Happens) {
        let number = self.next_number();
        self.queue.push(Reverse((at.max(self.now), number)));
        self.happenings.insert(number, happens);
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub(super) fn trace(&mut self, line: fmt::Arguments<'_>) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>12.6}  {line}", self.now as f64 / 1e6));
        }
    }

    /// Whether this fault happens now.
    pub(super) fn draws(&mut self, fault: ScheduleFault) -> bool {
        let happens = !self.is_healed && self.chance.permille(self.plan.rate(fault));
        if happens {
            self.tally.fault(fault);
        }
        happens
    }

    pub(super) fn process(&self, node: usize, life: u64) -> Option<&Process> {
        let node = &self.nodes[node];
        node.process.as_ref().filter(|_| node.life == life)
    }

    /// The server's clock, as it shows it: in whole seconds.
    pub(super) fn date(&self) -> Moment {
        let exact = moment(self.now).unix_micros() + self.server_ahead;
        Moment::from_unix_micros(exact.div_euclid(1_000_000) * 1_000_000)
    }

    fn happens(&mut self, happens: Happens) {
        let node = match &happens {
            Happens::Answer(address, _) | Happens::Timeout(address) => Some(address.node),
            Happens::Wake { node, .. }
            | Happens::Begin { node, .. }
            | Happens::RunEnds { node, .. }
            | Happens::Kill { node, .. } => Some(*node),
            _ => None,
        };
        // A frozen process does it when it continues.
        if let Some(node) = node
            && self.nodes[node].frozen_until > self.now
        {
            let until = self.nodes[node].frozen_until;
            return self.at(until, happens);
        }
        match happens {
            Happens::Arrive { address, call, is_answered } => {
                self.arrives(address, call, is_answered);
            }
            Happens::Answer(address, response) => self.answers(address, response),
            Happens::Timeout(address) => self.times_out(address),
            Happens::Wake { node, life, machine } => self.wakes(node, life, machine),
            Happens::Begin { node, life, number } => self.begins(node, life, number),
            Happens::RunEnds { node, life, number, outcome } => {
                self.run_ends(node, life, number, outcome);
            }
            Happens::Kill { node, life, number } => {
                let is_there = self.work_of(node, life, number).is_some();
                if is_there {
                    self.tally.step(ScheduleStep::Killed);
                    self.run_ends(node, life, number, Outcome::Stopped);
                }
            }
            Happens::Thawed(node) => self.judge_thawed(node),
            Happens::Start(node) => self.starts(node),
            Happens::Trouble => self.trouble(),
            Happens::Resume => self.resume(),
            Happens::Heal => self.heal(),
            Happens::End => {
                self.judge_end();
                self.has_ended = true;
            }
        }
    }

    // Processes.

    fn starts(&mut self, node: usize) {
        if self.nodes[node].process.is_some() {
            return;
        }
        let rate = [990_100, 1_000_000, 1_009_900][self.chance.below(3) as usize];
        let wall = self.chance.below(4_000_000).cast_signed() - 2_000_000;
        let clock = Clock::new(self.chance.below(1_000_000_000_000), rate, wall, 1);
        let zone = if self.plan.is_zoned { self.chance.below(2) as usize } else { 0 };
        let session = self.next_number();
        let process = Process::new(&self.plan, node, session, self.version, (clock, zone));
        self.nodes[node].life = session;
        self.nodes[node].process = Some(process);
        let version = self.version;
        self.trace(format_args!("r{node} starts with version {version}"));
        self.step_elector(node, Input::Campaign);
    }

    /// The process is gone, and its run with it.
    pub(super) fn ends(&mut self, node: usize, why: &str) -> bool {
        if self.nodes[node].process.take().is_none() {
            return false;
        }
        self.trace(format_args!("r{node} ends: {why}"));
        self.nodes[node].life = 0;
        let after = self.chance.below(30_000_000);
        self.at(self.now + after, Happens::Start(node));
        true
    }

    fn wakes(&mut self, node: usize, life: u64, machine: Machine) {
        let is_due = self.process(node, life).is_some_and(|process| {
            process.wakes[machine as usize].is_some_and(|at| at <= self.now)
        });
        if !is_due {
            return;
        }
        self.nodes[node].process.as_mut().expect("checked").wakes[machine as usize] = None;
        match machine {
            Machine::Elector => self.step_elector(node, Input::Wake),
            Machine::Scheduler => self.step_scheduler(node, ScheduleEvent::Wake),
        }
    }

    fn wake_at(&mut self, node: usize, machine: Machine, window: Window) {
        let share = self.chance.below(1000);
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return };
        let (first, last) =
            (process.clock.when(window.earliest), process.clock.when(window.latest));
        let at = (first + (last - first) / 1000 * share).max(self.now + 1);
        process.wakes[machine as usize] = Some(at);
        self.at(at, Happens::Wake { node, life, machine });
    }

    // The machines of a process.

    pub(super) fn step_elector(&mut self, node: usize, input: Input) {
        let now = self.now;
        let Some(process) = &mut self.nodes[node].process else { return };
        let Output { request, change, wake } = process.elector.step(process.clock.now(now), input);
        if let Some(request) = request {
            self.send(node, Machine::Elector, Call::Elector(request.operation), request.deadline);
        }
        if let Some(window) = wake {
            self.wake_at(node, Machine::Elector, window);
        }
        match change {
            Some(Change::Started(term) | Change::Renewed(term)) => {
                let Some(process) = &mut self.nodes[node].process else { return };
                if !process.is_leaving {
                    process.term = Some(term);
                    self.step_scheduler(node, ScheduleEvent::Term(term));
                }
            }
            Some(Change::Lost(loss)) => {
                self.trace(format_args!("r{node} loses its term: {loss:?}"));
                self.leaves(node);
            }
            Some(Change::Released(_)) => self.step_elector(node, Input::Campaign),
            None => {}
        }
    }

    /// Stops the run, and releases the lock when it has stopped.
    pub(super) fn leaves(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return };
        process.is_leaving = true;
        let stop_by = process.term.take().map(|term| process.clock.when(term.stop_by));
        let number = process.work.as_ref().map(|work| work.number);
        self.step_scheduler(node, ScheduleEvent::TermOver);
        if let (Some(at), Some(number)) = (stop_by, number) {
            self.at(at, Happens::Kill { node, life, number });
        }
        self.stops(node);
        self.releases_if_stopped(node);
    }

    fn releases_if_stopped(&mut self, node: usize) {
        let Some(process) = &mut self.nodes[node].process else { return };
        if process.is_leaving && process.work.is_none() {
            process.is_leaving = false;
            self.step_elector(node, Input::Release);
        }
    }

    pub(super) fn step_scheduler(&mut self, node: usize, event: ScheduleEvent) {
        let now = self.now;
        let Some(process) = &mut self.nodes[node].process else { return };
        let zone = self.plan.zones[process.zone];
        let orders = process.scheduler.step(process.clock.now(now), event, &zone);
        let ScheduleOrders { request, start, stop, wake, .. } = orders;
        if let Some(request) = request {
            let call = Call::Scheduler(request.operation);
            self.send(node, Machine::Scheduler, call, request.deadline);
        }
        self.wake_at(node, Machine::Scheduler, Window { earliest: wake, latest: wake });
        if stop {
            self.makes_way(node);
        }
        if let Some(start) = start {
            self.receives(node, start.run);
        }
    }

    // Runs.

    fn work_of(&self, node: usize, life: u64, number: u64) -> Option<&Work> {
        self.process(node, life)?.work.as_ref().filter(|work| work.number == number)
    }

    /// The process has to start a run, and may be slow to do so.
    fn receives(&mut self, node: usize, run: Run) {
        let number = self.next_number();
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return };
        if process.work.is_some() {
            return self
                .judge
                .breaks(super::judge::NO_OVERLAP, format!("r{node} starts a second run"));
        }
        process.work = Some(Work { number, run, is_started: false, is_stopping: false });
        let pause = match self.draws(ScheduleFault::SlowStart) {
            true => self.chance.below(20_000_000),
            false => 0,
        };
        self.at(self.now + pause, Happens::Begin { node, life, number });
    }

    /// The command starts, if the term is still valid.
    fn begins(&mut self, node: usize, life: u64, number: u64) {
        let Some(work) = self.work_of(node, life, number).cloned() else { return };
        let now = self.now;
        let process = self.nodes[node].process.as_mut().expect("it has work");
        let is_valid = |now: Instant| {
            process.term.is_some_and(|term| term.token == work.run.token && now < term.valid_until)
        };
        if !is_valid(process.clock.instant(now)) {
            self.tally.step(ScheduleStep::Unstarted);
            return self.settles(node, Outcome::Unstarted);
        }
        if let Some(work) = &mut process.work {
            work.is_started = true;
        }
        self.judge_start(node, &work.run);
        let longest = if self.is_healed { 100_000 } else { self.plan.longest_run };
        let length = self.chance.below(longest);
        let outcome = match self.draws(ScheduleFault::RunFails) {
            true => Outcome::Failed,
            false => Outcome::Succeeded,
        };
        self.at(self.now + length, Happens::RunEnds { node, life, number, outcome });
        if work.is_stopping {
            self.at(self.now, Happens::RunEnds { node, life, number, outcome: Outcome::Stopped });
        }
    }

    /// The run is asked to stop.
    pub(super) fn stops(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some(work) = process.work.as_mut().filter(|work| !work.is_stopping) else { return };
        work.is_stopping = true;
        let (number, is_started) = (work.number, work.is_started);
        if is_started && !self.draws(ScheduleFault::StuckRun) {
            let at = self.now + self.chance.below(200_000);
            self.at(at, Happens::RunEnds { node, life, number, outcome: Outcome::Stopped });
        }
    }

    fn run_ends(&mut self, node: usize, life: u64, number: u64, outcome: Outcome) {
        let Some(work) = self.work_of(node, life, number).cloned() else { return };
        let outcome = if work.is_started { outcome } else { Outcome::Unstarted };
        self.trace(format_args!("r{node}'s run of {:?} ends: {outcome:?}", work.run.tick));
        self.tally.step(match outcome {
            Outcome::Stopped => ScheduleStep::Stopped,
            Outcome::Unstarted => ScheduleStep::Unstarted,
            _ => ScheduleStep::Ended,
        });
        self.settles(node, outcome);
    }

    fn settles(&mut self, node: usize, outcome: Outcome) {
        let Some(process) = &mut self.nodes[node].process else { return };
        process.work = None;
        self.step_scheduler(node, ScheduleEvent::Ended(outcome));
        self.releases_if_stopped(node);
    }
}
