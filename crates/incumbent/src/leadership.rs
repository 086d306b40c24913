//! The proof that one leads.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use incumbent_core::group::SeatInfo;
use incumbent_core::{FencingToken, HandOverReason, Identity, Loss, Release, Uid};
use tokio::sync::{mpsc, oneshot};

use crate::error::Error;
use crate::gate::NotLeading;
use crate::term::TermState;

/// Proof that this process leads. It expires by itself.
///
/// As long as it exists, work may be running. So keep it together with the work, and drop it when
/// the work has stopped: only then is the lock released. To share it between tasks, wrap it in an
/// [`Arc`](std::sync::Arc).
///
/// [`is_valid`](Self::is_valid) reads the clock and compares it with the term's deadline. It needs
/// neither the API server nor the runtime, so it turns false in time, whatever happens to them.
#[derive(Debug)]
#[must_use = "dropping it gives the leadership back"]
pub struct Leadership {
    term: Arc<TermState>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Leadership {
    pub(crate) fn new(term: Arc<TermState>, commands: mpsc::UnboundedSender<Command>) -> Self {
        Self { term, commands }
    }

    /// The error of what needs this leadership once it has ended.
    pub(crate) fn not_leading(&self) -> NotLeading {
        NotLeading { lock: self.term.lock().clone() }
    }

    /// Why the leadership was lost, if it was.
    pub(crate) fn loss(&self) -> Option<Loss> {
        match self.is_valid() {
            true => self.term.loss(),
            false => self.term.loss().or(Some(Loss::DeadlinePassed)),
        }
    }

    /// Whether this process leads now. Check it before every action that only the leader may take.
    pub fn is_valid(&self) -> bool {
        !self.valid_for().is_zero()
    }

    /// How much longer this process leads if no renewal succeeds; zero when it no longer leads.
    ///
    /// Do not start an action that may take longer than this.
    pub fn valid_for(&self) -> Duration {
        self.term.valid_for()
    }

    /// The number to send with each write, so that your storage can refuse writes of a former
    /// leader.
    ///
    /// It rises with each term. Time alone cannot stop a write that is already in flight, or one
    /// from a machine whose clock stood still. A store that compares tokens can.
    pub fn fencing_token(&self) -> FencingToken {
        self.term.token()
    }

    /// Waits until the leadership is lost, and returns the reason. Stop the work then.
    pub async fn lost(&self) -> Loss {
        tokio::select! {
            biased;
            loss = self.term.lost() => loss,
            // The driver is gone, and there are no more renewals.
            () = self.commands.closed() => Loss::DeadlinePassed,
        }
    }

    /// Polls the work only while this process leads; nothing comes of it after that. A task may be woken late,
    /// and the clock is what counts.
    pub(crate) async fn while_valid<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|context| match self.is_valid() {
            true => work.as_mut().poll(context).map(Some),
            false => Poll::Ready(None),
        })
        .await
    }

    /// Runs a piece of work that a handover must not interrupt, and returns its result.
    ///
    /// [`Candidate::run`](crate::Candidate::run) and [`run_until`](crate::Candidate::run_until)
    /// drop their work at its next `.await` when the leader is asked to hand over, is shut down, or
    /// is unhealthy. But they wait for a piece that runs in `finish`, and keep renewing until it
    /// has ended. No other piece begins after that.
    ///
    /// Returns `None` if the piece did not begin, because a handover was requested or the
    /// leadership is lost; or if it was interrupted by a loss of leadership, which cannot wait. If
    /// the work returns after that, it does not count as ended: `run` campaigns again.
    ///
    /// The lease limits the wait: if a piece takes longer than [`stop_within`](Self::stop_within)
    /// after the request, it is dropped anyway. To be safe if leadership is lost, send the [fencing
    /// token](Self::fencing_token) with each write.
    ///
    /// ```
    /// # use incumbent::{Candidate, Clock, Lock};
    /// # use incumbent_apiserver::ApiServer;
    /// # use std::time::Duration;
    /// # use tokio::time::sleep;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), incumbent::Error> {
    /// # let server = ApiServer::new();
    /// # let client = kube::Client::new(server.service(), "default");
    /// # let lock = Lock::lease("default", "scanner");
    /// # let mut candidate = Candidate::builder(client, lock).clock(Clock::tokio()).build()?;
    /// # let shutdown = sleep(Duration::from_millis(2500));
    /// # let batches = std::cell::Cell::new(0);
    /// # let batches = &batches;
    /// # let send_a_batch = || async { sleep(Duration::from_secs(1)).await; batches.set(batches.get() + 1) };
    /// candidate
    ///     .run_until(shutdown, |leadership| async move {
    ///         // Each batch is sent as a whole.
    ///         while let Some(()) = leadership.finish(send_a_batch()).await {}
    ///         Ok(())
    ///     })
    ///     .await?;
    /// # assert_eq!(batches.get(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn finish<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let _piece = self.term.begin_piece()?;
        tokio::select! {
            biased;
            outcome = self.while_valid(work) => outcome,
            _ = self.lost() => None,
        }
    }

    /// Waits for the pieces of work that must not be cut, as long as it may.
    pub(crate) async fn finish_pieces(&self) {
        let clock = self.term.clock();
        let bound = clock.sleep(self.stop_within());
        tokio::select! {
            biased;
            () = self.term.finish_pieces() => {}
            _ = self.lost() => {}
            () = bound => {}
        }
    }

    /// Whether another candidate is to lead, so that no other piece of work begins.
    #[cfg(feature = "controller")]
    pub(crate) fn is_to_be_handed_over(&self) -> bool {
        self.term.is_to_be_handed_over()
    }

    pub(crate) fn refused_a_piece(&self) -> bool {
        self.term.refused_a_piece()
    }

    /// Waits until another candidate should lead, and returns the reason: a request or a pause in
    /// the lock, or a candidate with a higher priority.
    ///
    /// This is only a request: this process continues to lead until it has stopped its work and
    /// released the leadership. [`Candidate::run`](crate::Candidate::run) does that by itself.
    pub async fn asked_to_hand_over(&self) -> HandOverReason {
        self.term.asked().await
    }

    /// How long the work has from now on until it is ended by force. Use it to plan an orderly
    /// stop.
    pub fn stop_within(&self) -> Duration {
        self.term.stop_by().saturating_since(self.term.clock().instant())
    }

    /// Releases the leadership, and waits until the next candidate can acquire it. Call it when the
    /// work has stopped.
    ///
    /// This does not fail: if the API server cannot be reached in time, the lock expires.
    pub async fn release(self) -> Release {
        let commands = self.commands.clone();
        drop(self);
        await_release(&commands).await
    }

    /// Releases the leadership, and asks that `to` leads next: it moves to the head of the
    /// waitlist, even if it was not in it. Call it when the work has stopped.
    ///
    /// If that candidate does not acquire the lock within 100 ms, the next one leads. A candidate
    /// of another program, which does not know the waitlist, may be faster than all of them.
    pub async fn hand_over_to(self, to: Identity) -> Release {
        let commands = self.commands.clone();
        self.term.work_ended();
        let _ = commands.send(Command::HandOver(self.fencing_token(), Box::new(to)));
        drop(self);
        await_release(&commands).await
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.term.work_ended();
        let _ = self.commands.send(Command::Release(self.fencing_token()));
    }
}

/// What candidates and leaderships ask of the driver.
pub(crate) enum Command {
    /// Lead, and answer then. Whoever drops the other end no longer wants to.
    Campaign(oneshot::Sender<Result<Leadership, Error>>),
    /// The work of this term has stopped: release the lock.
    Release(FencingToken),
    /// The same, with a wish who leads next.
    /// Boxed, because a channel has room for thirty-two of the largest.
    HandOver(FencingToken, Box<Identity>),
    /// Say this in the seat at once: others wait for it.
    Publish(Box<SeatInfo>),
    /// Name this table in the lock.
    Name(Uid),
    /// Say how the release went, as soon as there is nothing (more) to release.
    AwaitRelease(oneshot::Sender<Release>),
}

/// Waits until there is nothing (more) to release.
pub(crate) async fn await_release(commands: &mpsc::UnboundedSender<Command>) -> Release {
    let (done, outcome) = oneshot::channel();
    let _ = commands.send(Command::AwaitRelease(done));
    outcome.await.unwrap_or(Release::LeftToExpire)
}

/// The examples of the guide for those who come from another elector compile.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/coming-from.md")]
struct ComingFrom;

/// What the types forbid. Beside each, the same with the one difference that makes it right.
///
/// A stable rustdoc checks that the first fails, not with which error; a nightly one checks that, too.
///
/// A leadership is not copied: the lock is released when *the* leadership is dropped.
/// ```compile_fail,E0599
/// # use incumbent::Leadership;
/// fn share(leadership: Leadership) -> [Leadership; 2] {
///     [leadership.clone(), leadership]
/// }
/// ```
/// ```
/// # use std::sync::Arc;
/// # use incumbent::Leadership;
/// fn share(leadership: Arc<Leadership>) -> [Arc<Leadership>; 2] {
///     [leadership.clone(), leadership]
/// }
/// ```
///
/// It cannot be constructed: it comes from a campaign.
/// ```compile_fail,E0451
/// # use incumbent::{Candidate, Error, Leadership};
/// async fn lead(_candidate: &mut Candidate) -> Result<Leadership, Error> {
///     Ok(Leadership { term: todo!(), commands: todo!() })
/// }
/// ```
/// ```
/// # use incumbent::{Candidate, Error, Leadership};
/// async fn lead(candidate: &mut Candidate) -> Result<Leadership, Error> {
///     Ok(candidate.campaign().await?)
/// }
/// ```
///
/// A candidate campaigns once at a time.
/// ```compile_fail,E0499
/// # use incumbent::Candidate;
/// async fn campaign(candidate: &mut Candidate) {
///     let first = candidate.campaign();
///     let second = candidate.campaign();
///     let _ = (first.await, second.await);
/// }
/// ```
/// ```
/// # use incumbent::Candidate;
/// async fn campaign(candidate: &mut Candidate) {
///     let first = candidate.campaign().await;
///     let second = candidate.campaign().await;
///     let _ = (first, second);
/// }
/// ```
///
/// What was released is not asked any more.
/// ```compile_fail,E0382
/// # use incumbent::Leadership;
/// async fn stop(leadership: Leadership) {
///     leadership.release().await;
///     println!("led under {}", leadership.fencing_token());
/// }
/// ```
/// ```
/// # use incumbent::Leadership;
/// async fn stop(leadership: Leadership) {
///     println!("led under {}", leadership.fencing_token());
///     leadership.release().await;
/// }
/// ```
///
/// A leadership that is got and not kept is released at once, which is hardly what was meant.
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # use incumbent::{Candidate, Error};
/// async fn lead(candidate: &mut Candidate) -> Result<(), Error> {
///     candidate.campaign().await?;
///     Ok(())
/// }
/// ```
/// ```
/// #![deny(unused_must_use)]
/// # use incumbent::{Candidate, Error};
/// async fn lead(candidate: &mut Candidate) -> Result<(), Error> {
///     let _leadership = candidate.campaign().await?;
///     Ok(())
/// }
/// ```
///
/// A status is no leadership: it is made by asking, and nothing that takes a leadership takes it.
/// ```compile_fail,E0639
/// # use incumbent::{FencingToken, ActiveTerm, LeadershipStatus};
/// fn active_term(_status: &LeadershipStatus) -> Option<ActiveTerm> {
///     Some(ActiveTerm { fencing_token: FencingToken(1), valid_for: std::time::Duration::MAX })
/// }
/// ```
/// ```
/// # use incumbent::{FencingToken, ActiveTerm, LeadershipStatus};
/// fn active_term(status: &LeadershipStatus) -> Option<ActiveTerm> {
///     status.active_term()
/// }
/// ```
#[cfg(doctest)]
struct Misuse;
