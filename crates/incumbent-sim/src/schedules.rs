//! A simulator of schedules under faults.
//!
//! It runs the same `Scheduler` that runs in production, in each replica beside an `Elector`. Both write the same
//! object. The API server, the work and the watchdog are modelled. Every clock may step, that of the API server
//! included.
//!
//! The properties are judged at true time, and at each write as the server applies it. At the end, all faults end, and
//! each tick has to be decided.

mod calendar;
mod judge;
mod network;
mod plan;
mod replica;
mod starts;
mod store;
mod tally;
mod trouble;
mod world;
mod writes;

pub use self::judge::Breach;
pub use self::plan::SchedulePlan;
pub use self::tally::{ScheduleFault, ScheduleStep, ScheduleTally};
use crate::Trace;

/// The result of one seed.
#[derive(Debug)]
pub struct ScheduleRun {
    /// The choices that were drawn from the seed.
    pub plan: SchedulePlan,
    /// Counts of what happened.
    pub tally: ScheduleTally,
    /// The first property that did not hold. The run ends there.
    pub breach: Option<Breach>,
    /// One line per event, if a trace was requested.
    pub trace: Vec<String>,
}

/// Simulates one schedule with everything that is drawn from `seed`.
pub fn run(seed: u64, trace: Trace) -> ScheduleRun {
    world::World::new(SchedulePlan::from_seed(seed), trace).run()
}

/// How many lines of the trace, from its end, a failure report shows.
const LAST_LINES: usize = 60;

/// Everything that you need to understand and replay a violation; `None` if all properties hold.
pub fn report(seed: u64) -> Option<String> {
    let run = run(seed, Trace::On);
    let breach = run.breach?;
    let first = run.trace.len().saturating_sub(LAST_LINES);
    let faults: Vec<String> = run.tally.faults().map(|(name, n)| format!("{name} {n}")).collect();
    Some(format!(
        "seed       {seed}\nproperty   {}\nviolation  {}\nplan       {:?}\nfaults     {}\n\n{}\n\n\
         replay     cargo run --release -p incumbent-sim -- --schedules --seed {seed} --trace",
        breach.property,
        breach.detail,
        run.plan,
        faults.join(", "),
        run.trace[first..].join("\n"),
    ))
}
