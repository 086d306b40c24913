//! The choices that are drawn from a seed before anything happens.

use std::fmt;
use std::time::Duration;

use incumbent_core::{Timing, Waitlist};

use crate::chance::Chance;
use crate::clock::{Micros, micros};
use crate::tally::Fault;

/// One election: its candidates, their clocks, and what may go wrong.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything else follows from it.
    pub seed: u64,
    /// Our candidates.
    pub candidates: Vec<Candidate>,
    /// How many candidates behave like client-go. They use the timing of our first candidate.
    pub foreign: usize,
    /// The rate of each fault: in thousandths of requests or of watch events, or as a weight among
    /// random events.
    pub(crate) rates: [u16; Fault::TABLE.len()],
    /// The mean time between two random events.
    pub(crate) trouble_gap: Micros,
    /// The typical latency, one way.
    pub(crate) latency: Micros,
    /// How many revisions per second other objects of the server use up.
    pub(crate) background: u64,
    /// Whether the lock exists from the start.
    pub(crate) lock_exists: bool,
    /// When the safety phase ends and everything heals.
    pub(crate) heal_at: Micros,
}

/// One of our candidates.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its durations.
    pub timing: Timing,
    /// How fast its clock runs, in millionths of true time.
    pub clock_rate: u64,
    /// Its name, as a number. Two candidates with the same number are namesakes.
    pub name: usize,
    /// Whether it has the permission to watch.
    pub watches: bool,
    /// Its priority in the waitlist.
    pub priority: i32,
}

/// Faults whose rate is counted per thousand requests or watch events.
const PER_MESSAGE: std::ops::RangeInclusive<usize> =
    Fault::RequestLost as usize..=Fault::WatchExpired as usize;

/// The length of the safety phase, in lease durations.
const SAFETY_LEASES: u64 = 20;

impl Plan {
    /// Draws everything from `seed`. Each seed has a different set of faults, and some seeds have
    /// none. So the simulator also finds errors that appear only if one fault is frequent and
    /// another is absent (swarm testing).
    pub fn from_seed(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let calm = chance.permille(40);
        let mut rates = [0; Fault::TABLE.len()];
        let level = chance.below(4);
        for (index, rate) in rates.iter_mut().enumerate() {
            let on = chance.permille([150, 300, 500, 700][level as usize]);
            let most =
                if PER_MESSAGE.contains(&index) { [30, 60, 120, 200][level as usize] } else { 100 };
            let drawn = chance.between(1, most) as u16;
            *rate = if on && !calm { drawn } else { 0 };
        }
        let timing = draw_timing(&mut chance);
        let most = if chance.permille(300) { 9 } else { 4 };
        let count = chance.between(2, most) as usize;
        let mut plan = Self {
            seed,
            candidates: Vec::new(),
            foreign: 0,
            rates,
            trouble_gap: 0,
            latency: [200, 2_000, 10_000, 30_000][chance.below(4) as usize],
            background: [0, 3, 1000][chance.below(3) as usize],
            lock_exists: chance.permille(500),
            heal_at: 0,
        };
        plan.candidates =
            (0..count).map(|index| plan.draw_candidate(&mut chance, timing, index)).collect();
        if plan.has(Fault::ForeignCandidate) {
            plan.foreign = chance.between(1, 2) as usize;
        }
        if plan.has(Fault::BackupRestored) {
            // Revisions count the writes of a whole cluster. So after a restore, it takes as long
            // again until the undone revisions are reached.
            plan.background = 1000;
        }
        let longest = micros(plan.longest_lease());
        plan.trouble_gap = longest * chance.between(2, 40) / 10;
        plan.heal_at = if calm { 0 } else { longest * SAFETY_LEASES };
        plan
    }

    fn draw_candidate(&self, chance: &mut Chance, timing: Timing, index: usize) -> Candidate {
        let timing = match self.has(Fault::MixedTimings) && chance.permille(500) {
            true => draw_timing(chance),
            false => timing,
        };
        // Half of the allowed difference to either side.
        let clock_rate = match self.has(Fault::ClockRates) {
            true => {
                [990_100, 1_009_900, chance.between(990_100, 1_009_900)][chance.below(3) as usize]
            }
            false => 1_000_000,
        };
        let name = match self.has(Fault::Namesake) && chance.permille(400) {
            true => chance.below(index as u64 + 1) as usize,
            false => index,
        };
        let watches = !(self.has(Fault::PollingOnly) && chance.permille(500));
        let priority = match self.has(Fault::Priorities) {
            true => chance.below(3) as i32 - 1,
            false => 0,
        };
        Candidate { timing, clock_rate, name, watches, priority }
    }

    pub(crate) fn rate(&self, fault: Fault) -> u16 {
        self.rates[fault as usize]
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.rate(fault) > 0
    }

    pub(crate) fn longest_lease(&self) -> Duration {
        self.candidates.iter().map(|c| c.timing.lease_duration()).max().unwrap_or_default()
    }

    /// How long after the end of all faults a candidate must lead again.
    ///
    /// These waits add up:
    /// - A hung request reaches its deadline, or the `Retry-After` of the server passes.
    /// - The next attempt, which opens the watch or reads, begins a retry period (and a fifth)
    ///   later.
    /// - A term that is no longer renewed is waited out, on a clock that may be slow.
    /// - Each dead candidate in the waitlist costs a short step.
    /// - Each of one or two conflicts costs a quarter of a retry period.
    ///
    /// A foreign candidate polls every 2.2 retry periods in the worst case.
    pub(crate) fn recovery_bound(&self) -> Micros {
        let longest = |duration: fn(&Timing) -> Duration| {
            micros(self.candidates.iter().map(|c| duration(&c.timing)).max().unwrap_or_default())
        };
        let lease = longest(Timing::lease_duration);
        lease
            + lease / 50
            + longest(Timing::request_timeout)
            + micros(LONGEST_PATIENCE)
            + 5 * longest(Timing::retry_period)
            + Waitlist::CAPACITY as u64 * micros(Waitlist::STEP)
            + 20 * self.latency
    }
}

/// The longest `Retry-After` that the simulated server sends.
pub(crate) const LONGEST_PATIENCE: Duration = Duration::from_secs(3);

/// Draws one of the presets, or an unusual timing that is valid.
fn draw_timing(chance: &mut Chance) -> Timing {
    let odd = |lease, deadline, retry: u64| {
        Timing::new(
            Duration::from_secs(lease),
            Duration::from_secs(deadline),
            Duration::from_millis(retry),
        )
    };
    let short = Duration::from_millis(300);
    let drawn = match chance.below(8) {
        0..3 => Ok(Timing::fast()),
        3..5 => Ok(Timing::standard()),
        5 => odd(7, 6, 1300).and_then(|timing| timing.with_request_timeout(short)),
        6 => odd(4, 2, 900).and_then(|timing| timing.with_request_timeout(short)),
        _ => {
            odd(30, 29, 4000).and_then(|timing| timing.with_renew_interval(Duration::from_secs(3)))
        }
    };
    drawn.unwrap_or_default()
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leases: Vec<u64> =
            self.candidates.iter().map(|c| c.timing.lease_duration().as_secs()).collect();
        let polling = self.candidates.iter().filter(|c| !c.watches).count();
        write!(
            f,
            "{} candidates with leases of {leases:?} s ({polling} poll), {} foreign, latency {} µs",
            self.candidates.len(),
            self.foreign,
            self.latency
        )
    }
}
