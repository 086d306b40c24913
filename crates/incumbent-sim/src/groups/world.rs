//! The simulated world: its events, and the machines of each process.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt;

use incumbent_core::group::{Event, Happening, TaskName, Wishes};
use incumbent_core::{Change, FencingToken, Input, Output, Window};

use super::cluster::{Call, Cluster, Name, Response};
use super::judge::Judge;
use super::node::{Machine, Node, Process, Stream, larger, wishes};
use super::tally::{GroupFault, GroupTally, Step};
use super::{GroupPlan, GroupRun};
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

/// What happens at a moment.
pub(super) enum Happens {
    Arrive {
        address: Address,
        call: Call,
        is_answered: bool,
    },
    Answer(Address, Response),
    Timeout(Address),
    Wake {
        node: usize,
        life: u64,
        machine: Machine,
    },
    Watch {
        node: usize,
        life: u64,
        stream: Stream,
    },
    Relist {
        node: usize,
        life: u64,
        stream: Stream,
    },
    Stopped {
        node: usize,
        life: u64,
        task: TaskName,
        token: FencingToken,
    },
    Prepared {
        node: usize,
        life: u64,
        task: TaskName,
    },
    /// The watchdog looks whether the work of a lost term has stopped.
    Kill {
        node: usize,
        life: u64,
        losses: u64,
    },
    Start(usize),
    Wishes {
        node: usize,
        life: u64,
    },
    Trouble,
    Heal,
    Judge,
    End,
}

pub(super) struct World {
    pub(super) plan: GroupPlan,
    pub(super) chance: Chance,
    pub(super) chance_to_prepare: Chance,
    pub(super) now: Micros,
    number: u64,
    queue: BinaryHeap<Reverse<(Micros, u64)>>,
    happenings: BTreeMap<u64, Happens>,
    pub(super) cluster: Cluster,
    pub(super) nodes: Vec<Node>,
    pub(super) names: usize,
    /// The node that has trouble.
    pub(super) focus: usize,
    pub(super) away_until: Micros,
    pub(super) listed: BTreeSet<usize>,
    pub(super) judge: Judge,
    pub(super) tally: GroupTally,
    pub(super) is_healed: bool,
    pub(super) version: u64,
    pub(super) has_ended: bool,
    pub(super) requests_at_judgement: u64,
    trace: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(plan: GroupPlan, trace: Trace) -> Self {
        let nodes = (0..plan.members).map(Node::new).collect();
        Self {
            chance: Chance::new(plan.seed),
            chance_to_prepare: Chance::new(!plan.seed),
            now: 0,
            number: 0,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            cluster: Cluster::default(),
            nodes,
            names: plan.members,
            focus: 0,
            away_until: 0,
            listed: (0..plan.tasks).collect(),
            judge: Judge::default(),
            tally: GroupTally::NOTHING,
            is_healed: false,
            version: 1,
            has_ended: false,
            requests_at_judgement: 0,
            trace: (trace == Trace::On).then(Vec::new),
            plan,
        }
    }

    pub(super) fn run(mut self) -> GroupRun {
        for node in 0..self.nodes.len() {
            let at = self.chance.below(2_000_000);
            self.at(at, Happens::Start(node));
        }
        self.at(self.plan.trouble_gap, Happens::Trouble);
        self.at(self.plan.heal_at, Happens::Heal);
        self.at(self.plan.judge_at, Happens::Judge);
        self.at(self.plan.end_at, Happens::End);
        while let Some(Reverse((at, number))) = self.queue.pop() {
            let Some(happens) = self.happenings.remove(&number) else { continue };
            self.now = at;
            self.tally.events += 1;
            self.happens(happens);
            if self.judge.broken.is_some() || self.has_ended {
                break;
            }
        }
        let Self { plan, mut tally, judge, trace, .. } = self;
        tally.excused = judge.excused;
        GroupRun { plan, tally, broken: judge.broken, trace: trace.unwrap_or_default() }
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
    pub(super) fn draws(&mut self, fault: GroupFault) -> bool {
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

    fn happens(&mut self, happens: Happens) {
        match happens {
            Happens::Arrive { address, call, is_answered } => {
                self.arrives(address, call, is_answered);
            }
            Happens::Answer(address, response) => self.answers(address, response),
            Happens::Timeout(address) => self.times_out(address),
            Happens::Wake { node, life, machine } => self.wakes(node, life, machine),
            Happens::Watch { node, life, stream } => self.delivers(node, life, stream),
            Happens::Relist { node, life, stream } => self.relists(node, life, stream),
            Happens::Stopped { node, life, task, token } => self.stopped(node, life, task, token),
            Happens::Prepared { node, life, task } => self.prepared(node, life, task),
            Happens::Kill { node, life, losses } => self.kills(node, life, losses),
            Happens::Start(node) => self.starts(node),
            Happens::Wishes { node, life } => {
                if self.process(node, life).is_some() {
                    let wishes = Happening::Wishes(self.wishes_of(node));
                    self.step_allocator(node, wishes);
                }
            }
            Happens::Trouble => self.trouble(),
            Happens::Heal => self.heal(),
            Happens::Judge => self.judge_liveness(),
            Happens::End => self.judge_calm(),
        }
    }

    /// The program of every other member would have one slot or permit more.
    fn wishes_of(&self, node: usize) -> Wishes {
        let more = (self.nodes[node].name % 2) as u16;
        wishes(larger(self.plan.kind, more), self.listed.iter().copied())
    }

    // Processes.

    fn starts(&mut self, node: usize) {
        if self.nodes[node].process.is_some() {
            return;
        }
        let rate = match self.draws(GroupFault::ClockRates) {
            true => [990_100, 1_009_900][self.chance.below(2) as usize],
            false => 1_000_000,
        };
        let clock = Clock::new(self.chance.below(1_000_000_000_000), rate, 0, 1);
        let session = self.next_number();
        let name = self.nodes[node].name;
        let process = Process::new(&self.plan, name, session, self.version, clock);
        self.nodes[node].life = session;
        self.nodes[node].process = Some(process);
        self.trace(format_args!("n{node} starts as m{name}"));
        for stream in Stream::ALL {
            let life = session;
            let at = self.now + self.chance.below(20_000);
            self.at(at, Happens::Relist { node, life, stream });
        }
        let wishes = Happening::Wishes(self.wishes_of(node));
        self.step_allocator(node, wishes);
        self.step_seat(node, Input::Campaign);
        self.step_lock(node, Input::Campaign);
    }

    /// The process is gone, and all of its work with it.
    pub(super) fn ends(&mut self, node: usize, why: &str) {
        if self.nodes[node].process.take().is_some() {
            self.trace(format_args!("n{node} ends: {why}"));
            self.judge.ends(self.now, node);
            self.nodes[node].life = 0;
            if self.nodes[node].restarts {
                let longest = self.plan.timing.lease_duration().as_micros() as u64 * 2;
                let after = self.chance.below(longest);
                self.at(self.now + after, Happens::Start(node));
            }
        }
    }

    fn kills(&mut self, node: usize, life: u64, losses: u64) {
        let is_late = self.process(node, life).is_some_and(|process| {
            process.losses == losses && process.is_lost && !process.work.is_empty()
        });
        if is_late {
            self.tally.step(Step::Killed);
            self.ends(node, "its work did not stop in time");
        }
    }

    fn wakes(&mut self, node: usize, life: u64, machine: Machine) {
        let now = self.now;
        let is_due = self
            .process(node, life)
            .is_some_and(|process| process.wakes[machine as usize] == Some(now));
        if !is_due {
            return;
        }
        self.nodes[node].process.as_mut().expect("checked").wakes[machine as usize] = None;
        match machine {
            Machine::Seat => self.step_seat(node, Input::Wake),
            Machine::Lock => self.step_lock(node, Input::Wake),
            Machine::Allocator => self.step_allocator(node, Happening::Wake),
            Machine::Member => self.step_member(node, Event::Wake),
        }
    }

    pub(super) fn wake_at(&mut self, node: usize, machine: Machine, window: Option<Window>) {
        let Some(window) = window else { return };
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

    pub(super) fn step_seat(&mut self, node: usize, input: Input) {
        let (now, name) = (self.now, self.nodes[node].name);
        let Some(process) = &mut self.nodes[node].process else { return };
        let output = process.seat.step(process.clock.now(now), input);
        let Output { request, change, wake } = output;
        if let Some(request) = request {
            let call = Call::Lease(Name::Seat(name), request.operation);
            self.send(node, Machine::Seat, call, request.deadline);
        }
        self.wake_at(node, Machine::Seat, wake);
        if let Some(change) = change {
            self.seat_changes(node, change);
        }
    }

    fn seat_changes(&mut self, node: usize, change: Change) {
        let life = self.nodes[node].life;
        let now = self.now;
        let Some(process) = &mut self.nodes[node].process else { return };
        match change {
            Change::Started(term) => {
                process.stop_by = term.stop_by;
                let seat = process.seat.version().expect("it leads").uid.clone();
                let token = term.token;
                self.trace(format_args!("n{node} holds its seat with token {token}"));
                self.step_member(node, Event::Started { seat, token });
            }
            Change::Renewed(term) => process.stop_by = term.stop_by,
            Change::Lost(loss) => {
                process.losses += 1;
                process.is_lost = true;
                let losses = process.losses;
                let at = process.clock.when(process.stop_by).max(now);
                self.at(at, Happens::Kill { node, life, losses });
                self.trace(format_args!("n{node} loses its seat: {loss:?}"));
                self.step_member(node, Event::Over);
            }
            Change::Released(_) => {
                process.is_lost = false;
                if process.is_leaving {
                    self.ends(node, "it has left");
                } else {
                    self.step_seat(node, Input::Campaign);
                }
            }
        }
    }

    pub(super) fn step_lock(&mut self, node: usize, input: Input) {
        let now = self.now;
        let Some(process) = &mut self.nodes[node].process else { return };
        let output = process.lock.step(process.clock.now(now), input);
        let table = process.lock.record().and_then(|record| record.table.clone());
        let has_changed = process.told_table != table;
        process.told_table.clone_from(&table);
        let Output { request, change, wake } = output;
        if let Some(request) = request {
            let call = Call::Lease(Name::Lock, request.operation);
            self.send(node, Machine::Lock, call, request.deadline);
        }
        self.wake_at(node, Machine::Lock, wake);
        if has_changed {
            self.step_allocator(node, Happening::Lease { table });
        }
        match change {
            Some(Change::Started(_)) => self.step_allocator(node, Happening::Active(true)),
            Some(Change::Lost(_)) => {
                self.let_allocator_rest(node);
                self.step_lock(node, Input::Release);
            }
            Some(Change::Released(_)) => self.step_lock(node, Input::Campaign),
            Some(Change::Renewed(_)) | None => {}
        }
    }

    pub(super) fn let_allocator_rest(&mut self, node: usize) {
        let process = self.nodes[node].process.as_ref();
        let leads =
            process.is_some_and(|process| process.is_rogue || process.lock.term().is_some());
        self.step_allocator(node, Happening::Active(leads));
    }

    pub(super) fn step_allocator(&mut self, node: usize, happening: Happening) {
        let now = self.now;
        let Some(process) = &mut self.nodes[node].process else { return };
        let sought = process.allocator.step(process.clock.now(now), happening);
        let timeout = self.plan.timing.request_timeout();
        let deadline = process.clock.instant(now) + timeout;
        let names = sought.table.filter(|table| process.named_table.as_ref() != Some(table));
        if names.is_some() {
            process.named_table.clone_from(&names);
        }
        if let Some(ask) = sought.ask {
            self.send(node, Machine::Allocator, Call::Group(ask), deadline);
        }
        let wake = sought.wake.map(|at| Window { earliest: at, latest: at });
        self.wake_at(node, Machine::Allocator, wake);
        if let Some(table) = names {
            self.step_lock(node, Input::Name(table));
        }
    }
}

impl Node {
    pub(super) fn new(name: usize) -> Self {
        Self { name, life: 0, process: None, cut_until: 0, restarts: true, requests: 0 }
    }
}
