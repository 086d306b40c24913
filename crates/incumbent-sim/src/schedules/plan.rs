//! The choices that are drawn from a seed before anything happens.

use std::time::Duration;

use incumbent_core::Timing;
use incumbent_core::schedule::{CatchUp, OnDeath, Overlap, Policies, Spec, When};

use super::calendar::{ZoneData, moment};
use super::tally::ScheduleFault;
use crate::chance::Chance;
use crate::clock::Micros;

/// One schedule with its replicas, and what may go wrong.
#[derive(Clone, Debug)]
pub struct SchedulePlan {
    /// Everything else follows from it.
    pub seed: u64,
    /// The durations of the election.
    pub timing: Timing,
    /// The policies of all replicas.
    pub policies: Policies,
    /// How many seconds there are between two ticks.
    pub period: u64,
    /// Whether the spec has a time zone, on whose data the replicas disagree.
    pub is_zoned: bool,
    /// Whether each version of the program has a higher revision.
    pub has_revisions: bool,
    /// Whether the scheduler sees the answers that the elector gets.
    pub shares_answers: bool,
    pub(crate) longest_run: Micros,
    pub(super) zones: [ZoneData; 2],
    pub(crate) rates: [u16; ScheduleFault::TABLE.len()],
    pub(crate) trouble_gap: Micros,
    pub(crate) latency: Micros,
    /// When all faults end.
    pub(crate) heal_at: Micros,
    /// When the run ends.
    pub(crate) end_at: Micros,
}

const SECOND: Micros = 1_000_000;

/// How many replicas there are.
pub(super) const REPLICAS: usize = 3;

impl SchedulePlan {
    /// Draws everything from `seed`. Each seed has a different set of faults, and some have none.
    pub fn from_seed(seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x0073_6368_6564_756c);
        let calm = chance.permille(50);
        let level = chance.below(3) as usize;
        let mut rates = [0; ScheduleFault::TABLE.len()];
        for rate in &mut rates {
            let on = chance.permille([150, 300, 600][level]);
            let drawn = chance.between(3, 80) as u16;
            *rate = if on && !calm { drawn } else { 0 };
        }
        let is_zoned = chance.permille(200);
        if is_zoned {
            // Another spec forgets the local time, and so does a record that is made again.
            for fault in [
                ScheduleFault::Rollout,
                ScheduleFault::RecordDeleted,
                ScheduleFault::ObjectDeleted,
                ScheduleFault::RecordRestored,
                ScheduleFault::Suspend,
            ] {
                rates[fault as usize] = 0;
            }
        }
        let period = if is_zoned { 600 } else { [10, 20, 30, 60][chance.below(4) as usize] };
        let shift_at = chance.between(1200, 3000).cast_signed();
        let shift = if chance.permille(500) { 300 } else { -300 };
        let other = shift_at + chance.between(600, 3000).cast_signed();
        let heal_at = SECOND * chance.between(1500, 6000);
        Self {
            seed,
            timing: if chance.permille(500) { Timing::standard() } else { Timing::fast() },
            policies: policies(&mut chance, period),
            period,
            is_zoned,
            has_revisions: chance.permille(700),
            shares_answers: chance.permille(500),
            longest_run: [100_000, SECOND * period / 2, SECOND * period * 2]
                [chance.below(3) as usize],
            zones: [ZoneData { shift_at, shift }, ZoneData { shift_at: other, shift }],
            rates,
            trouble_gap: SECOND * [5, 30, 120][chance.below(3) as usize],
            latency: [200, 2_000, 10_000, 50_000][chance.below(4) as usize],
            heal_at,
            end_at: heal_at + SECOND * 1500,
        }
    }

    pub(crate) fn rate(&self, fault: ScheduleFault) -> u16 {
        self.rates[fault as usize]
    }

    /// The spec of this version of the program.
    pub(super) fn spec(&self, version: u64) -> Spec {
        let period = self.period + version % 3 * self.period / 2;
        let when = match self.is_zoned {
            true => When::Cron { pattern: period.to_string(), zone: "zone".to_owned() },
            false => When::Every {
                period: Duration::from_secs(period),
                anchor: moment(version % 7 * SECOND),
            },
        };
        Spec { when, revision: if self.has_revisions { version } else { 0 } }
    }
}

fn policies(chance: &mut Chance, period: u64) -> Policies {
    Policies {
        catch_up: match chance.below(4) {
            0 => CatchUp::None,
            1 => CatchUp::Last,
            _ => CatchUp::All(100_000),
        },
        deadline: Duration::from_secs([20, 60][chance.below(2) as usize]),
        overlap: [Overlap::Forbid, Overlap::Queue, Overlap::Replace][chance.below(3) as usize],
        on_death: [OnDeath::InDoubt, OnDeath::Again][chance.below(2) as usize],
        retries: [0, 0, 2][chance.below(3) as usize],
        jitter: Duration::from_secs([0, 0, period / 2][chance.below(3) as usize]),
    }
}
