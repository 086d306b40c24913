//! The queue of reconciles, of which up to `concurrency` run at a time.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Debug;
use std::future::{Future, ready};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{self, select_all};
use futures_util::{FutureExt, StreamExt};
use kube::Resource;
use kube::runtime::controller::{self, Action, Config};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::utils::CancelableJoinHandle;
use kube::runtime::{applier, watcher};
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::Controller;
use super::watches::{Requests, all, in_portions};
use crate::error::BoxError;
use crate::group::pause_after;

/// Objects to reconcile that no watch has asked for.
pub(super) enum Queue {
    /// Every object of the cache.
    All,
    /// The objects that are the task of this name: one, if it is in the cache.
    Task(String),
}

impl<K> Controller<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Unpin + Send + Sync,
{
    /// Follows the watches, and calls `start` for each object that is to be reconciled. `start` returns `None` if this
    /// process may not reconcile the object now, and the future that it returns has no result if it had to stop.
    ///
    /// It never returns. What still runs when it is dropped ends at its next `.await`.
    pub(super) async fn reconcile<F>(
        self,
        queue: mpsc::UnboundedReceiver<Queue>,
        find: impl Fn(&Store<K>, &str) -> Option<Arc<K>> + Send + 'static,
        mut start: impl FnMut(&Arc<K>) -> Option<F>,
    ) where
        F: Future<Output = Option<Result<Action, BoxError>>> + Send + 'static,
    {
        let Self { kind, store, mut watches, concurrency, .. } = self;
        watches.push(queued(queue, find, store.clone(), kind));
        let failures = Failures::default();
        let runtime = Handle::current();
        let run = |object: Arc<K>, _| match start(&object) {
            None => {
                failures.forget(&name_of(&*object));
                ready(Ok(Action::await_change())).left_future()
            }
            Some(work) => {
                let settled = failures.clone().settle(name_of(&*object), work);
                CancelableJoinHandle::spawn(settled, &runtime).right_future()
            }
        };
        let never = |_, never: &Infallible, _| match *never {};
        let config = Config::default().concurrency(concurrency);
        applier(run, never, Arc::new(()), store, select_all(watches), config)
            .for_each(|outcome| {
                if let Err(error) = outcome {
                    note(error, &failures);
                }
                ready(())
            })
            .await;
        // A stream of `watches` is never over.
        std::future::pending().await
    }
}

fn queued<K>(
    queue: mpsc::UnboundedReceiver<Queue>,
    find: impl Fn(&Store<K>, &str) -> Option<Arc<K>> + Send + 'static,
    store: Store<K>,
    kind: K::DynamicType,
) -> Requests<K>
where
    K: Resource + Clone + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync,
{
    let wanted = stream::unfold(queue, |mut queue| async {
        let wanted = queue.recv().await?;
        Some((wanted, queue))
    });
    let objects = move |wanted| match wanted {
        Queue::All => all(&store, &kind),
        Queue::Task(task) => {
            let found = find(&store, &task);
            found.iter().map(|object| ObjectRef::from_obj_with(&**object, kind.clone())).collect()
        }
    };
    wanted.flat_map(move |wanted| in_portions(objects(wanted))).boxed()
}

fn note(error: controller::Error<Infallible, watcher::Error>, failures: &Failures) {
    match error {
        // It was deleted, or an owner reference names one that the selector leaves out.
        controller::Error::ObjectNotFound(object) => {
            failures.forget(&(object.namespace, object.name));
        }
        controller::Error::QueueError(error) => {
            tracing::warn!(%error, "a watch of the controller failed, and is opened again");
        }
        controller::Error::RunnerError(error) => {
            tracing::warn!(%error, "the controller has stopped")
        }
        controller::Error::ReconcilerFailed(never, _) => match never {},
    }
}

/// The namespace and the name of an object.
type Name = (Option<String>, String);

fn name_of(object: &impl Resource) -> Name {
    let meta = object.meta();
    (meta.namespace.clone(), meta.name.clone().unwrap_or_default())
}

/// How many times in a row the reconcile of each object has failed, if it has.
#[derive(Clone, Default)]
struct Failures(Arc<Mutex<HashMap<Name, u32>>>);

impl Failures {
    /// Waits for a reconcile, and decides when the next one is due.
    async fn settle(
        self,
        object: Name,
        work: impl Future<Output = Option<Result<Action, BoxError>>>,
    ) -> Result<Action, Infallible> {
        let action = match work.await {
            // The next owner begins afresh, and so does this process in another term.
            None => {
                self.forget(&object);
                Action::await_change()
            }
            Some(Ok(action)) => {
                self.forget(&object);
                action
            }
            Some(Err(error)) => {
                let pause = pause_after(self.count(&object));
                let (namespace, name) = (object.0.unwrap_or_default(), object.1);
                let pause_seconds = pause.as_secs();
                tracing::warn!(namespace, name, %error, pause_seconds, "the reconcile of an object failed");
                Action::requeue(pause)
            }
        };
        Ok(action)
    }

    fn count(&self, object: &Name) -> u32 {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = failures.entry(object.clone()).or_default();
        *failed = failed.saturating_add(1);
        *failed
    }

    fn forget(&self, object: &Name) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }
}
