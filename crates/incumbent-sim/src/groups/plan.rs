//! The choices that are drawn from a seed before anything happens.

use std::time::Duration;

use incumbent_core::Timing;
use incumbent_core::group::Kind;

use super::tally::GroupFault;
use crate::chance::Chance;
use crate::clock::Micros;

/// One group: its members, and what may go wrong.
#[derive(Clone, Debug)]
pub struct GroupPlan {
    /// Everything else follows from it.
    pub seed: u64,
    /// How many processes start.
    pub members: usize,
    /// What the tasks are. Where they are numbers, some processes want one more.
    pub kind: Kind,
    /// How many tasks are listed at the start, if they have names.
    pub tasks: usize,
    /// For how long at most members prepare tasks that move to them, where they do.
    pub prepares_within: Option<Duration>,
    /// The durations of seats and of the allocators' Lease.
    pub timing: Timing,
    /// How long work may continue unseen, in any version of the program.
    pub longest_lease: Duration,
    /// The rate of each fault: in thousandths of messages, or as a weight among random events.
    pub(crate) rates: [u16; GroupFault::TABLE.len()],
    pub(crate) trouble_gap: Micros,
    pub(crate) latency: Micros,
    /// When everything heals.
    pub(crate) heal_at: Micros,
    /// When each task must run once.
    pub(crate) judge_at: Micros,
    /// When the run ends.
    pub(crate) end_at: Micros,
}

impl GroupPlan {
    /// Draws everything from `seed`. Each seed has a different set of faults, and some have none.
    pub fn from_seed(seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x6772_6f75_7073);
        let calm = chance.permille(30);
        let level = chance.below(3) as usize;
        let mut rates = [0; GroupFault::TABLE.len()];
        for rate in &mut rates {
            let on = chance.permille([200, 350, 600][level]);
            let drawn = chance.between(5, 100) as u16;
            *rate = if on && !calm { drawn } else { 0 };
        }
        // After it, safety is not judged.
        if !chance.permille(100) {
            rates[GroupFault::PageOldCopy as usize] = 0;
        }
        // To delete the Lease with seats and pages is not guaranteed: members must be stopped first.
        if rates[GroupFault::LockDeleted as usize] > 0 {
            rates[GroupFault::SeatDeleted as usize] = 0;
            rates[GroupFault::SeatCleared as usize] = 0;
            rates[GroupFault::SeatByHand as usize] = 0;
        }
        // A second process of the name cannot know that an emptied seat was held: that is not guaranteed either.
        if rates[GroupFault::Namesake as usize] > 0 {
            rates[GroupFault::SeatCleared as usize] = 0;
        }
        // Work is not asked to stop often enough otherwise.
        rates[GroupFault::SlowStop as usize] *= 3;
        rates[GroupFault::StuckWork as usize] *= 3;
        let timing = if chance.permille(500) { Timing::standard() } else { Timing::fast() };
        let lease = timing.lease_duration();
        let longest_lease = lease * 2;
        let second = 1_000_000;
        let mut chance_of_kind = Chance::new(seed ^ 0x6b69_6e64);
        let kind = match chance_of_kind.below(10) {
            0..6 => Kind::Named,
            6 | 7 => Kind::Slots(chance_of_kind.between(1, 6) as u16),
            _ => Kind::Permits(chance_of_kind.between(1, 3) as u16),
        };
        let mut chance_to_prepare = Chance::new(seed ^ 0x7072_6570_6172_6573);
        let prepares_within = chance_to_prepare
            .permille(400)
            .then(|| lease.mul_f64(chance_to_prepare.between(1, 10) as f64 / 10.0));
        let micros = |duration: Duration| duration.as_micros() as Micros;
        let heal_at = if calm { second } else { micros(lease) * chance.between(8, 24) };
        let judge_at = heal_at + micros(longest_lease) * 2 + micros(lease) * 4;
        Self {
            seed,
            members: chance.between(1, 4) as usize,
            kind,
            tasks: chance.between(1, 5) as usize,
            prepares_within,
            timing,
            longest_lease,
            rates,
            trouble_gap: micros(lease) * chance.between(1, 20) / 10,
            latency: [200, 2_000, 10_000, 50_000][chance.below(4) as usize],
            heal_at,
            judge_at,
            end_at: judge_at + micros(lease) * 3,
        }
    }

    pub(crate) fn rate(&self, fault: GroupFault) -> u16 {
        self.rates[fault as usize]
    }
}
