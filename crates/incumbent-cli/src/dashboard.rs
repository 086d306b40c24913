//! `incumbent dashboard`: a page that shows elections as they go on, what needs attention, and why.
//!
//! One task looks, and publishes what is known as a [`Board`] that never changes; all else reads
//! the newest of them. Nothing is changed in the cluster unless `--allow-steer` is given.

mod board;
mod commands;
mod keeper;
mod lanes;
mod lock_page;
mod page;
mod past;
mod routes;
mod state;
mod steering;
mod stream;
mod timeline;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use incumbent::survey::Scope;
use incumbent::{Error, Lock};
use jiff::Timestamp;
use tokio::sync::watch;

use self::board::Board;
use self::routes::Routes;
use self::steering::Steering;
use crate::cluster::{Many, Operator, Wanted};
use crate::output;
use crate::signals::shutdown_signal;
use crate::web::access::Access;
use crate::web::listen::{self, Door, Listen};

#[derive(Debug, clap::Args)]
pub(crate) struct Dashboard {
    /// Where the page is: ADDRESS:PORT, or unix:PATH; port 0 takes a free one
    #[arg(long, value_name = "WHERE", default_value = "127.0.0.1:8088", value_parser = listen::place)]
    listen: Listen,
    /// Let the page ask a leader to hand over, and pause and resume elections
    #[arg(long)]
    allow_steer: bool,
    /// Allow an address that other machines can reach; to steer there needs --token-file
    #[arg(long)]
    allow_remote: bool,
    /// Answer to this name in the Host header too; may be given many times
    #[arg(long = "allow-host", value_name = "NAME")]
    hosts: Vec<String>,
    /// A file with the secret that steering asks for, 16 characters at least
    #[arg(long, value_name = "FILE", requires = "allow_steer")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    many: Many,
    #[command(flatten)]
    operator: Operator,
}

/// What does not change while the dashboard runs.
pub(crate) struct Setting {
    /// Where the API server is.
    pub(crate) server: String,
    /// Which elections are looked at, in words.
    pub(crate) place: String,
    pub(crate) has_namespaces: bool,
    /// Since when, by the wall clock of this machine.
    pub(crate) started: Timestamp,
    pub(crate) steering: Option<Steering>,
    pub(crate) client: kube::Client,
}

pub(crate) async fn run(args: Dashboard) -> anyhow::Result<ExitCode> {
    let access = args.access()?;
    let (client, namespace) = args.operator.connect().await?;
    let Wanted { scope, locks, .. } = args.many.wanted(&namespace)?;
    let setting = Setting {
        server: args.operator.address().await?,
        place: args.place(&namespace, &locks),
        has_namespaces: args.many.all_namespaces,
        started: Timestamp::now(),
        steering: args.allow_steer.then(|| Steering::new(args.token_file.is_some())),
        client,
    };
    let door = Door::open(&args.listen, MODE).await?;
    output::line(&door.place()?)?;
    let shown = tokio::select! {
        () = shutdown_signal() => return Ok(ExitCode::SUCCESS),
        outcome = show(setting, (args.many, scope), namespace, door, access) => outcome,
    };
    let Err(error) = shown;
    Err(error)
}

/// Shows what there is until something is wrong that does not pass by itself.
async fn show(
    setting: Setting,
    (many, scope): (Many, Scope),
    namespace: String,
    door: Door,
    access: Access,
) -> anyhow::Result<std::convert::Infallible> {
    let events_in = (!setting.has_namespaces).then_some(namespace);
    let (publish, boards) = watch::channel(Arc::new(Board::default()));
    let client = setting.client.clone();
    let routes = Routes { boards, setting: Arc::new(setting), access };
    let serve = tokio::spawn(door.keep(move |request| Box::pin(routes.clone().respond(request))));
    let outcome = keeper::keep(client, (many, scope), events_in, publish).await;
    serve.abort();
    outcome
}

/// The same for the demo: on loopback, with leave to steer. Returns where it is.
pub(crate) async fn start_beside(client: kube::Client, server: String) -> anyhow::Result<String> {
    let setting = Setting {
        server,
        place: "namespace default".to_owned(),
        has_namespaces: false,
        started: Timestamp::now(),
        steering: Some(Steering::new(false)),
        client,
    };
    let listen = Listen::Tcp((std::net::Ipv4Addr::LOCALHOST, 0).into());
    let door = Door::open(&listen, MODE).await?;
    let place = door.place()?;
    let access = Access::Tcp { hosts: Vec::new(), token_file: None };
    let namespace = "default".to_owned();
    tokio::spawn(async move {
        let scope = Scope::namespace(&namespace);
        let what = (Many::default(), scope);
        let Err(error) = show(setting, what, namespace, door, access).await;
        tracing::warn!(error = format!("{error:#}"), "the dashboard has ended");
    });
    Ok(place)
}

impl Dashboard {
    fn access(&self) -> anyhow::Result<Access> {
        let access = match &self.listen {
            Listen::Unix(_) => Access::Socket,
            Listen::Tcp(address) => {
                let is_remote = !address.ip().is_loopback();
                if is_remote && !self.allow_remote {
                    bail!(Error::Invalid(incumbent::InvalidSetting::Program {
                        what: format!("{address} can be reached from other machines"),
                        hint: "add --allow-remote, or listen on 127.0.0.1".to_owned(),
                    }));
                }
                if is_remote && self.allow_steer && self.token_file.is_none() {
                    bail!(Error::Invalid(incumbent::InvalidSetting::Program {
                        what: "whoever reaches the page from another machine could steer"
                            .to_owned(),
                        hint: "add --token-file, leave out --allow-steer, or listen on 127.0.0.1"
                            .to_owned(),
                    }));
                }
                Access::Tcp { hosts: self.hosts.clone(), token_file: self.token_file.clone() }
            }
        };
        access.check()?;
        Ok(access)
    }

    fn place(&self, namespace: &str, locks: &[Lock]) -> String {
        let place = match self.many.all_namespaces {
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

/// Who may use a socket: its owner.
const MODE: u32 = 0o600;
