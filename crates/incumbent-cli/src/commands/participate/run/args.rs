//! The arguments of `incumbent run`.

use std::ffi::OsString;
use std::time::Duration;

use clap::ValueEnum;

use crate::commands::participate::guarded::Restart;
use crate::flags::candidacy::Candidacy;
use crate::flags::cluster::Cluster;
use crate::flags::duration::duration;
use crate::flags::lock::lock_text;
use crate::flags::timing::TimingArgs;
use crate::runtime::exit;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Run {
    /// What to compete for: lease/NAME or configmap/NAME[:KEY]
    #[arg(long, value_name = "LOCK", value_parser = lock_text)]
    pub(crate) lock: String,
    /// What to do when leadership is lost and the command was stopped: wait to lead again, or exit with 79
    #[arg(long, value_enum, default_value = "wait")]
    pub(crate) on_loss: OnLoss,
    /// Give up if another candidate leads; if its last renewal is older than its lease, first wait for a sign of
    /// life
    #[arg(long = "try", conflicts_with = "timeout")]
    pub(crate) only_try: bool,
    /// Give up after waiting for this time
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Run this program while another candidate leads; it has ended before the command starts
    #[arg(long, value_name = "PROGRAM", conflicts_with = "only_try")]
    pub(crate) on_follower: Option<OsString>,
    /// The exit code of giving up
    #[arg(short = 'E', long, value_name = "CODE", default_value = "75")]
    pub(crate) conflict_exit_code: u8,
    /// When the command ends, start it again in the same term, instead of handing over at once
    #[arg(long, value_enum, default_value = "never")]
    pub(crate) restart: Restart,
    /// How often in a row; after a run of a minute, the count starts again
    #[arg(long, value_name = "N", default_value = "5")]
    pub(crate) max_restarts: u32,
    /// How long the command may take to stop when asked to; a lost term may leave it less
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) kill_after: Duration,
    /// Let setuid programs (sudo) that the command runs gain rights: this user cannot kill them [always so for root]
    #[arg(long)]
    pub(crate) allow_privilege_escalation: bool,
    #[command(flatten)]
    pub(crate) candidacy: Candidacy,
    #[command(flatten)]
    pub(crate) timing: TimingArgs,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// The command and its arguments; no shell reads them
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

impl Run {
    /// A command that runs one time in each term, with what other commands that take part have in common with this one.
    pub(crate) fn once_a_term(
        lock: String,
        kill_after: Duration,
        candidacy: Candidacy,
        timing: TimingArgs,
        cluster: Cluster,
        command: Vec<OsString>,
    ) -> Self {
        Self {
            lock,
            on_loss: OnLoss::Wait,
            only_try: false,
            timeout: None,
            on_follower: None,
            conflict_exit_code: exit::CONFLICT,
            restart: Restart::Never,
            max_restarts: 0,
            kill_after,
            allow_privilege_escalation: false,
            candidacy,
            timing,
            cluster,
            command,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnLoss {
    Wait,
    Exit,
}

/// The exit codes of `run`, which has to leave the low numbers to its command.
const HELP: &str = "\
Examples:
  Run a program in one replica at a time:
    $ incumbent run --lock lease/scanner -- ./scanner
  Start nothing if another replica leads, as in a cron job:
    $ incumbent run --lock lease/backup --try -- ./backup

Exit codes:
  the command's own, or 128 plus the number of the signal that ended it; and
     2  usage, before anything was started
    69  the API server cannot be reached or cannot answer now, or nothing says where it is
    71  this system refuses: a file, a port, a process
    73  the quota of the namespace has no room for the lock
    75  another leads: --try or --timeout gave up, and nothing was started
    77  a permission is missing, the credentials are not accepted, or an admission webhook or policy refuses or \
changes the write
    78  an identity or a timing cannot work, or something does not exist
    79  leadership was lost, and the command stopped (--on-loss exit)
   126  the command cannot be run
   127  the command does not exist
   128 plus the signal's number, too, if a signal ends this program while it waits";
