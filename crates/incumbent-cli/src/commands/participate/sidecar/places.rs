//! Where a sidecar listens, and what it serves there: for an election, and for a group.

use std::time::Duration;

use axum::Router;
use incumbent::Timing;
use tokio::task::JoinSet;

use super::args::Sidecar;
use crate::http::access::Access;
use crate::http::listener::{Limits, ListenAddress, Listener};
use crate::runtime::stderr;

/// The open listeners, and which clients may use them.
pub(crate) struct Places {
    access: Access,
    application: Listener,
    probes: Option<Listener>,
}

/// What the routes of an election, or of a group, are at each place.
pub(crate) trait Serve: Clone {
    /// For the application beside this process.
    fn for_application(self, access: Access) -> Router;
    /// For a kubelet, a load balancer and a Prometheus.
    fn for_probes(self) -> Router;
}

impl Places {
    pub(crate) async fn open(args: &Sidecar) -> anyhow::Result<Self> {
        let (hosts, token_file) = (&args.hosts, args.token_file.as_ref());
        let access = Access::of(&args.listen, args.allow_remote, hosts, token_file)?;
        let application = Listener::open(&args.listen, args.socket_mode).await?;
        let probes = match args.probe_addr {
            Some(address) => Some(Listener::open(&ListenAddress::Tcp(address), 0).await?),
            None => None,
        };
        Ok(Self { access, application, probes })
    }

    /// Says where it listens, and answers there until `parts` end. The listener takes its socket along.
    pub(crate) fn serve(self, routes: impl Serve, parts: &mut JoinSet<()>) -> anyhow::Result<()> {
        stderr::say(&format!("sidecar: {}", self.application.place()?));
        if let Some(probes) = self.probes {
            stderr::say(&format!("probes: {}", probes.place()?));
            parts.spawn(probes.serve(routes.clone().for_probes(), Limits::EVENTS));
        }
        parts.spawn(self.application.serve(routes.for_application(self.access), Limits::EVENTS));
        Ok(())
    }
}

/// How often a listener gets a new time, if nothing changes.
pub(crate) fn tick(timing: &Timing) -> Duration {
    timing.renew_interval().div_f64(2.0).min(LONGEST_SILENCE)
}

/// A proxy in between must not take a stream of events for dead.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);
