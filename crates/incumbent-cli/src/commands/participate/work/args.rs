//! The arguments of `incumbent work`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use crate::commands::participate::guarded::Restart;
use crate::flags::cluster::Cluster;
use crate::flags::duration::duration;
use crate::flags::membership::Membership;
use crate::flags::socket_address;
use crate::flags::timing::TimingArgs;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Work {
    /// The group: its members share the tasks
    #[arg(value_name = "GROUP", requires = "kind_of_tasks")]
    pub(crate) group: String,
    #[command(flatten)]
    pub(crate) membership: Membership,
    /// Publish where this member can be reached
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Option<String>,
    /// When the command of a task ends, start it again: after 1 s at first, after 1m at most
    #[arg(long, value_enum, default_value = "on-failure")]
    pub(crate) restart: Restart,
    /// How often in a row, before the task goes to another member; after a run of a minute, the count starts again
    #[arg(long, value_name = "N", default_value = "5")]
    pub(crate) max_restarts: u32,
    /// How long a command may take to stop when asked to; a lost seat may leave it less
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) kill_after: Duration,
    /// Let setuid programs (sudo) that the command runs gain rights: this user cannot kill them [always so for root]
    #[arg(long)]
    pub(crate) allow_privilege_escalation: bool,
    /// Assign the tasks of a member again as soon as the kubelet reports that its container has terminated; all
    /// members need it, and the verb watch on pods. Has no effect where a Pod shares a PID namespace
    #[arg(long)]
    pub(crate) kubelet_reports: bool,
    /// Write Kubernetes Events on the table: which tasks were assigned, and which are stuck
    #[arg(long)]
    pub(crate) events: bool,
    /// Serve /metrics for Prometheus at this port of 127.0.0.1, or at this address; port 0 picks a free one
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = socket_address::parse)]
    pub(crate) metrics_addr: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) timing: TimingArgs,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// The command and its arguments; no shell reads them
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

const HELP: &str = "\
Examples:
  Share three tasks among all replicas that run this:
    $ incumbent work indexers --tasks eu,us,ap -- ./index
  Share the tasks that a ConfigMap lists:
    $ incumbent work indexers --from-config -- ./index
  Import, but at most three at once in the cluster; the others wait for their turn:
    $ incumbent work imports --permits 3 -- ./import

The command runs once for each task that this member owns. INCUMBENT_TASK is the name of the task, and INCUMBENT_TOKEN \
its fencing token.

Exit codes:
     0  asked to end (TERM, INT, HUP, QUIT): all commands have stopped, and the tasks were given to others
     *  with --permits: the command's own, or 128 and the number of the signal that ended it
     2  usage, before anything was started
    69  the API server cannot be reached or cannot answer now, or nothing says where it is
    71  this system refuses: a file, a port, a process
    73  the table or the quota of the namespace has no room for more
    77  a permission is missing, the credentials are not accepted, or an admission webhook or policy refuses or \
changes the write
    78  a name or a timing cannot work, something does not exist, or another living process is this member";
