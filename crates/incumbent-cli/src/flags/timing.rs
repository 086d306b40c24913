//! The durations of an election.

use std::time::Duration;

use clap::ValueEnum;
use incumbent::{Error, Timing};

use crate::flags::duration::duration;

/// The durations, in the order of precedence: a preset, one number, single numbers.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Timing")]
pub(crate) struct TimingArgs {
    /// Named durations: 5/3/0.5 s, 15/10/2 s (default), 137/107/26 s, 270/240/60 s
    #[arg(long, value_enum, conflicts_with = "lease_duration")]
    preset: Option<Preset>,
    /// How long followers wait after a renewal; scales all other durations [default: 15s]
    #[arg(long, value_name = "DURATION", value_parser = duration, alias = "leader-elect-lease-duration")]
    lease_duration: Option<Duration>,
    /// How long a leader may act after sending a renewal [default: 2/3 of the lease duration]
    #[arg(long, value_name = "DURATION", value_parser = duration, alias = "leader-elect-renew-deadline")]
    renew_deadline: Option<Duration>,
    /// How long to wait after a failure [default: 2/15 of the lease duration]
    #[arg(long, value_name = "DURATION", value_parser = duration, alias = "leader-elect-retry-period")]
    retry_period: Option<Duration>,
    /// How often a healthy leader renews [default: 1/3 of the lease duration]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    renew_interval: Option<Duration>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Preset {
    Fast,
    Default,
    Patient,
    SingleNode,
}

impl TimingArgs {
    pub(crate) fn timing(&self) -> Result<Timing, Error> {
        let base = match (self.lease_duration, self.preset) {
            (Some(lease_duration), _) => Timing::from_lease_duration(lease_duration)?,
            (None, Some(Preset::Fast)) => Timing::fast(),
            (None, Some(Preset::Patient)) => Timing::patient(),
            (None, Some(Preset::SingleNode)) => Timing::single_node(),
            (None, Some(Preset::Default) | None) => Timing::standard(),
        };
        let timing = match (self.renew_deadline, self.retry_period) {
            (None, None) => base,
            (renew_deadline, retry_period) => Timing::new(
                base.lease_duration(),
                renew_deadline.unwrap_or_else(|| base.renew_deadline()),
                retry_period.unwrap_or_else(|| base.retry_period()),
            )?,
        };
        Ok(match self.renew_interval {
            Some(renew_interval) => timing.with_renew_interval(renew_interval)?,
            None => timing,
        })
    }
}
