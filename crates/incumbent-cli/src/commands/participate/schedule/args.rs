//! The arguments of `incumbent schedule`.

use std::ffi::OsString;
use std::time::Duration;

use clap::ValueEnum;
use incumbent::{CatchUp, OnDeath, Overlap};

use crate::commands::participate::run::args::Run;
use crate::flags::candidacy::Candidacy;
use crate::flags::cluster::Cluster;
use crate::flags::duration::duration;
use crate::flags::lock::blackboard_text;
use crate::flags::timing::TimingArgs;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Schedule {
    /// When to run: a cron pattern, as one argument; five fields, or six with seconds first
    #[arg(required_unless_present = "every", conflicts_with = "every", value_name = "PATTERN")]
    pattern: Option<String>,
    /// Run each time this period has passed, counted from the start of 1970
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    every: Option<Duration>,
    /// The name of the schedule; its record is stored under NAME.schedule
    #[arg(long)]
    pub(crate) name: String,
    /// The election whose leader runs it, and the ConfigMap of the record [default: configmap/schedules:NAME]
    #[arg(long, value_name = "LOCK", value_parser = blackboard_text)]
    lock: Option<String>,
    /// The time zone of the pattern, by its name in the tz database
    #[arg(long, value_name = "ZONE", default_value = "UTC", conflicts_with = "every")]
    tz: String,
    /// Which ticks past their deadline to run: none, the newest, or the newest N (all=N)
    #[arg(long, value_name = "none|last|all=N", default_value = "last", value_parser = catch_up)]
    catch_up: CatchUp,
    /// How long after its instant a tick may begin without being late
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    deadline: Duration,
    /// What to do with a tick that is due during a run: skip it, let it wait, or stop the run
    #[arg(long, value_enum, default_value = "forbid")]
    overlap: WhenBusy,
    /// Whether a run whose process died, or that was stopped, runs again: at most once, or at least once
    #[arg(long, value_enum, default_value = "in-doubt")]
    on_death: AfterDeath,
    /// How often to try a failed run again, until the next tick or the deadline
    #[arg(long, value_name = "N", default_value = "0")]
    retries: u32,
    /// Delay each tick by up to this much; the delay of a tick is the same in each replica
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    jitter: Option<Duration>,
    /// The revision of the pattern; raise it with each change, because the higher one counts during a rollout
    #[arg(long, value_name = "N", default_value = "0")]
    revision: u64,
    /// The schedule's former name, so that no tick runs under both names
    #[arg(long, value_name = "NAME")]
    was: Option<String>,
    /// How long the command may take to stop when asked to; a lost term may leave it less
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    kill_after: Duration,
    #[command(flatten)]
    candidacy: Candidacy,
    #[command(flatten)]
    timing: TimingArgs,
    #[command(flatten)]
    cluster: Cluster,
    /// The command and its arguments; no shell reads them
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

impl Schedule {
    /// The schedule that these arguments describe.
    pub(crate) fn schedule(&self) -> incumbent::Schedule {
        let schedule = match (&self.pattern, self.every) {
            (Some(pattern), _) => {
                incumbent::Schedule::cron(&self.name, pattern).time_zone(&self.tz)
            }
            (None, every) => incumbent::Schedule::every(&self.name, every.unwrap_or_default()),
        };
        let schedule = schedule
            .catch_up(self.catch_up)
            .deadline(self.deadline)
            .overlap(self.overlap.into())
            .on_death(self.on_death.into())
            .retries(self.retries)
            .jitter(self.jitter.unwrap_or_default())
            .revision(self.revision);
        match &self.was {
            Some(was) => schedule.renamed_from(was),
            None => schedule,
        }
    }

    /// The arguments of `incumbent run` that hold the lock and start the command.
    pub(crate) fn into_run(self) -> Run {
        let Self { name, lock, kill_after, candidacy, timing, cluster, command, .. } = self;
        let lock = lock.unwrap_or_else(|| format!("configmap/schedules:{name}"));
        Run::once_a_term(lock, kill_after, candidacy, timing, cluster, command)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WhenBusy {
    Forbid,
    Queue,
    Replace,
}

impl From<WhenBusy> for Overlap {
    fn from(overlap: WhenBusy) -> Self {
        match overlap {
            WhenBusy::Forbid => Self::Forbid,
            WhenBusy::Queue => Self::Queue,
            WhenBusy::Replace => Self::Replace,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AfterDeath {
    InDoubt,
    Again,
}

impl From<AfterDeath> for OnDeath {
    fn from(on_death: AfterDeath) -> Self {
        match on_death {
            AfterDeath::InDoubt => Self::InDoubt,
            AfterDeath::Again => Self::Again,
        }
    }
}

fn catch_up(text: &str) -> Result<CatchUp, String> {
    match text {
        "none" => Ok(CatchUp::None),
        "last" => Ok(CatchUp::Last),
        _ => {
            let most = text.strip_prefix("all=").and_then(|most| most.parse().ok());
            most.map(CatchUp::All).ok_or_else(|| "it is none, last, or all=N".to_owned())
        }
    }
}

const HELP: &str = "\
Examples:
  Send a report each working day at seven, from one of many replicas:
    $ incumbent schedule '0 7 * * MON-FRI' --name report --tz Europe/Berlin -- ./report
  Run a sync every 30 seconds, and stop one that takes longer:
    $ incumbent schedule --every 30s --name sync --overlap replace -- ./sync

The command finds its tick in these variables:
  INCUMBENT_TICK     the scheduled instant, in UTC; the same for each attempt
  INCUMBENT_ATTEMPT  the number of the attempt, from 1
  INCUMBENT_LATE_MS  how long after its instant it began, in milliseconds
  INCUMBENT_TOKEN    the fencing token, to send with each write
A command that exits with 0 has succeeded. Any other code means that it has failed.

Exit codes:
    69  the API server cannot answer, or nothing says where it is
    71  this system refuses: a file, a port, a process
    77  a permission is missing, or the credentials are not accepted
    78  a pattern, a time zone, a name or a timing that cannot work
   126  the command cannot be run
   127  the command does not exist
   128 plus the signal's number, if a signal ends this program";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_caught_up_is_none_the_newest_or_a_number() {
        assert_eq!(catch_up("none"), Ok(CatchUp::None));
        assert_eq!(catch_up("all=100"), Ok(CatchUp::All(100)));
        for wrong in ["all", "all=", "all=-1", "first", ""] {
            assert!(catch_up(wrong).is_err(), "{wrong}");
        }
    }
}
