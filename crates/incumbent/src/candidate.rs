//! A participant of an election.

use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use incumbent_core::group::SeatInfo;
use incumbent_core::{Identity, Loss, Release, Session, Uid};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::error::{BoxError, Error};
use crate::gate::WriteGate;
use crate::leadership::{Command, Leadership, await_release};
use crate::leadership_status::LeadershipStatus;
use crate::lock::Lock;
use crate::requests::Requests;
use crate::term::CurrentTerm;
use crate::view::View;

mod builder;

pub use builder::Builder;

/// A participant of an election: it can lead, wait to lead, or only follow.
///
/// A task on the current tokio runtime sends its requests, one at a time, through the
/// `kube::Client` that it was given. The task ends when the candidate and its leadership have been
/// dropped.
#[derive(Debug)]
pub struct Candidate {
    lock: Lock,
    identity: Identity,
    pub(crate) clock: Clock,
    /// Tells its process apart in the lock.
    pub(crate) session: Session,
    /// How long other candidates wait for a leader that has crashed.
    pub(crate) lease_duration: Duration,
    /// For requests about the object that its lock is in.
    pub(crate) requests: Requests,
    commands: mpsc::UnboundedSender<Command>,
    pub(crate) views: watch::Receiver<View>,
    current: CurrentTerm,
    health: Option<watch::Receiver<bool>>,
}

impl Candidate {
    /// Starts to describe a candidate for `lock`.
    ///
    /// The client should come from [`connect`](crate::connect). Such a client does not retry
    /// requests without the election's knowledge, and does not share a rate limit with other
    /// traffic.
    pub fn builder(client: kube::Client, lock: Lock) -> Builder {
        Builder::new(client, lock)
    }

    /// The name under which this candidate takes part.
    pub fn identity(&self) -> &str {
        self.identity.as_str()
    }

    /// The lock that it competes for.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// A gate for the requests of this candidate's work, open only while it leads.
    pub fn write_gate(&self) -> WriteGate {
        WriteGate::new(self.lock.clone(), self.current.clone())
    }

    /// Tells any part of the program whether this candidate leads.
    pub fn leadership_status(&self) -> LeadershipStatus {
        LeadershipStatus::new(self.lock.clone(), self.current.clone())
    }

    /// Waits until this candidate leads.
    ///
    /// Failures that may pass by themselves are retried and logged. Dropping the future withdraws
    /// the candidacy. While the candidate is [unhealthy](Builder::health), it does not campaign.
    ///
    /// # Errors
    /// If waiting cannot help: a permission is missing, the credentials are not accepted,
    /// the namespace does not exist, another living process has the same identity, or there is no
    /// thread for the watchdog.
    pub async fn campaign(&mut self) -> Result<Leadership, Error> {
        loop {
            self.health_is(true).await;
            tokio::select! {
                biased;
                leadership = self.acquire() => match leadership {
                    // This task may have been woken so late that the term is over: it is released.
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
    /// until the work returns while it leads. The lock is released before this returns.
    ///
    /// When leadership is lost, the work ends at its next `.await`. Tasks that it has spawned
    /// continue, so each of them must hold a clone of the `Arc` for as long as it works. No other
    /// candidate leads before the last clone is dropped. If a clone is still held when the lease
    /// ends, the process is ended by force.
    ///
    /// A handover, a shutdown and bad health wait for work that [must not be
    /// interrupted](Leadership::finish). A loss of leadership does not wait.
    ///
    /// # Errors
    /// Those of [`campaign`](Self::campaign), and [`Error::Work`] if the work fails while
    /// this candidate leads.
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

    /// Like [`run`](Self::run), but only until `shutdown` completes;
    /// [`shutdown_signal`](crate::shutdown_signal) is made for this. Then the work is dropped, the
    /// lock is released, and this returns `None`.
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
                    let error = outcome.and_then(Result::err).map(tracing::field::display);
                    let reason = loss.as_ref().map_or("handed-over", Loss::reason);
                    tracing::debug!(lock = %self.lock, %reason, error, "campaigning again");
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
                tracing::debug!(lock = %self.lock, reason = %asked.reason(), "handing over");
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

    /// Says what a member says in its seat, at once if it leads.
    pub(crate) fn publisher(&self) -> Publisher {
        Publisher(self.commands.clone())
    }

    /// Leaves the election, and waits until the lock no longer contains anything of this candidate.
    ///
    /// A campaign that was dropped may still have a request in flight that acquires the lock. If
    /// the process exited without waiting, that lock would have to expire.
    pub async fn leave(self) -> Release {
        await_release(&self.commands).await
    }
}

/// Writes into the lock what a group needs there.
#[derive(Debug)]
pub(crate) struct Publisher(mpsc::UnboundedSender<Command>);

impl Publisher {
    /// Says this in the seat, at once during a term.
    pub(crate) fn publish(&self, info: SeatInfo) {
        let _ = self.0.send(Command::Publish(Box::new(info)));
    }

    /// Names the table of the group.
    pub(crate) fn name(&self, table: Uid) {
        let _ = self.0.send(Command::Name(table));
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
