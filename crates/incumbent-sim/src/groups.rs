//! A simulator of groups under faults.
//!
//! It runs the same `Member` and `Allocator` that run in production, each process with an `Elector` for its seat and
//! one for the allocators' Lease. The API server, the watches, the work and the watchdog are modelled.
//!
//! Two phases: in the first one everything may go wrong, and no task may ever have two owners at true time. Then all
//! faults end, and within a bound each task must run exactly once, and stay where it is.

mod cluster;
mod healed;
mod judge;
mod network;
mod node;
mod plan;
mod tally;
mod trouble;
mod work;
mod world;

pub use self::judge::Broken;
pub use self::plan::GroupPlan;
pub use self::tally::{GroupFault, GroupTally, Step};
use crate::Trace;

/// The result of one seed.
#[derive(Debug)]
pub struct GroupRun {
    /// The choices that were drawn from the seed.
    pub plan: GroupPlan,
    /// Counts of what happened.
    pub tally: GroupTally,
    /// The first property that did not hold. The run ends there.
    pub broken: Option<Broken>,
    /// One line per event, if a trace was requested.
    pub trace: Vec<String>,
}

/// Simulates one group with everything that is drawn from `seed`.
pub fn run(seed: u64, trace: Trace) -> GroupRun {
    world::World::new(GroupPlan::from_seed(seed), trace).run()
}

/// How many lines of the trace, from its end, a failure report shows.
const LAST_LINES: usize = 60;

/// Everything that you need to understand and replay a violation; `None` if all properties hold.
pub fn report(seed: u64) -> Option<String> {
    let run = run(seed, Trace::On);
    let broken = run.broken?;
    let first = run.trace.len().saturating_sub(LAST_LINES);
    let faults: Vec<String> = run.tally.faults().map(|(name, n)| format!("{name} {n}")).collect();
    Some(format!(
        "seed       {seed}\nproperty   {}\nviolation  {}\nplan       {:?}\nfaults     {}\n\n{}\n\n\
         replay     cargo run --release -p incumbent-sim -- --groups --seed {seed} --trace",
        broken.property,
        broken.detail,
        run.plan,
        faults.join(", "),
        run.trace[first..].join("\n"),
    ))
}
