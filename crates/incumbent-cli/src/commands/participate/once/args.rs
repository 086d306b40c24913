//! The arguments of `incumbent once`.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::ValueEnum;

use crate::commands::participate::run::args::{OnLoss, Run};
use crate::flags::candidacy::Candidacy;
use crate::flags::cluster::Cluster;
use crate::flags::duration::duration;
use crate::flags::lock::blackboard_text;
use crate::flags::timing::TimingArgs;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Once {
    /// Which task: configmap/NAME:KEY; its record is stored under KEY.once
    #[arg(value_parser = blackboard_text)]
    pub(crate) key: String,
    /// Run the task again if it failed, or if its runner died in the middle; it may then be done twice
    #[arg(long)]
    pub(crate) at_least_once: bool,
    /// A task that ended longer ago than this counts as never run
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) ttl: Option<Duration>,
    /// Wait while another process runs it, and report how it ends
    #[arg(long)]
    pub(crate) wait: bool,
    /// Settle a task that is in doubt, after you have checked: it is done, or it may run again
    #[arg(long, value_enum, conflicts_with_all = ["at_least_once", "ttl", "wait", "command"])]
    pub(crate) settle: Option<Settle>,
    /// How long the command may take to stop when asked to; a lost term may leave it less
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    kill_after: Duration,
    #[command(flatten)]
    candidacy: Candidacy,
    #[command(flatten)]
    timing: TimingArgs,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// The command and its arguments; no shell reads them
    #[arg(last = true, required_unless_present = "settle", value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Once {
    /// Gives no token below this, nor below what the flag says.
    pub(crate) fn raise_token_floor(&mut self, floor: u64) {
        self.candidacy.raise_token_floor(floor);
    }

    /// The program to run.
    pub(crate) fn command(&self) -> Option<&OsStr> {
        self.command.first().map(OsString::as_os_str)
    }

    /// The same as a command that runs while one leads.
    pub(crate) fn into_run(self) -> Run {
        let only_try = !self.wait;
        let Self { key, kill_after, candidacy, timing, cluster, command, .. } = self;
        let run = Run::once_a_term(key, kill_after, candidacy, timing, cluster, command);
        Run { on_loss: OnLoss::Exit, only_try, ..run }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Settle {
    Done,
    Again,
}

const HELP: &str = "\
Examples:
  Run a migration once across all replicas, and wait until it is done:
    $ incumbent once configmap/tasks:migrate-42 --wait -- ./migrate
  Its runner crashed, and you found that the migration is done:
    $ incumbent once configmap/tasks:migrate-42 --settle done

At most once, by default: a command that has begun is not started again. If its runner dies in the middle, the \
task is in doubt until you have checked, and settle it.

At least once, with --at-least-once: if a command has not ended with 0, the next process runs it again. If its \
runner died in the middle, or it failed, it may be done twice.

Exit codes:
    0  done, now or earlier
  the command's own, if it was run now; and
    73  the ConfigMap, or the quota of its namespace, has no room for another record, and nothing was started
    75  in progress elsewhere: the output says by which process, and since when
    79  leadership was lost, and the command stopped: the next process finds the task in doubt
    80  in doubt: its runner died in the middle, or its end could not be recorded
    81  it failed earlier: the output says with which code
  others as of incumbent run";
