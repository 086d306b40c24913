//! A participant of an election.

use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use incumbent_core::{
    Card, Config, Container, Elector, FencingToken, Identity, Release, Session, Timing,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::api::Api;
use crate::clock::Clock;
use crate::driver::{Driver, Parts};
use crate::error::{BoxError, Error};
use crate::events::Events;
use crate::follow::Feed;
use crate::gate::WriteGate;
use crate::identity;
use crate::leadership::{Command, Leadership, await_release};
use crate::limiter::Limiter;
use crate::lock::{HIGHEST_FLOOR, Lock};
use crate::metrics::{Meter, Metrics};
use crate::observer::{Observer, View};
use crate::proof::{self, Proofs};
use crate::route::Route;
use crate::standing::Standing;
use crate::term::{CurrentTerm, OnOverrun, Overrun};

/// A participant of an election: it can lead, wait to lead, or only follow.
///
/// A task on the current tokio runtime does its requests, one at a time, on the `kube::Client` it was
/// given. It ends when the candidate and its leadership are gone.
#[derive(Debug)]
pub struct Candidate {
    lock: Lock,
    identity: Identity,
    clock: Clock,
    commands: mpsc::UnboundedSender<Command>,
    views: watch::Receiver<View>,
    current: CurrentTerm,
    health: Option<watch::Receiver<bool>>,
}

impl Candidate {
    /// Starts to describe a candidate for `lock`.
    ///
    /// The client should come from [`connect`](crate::connect): its requests are not retried behind the
    /// election's back, and no limit that others use up delays them.
    pub fn builder(client: kube::Client, lock: Lock) -> Builder {
        Builder {
            api: Api::new(client, lock),
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
            feed: None,
            session: None,
            limiter: None,
        }
    }

    /// The name under which this candidate takes part.
    pub fn identity(&self) -> &str {
        self.identity.as_str()
    }

    /// What it competes for.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// A gate for the requests of this candidate's work, open only while it leads.
    pub fn write_gate(&self) -> WriteGate {
        WriteGate::new(self.lock.clone(), self.current.clone())
    }

    /// Whether this candidate leads, to ask from anywhere.
    pub fn standing(&self) -> Standing {
        Standing::new(self.lock.clone(), self.current.clone())
    }

    /// Waits until this candidate leads.
    ///
    /// Trouble that may pass is retried and logged. Dropping the future withdraws the candidacy; so does
    /// being [unhealthy](Builder::health), until that has passed.
    ///
    /// # Errors
    /// Where it will not get better by itself: a missing permission, credentials that are not accepted,
    /// a namespace that does not exist, another living process of the same identity, or no thread for the
    /// watchdog.
    pub async fn campaign(&mut self) -> Result<Leadership, Error> {
        loop {
            self.health_is(true).await;
            tokio::select! {
                biased;
                leadership = self.acquire() => match leadership {
                    // This task may have been woken so late that the term is over: it is given back.
                    Ok(leadership) if !leadership.is_valid() => drop(leadership),
                    outcome => return outcome,
                },
                () = self.health_is(false) => {
                    tracing::debug!(lock = %self.lock, "unhealthy: no longer a candidate");
                }
            }
        }
    }

    async fn acquire(&self) -> Result<Leadership, Error> {
        let (sender, outcome) = oneshot::channel();
        let stopped = || Error::Stopped { lock: self.lock.clone() };
        self.commands.send(Command::Campaign(sender)).map_err(|_| stopped())?;
        outcome.await.map_err(|_| stopped())?
    }

    /// Campaigns, runs the work while leading, drops it when leadership is lost, and campaigns again,
    /// until the work returns while it leads. The lock is given back before this returns.
    ///
    /// The work ends at its next `.await` when leadership is lost. Whatever it has spawned goes on, and
    /// must hold a clone of the `Arc` for as long as it works: nobody else leads before the last one is
    /// dropped, and who keeps it past the lease is ended by force.
    ///
    /// A hand-over, a shutdown and bad health wait for work that
    /// [must not be cut](Leadership::finish). A loss waits for nothing.
    ///
    /// # Errors
    /// Those of [`campaign`](Self::campaign), and [`Error::Work`] where the work fails while leading.
    pub async fn run<T, W, F>(&mut self, work: W) -> Result<T, Error>
    where
        W: FnMut(Arc<Leadership>) -> F,
        F: Future<Output = Result<T, BoxError>>,
    {
        match self.run_until(pending::<()>(), work).await? {
            Some(value) => Ok(value),
            None => pending().await,
        }
    }

    /// The same as [`run`](Self::run), until `shutdown`, for which there is
    /// [`shutdown_signal`](crate::shutdown_signal): then the work is dropped and the lock given back. Returns
    /// `None` in that case.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub async fn run_until<T, W, F>(
        &mut self,
        shutdown: impl Future,
        mut work: W,
    ) -> Result<Option<T>, Error>
    where
        W: FnMut(Arc<Leadership>) -> F,
        F: Future<Output = Result<T, BoxError>>,
    {
        let mut shutdown = pin!(shutdown);
        loop {
            let campaign = tokio::select! {
                biased;
                _ = &mut shutdown => None,
                leadership = self.campaign() => Some(leadership?),
            };
            let Some(leadership) = campaign else {
                await_release(&self.commands).await;
                return Ok(None);
            };
            // Held here for as long as the work runs, whether the work makes use of it or not.
            let leadership = Arc::new(leadership);
            let work = leadership.while_valid(async { work(leadership.clone()).await });
            let (outcome, end) = self.lead(&leadership, shutdown.as_mut(), work).await;
            // Work that another piece was refused has returned because of that, and not because it is done.
            let is_done =
                outcome.as_ref().is_some_and(Result::is_ok) && !leadership.refused_a_piece();
            let loss = leadership.loss();
            drop(leadership);
            await_release(&self.commands).await;
            match (outcome, loss) {
                (Some(Ok(value)), None) if is_done => return Ok(Some(value)),
                (Some(Err(error)), None) => return Err(Error::Work(error)),
                _ if end == End::Shutdown => return Ok(None),
                (outcome, loss) => {
                    let error = outcome.and_then(Result::err);
                    tracing::debug!(lock = %self.lock, ?end, ?loss, ?error, "campaigning again");
                }
            }
        }
    }

    /// Polls the work of one term until it returns, the term ends, or another is to lead.
    async fn lead<T>(
        &self,
        leadership: &Leadership,
        mut shutdown: Pin<&mut impl Future>,
        work: impl Future<Output = Option<T>>,
    ) -> (Option<T>, End) {
        let mut work = pin!(work);
        let end = tokio::select! {
            biased;
            _ = shutdown.as_mut() => End::Shutdown,
            outcome = &mut work => return (outcome, End::OfItself),
            _ = leadership.lost() => return (None, End::OfItself),
            asked = leadership.asked_to_hand_over() => {
                tracing::debug!(lock = %self.lock, ?asked, "handing over");
                End::HandOver
            }
            () = self.health_is(false) => {
                tracing::debug!(lock = %self.lock, "unhealthy: handing over");
                End::HandOver
            }
        };
        let outcome = tokio::select! {
            biased;
            () = leadership.finish_pieces() => None,
            outcome = &mut work => outcome,
        };
        (outcome, end)
    }

    async fn health_is(&self, wanted: bool) {
        let known = match &self.health {
            None => wanted,
            Some(health) => health.clone().wait_for(|health| *health == wanted).await.is_ok(),
        };
        // Nobody is left to change it: it stays as it is.
        if !known {
            pending().await
        }
    }

    /// Leaves the election, and waits until nothing of this candidate's is left in the lock.
    ///
    /// A campaign that was dropped may have a request on its way that still acquires the lock; a process
    /// that exits without waiting would leave it to expire.
    pub async fn leave(self) -> Release {
        await_release(&self.commands).await
    }

    /// Follows who leads, also while this candidate does not campaign.
    pub fn observe(&self) -> Observer {
        Observer::of(self.views.clone(), self.clock)
    }
}

/// Why the work of a term is no longer polled.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Shutdown,
    HandOver,
    /// It returned, or the leadership was lost.
    OfItself,
}

/// Describes a [`Candidate`].
#[must_use]
pub struct Builder {
    api: Api,
    identity: Option<String>,
    timing: Result<Timing, Error>,
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
    feed: Option<Feed>,
    session: Option<Session>,
    limiter: Option<Limiter>,
}

impl Builder {
    /// Sets the name that others see. Default: the Pod's name and uid, else the host's name and a
    /// random number. Each process needs its own.
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
        self.timing = Timing::from_lease_duration(lease_duration).map_err(Error::from);
        self
    }

    /// Gives no token below this: for a lock that moves to another cluster, where revisions begin anew.
    pub fn token_floor(mut self, floor: u64) -> Self {
        self.token_floor = FencingToken(floor);
        self
    }

    /// Goes before candidates of a lower priority in the line, and takes over from a leader of a lower one,
    /// once that has led for a lease duration. Default: 0.
    ///
    /// For "prefer this zone", or "prefer this version": with [`health`](Self::health) it comes back when
    /// it is well again.
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Publishes where this candidate can be reached while it leads: `POD_IP` and a port, a URL, whatever
    /// its followers understand. They find it in [`Leader::Known`](crate::Leader::Known).
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Sets in which container this process runs. Default: what the process's mounts say, and none outside
    /// of Pods.
    ///
    /// A later start of a container takes over at once from an earlier one that crashed while it led,
    /// because the kubelet starts a container again only after it has ended. That counts on the same node,
    /// in the same sandbox of the Pod, and where process 1 is the container's own: see
    /// `docs/operating.md`, "Faster than the lease after a crash". Elsewhere it has no effect.
    ///
    /// Pass `None` where the work runs outside of this container: it may outlive the container's end.
    /// A value that this process did not find out by itself is published as it is.
    pub fn container(mut self, container: Option<Container>) -> Self {
        self.container = container;
        self
    }

    /// Takes over as soon as the kubelet reports that the leader's container has terminated, which it does
    /// about a second after a crash, instead of waiting for the lease to end. Default: off.
    ///
    /// All candidates need it. A process that turns it on adds a line with a random number to its
    /// container's termination message, and the kubelet shows that message when the container has
    /// terminated, and only then. So `kubectl describe pod` shows the line, and
    /// `terminationMessagePolicy: FallbackToLogsOnError` finds a message, and no longer falls back to logs.
    ///
    /// The account needs the verb `watch` on `pods`. That a Pod is gone, has failed, is unready or being
    /// deleted proves nothing, because its processes may run. A program that may write the status of Pods
    /// can forge a report.
    ///
    /// Has no effect with `shareProcessNamespace`, `hostPID` or `hostIPC`, for static Pods, and where a
    /// candidate may not read the mounts of process 1: then the lease is waited for, and a warning is
    /// logged.
    pub fn kubelet_reports(mut self, on: bool) -> Self {
        self.kubelet_reports = on;
        self
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

    /// Sets what is done about work that still runs when others may lead. Default: [`Overrun::abort`].
    ///
    /// The action has to end the work: kill a child process, say. When it returns, the work can do no more
    /// harm, and nothing more is done about it, whether its [`Leadership`] is dropped or not. So end the
    /// work first, and log after that: a log that blocks may be why the work hangs.
    ///
    /// Each overrun has a thread of its own. An action that panics, that does not return within five
    /// seconds, or for which there is no thread, ends the process.
    pub fn on_overrun(mut self, action: impl Fn(Overrun) + Send + Sync + 'static) -> Self {
        self.on_overrun = OnOverrun::Call(Arc::new(action));
        self
    }

    /// Takes part only while `health` says true: what is unhealthy does not campaign, and
    /// [`Candidate::run`] drops its work and hands over.
    ///
    /// A [`Leadership`] from [`Candidate::campaign`] is yours to drop.
    pub fn health(mut self, health: watch::Receiver<bool>) -> Self {
        self.health = Some(health);
        self
    }

    /// Writes a Kubernetes Event on the lock when a term of this candidate begins and ends, as client-go
    /// does; not without this.
    ///
    /// The account needs the verb `create` on `events`. Events are written in the background, once, and
    /// the election does not wait for them; who waits for a release waits for its Event, for a second at
    /// most.
    pub fn events(mut self, on: bool) -> Self {
        self.has_events = on;
        self
    }

    /// Tells `metrics` what happens, for it to count; see [`Metrics`] for what that can cost.
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

    /// Shows the rest of the cluster who leads, so that a Service's connections go there; not without
    /// this. May be called several times.
    ///
    /// A route is written in the background and never delays a renewal. Where that fails, it is
    /// logged and retried, and leadership goes on; who waits for a release waits until the route is
    /// taken back, for a second at most. See `docs/routing.md`.
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// Starts the candidate, as one that only follows.
    ///
    /// # Errors
    /// Where a name or a duration cannot work.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn build(self) -> Result<Candidate, Error> {
        let lock = self.api.lock().clone().checked_for_election()?;
        let identity = match self.identity {
            Some(identity) => identity::checked(identity)?,
            None => identity::default(),
        };
        if self.token_floor.0 > HIGHEST_FLOOR {
            return Err(Error::invalid(
                format!(
                    "{} is too high for a token floor: {HIGHEST_FLOOR} is the highest",
                    self.token_floor
                ),
                "the floor is a little above the last token that was given elsewhere",
            ));
        }
        if !self.clock.counts_suspend() && !self.clock.is_tokio() {
            tracing::warn!("this system's clock may stop while it is suspended: rely on tokens");
        }
        let config = Config {
            timing: self.timing?,
            identity: identity.clone(),
            session: self.session.map_or_else(|| identity::session(self.clock), Ok)?,
            token_floor: self.token_floor,
            priority: self.priority,
            card: Card {
                address: self.address.map(checked_address).transpose()?,
                container: self.container,
            },
        };
        let share =
            self.limiter.map(|limiter| limiter.share(self.clock, config.timing.retry_period()));
        let api = match share {
            Some(share) => self.api.limited(share),
            None => self.api,
        };
        let address = config.card.address.as_deref();
        let routes = self.routes.into_iter().map(|route| route.start(&api, address));
        let routes = routes.collect::<Result<Vec<_>, _>>()?;
        let (commands, receiver) = mpsc::unbounded_channel();
        let (publish, views) = watch::channel(View::UNKNOWN);
        let current = CurrentTerm::default();
        let events = self.has_events.then(|| Events::new(api.clone(), identity.clone()));
        let proofs = Proofs::new(api.clone(), &config.card, self.kubelet_reports);
        let feed = self.feed.unwrap_or_else(|| Feed::of_one(api.clone()));
        let news = feed.subscribe(&lock, config.timing.retry_period(), self.clock);
        let driver = Driver::new(Parts {
            elector: Elector::new(config),
            api,
            clock: self.clock,
            on_overrun: self.on_overrun,
            sender: commands.downgrade(),
            commands: receiver,
            views: publish,
            current: current.clone(),
            events,
            routes,
            meter: self.meter,
            proofs,
            news,
        });
        tokio::spawn(Box::new(driver).run());
        Ok(Candidate {
            lock,
            identity,
            clock: self.clock,
            commands,
            views,
            current,
            health: self.health,
        })
    }
}

/// It stands in an annotation, which has room for all that an address can be.
fn checked_address(address: String) -> Result<String, Error> {
    match address.len() <= LONGEST_ADDRESS && !address.chars().any(char::is_control) {
        true => Ok(address),
        false => Err(Error::invalid(
            format!("{address:?} cannot be an address"),
            "it has at most 1024 bytes, and no control characters",
        )),
    }
}

const LONGEST_ADDRESS: usize = 1024;
