//! `incumbent dashboard`: a page that shows elections and groups live, what needs attention, and why.
//!
//! One task looks, and publishes what is known as a [`Board`] that never changes; all else reads
//! the newest of them. Nothing is changed in the cluster unless `--allow-steer` is given.

pub(crate) mod actions;
mod board;
mod collector;
mod command_lines;
mod frame;
mod group_board;
mod group_page;
mod groups;
mod json;
mod lock_page;
mod page;
mod past_events;
mod routes;
mod stream;
mod timeline;
mod timeline_svg;

use std::sync::Arc;

use incumbent::survey::Scope;
use jiff::Timestamp;
use tokio::sync::watch;

use self::actions::Steering;
use self::board::Board;
use self::routes::Routes;
use crate::flags::cluster::LockSelection;
use crate::http::access::Access;
use crate::http::listener::{Limits, ListenAddress, Listener};

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

/// Shows what there is until something is wrong that does not pass by itself.
pub(crate) async fn show(
    setting: Setting,
    (selection, scope): (LockSelection, Scope),
    namespace: String,
    listener: Listener,
    access: Access,
) -> anyhow::Result<std::convert::Infallible> {
    let events_in = (!setting.has_namespaces).then_some(namespace);
    let (publish, boards) = watch::channel(Arc::new(Board::default()));
    let client = setting.client.clone();
    let routes = Routes { boards, setting: Arc::new(setting), access: Arc::new(access) };
    let serve = tokio::spawn(listener.serve(routes.router(), Limits::EVENTS));
    let outcome = collector::keep(client, (selection, scope), events_in, publish).await;
    serve.abort();
    outcome
}

/// The same for the demo: on loopback, with leave to control. Returns where it is.
pub(crate) async fn start_beside(client: kube::Client, server: String) -> anyhow::Result<String> {
    let setting = Setting {
        server,
        place: "namespace default".to_owned(),
        has_namespaces: false,
        started: Timestamp::now(),
        steering: Some(Steering::new(false)),
        client,
    };
    let listen = ListenAddress::Tcp((std::net::Ipv4Addr::LOCALHOST, 0).into());
    let listener = Listener::open(&listen, MODE).await?;
    let place = listener.place()?;
    let access = Access::Tcp { hosts: Vec::new(), token_file: None };
    let namespace = "default".to_owned();
    tokio::spawn(async move {
        let scope = Scope::namespace(&namespace);
        let what = (LockSelection::default(), scope);
        let Err(error) = show(setting, what, namespace, listener, access).await;
        tracing::warn!(error = format!("{error:#}"), "the dashboard has ended");
    });
    Ok(place)
}

/// Who may use a socket: its owner.
pub(crate) const MODE: u32 = 0o600;
