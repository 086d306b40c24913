//! The arguments of `incumbent sidecar`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::flags::cluster::Cluster;
use crate::flags::duration::duration;
use crate::flags::lock::lock_text;
use crate::flags::membership::Membership;
use crate::flags::socket_address;
use crate::flags::timing::TimingArgs;
use crate::http::listener::{self, ListenAddress, socket_file};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Sidecar {
    /// What to compete for: lease/NAME or configmap/NAME[:KEY]
    #[arg(long, env = "INCUMBENT_LOCK", value_name = "LOCK", value_parser = lock_text, required_unless_present = "group", conflicts_with = "kind_of_tasks")]
    pub(crate) lock: Option<String>,
    /// Share the tasks of this group instead, of which one of --tasks, --from-config, --slots, --permits says the kind
    #[arg(long, value_name = "GROUP", requires = "kind_of_tasks", conflicts_with_all = OF_A_LOCK)]
    pub(crate) group: Option<String>,
    #[command(flatten)]
    pub(crate) membership: Membership,
    /// The name others see [default: the Pod's name and uid, else the host's name and a number]
    #[arg(long, env = "INCUMBENT_IDENTITY", value_name = "ID")]
    pub(crate) identity: Option<String>,
    /// Where to answer the application: ADDRESS:PORT, or unix:PATH; port 0 picks a free one
    #[arg(long, env = "INCUMBENT_LISTEN", value_name = "WHERE", default_value = "127.0.0.1:4040", value_parser = listener::place)]
    pub(crate) listen: ListenAddress,
    /// Allow an address that other machines can reach
    #[arg(long)]
    pub(crate) allow_remote: bool,
    /// The mode of the Unix socket, as for chmod
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = socket_file::mode)]
    pub(crate) socket_mode: u32,
    /// Also answer to this name in the Host header; can be repeated
    #[arg(long = "allow-host", value_name = "NAME")]
    pub(crate) hosts: Vec<String>,
    /// The secret that a step-down, a release and a lifeline over TCP need, as `Authorization: Bearer SECRET`
    #[arg(long, env = "INCUMBENT_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Serve probes and /metrics at this port of 127.0.0.1, or at this address: kubelet and Prometheus come from outside
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = socket_address::parse)]
    pub(crate) probe_addr: Option<SocketAddr>,
    /// Whether this Pod campaigns, or takes tasks, only while an application holds /v1/lifeline open
    #[arg(long, value_enum, default_value = "optional")]
    pub(crate) lifeline: Lifeline,
    /// What to assume on SIGTERM: the application has ended, or it may still run
    #[arg(long, value_enum, default_value = "release")]
    pub(crate) on_term: OnTerm,
    /// Run this program when a term begins
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) on_elected: Option<PathBuf>,
    /// Run this program when a term ends; if it succeeds, the work counts as stopped
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) on_lost: Option<PathBuf>,
    /// How long such a program may take before it is killed
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) hook_timeout: Duration,
    /// Keep this file up to date with what GET /v1/leader answers
    #[arg(long, value_name = "FILE")]
    pub(crate) status_file: Option<PathBuf>,
    /// The mode of the status file, as for chmod
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = socket_file::mode)]
    pub(crate) status_mode: u32,
    /// Label the leader's Pod, for the selector of a Service
    #[arg(long)]
    pub(crate) label: bool,
    /// Where this Pod can be reached while it leads, or as a member; others find it in the answers
    #[arg(long, env = "INCUMBENT_ADDRESS", value_name = "ADDRESS")]
    pub(crate) address: Option<String>,
    /// Go ahead of candidates with a lower priority, and take over from a leader with a lower one
    #[arg(long, value_name = "N", default_value = "0", allow_hyphen_values = true)]
    pub(crate) priority: i32,
    /// Write Kubernetes Events: on the lock when a term begins and ends, or on the table of the group
    #[arg(long)]
    pub(crate) events: bool,
    /// Use no fencing token below this: after a move to another cluster, or a restored backup
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) token_floor: u64,
    #[command(flatten)]
    pub(crate) timing: TimingArgs,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// What says nothing about a group.
const OF_A_LOCK: [&str; 9] = [
    "lock",
    "identity",
    "on_elected",
    "on_lost",
    "hook_timeout",
    "status_file",
    "label",
    "priority",
    "token_floor",
];

const HELP: &str = "\
Examples:
  Answer on loopback who leads:
    $ incumbent sidecar --lock lease/scanner
  Answer which tasks are this Pod's:
    $ incumbent sidecar --group indexers --tasks eu,us,ap --token-file secret
  Answer on a Unix socket, and serve probes and metrics on a port:
    $ incumbent sidecar --lock lease/scanner --listen unix:/run/lead --probe-addr 9090";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lifeline {
    /// A lifeline that closes hands over; none is required
    Optional,
    /// Without a lifeline, this Pod is not a candidate, and takes no tasks
    Required,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnTerm {
    /// It has ended: release the lock or tasks at once, unless a lifeline is open
    Release,
    /// It may still run: release the lock or tasks when no answer is valid any longer
    Wait,
}
