//! What a seed stands for: a group, and what goes wrong with it.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

use super::super::judge::{Judge, Outcome};
use super::super::schedule::{Draw, Mishap};
use super::super::server::Server;
use super::super::world::World;
use super::stage::Stage;

pub(in super::super) struct Trial {
    seed: u64,
    pub(super) members: usize,
    pub(super) tasks: usize,
    pub(super) lease: Duration,
    pub(super) stalls: Option<u32>,
    pub(super) troubles: Vec<Trouble>,
}

/// Something that goes wrong at a moment.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) at: Duration,
    pub(super) kind: &'static str,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// What befalls elections, too.
    Common(Mishap),
    /// Somebody changes an object; the number chooses which, and how.
    ByHand(usize),
    /// Another process starts under the name of this member, until all is well.
    Namesake(usize),
    /// A member leaves, and starts again soon.
    Leave(usize),
    /// A member wants no tasks for so long.
    Drain(usize, Duration),
}

/// What goes wrong with elections, and with groups as well.
pub(in super::super) const COMMON: &[&str] = &[
    "latency",
    "409",
    "410",
    "429",
    "500",
    "503",
    "504",
    "error, applied",
    "slow answer",
    "lost request",
    "lost answer",
    "late write",
    "frozen watch",
    "frozen watch, expired",
    "partition",
    "partition, closed",
    "stale read",
    "restart",
    "compaction",
    "watches end",
    "suspend",
    "process stopped",
    "runtime blocked",
    "wall clock jumps",
    "crash",
];

/// What goes wrong only with groups.
pub(in super::super) const OWN: &[&str] = &[
    "page deleted",
    "page edited",
    "page unlabelled",
    "seat deleted",
    "seat unlabelled",
    "allocators' Lease deleted",
    "list edited",
    "list deleted",
    "namesake",
    "member leaves",
    "member drains",
];

/// What people do to the objects.
const BY_HAND: std::ops::Range<usize> = 0..8;

impl Trial {
    pub(in super::super) fn draw(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (members, tasks) = (rng.usize(2..5), rng.usize(2..8));
        let lease = Duration::from_secs(rng.u64(2..6));
        let stalls = [None, Some(20_000), Some(2_000)][rng.usize(..3)];
        // Where the allocators' Lease is deleted together with the table, the group looks new: that is not promised.
        let spares_table = rng.u8(..3) == 0;
        let faulty = lease * FAULTY;
        let mut draw = Draw { rng, candidates: members, lease, faulty };
        let mut troubles = draw_troubles(&mut draw);
        for trouble in &mut troubles {
            trouble.kind = match trouble.kind {
                "page deleted" | "page edited" if spares_table => "page unlabelled",
                "allocators' Lease deleted" if !spares_table => "seat deleted",
                kind => kind,
            };
        }
        Self { seed, members, tasks, lease, stalls, troubles }
    }

    pub(in super::super) fn run(&self, server: &mut Server, is_traced: bool) -> Outcome {
        server.begin(self.has("stale read"));
        let mut rng = Rng::with_seed(!self.seed);
        let judge = Judge::new(is_traced);
        let mut world = World::new(server, judge, rng.fork(), self.lease);
        world.is_of_a_group = true;
        Stage::set(self, world, rng).play()
    }

    pub(super) fn has(&self, kind: &str) -> bool {
        self.troubles.iter().any(|trouble| trouble.kind == kind)
    }
}

/// A dozen, more or less, and often some in a row, in the order of time.
fn draw_troubles(draw: &mut Draw) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    for _ in 0..draw.rng.usize(3..12) {
        let at = draw.faulty.mul_f64(draw.rng.f64());
        let all = COMMON.len() + OWN.len();
        let number = draw.rng.usize(..all);
        let kind = COMMON.get(number).or_else(|| OWN.get(number - COMMON.len()));
        troubles.push(trouble(draw, kind.expect("it is one of them"), at));
    }
    if draw.rng.u8(..3) > 0 {
        let mut at = draw.faulty.mul_f64(draw.rng.f64());
        for _ in 0..draw.rng.usize(2..5) {
            let kind = match draw.rng.bool() {
                true => OWN[draw.rng.usize(..OWN.len())],
                false => COMMON[draw.rng.usize(..COMMON.len())],
            };
            troubles.push(trouble(draw, kind, at));
            at += draw.a_little();
        }
    }
    troubles.retain(|trouble| trouble.at < draw.faulty);
    troubles.sort_by_key(|trouble| trouble.at);
    troubles
}

fn trouble(draw: &mut Draw, kind: &'static str, at: Duration) -> Trouble {
    let member = draw.rng.usize(..draw.candidates);
    let span = draw.lease.mul_f64(draw.rng.f64() * 2.0);
    let what = match kind {
        "namesake" => What::Namesake(member),
        "member leaves" => What::Leave(member),
        "member drains" => What::Drain(member, span),
        own if OWN[BY_HAND].contains(&own) => What::ByHand(draw.rng.usize(..1000)),
        common => What::Common(draw.mishap(common, at)),
    };
    Trouble { at, kind, what }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, members, tasks, lease, stalls, troubles } = self;
        writeln!(f, "seed {seed}: {members} members, {tasks} tasks, leases of {lease:?}")?;
        writeln!(f, "stand still once in {stalls:?} looks; schedule:")?;
        troubles.iter().try_for_each(|Trouble { at, kind, what }| {
            writeln!(f, "  {:8.3} s  {kind}: {what:?}", at.as_secs_f64())
        })
    }
}

/// For how many leases things go wrong.
pub(super) const FAULTY: u32 = 10;
