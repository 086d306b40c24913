//! The command line, parsed once.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use incumbent::{Builder, Error, Lock, Timing};
use incumbent_apiserver::{Fault, FaultError};

use crate::cluster::{Cluster, Operator};
use crate::metrics::Exporter;
use crate::output::Form;
use crate::{exit, metrics};

/// Leader election on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "incumbent", version, after_help = exit::HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show an election on this machine, break it in five ways, and measure what happens
    Demo(Demo),
    /// Run a small Kubernetes API server for development; not for production
    DevServer(DevServer),
    /// Show elections on a page that goes on as they do: who leads, what needs attention, and why
    #[cfg(unix)]
    Dashboard(crate::dashboard::Dashboard),
    /// Take part in elections until SIGTERM or SIGINT, one JSON object a line
    Elect(Elect),
    #[cfg(unix)]
    /// Take part for an application of any language, and tell it who leads, over HTTP on loopback
    Sidecar(crate::sidecar::args::Sidecar),
    /// Run a command only while this process leads
    #[cfg(target_os = "linux")]
    Run(Run),
    /// Run a command once, however many come to run it; everybody else learns what became of it
    #[cfg(target_os = "linux")]
    Once(Once),
    /// Write a name on the blackboard, if none stands there: first come, first served
    Claim(Claim),
    /// Show locks, who holds each, and whether it is fresh
    Get(crate::get::Get),
    /// One page about one lock: who leads, since when, who waits, what happened, what to do
    Status(crate::status::Status),
    /// Say by the exit code whether somebody leads, for scripts and probes
    Check(crate::check::Check),
    /// Wait until somebody leads, somebody else does, or nobody
    Wait(crate::wait::Wait),
    /// Print a line for each change of a leader, as it happens
    Watch(crate::watch::Watch),
    /// Show the terms of the past, as far as Events tell
    History(crate::history::History),
    /// Ask the leader to hand over
    StepDown(crate::step_down::StepDown),
    /// Keep candidates from leading, all of them or some
    Pause(crate::pause::Pause),
    /// Let them lead again
    Resume(crate::pause::Resume),
    /// Print what a workload needs in the cluster: account, least rights, and a Deployment
    Manifests(crate::manifests::Wanted),
    /// Show what a timing tolerates: outages, crashes, slow work; and what it costs
    Timings(crate::timings::Timings),
    /// Look at all that an election rests on: rights, latency, clocks, names, leftovers
    Doctor(crate::doctor::Doctor),
    /// Print what a shell needs to complete commands, flags and the names of locks
    Completion(crate::completion::Completion),
    /// Write the manual, a page for each command
    #[command(hide = true)]
    Man(crate::man::Manual),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Leave the playground running at the end, and say how to look at it
    #[arg(long)]
    pub(crate) keep: bool,
    /// How to print the report
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Form,
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = Fault::SYNTAX)]
pub(crate) struct DevServer {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Write a kubeconfig to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Speak plain HTTP instead of HTTPS
    #[arg(long)]
    pub(crate) http: bool,
    /// Allow an address that other machines can reach
    #[arg(long)]
    pub(crate) allow_remote: bool,
    /// Turn a feature gate on or off; there is one, CoordinatedLeaderElection, which is off by default
    #[arg(long = "feature-gates", value_name = "GATE=BOOL", action = clap::ArgAction::Set, value_parser = feature_gate, default_value = "CoordinatedLeaderElection=false", hide_default_value = true)]
    pub(crate) coordinated_leader_election: bool,
    #[command(flatten)]
    pub(crate) faults: Faults,
}

/// As kube-apiserver's flag of the same name.
fn feature_gate(text: &str) -> Result<bool, String> {
    match text.split_once('=') {
        Some(("CoordinatedLeaderElection", value)) => {
            value.parse().map_err(|_| format!("{value:?} is neither true nor false"))
        }
        Some((gate, _)) => {
            Err(format!("there is no feature gate {gate:?}: only CoordinatedLeaderElection"))
        }
        None => Err("a value is missing: CoordinatedLeaderElection=true".to_owned()),
    }
}

/// What goes wrong on purpose.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Faults")]
pub(crate) struct Faults {
    /// Let each request come in later: 50ms, or 50ms..200ms
    #[arg(long, value_name = "TIME", value_parser = latency)]
    latency: Option<Fault>,
    /// Answer so many requests with 500, and do not do them: 5%
    #[arg(long, value_name = "PERCENT", value_parser = error_rate)]
    error_rate: Option<Fault>,
    /// Add a fault, written as shown below by --help; may be given many times
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,
    /// Where the chance of faults begins, to have the same again [default: random]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

impl Faults {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Fault> {
        self.latency.iter().chain(&self.error_rate).chain(&self.faults)
    }
}

fn latency(time: &str) -> Result<Fault, FaultError> {
    format!("latency={time}").parse()
}

fn error_rate(percent: &str) -> Result<Fault, FaultError> {
    format!("error=500,rate={percent}").parse()
}

#[derive(Debug, clap::Args)]
pub(crate) struct Elect {
    /// What to compete for: lease/NAME or configmap/NAME[:KEY]; may be given many times
    #[arg(long = "lock", value_name = "LOCK", required = true, value_parser = lock_text)]
    pub(crate) locks: Vec<String>,
    /// Run this many candidates for each lock, for load tests
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "metrics_addr", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) candidates: u16,
    /// While leading, print an "acting" line this often
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) act_every: Option<Duration>,
    /// While leading, write to the demo's register at this address as fast as it answers
    #[arg(long, value_name = "ADDRESS", hide = true)]
    pub(crate) register: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) candidacy: Candidacy,
    #[command(flatten)]
    pub(crate) timing: TimingArgs,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// How a candidate takes part, in whatever command it does.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Candidate")]
pub(crate) struct Candidacy {
    /// The name others see [default: the Pod's name and uid, else the host's name and a number]
    #[arg(long, env = "INCUMBENT_IDENTITY", value_name = "ID")]
    pub(crate) identity: Option<String>,
    /// Go before candidates of a lower priority, and take over from a leader of a lower one
    #[arg(long, value_name = "N", default_value = "0", allow_negative_numbers = true)]
    priority: i32,
    /// Publish where this candidate can be reached while it leads
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Take over as soon as the kubelet reports that the leader's container has terminated; all candidates
    /// need it, and the verb watch on pods. Has no effect where a Pod shares a PID namespace
    #[arg(long)]
    kubelet_reports: bool,
    /// Give no fencing token below this, for a lock that moves to another cluster or a restored backup
    #[arg(long, value_name = "N", default_value = "0")]
    token_floor: u64,
    /// Write a Kubernetes Event on the lock when a term begins and ends
    #[arg(long)]
    events: bool,
    /// Serve /metrics for Prometheus at this port of 127.0.0.1, or at this address; port 0 takes a free one
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = metrics::address)]
    metrics_addr: Option<SocketAddr>,
}

impl Candidacy {
    pub(crate) fn apply(&self, mut builder: Builder) -> Builder {
        if let Some(identity) = &self.identity {
            builder = builder.identity(identity);
        }
        if let Some(address) = &self.address {
            builder = builder.address(address);
        }
        builder
            .priority(self.priority)
            .kubelet_reports(self.kubelet_reports)
            .token_floor(self.token_floor)
            .events(self.events)
    }

    /// What counts, and serves its numbers already, where that is asked for.
    pub(crate) async fn exporter(&self) -> anyhow::Result<Option<Exporter>> {
        let Some(address) = self.metrics_addr else { return Ok(None) };
        let exporter = Exporter::new();
        exporter.serve(address).await?;
        Ok(Some(exporter))
    }
}

#[cfg(target_os = "linux")]
#[derive(Debug, clap::Args)]
#[command(after_help = exit::RUN_HELP)]
pub(crate) struct Run {
    /// What to compete for: lease/NAME or configmap/NAME[:KEY]
    #[arg(long, value_name = "LOCK", value_parser = lock_text)]
    pub(crate) lock: String,
    /// What to do when leadership is lost and the command was stopped: wait to lead again, or exit with 79
    #[arg(long, value_enum, default_value = "wait")]
    pub(crate) on_loss: OnLoss,
    /// Give up when somebody else leads; whoever has not renewed for a lease has to show that it lives
    #[arg(long = "try", conflicts_with = "timeout")]
    pub(crate) only_try: bool,
    /// Give up after waiting so long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Run this program while somebody else leads; it has ended before the command starts
    #[arg(long, value_name = "PROGRAM", conflicts_with = "only_try")]
    pub(crate) on_follower: Option<OsString>,
    /// The exit code of giving up
    #[arg(short = 'E', long, value_name = "CODE", default_value = "75")]
    pub(crate) conflict_exit_code: u8,
    /// Start the command again when it ends, and go on leading, instead of handing over at once
    #[arg(long, value_enum, default_value = "never")]
    pub(crate) restart: Restart,
    /// How often in a row; a run of a minute starts the count anew
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

#[cfg(target_os = "linux")]
#[derive(Debug, clap::Args)]
#[command(after_help = exit::ONCE_HELP)]
pub(crate) struct Once {
    /// What is to be done once: configmap/NAME:KEY, where the record will stand under KEY.once
    #[arg(value_parser = board_text)]
    pub(crate) key: String,
    /// Run it again where it failed, or its runner died in the middle; it may then be done twice
    #[arg(long)]
    pub(crate) at_least_once: bool,
    /// What ended so long ago counts as never run
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) ttl: Option<Duration>,
    /// Wait while somebody else runs it, to learn how it ends
    #[arg(long)]
    pub(crate) wait: bool,
    /// Say what is true of it, after a look: that it is done, or that it may be run again
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

#[cfg(target_os = "linux")]
impl Once {
    /// Gives no token below this, nor below what the flag says.
    pub(crate) fn raise_token_floor(&mut self, floor: u64) {
        self.candidacy.token_floor = self.candidacy.token_floor.max(floor);
    }

    /// The program to run.
    pub(crate) fn command(&self) -> Option<&OsStr> {
        self.command.first().map(OsString::as_os_str)
    }

    /// The same as a command that runs while one leads.
    pub(crate) fn into_run(self) -> Run {
        Run {
            lock: self.key,
            on_loss: OnLoss::Exit,
            only_try: !self.wait,
            timeout: None,
            on_follower: None,
            conflict_exit_code: exit::CONFLICT,
            restart: Restart::Never,
            max_restarts: 0,
            kill_after: self.kill_after,
            allow_privilege_escalation: false,
            candidacy: self.candidacy,
            timing: self.timing,
            cluster: self.cluster,
            command: self.command,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Settle {
    Done,
    Again,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnLoss {
    Wait,
    Exit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Restart {
    Never,
    /// Unless its exit code is 0
    OnFailure,
    Always,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Claim {
    /// Which blackboard: configmap/NAME[:KEY]
    #[arg(value_parser = board_text)]
    pub(crate) blackboard: String,
    /// The name to write
    #[arg(long, env = "INCUMBENT_IDENTITY", value_name = "ID")]
    pub(crate) identity: String,
    /// Take the name off again
    #[arg(long, conflicts_with = "if_version")]
    pub(crate) release: bool,
    /// Replace exactly this resourceVersion, whatever the latest is
    #[arg(long, value_name = "RV")]
    pub(crate) if_version: Option<String>,
    #[command(flatten)]
    pub(crate) operator: Operator,
}

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

/// Reads a lock; a bare name is a Lease.
pub(crate) fn lock(namespace: &str, text: &str) -> Result<Lock, Error> {
    match text.contains('/') {
        true => Lock::parse(namespace, text).map_err(Error::from),
        false => Lock::parse(namespace, &format!("lease/{text}")).map_err(Error::from),
    }
}

/// The text of a lock that can be read as one: what cannot is a mistake on the command line.
pub(crate) fn lock_text(text: &str) -> Result<String, Error> {
    lock("default", text).map(|_| text.to_owned())
}

/// The same, where it has to be a ConfigMap.
fn board_text(text: &str) -> Result<String, Error> {
    match Lock::parse("default", text)?.key() {
        Some(_) => Ok(text.to_owned()),
        None => Err(incumbent::InvalidSetting::Blackboard.into()),
    }
}

/// Reads `15s`, `500ms`, `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok();
    let duration = parsed.and_then(|duration| Duration::try_from(duration).ok());
    duration
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "write a duration above zero like 15s, 500ms or 2m".to_owned())
}
