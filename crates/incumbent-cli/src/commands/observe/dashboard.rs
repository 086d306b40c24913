//! `incumbent dashboard`: the arguments, and what they allow.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use incumbent::{Error, InvalidSetting, Lock};
use jiff::Timestamp;

use crate::dashboard::actions::Steering;
use crate::dashboard::{self, MODE, Setting};
use crate::flags::cluster::{LockSelection, Operator, Wanted};
use crate::http::access::Access;
use crate::http::listener::{self, ListenAddress, Listener};
use crate::runtime::output;
use crate::runtime::signals::shutdown_signal;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP, mut_arg("locks", |locks| locks.help(LOCKS)))]
pub(crate) struct Dashboard {
    /// Where to serve the page: ADDRESS:PORT, or unix:PATH; port 0 picks a free one
    #[arg(long, value_name = "WHERE", default_value = "127.0.0.1:8088", value_parser = listener::place)]
    listen: ListenAddress,
    /// Let the page ask a leader to hand over, and pause and resume elections
    #[arg(long)]
    allow_steer: bool,
    /// Allow an address that other machines can reach; with --allow-steer, this needs --token-file
    #[arg(long)]
    allow_remote: bool,
    /// Also answer to this name in the Host header; can be repeated
    #[arg(long = "allow-host", value_name = "NAME")]
    hosts: Vec<String>,
    /// A file with the secret that actions require, at least 16 characters
    #[arg(long, value_name = "FILE", requires = "allow_steer")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    selection: LockSelection,
    #[command(flatten)]
    operator: Operator,
}

const HELP: &str = "\
Examples:
  Show every election of the cluster at http://127.0.0.1:8088:
    $ incumbent dashboard --all-namespaces
  Let the page hand over, pause and resume:
    $ incumbent dashboard -n prod --allow-steer";

const LOCKS: &str =
    "Which locks: NAME for a Lease, lease/NAME or configmap/NAME[:KEY] [default: all]";

pub(crate) async fn run(args: Dashboard) -> anyhow::Result<ExitCode> {
    if let Some(group) = args.selection.some_group() {
        return Err(Error::Invalid(InvalidSetting::Program {
            what: "the dashboard shows elections, and no groups".to_owned(),
            hint: format!("incumbent watch group/{group}; or incumbent get --groups --watch"),
        })
        .into());
    }
    let access = args.access()?;
    let (client, namespace) = args.operator.connect().await?;
    let Wanted { scope, locks, .. } = args.selection.wanted(&namespace)?;
    let setting = Setting {
        server: args.operator.address().await?,
        place: args.place(&namespace, &locks),
        has_namespaces: args.selection.all_namespaces,
        started: Timestamp::now(),
        steering: args.allow_steer.then(|| Steering::new(args.token_file.is_some())),
        client,
    };
    let listener = Listener::open(&args.listen, MODE).await?;
    output::line(&listener.place()?)?;
    let shown = tokio::select! {
        () = shutdown_signal() => return Ok(ExitCode::SUCCESS),
        outcome = dashboard::show(setting, (args.selection, scope), namespace, listener, access) => outcome,
    };
    let Err(error) = shown;
    Err(error)
}

impl Dashboard {
    fn access(&self) -> anyhow::Result<Access> {
        let token_file = self.token_file.as_ref();
        let access = Access::of(&self.listen, self.allow_remote, &self.hosts, token_file)?;
        let is_remote = matches!(self.listen, ListenAddress::Tcp(at) if !at.ip().is_loopback());
        if is_remote && self.allow_steer && self.token_file.is_none() {
            bail!(Error::Invalid(InvalidSetting::Program {
                what: "every client that reaches the page from another machine could steer"
                    .to_owned(),
                hint: "add --token-file, leave out --allow-steer, or listen on 127.0.0.1"
                    .to_owned(),
            }));
        }
        Ok(access)
    }

    fn place(&self, namespace: &str, locks: &[Lock]) -> String {
        let place = match self.selection.all_namespaces {
            true => "all namespaces".to_owned(),
            false => format!("namespace {namespace}"),
        };
        match locks.len() {
            0 => place,
            1 => format!("{}, {place}", locks[0]),
            count => format!("{count} locks, {place}"),
        }
    }
}
