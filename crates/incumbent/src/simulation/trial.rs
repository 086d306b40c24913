//! One seed: an election, what goes wrong with it, and what must hold at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use incumbent_apiserver::Backup;
use incumbent_core::{Session, Timing};
use serde_json::{Value, json};

use super::dial::Dial;
use super::judge::{Judge, Outcome};
use super::line::Line;
use super::lock::Kind;
use super::machine::{Machine, Stalls};
use super::schedule::{Draw, Mishap};
use super::server::{Account, Server};
use super::world::{Happening, World};
use super::{client_go, process};
use crate::candidate::Candidate;

/// What a seed stands for.
pub(super) struct Trial {
    seed: u64,
    pub(super) kind: Kind,
    /// Which of the candidates watch; the others have no permission to, and poll.
    watches: Vec<bool>,
    /// Their leases, in whole seconds.
    leases: Vec<u64>,
    /// The longest lease, by which all else is measured.
    pub(super) lease: Duration,
    /// Whether one takes part that behaves like client-go.
    has_foreign: bool,
    stalls: Option<u32>,
    pub(super) mishaps: Vec<Mishap>,
}

impl Trial {
    pub(super) fn draw(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let candidates = rng.usize(2..5);
        let usual = rng.u64(2..6);
        let mixed = rng.u8(..4) == 0;
        let lease = |rng: &mut Rng| if mixed { rng.u64(2..6) } else { usual };
        let leases: Vec<_> = (0..candidates).map(|_| lease(&mut rng)).collect();
        let longest = Duration::from_secs(leases.iter().copied().max().unwrap_or(usual));
        let kind = if rng.bool() { Kind::Lease } else { Kind::ConfigMap };
        let watches = (0..candidates).map(|_| rng.u8(..3) > 0).collect();
        let has_foreign = rng.u8(..3) == 0;
        let stalls = [None, Some(20_000), Some(1_000)][rng.usize(..3)];
        let faulty = longest * FAULTY;
        let mut draw = Draw { rng, candidates, lease: longest, faulty };
        let mishaps = draw.mishaps();
        Self { seed, kind, watches, leases, lease: longest, has_foreign, stalls, mishaps }
    }

    pub(super) fn run(&self, server: &mut Server, is_traced: bool) -> Outcome {
        let asks_history =
            |mishap: &Mishap| matches!(mishap.kind, "stale read" | "old copy written back");
        server.begin(self.mishaps.iter().any(asks_history));
        let judge = Judge::new(is_traced);
        let mut rng = Rng::with_seed(!self.seed);
        let world = World::new(server, judge, rng.fork(), self.lease);
        let mut stage = Stage::set(self, world, rng);
        stage.play();
        stage.heal();
        stage.close()
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, kind, watches, leases, has_foreign, stalls, mishaps, .. } = self;
        writeln!(
            f,
            "seed {seed}: a {kind:?}; candidates that watch: {watches:?}; leases {leases:?} s"
        )?;
        writeln!(
            f,
            "a foreign one: {has_foreign}; stand still once in {stalls:?} looks; schedule:"
        )?;
        mishaps.iter().try_for_each(|mishap| writeln!(f, "  {mishap}"))
    }
}

/// A trial while it runs.
pub(super) struct Stage<'a> {
    pub(super) trial: &'a Trial,
    pub(super) world: World<'a>,
    pub(super) rng: Rng,
    healed: Arc<AtomicBool>,
    stalls: Option<Stalls>,
    /// The process of each candidate, by its place.
    pub(super) seats: Vec<usize>,
    pub(super) namesakes: Vec<usize>,
    foreign: Option<usize>,
    pub(super) plans: Vec<Plan>,
    pub(super) backups: Vec<Kept>,
    /// The newest version of the lock that a restore has undone.
    pub(super) undone: Option<u64>,
    /// How many processes there have been.
    started: usize,
    /// What another client wrote into the lock, as it must be found at the end.
    pub(super) edits: BTreeMap<String, String>,
}

/// Something that happens later.
pub(super) enum Plan {
    Mishap(usize),
    /// A process starts at this place.
    Start(usize),
    /// The candidate is well again.
    Recovers(usize),
}

/// A backup, when it was made, and what somebody else had written into the lock by then.
pub(super) struct Kept {
    pub(super) at: Duration,
    pub(super) backup: Backup,
    pub(super) edits: BTreeMap<String, String>,
}

impl<'a> Stage<'a> {
    fn set(trial: &'a Trial, world: World<'a>, rng: Rng) -> Self {
        let longest = trial.lease;
        let mut stage = Self {
            trial,
            world,
            rng,
            healed: Arc::default(),
            stalls: trial.stalls.map(|once_in| Stalls { once_in, longest }),
            seats: Vec::new(),
            namesakes: Vec::new(),
            foreign: None,
            plans: Vec::new(),
            backups: Vec::new(),
            undone: None,
            started: 0,
            edits: BTreeMap::new(),
        };
        if trial.kind == Kind::ConfigMap {
            let metadata = json!({ "name": "lock", "namespace": "default" });
            let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata });
            let collection = trial.kind.collection();
            let made =
                stage.world.server.by_hand(Duration::ZERO, http::Method::POST, collection, &map);
            assert!(made.is_some(), "it can be created");
        }
        for slot in 0..trial.watches.len() {
            let index = stage.start(slot, None);
            stage.seats.push(index);
        }
        if trial.has_foreign {
            stage.foreign = Some(stage.start_foreign());
        }
        for (number, mishap) in trial.mishaps.iter().enumerate() {
            stage.plan(mishap.at, Plan::Mishap(number));
        }
        stage
    }

    pub(super) fn plan(&mut self, at: Duration, plan: Plan) {
        self.plans.push(plan);
        self.world.plan(at, self.plans.len() - 1);
    }

    fn go_on(&mut self, until: Duration) {
        while let Some(happening) = self.world.go_on(until) {
            match happening {
                Happening::Planned(planned) => self.carry_out(planned),
                Happening::Ended(process) => {
                    if let Some(slot) = self.seats.iter().position(|seat| *seat == process) {
                        let pause = self.trial.lease.mul_f64(self.rng.f64());
                        self.plan(self.world.now + pause, Plan::Start(slot));
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, planned: usize) {
        match self.plans[planned] {
            Plan::Mishap(number) => self.meet(number),
            Plan::Start(slot) if self.world.processes[self.seats[slot]].machine.is_alive() => {}
            Plan::Start(slot) => self.seats[slot] = self.start(slot, None),
            Plan::Recovers(process) => {
                if let Some(strings) = &self.world.processes[process].strings {
                    strings.health.send_replace(true);
                }
                self.world.run(process);
            }
        }
    }

    fn meet(&mut self, number: usize) {
        let (trial, now) = (self.trial, self.world.now);
        let mishap = &trial.mishaps[number];
        self.world.judge.trace(now, || format!("* {mishap}"));
        self.keep_backup();
        self.strike(mishap);
    }

    fn keep_backup(&mut self) {
        let asks = |mishap: &Mishap| mishap.kind == "backup restored";
        if self.trial.mishaps.iter().any(asks) {
            let (at, backup) = (self.world.now, self.world.server.backup());
            self.backups.push(Kept { at, backup, edits: self.edits.clone() });
        }
    }

    fn play(&mut self) {
        self.keep_backup();
        self.go_on(self.trial.lease * FAULTY);
    }

    /// Nothing goes wrong any more: soon there is a leader, and it continues to lead.
    fn heal(&mut self) {
        let now = self.world.now;
        self.world.judge.trace(now, || "* healed".to_owned());
        self.world.network.heal();
        self.world.show();
        self.stalls = None;
        for index in self.namesakes.drain(..).chain(self.foreign) {
            self.world.processes[index].is_cut_off = true;
            self.world.kill(index);
            self.world.judge.foreign_is_gone(index, now);
        }
        for process in &mut self.world.processes {
            process.machine.heal();
        }
        self.healed.store(true, Ordering::Relaxed);
        self.annotate("cordon", Value::Null);
        let within = self.trial.lease.mul_f64(WITHIN) + A_LITTLE;
        self.go_on(now + within);
        let leader = self.world.judge.working(self.world.now);
        let lock = self.lock().unwrap_or_default();
        let holder = self.trial.kind.holder(&lock);
        if leader.len() != 1 || holder != leader[0].1 {
            let text = format!("{within:?} after the faults {leader:?} lead, and {holder:?} holds");
            return self.violation(text);
        }
        self.go_on(self.world.now + self.trial.lease * CALM);
        let later = self.world.judge.working(self.world.now);
        if later != leader {
            self.violation(format!("for no reason {later:?} lead after {leader:?}"));
        }
        self.all_see(&leader[0].1);
        self.hand_over(leader[0].0);
    }

    /// All know who leads, and who may watch has one watch open.
    fn all_see(&mut self, leader: &str) {
        for (slot, seat) in self.seats.clone().into_iter().enumerate() {
            self.world.run(seat);
            let name = self.world.processes[seat].name.clone();
            let strings = self.world.processes[seat].strings.as_ref();
            let seen = strings.map(|strings| strings.observer.leader());
            if seen.as_ref().and_then(|seen| seen.identity()).map(|seen| seen.as_str())
                != Some(leader)
            {
                self.violation(format!("{leader} leads, and {name} sees {seen:?}"));
            }
            let watches = self.world.watches_of(seat);
            if watches != usize::from(self.trial.watches[slot]) {
                self.violation(format!("{name} has {watches} watches open"));
            }
        }
    }

    /// The leader leaves, and the next one leads soon: it is told, or asks.
    fn hand_over(&mut self, leader: usize) {
        if self.seats.len() < 2 {
            return;
        }
        self.leave(leader);
        let timing = Timing::from_lease_duration(self.trial.lease).expect("it is a timing");
        self.go_on(self.world.now + timing.retry_period() * 2 + A_LITTLE / 4);
        let next = self.world.judge.working(self.world.now);
        if next.len() != 1 || next[0].0 == leader {
            self.violation(format!("after the leader has left {next:?} lead"));
        }
    }

    fn leave(&mut self, process: usize) {
        if let Some(strings) = &self.world.processes[process].strings {
            strings.leave();
        }
        self.world.run(process);
    }

    fn violation(&self, text: String) {
        self.world.judge.violation(self.world.now, text);
    }

    /// Everybody leaves: the lock is free, holds what others wrote, and nothing is left running.
    fn close(mut self) -> Outcome {
        for seat in self.seats.clone() {
            self.leave(seat);
        }
        self.go_on(self.world.now + self.trial.lease * CALM);
        let lock = self.lock().unwrap_or_default();
        if !self.trial.kind.holder(&lock).is_empty() {
            self.violation(format!("all have left, and it is held: {lock}"));
        }
        for (path, value) in &self.edits {
            if lock.pointer(path).and_then(Value::as_str) != Some(value) {
                self.violation(format!("{path} was {value}, and is lost: {lock}"));
            }
        }
        self.world.close();
        self.world.judge.clone().close(self.world.now)
    }

    /// A process with an identity of its own, or with that of another, on a machine whose clocks differ from all
    /// others.
    pub(super) fn start(&mut self, slot: usize, identity: Option<String>) -> usize {
        let name = format!("c{slot}.{}", self.started);
        let account = if self.trial.watches[slot] { Account::Admin } else { Account::Poller };
        let index = self.add(name.clone(), Some(slot), account);
        let timing = Timing::from_lease_duration(Duration::from_secs(self.trial.leases[slot]));
        let timing = timing.expect("it is a timing");
        let session = Session(self.rng.u128(1..));
        let identity = identity.unwrap_or_else(|| name.clone());
        let (judge, healed, rng) = (self.world.judge.clone(), self.healed.clone(), self.rng.fork());
        let (kind, lease) = (self.trial.kind, self.trial.lease);
        let machine = &mut self.world.processes[index].machine;
        let clock = machine.clock;
        let strings = machine.enter(|| {
            let client = kube::Client::new(Line { clock }, "default");
            let builder = Candidate::builder(client, kind.lock())
                .identity(identity)
                .timing(timing)
                .container(None)
                .session(session);
            process::start(&name, clock, builder, &judge, &healed, lease, rng)
        });
        let aborted = strings.as_ref().map(|strings| strings.aborted.clone());
        self.world.processes[index].aborted = aborted;
        self.world.processes[index].strings = strings;
        self.world.run(index);
        index
    }

    fn start_foreign(&mut self) -> usize {
        let index = self.add("client-go".to_owned(), None, Account::Admin);
        let (kind, lease, rng) = (self.trial.kind, self.trial.lease, self.rng.fork());
        let judge = self.world.judge.clone();
        let machine = &mut self.world.processes[index].machine;
        let clock = machine.clock;
        machine.enter(|| {
            let client = kube::Client::new(Line { clock }, "default");
            client_go::start(clock, client, kind, &judge, lease, rng);
        });
        self.world.run(index);
        index
    }

    fn add(&mut self, name: String, slot: Option<usize>, account: Account) -> usize {
        self.started += 1;
        let now = self.world.now;
        let shown = Duration::from_millis(self.rng.u64(1_000..100_000_000));
        let (ppm, wall) = (self.rng.i64(-9_900..9_900), self.rng.i64(-5_000_000..5_000_000));
        let dial = Dial::new(now, shown, ppm, wall);
        let stalls = slot.and(self.stalls);
        let machine = Machine::new(dial, now, self.rng.fork(), stalls);
        self.world.add(name, slot, account, machine)
    }
}

/// For how many leases things go wrong.
const FAULTY: u32 = 10;

/// By when there is a leader after the faults, in leases: the last late write lands, or the last process starts
/// again; then a lease passes, and a last request times out and is tried again.
const WITHIN: f64 = 1.4 + 1.0 + 0.7;

/// And a little, for what does not become shorter with the lease.
const A_LITTLE: Duration = Duration::from_secs(2);

/// For how many leases nothing must change then.
const CALM: u32 = 3;
