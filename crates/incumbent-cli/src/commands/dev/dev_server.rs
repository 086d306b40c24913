//! `incumbent dev-server`: the small API server, for as long as the command runs.

use std::process::ExitCode;

use anyhow::Context;
use incumbent::Error;
use incumbent_apiserver::{ApiServer, Transport};

use crate::runtime::output;
use crate::runtime::signals::shutdown_signal;
use incumbent_apiserver::{Fault, FaultError};
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP, after_long_help = format!("{HELP}\n\n{}", Fault::SYNTAX))]
pub(crate) struct DevServer {
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Write a kubeconfig to this file
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Speak plain HTTP instead of HTTPS
    #[arg(long)]
    http: bool,
    /// Allow an address that other machines can reach
    #[arg(long)]
    allow_remote: bool,
    /// Turn a feature gate on or off; there is one, CoordinatedLeaderElection, which is off by default
    #[arg(long = "feature-gates", value_name = "GATE=BOOL", action = clap::ArgAction::Set, value_parser = feature_gate, default_value = "CoordinatedLeaderElection=false", hide_default_value = true)]
    coordinated_leader_election: bool,
    #[command(flatten)]
    faults: Faults,
}

const HELP: &str = "\
Examples:
  Start a server, and write a kubeconfig for it:
    $ incumbent dev-server --kubeconfig /tmp/kubeconfig
  Start one that is slow and fails at times:
    $ incumbent dev-server --latency 50ms..200ms --error-rate 5%";

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
struct Faults {
    /// Delay each request: 50ms, or 50ms..200ms
    #[arg(long, value_name = "TIME", value_parser = latency)]
    latency: Option<Fault>,
    /// Answer this share of the requests with 500, without carrying them out: 5%
    #[arg(long, value_name = "PERCENT", value_parser = error_rate)]
    error_rate: Option<Fault>,
    /// Add a fault, written as shown below by --help; can be repeated
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,
    /// The seed of the random faults; the same seed repeats them [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl Faults {
    fn all(&self) -> impl Iterator<Item = &Fault> {
        self.latency.iter().chain(&self.error_rate).chain(&self.faults)
    }
}

fn latency(time: &str) -> Result<Fault, FaultError> {
    format!("latency={time}").parse()
}

fn error_rate(percent: &str) -> Result<Fault, FaultError> {
    format!("error=500,rate={percent}").parse()
}

pub(crate) async fn run(args: DevServer) -> anyhow::Result<ExitCode> {
    if !args.listen.ip().is_loopback() && !args.allow_remote {
        return Err(Error::Invalid(incumbent::InvalidSetting::Program {
            what: format!("{} can be reached from other machines", args.listen),
            hint: "this server is for development: add --allow-remote if that is what you want"
                .to_owned(),
        })
        .into());
    }
    let transport = if args.http { Transport::Http } else { Transport::Https };
    let server =
        args.faults.seed.map_or_else(ApiServer::builder, |seed| ApiServer::builder().seed(seed));
    let server = server.coordinated_leader_election(args.coordinated_leader_election).build();
    for fault in args.faults.all() {
        server.faults().add(fault.clone());
        eprintln!("fault: {fault}");
    }
    let listening = server.listen(args.listen, transport).await?;
    if let Some(file) = &args.kubeconfig {
        spare_others(file)?;
        write_private(file, &listening.kubeconfig())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    output::line(&format!("address     {}", listening.url()))?;
    output::line(&format!("token       {}", server.admin_token()))?;
    match &args.kubeconfig {
        Some(file) => output::line(&format!("kubeconfig  {}", file.display()))?,
        None => output::line(&format!("kubeconfig\n{}", listening.kubeconfig().trim_end()))?,
    }
    if let Some(ca) = listening.ca_pem() {
        output::line(&format!("ca\n{}", ca.trim_end()))?;
    }
    if args.http {
        eprintln!(
            "Over plain HTTP kubectl sends no token, and is refused: use curl, or leave out --http."
        );
    }
    eprintln!("Not for production: one process, in memory, everything is lost when it ends.");
    eprintln!(
        "Deployments, Services and policies are stored, and nothing acts on them: no Pods start."
    );
    shutdown_signal().await;
    listening.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// A kubeconfig of somebody else is not overwritten.
fn spare_others(file: &std::path::Path) -> Result<(), Error> {
    let is_others = std::fs::read_to_string(file)
        .is_ok_and(|content| !content.is_empty() && !content.starts_with(MARK));
    match is_others {
        false => Ok(()),
        true => Err(Error::Invalid(incumbent::InvalidSetting::Program {
            what: format!("{} exists, and dev-server did not write it", file.display()),
            hint: "name another file, or remove this one".to_owned(),
        })),
    }
}

/// The first line of each kubeconfig that is written here.
const MARK: &str = "# Written by incumbent";

/// The file holds a token, so only its owner may read it.
pub(crate) fn write_private(file: &std::path::Path, content: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut open = options.open(file)?;
    #[cfg(unix)]
    open.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    open.write_all(format!("{MARK}.\n{content}").as_bytes())
}
