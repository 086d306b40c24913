//! One leader reconciles all objects; the others keep their caches up to date.

use std::fmt::Debug;
use std::future::{Future, pending, poll_fn};
use std::hash::Hash;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use kube::Resource;
use kube::runtime::controller::Action;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

use super::Controller;
use super::reconciling::Queue;
use crate::candidate::Candidate;
use crate::error::{BoxError, Error};
use crate::leadership::Leadership;

impl<K> Controller<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Unpin + Send + Sync,
{
    /// Reconciles objects while `candidate` leads, until `shutdown` completes; then it releases the lock.
    ///
    /// The candidate campaigns as soon as the cache is complete. When a term begins, every object of the cache is
    /// reconciled once, and after that each object that changes. When the term ends, or when the leader is asked to hand
    /// over, no reconcile begins, and each that runs is dropped at its next `.await`. The lock is released when the last
    /// one has stopped. If one is still running when the lease ends, the process is ended by force, as with
    /// [`Candidate::run_until`].
    ///
    /// Write through [`Candidate::write_gate`], so that no request leaves after the term. For writes that another leader
    /// cannot repair, also send [`Leadership::fencing_token`], or use [`Leadership::fenced`].
    ///
    /// # Errors
    /// Those of [`Candidate::campaign`]. A list or a watch that fails is logged and repeated.
    pub async fn run_until<F>(
        self,
        candidate: &mut Candidate,
        shutdown: impl Future,
        reconcile: impl Fn(Arc<K>, Arc<Leadership>) -> F,
    ) -> Result<(), Error>
    where
        F: Future<Output = Result<Action, BoxError>> + Send + 'static,
    {
        let (queue, queued) = mpsc::unbounded_channel();
        let (store, current) = (self.store(), Current::default());
        let reconciling = self.reconcile(
            queued,
            |_, _| None,
            |object| {
                let term = current.term()?;
                let work = reconcile(Arc::clone(object), Arc::clone(&term.leadership));
                Some(term.run(work))
            },
        );
        let leading = async {
            let mut shutdown = pin!(shutdown);
            tokio::select! {
                biased;
                _ = &mut shutdown => return Ok(()),
                // Until then, a replica with a complete cache should lead.
                ready = store.wait_until_ready() => if ready.is_err() { pending().await },
            }
            let work = |leadership| {
                let term = current.begin(leadership);
                // Now, and not before: a change that comes from here on is reconciled, and earlier ones are in the cache.
                let _ = queue.send(Queue::All);
                async move {
                    let _term = term;
                    pending::<Result<(), BoxError>>().await
                }
            };
            candidate.run_until(shutdown, work).await.map(drop)
        };
        tokio::select! {
            biased;
            outcome = leading => outcome,
            () = reconciling => pending().await,
        }
    }
}

/// The term in which this process may reconcile, if there is one.
#[derive(Default)]
struct Current(Mutex<Option<Arc<Term>>>);

impl Current {
    fn term(&self) -> Option<Arc<Term>> {
        let current = self.lock();
        let may_begin = |term: &&Arc<Term>| {
            term.leadership.is_valid() && !term.leadership.is_to_be_handed_over()
        };
        current.as_ref().filter(may_begin).cloned()
    }

    /// The term lasts until what this returns is dropped.
    fn begin(&self, leadership: Arc<Leadership>) -> Reconciling<'_> {
        let term = Term { leadership, stopped: watch::Sender::new(false) };
        *self.lock() = Some(Arc::new(term));
        Reconciling(self)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Term>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While this exists, reconciles may begin.
struct Reconciling<'a>(&'a Current);

impl Drop for Reconciling<'_> {
    fn drop(&mut self) {
        if let Some(term) = self.0.lock().take() {
            term.stopped.send_replace(true);
        }
    }
}

/// One term. Each reconcile holds it, and with that the lock, until it has stopped.
struct Term {
    leadership: Arc<Leadership>,
    stopped: watch::Sender<bool>,
}

impl Term {
    /// Polls a reconcile only in this term.
    async fn run<T>(self: Arc<Self>, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut over = pin!(self.over());
        poll_fn(|context| {
            if over.as_mut().poll(context).is_ready() || !self.leadership.is_valid() {
                return Poll::Ready(None);
            }
            work.as_mut().poll(context).map(Some)
        })
        .await
    }

    async fn over(&self) {
        let mut stopped = self.stopped.subscribe();
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => {}
            _ = self.leadership.lost() => {}
        }
    }
}
