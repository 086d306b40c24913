//! How a candidate is described, and started.

use std::sync::Arc;
use std::time::Duration;

use incumbent_core::group::SeatInfo;
use incumbent_core::{
    Config, Container, Elector, FencingToken, HolderInfo, Session, Timing, TimingError,
};
use tokio::sync::{mpsc, watch};

use super::Candidate;
use crate::clock::Clock;
use crate::driver::{Announcer, Driver, Terms, WatchHealth};
use crate::error::Error;
use crate::events::Events;
use crate::follow::Feed;
use crate::identity;
use crate::invalid::{InvalidSetting, checked_address};
use crate::limiter::Limiter;
use crate::lock::{HIGHEST_FLOOR, Lock};
use crate::lock_api::LockApi;
use crate::metrics::{Meter, Metrics};
use crate::proof::{self, Proofs};
use crate::route::Route;
use crate::term::{CurrentTerm, OnOverrun, Overrun};
use crate::view::View;

/// Describes a [`Candidate`].
#[must_use]
pub struct Builder {
    api: LockApi,
    identity: Option<String>,
    timing: Result<Timing, TimingError>,
    token_floor: FencingToken,
    clock: Clock,
    on_overrun: OnOverrun,
    has_events: bool,
    routes: Vec<Route>,
    meter: Meter,
    health: Option<watch::Receiver<bool>>,
    priority: i32,
    address: Option<String>,
    container: Option<Container>,
    kubelet_reports: bool,
    seat: Option<SeatInfo>,
    feed: Option<Feed>,
    session: Option<Session>,
    limiter: Option<Limiter>,
}

impl Builder {
    pub(super) fn new(client: kube::Client, lock: Lock) -> Self {
        Self {
            api: LockApi::new(client, lock),
            identity: None,
            timing: Ok(Timing::default()),
            token_floor: FencingToken(0),
            clock: Clock::system(),
            on_overrun: OnOverrun::Abort,
            has_events: false,
            routes: Vec::new(),
            meter: Meter::default(),
            health: None,
            priority: 0,
            address: None,
            container: proof::own_container(),
            kubelet_reports: false,
            seat: None,
            feed: None,
            session: None,
            limiter: None,
        }
    }

    /// Sets the name that others see. Each process needs its own. Default: the Pod's name and uid,
    /// or outside of Pods the host's name and a random number.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// Sets all durations. Default: 15 s / 10 s / 2 s.
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = Ok(timing);
        self
    }

    /// Scales all durations to a lease of this many whole seconds.
    pub fn lease_duration(mut self, lease_duration: Duration) -> Self {
        self.timing = Timing::from_lease_duration(lease_duration);
        self
    }

    /// Sets the lowest token that may be used. Use this if a lock moves to another cluster, where
    /// revisions start again.
    pub fn token_floor(mut self, floor: u64) -> Self {
        self.token_floor = FencingToken(floor);
        self
    }

    /// Places this candidate ahead of those with a lower priority in the waitlist, and makes a
    /// leader with a lower priority hand over to it, once that leader has led for a lease duration.
    /// Default: 0.
    ///
    /// Use this to prefer a zone or a version. Together with [`health`](Self::health), the
    /// preferred candidate leads again when it is healthy again.
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Publishes where this candidate can be reached while it leads: `POD_IP` and a port, a URL, or
    /// whatever its followers understand. They find it in [`Leader::Known`](crate::Leader::Known).
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Sets the container in which this process runs. Default: the one that the process's mounts
    /// indicate, and none outside of Pods.
    ///
    /// If a container crashes while it leads, its next start takes over at once, because the
    /// kubelet starts a container again only after it has ended. This works on the same node, in
    /// the same sandbox of the Pod, and if process 1 belongs to the container: see
    /// `docs/operating.md`, "Faster than the lease after a crash". Otherwise, it has no effect.
    ///
    /// Pass `None` if the work runs outside of this container, because such work may outlive the
    /// container. Any other value that you pass is published unchanged.
    pub fn container(mut self, container: Option<Container>) -> Self {
        self.container = container;
        self
    }

    /// Takes over as soon as the kubelet reports that the leader's container has terminated, which it does
    /// about a second after a crash, instead of waiting for the lease to end. Default: off.
    ///
    /// All candidates of the election need this setting. With it, a process adds a line with a
    /// random number to its container's termination message, which the kubelet publishes only when
    /// the container has terminated. So `kubectl describe pod` shows the line, and
    /// `terminationMessagePolicy: FallbackToLogsOnError` no longer falls back to the logs.
    ///
    /// The account needs the verb `watch` on `pods`. It proves nothing that a Pod is gone, has
    /// failed, is unready or is being deleted, because its processes may still run. A program that
    /// may write the status of Pods can forge a report.
    ///
    /// This has no effect with `shareProcessNamespace`, `hostPID` or `hostIPC`, for static Pods,
    /// and if a candidate may not read the mounts of process 1. In these cases, candidates log a
    /// warning, and wait until the lease ends.
    pub fn kubelet_reports(mut self, on: bool) -> Self {
        self.kubelet_reports = on;
        self
    }

    /// The lock is the seat of a member of a group, who says this.
    pub(crate) fn seat(self, info: SeatInfo) -> Self {
        Self { seat: Some(info), ..self }
    }

    /// Learns of changes from this watch, instead of one of its own, and keeps pace with others.
    pub(crate) fn shared(self, feed: Feed, limiter: Limiter) -> Self {
        Self { feed: Some(feed), limiter: Some(limiter), ..self }
    }

    /// Sets the clock; for tests under paused time.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self.api = self.api.timed(clock);
        self
    }

    /// Sets the session, which is random otherwise.
    #[cfg(test)]
    pub(crate) fn session(self, session: Session) -> Self {
        Self { session: Some(session), ..self }
    }

    /// Sets what happens if work still runs when another candidate may lead. Default:
    /// [`Overrun::abort`].
    ///
    /// The action must end the work, for example by killing a child process. By returning, it
    /// states that the work can do no more harm. Nothing more happens then, whether or not the
    /// [`Leadership`](crate::Leadership) has been dropped. So end the work first, and log
    /// afterwards: a log that blocks may be the reason why the work hangs.
    ///
    /// Each overrun has its own thread. If the action panics, does not return within five seconds,
    /// or cannot get a thread, the process is ended.
    pub fn on_overrun(mut self, action: impl Fn(Overrun) + Send + Sync + 'static) -> Self {
        self.on_overrun = OnOverrun::Call(Arc::new(action));
        self
    }

    /// Takes part only while `health` is true. While it is false, the candidate does not campaign,
    /// and [`Candidate::run`] drops its work and hands over.
    ///
    /// If you got a [`Leadership`](crate::Leadership) from [`Candidate::campaign`], you have to
    /// drop it yourself.
    pub fn health(mut self, health: watch::Receiver<bool>) -> Self {
        self.health = Some(health);
        self
    }

    /// Writes a Kubernetes Event on the lock when a term of this candidate begins and when it ends,
    /// as client-go does. Default: off.
    ///
    /// The account needs the verb `create` on `events`. Events are written in the background,
    /// without retries, and the election does not wait for them. Code that awaits a release also
    /// waits for its Event, for a second at most.
    pub fn events(mut self, on: bool) -> Self {
        self.has_events = on;
        self
    }

    /// Reports what happens to `metrics`, which counts it. [`Metrics`] describes what that can
    /// cost.
    ///
    /// ```
    /// # use incumbent::{Candidate, Clock, Lock};
    /// # use incumbent_apiserver::ApiServer;
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// use incumbent::{FencingToken, Metrics};
    ///
    /// #[derive(Default)]
    /// struct Terms(AtomicU64);
    ///
    /// impl Metrics for Terms {
    ///     fn term_began(&self, _lock: &Lock, _token: FencingToken) {
    ///         self.0.fetch_add(1, Ordering::Relaxed);
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), incumbent::Error> {
    /// # let server = ApiServer::new();
    /// # let client = kube::Client::new(server.service(), "default");
    /// let terms = Arc::new(Terms::default());
    /// let candidate = Candidate::builder(client, Lock::lease("default", "scanner"))
    ///     .metrics(terms.clone())
    /// #   .clock(Clock::tokio())
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn metrics(mut self, metrics: impl Metrics) -> Self {
        self.meter = Meter::new(metrics);
        self
    }

    /// Shows the rest of the cluster which Pod leads, so that a Service can lead there. Can be
    /// called several times. Default: no route.
    ///
    /// A route is written in the background and never delays a renewal. A failure is logged and
    /// retried, and leadership continues. Code that awaits a release also waits until the route has
    /// been removed, for a second at most. See `docs/routing.md`.
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// Starts the candidate, as one that only follows.
    ///
    /// # Errors
    /// If a name or a duration cannot work.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn build(self) -> Result<Candidate, Error> {
        let lock = self.api.lock().clone().checked_for_election()?;
        let config = self.config()?;
        let retry_period = config.timing.retry_period();
        let lease_duration = config.timing.lease_duration();
        let api = match self.limiter {
            Some(limiter) => self.api.limited(limiter.share(self.clock, retry_period)),
            None => self.api,
        };
        let address = config.holder_info.address.as_deref();
        let routes = self.routes.into_iter().map(|route| route.start(&api, address));
        let routes = routes.collect::<Result<Vec<_>, _>>()?;
        let (identity, session) = (config.identity.clone(), config.session);
        let requests = api.requests().clone().timed(self.clock);
        let (commands, receiver) = mpsc::unbounded_channel();
        let (publish, views) = watch::channel(View::UNKNOWN);
        let current = CurrentTerm::default();
        let events = self.has_events.then(|| Events::new(api.clone(), identity.clone()));
        let proofs = Proofs::new(api.clone(), &config.holder_info, self.kubelet_reports);
        let feed = self.feed.unwrap_or_else(|| Feed::of_one(api.clone()));
        let news = feed.subscribe(&lock, retry_period, self.clock);
        let driver = Driver::new(
            Elector::new(config),
            api,
            receiver,
            Terms::new(commands.downgrade(), current.clone(), self.on_overrun),
            Announcer::new(publish, events, routes, self.meter),
            WatchHealth::new(news),
            proofs,
        );
        tokio::spawn(Box::new(driver).run());
        let (clock, health) = (self.clock, self.health);
        Ok(Candidate {
            lock,
            identity,
            clock,
            session,
            lease_duration,
            requests,
            commands,
            views,
            current,
            health,
        })
    }

    /// What the elector has to know.
    fn config(&self) -> Result<Config, Error> {
        let identity = match &self.identity {
            Some(identity) => identity::checked(identity.clone())?,
            None => identity::default(),
        };
        if self.token_floor > HIGHEST_FLOOR {
            let (floor, highest) = (self.token_floor, HIGHEST_FLOOR);
            return Err(InvalidSetting::TokenFloor { floor, highest }.into());
        }
        if !self.clock.counts_suspend() && !self.clock.is_tokio() {
            tracing::warn!("this system's clock may stop while it is suspended: rely on tokens");
        }
        let timing = self.timing.clone()?;
        let session = self.session.map_or_else(|| identity::session(self.clock), Ok)?;
        if let Some(address) = &self.address {
            checked_address(address, LONGEST_ADDRESS)?;
        }
        Ok(Config {
            timing,
            identity,
            session,
            token_floor: self.token_floor,
            priority: self.priority,
            holder_info: HolderInfo {
                address: self.address.clone(),
                container: self.container.clone(),
                seat: self.seat.clone(),
            },
        })
    }
}

/// It is in an annotation, which has room for all that an address can be.
const LONGEST_ADDRESS: usize = 1024;
