//! Three candidates, one register, and a network that loses, delays and re-orders.
//!
//! A small forerunner of the fault simulator: it checks on each `cargo test -p incumbent-core`, in a
//! second or two, that no two candidates' work ever runs at once and that tokens only rise.
//! `SEEDS=5000` makes it look longer.

mod support;

use std::time::Duration;

use incumbent_core::{
    Change, Elector, Follow, Input, Instant, Now, Observation, Operation, Record, Reply, Snapshot,
    Timing, Uid, Version, WallTime,
};

const MILLIS: u64 = 60_000;

#[test]
fn no_two_lead_at_once_and_tokens_only_rise() {
    let seeds = std::env::var("SEEDS").map_or(60, |seeds| seeds.parse().unwrap());
    let (mut terms, mut late_writes) = (0, 0);
    for seed in 0..seeds {
        let mut world = World::new(seed);
        world.run(MILLIS);
        terms += world.terms;
        late_writes += world.late_writes;
    }
    // So that nothing above is vacuous.
    assert!(terms > seeds * 2, "only {terms} terms");
    assert!(late_writes > seeds / 8, "only {late_writes} writes landed after their caller gave up");
}

struct World {
    seed: u64,
    rng: Rng,
    now: u64,
    nodes: Vec<Node>,
    revision: u64,
    lock: Option<Record>,
    /// Writes that their caller gave up on, and when they land.
    late: Vec<(u64, Operation)>,
    highest_token: u64,
    terms: u64,
    late_writes: u64,
}

struct Node {
    elector: Elector,
    /// How fast this clock runs, in thousandths of true time.
    rate: u64,
    wake_at: Option<u64>,
    reply: Option<(u64, Reply)>,
    /// The work runs, and when it will have stopped.
    work: Work,
    watching: bool,
    paused_until: u64,
}

#[derive(PartialEq)]
enum Work {
    None,
    Running,
    Stopping {
        until: u64,
    },
    /// It has ended, and the elector has not been told yet.
    Ended,
}

impl Work {
    fn runs(&self) -> bool {
        matches!(self, Self::Running | Self::Stopping { .. })
    }
}

struct Rng(u64);

impl Rng {
    /// SplitMix64: any seed is as good as any other.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let nodes = (0..3)
            .map(|index| {
                let mut config = support::elector("node", Timing::fast()).config().clone();
                config.session = incumbent_core::Session(index);
                config.identity = incumbent_core::Identity::new(format!("node-{index}")).unwrap();
                Node {
                    elector: Elector::new(config),
                    rate: 991 + rng.below(19),
                    wake_at: None,
                    reply: None,
                    work: Work::None,
                    watching: rng.percent(60),
                    paused_until: 0,
                }
            })
            .collect();
        Self {
            seed,
            rng,
            now: 0,
            nodes,
            revision: 10,
            lock: None,
            late: Vec::new(),
            highest_token: 0,
            terms: 0,
            late_writes: 0,
        }
    }

    fn run(&mut self, millis: u64) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].watching {
                self.step(index, Input::Follow(Follow::Watch));
            }
            self.step(index, Input::Campaign);
        }
        while self.now < millis {
            self.now += 1;
            self.land_late_writes();
            for index in 0..self.nodes.len() {
                self.tick(index);
            }
            let running = self.nodes.iter().filter(|node| node.work.runs()).count();
            assert!(running <= 1, "seed {}: {running} lead at {} ms", self.seed, self.now);
        }
    }

    fn tick(&mut self, index: usize) {
        let now = self.now;
        if self.rng.below(30_000) == 0 {
            // The process stops for a while: its work stops with it, its clock does not.
            self.nodes[index].paused_until = now + self.rng.below(9_000);
        }
        self.end_work(index);
        let node = &mut self.nodes[index];
        if node.paused_until > now {
            return;
        }
        if node.work == Work::Ended {
            node.work = Work::None;
            self.step(index, Input::Release);
            self.step(index, Input::Campaign);
        }
        let node = &mut self.nodes[index];
        if node.reply.as_ref().is_some_and(|(at, _)| now >= *at) {
            let (_, reply) = node.reply.take().unwrap();
            self.step(index, Input::Reply(reply));
        }
        if self.nodes[index].wake_at.is_some_and(|at| now >= at) {
            self.step(index, Input::Wake);
        }
        if self.nodes[index].work == Work::Running && self.rng.below(40_000) == 0 {
            self.nodes[index].work = Work::Stopping { until: now + self.rng.below(50) };
        }
    }

    /// Work that was told to stop stops in time. A paused process does no work, and what it would do
    /// past its deadline after waking it does not do: it asks its handle before it acts.
    fn end_work(&mut self, index: usize) {
        let now = self.now;
        let node = &mut self.nodes[index];
        let local = Instant::new(Duration::from_micros(now * node.rate));
        let expired = node.elector.term().is_none_or(|term| local >= term.valid_until);
        node.work = match node.work {
            Work::Stopping { until } if now >= until => Work::Ended,
            Work::Running if node.paused_until > now && expired => Work::Ended,
            _ => return,
        };
    }

    fn step(&mut self, index: usize, input: Input) {
        let node = &mut self.nodes[index];
        let micros = self.now * node.rate;
        let now = Now {
            instant: Instant::new(Duration::from_micros(micros)),
            // A wall clock that stands still half of the time.
            wall: WallTime::from_unix_micros((micros / 4_000_000 * 4_000_000) as i64),
        };
        let output = node.elector.step(now, input);
        node.wake_at = output.wake.map(|window| {
            let at = |instant: Instant| instant.since_start().as_micros() as u64 / node.rate + 1;
            let (earliest, latest) = (at(window.earliest), at(window.latest));
            earliest + self.rng.below(latest - earliest + 1)
        });
        match output.change {
            Some(Change::Started(term)) => {
                assert!(term.token.0 > self.highest_token, "seed {}: token fell", self.seed);
                self.highest_token = term.token.0;
                self.terms += 1;
                node.work = Work::Running;
            }
            Some(Change::Lost(_)) => {
                // At most the stop budget, on a clock that may be fast.
                let budget = Timing::fast().stop_budget().as_millis() as u64 * 98 / 100;
                if node.work == Work::Running {
                    node.work = Work::Stopping { until: self.now + self.rng.below(budget) };
                }
            }
            Some(Change::Released(_) | Change::Renewed(_)) | None => {}
        }
        if let Some(request) = output.request {
            let node = &self.nodes[index];
            let deadline = request.deadline.since_start().as_micros() as u64 / node.rate;
            self.send(index, request.operation, deadline.max(self.now + 1));
        }
    }

    fn send(&mut self, index: usize, operation: Operation, deadline: u64) {
        let latency = 1 + self.rng.below(40);
        let reply = match self.rng.below(100) {
            0..8 => None,
            8..14 => {
                drop(self.apply(operation));
                None
            }
            14..20 => {
                if operation != Operation::Read {
                    let lands = deadline + self.rng.below(8_000);
                    self.late.push((lands, operation));
                }
                None
            }
            20..23 => Some(Reply::Refused { retry_after: None }),
            _ => Some(self.apply(operation)),
        };
        self.nodes[index].reply = Some(match reply {
            Some(reply) if self.now + latency < deadline => (self.now + latency, reply),
            _ => (deadline, Reply::Unknown),
        });
    }

    fn land_late_writes(&mut self) {
        let now = self.now;
        let (landing, later) = self.late.drain(..).partition(|(at, _)| *at <= now);
        self.late = later;
        for (_, operation) in landing {
            if matches!(self.apply(operation), Reply::Written(_)) {
                self.late_writes += 1;
            }
        }
        if self.rng.below(60_000) == 0 && self.lock.is_some() {
            // Somebody edits a label.
            self.revision += 1;
        }
    }

    fn apply(&mut self, operation: Operation) -> Reply {
        let record = match (operation, &self.lock) {
            (Operation::Read, None) => return Reply::Missing,
            (Operation::Read, Some(_)) => return Reply::Found(self.snapshot()),
            (Operation::Create(_), Some(_)) => return Reply::Conflict,
            (Operation::Replace { base, .. }, Some(_)) if base.revision != self.revision => {
                return Reply::Conflict;
            }
            (Operation::Replace { .. }, None) => return Reply::Conflict,
            (Operation::Create(record) | Operation::Replace { record, .. }, _) => record,
        };
        if self.lock.as_ref() != Some(&record) {
            self.revision += 1;
        }
        self.lock = Some(record);
        for index in 0..self.nodes.len() {
            // A watch that loses every tenth event.
            if self.nodes[index].watching
                && self.nodes[index].paused_until <= self.now
                && !self.rng.percent(10)
            {
                let seen = Input::Observed(Observation::Present(self.snapshot()));
                self.step(index, seen);
            }
        }
        Reply::Written(self.snapshot())
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            version: Version { uid: Uid("a".to_owned()), revision: self.revision },
            record: self.lock.clone().expect("there is a lock"),
        }
    }
}
