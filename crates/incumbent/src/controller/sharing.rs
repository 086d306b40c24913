//! Each member of a group reconciles the objects that it owns.

use std::collections::HashMap;
use std::fmt::Debug;
use std::future::{Future, pending};
use std::hash::Hash;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kube::Resource;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::Controller;
use super::reconciling::Queue;
use crate::error::{BoxError, Error};
use crate::group::{Group, Task, task_of, while_valid};

impl<K> Controller<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Unpin + Send + Sync,
{
    /// Reconciles the objects that this member of a group owns, until `shutdown` completes; then it leaves the group.
    ///
    /// `group` is called as soon as the cache is complete, so that a member gets no task that it cannot work on. The tasks
    /// of the group have to be the objects of this controller: pass [`tasks`](Self::tasks) to
    /// [`GroupBuilder::tasks`](crate::GroupBuilder::tasks). Take a [handle](Group::handle) of the group in `group` if you need
    /// one.
    ///
    /// When an object is assigned to this member, it is reconciled once, and after that whenever it changes. When its task is
    /// revoked or lost, no reconcile of it begins, and one that runs is dropped at its next `.await`. Only when it has stopped
    /// does another member get the object.
    ///
    /// A request that left before may still be applied. For writes that another member cannot repair, use
    /// [`Task::fenced`], or send [`Task::fencing_token`].
    ///
    /// # Errors
    /// Those of `group`, and of [`Group::next_task`]. A list or a watch of the cache that fails is logged and repeated.
    pub async fn share_until<F>(
        self,
        group: impl FnOnce() -> Result<Group, Error>,
        shutdown: impl Future,
        reconcile: impl Fn(Arc<K>, Arc<Task>) -> F,
    ) -> Result<(), Error>
    where
        F: Future<Output = Result<Action, BoxError>> + Send + 'static,
    {
        let (queue, queued) = mpsc::unbounded_channel();
        let (store, owned) = (self.store(), Owned::default());
        let kind = self.kind.clone();
        let find = move |store: &Store<K>, task: &str| find(store, &kind, task);
        let reconciling = self.reconcile(queued, find, |object| {
            let task = owned.task_of(&**object)?;
            let work = reconcile(Arc::clone(object), Arc::clone(&task));
            // Dropped in this order: the work, and then the task that lasts until it has stopped.
            Some(async move { while_valid(&task, work).await })
        });
        let sharing = async {
            let mut shutdown = pin!(shutdown);
            tokio::select! {
                biased;
                _ = &mut shutdown => return Ok(()),
                ready = store.wait_until_ready() => if ready.is_err() { pending().await },
            }
            owned.share(group()?, &queue, shutdown).await
        };
        tokio::select! {
            biased;
            outcome = sharing => outcome,
            () = reconciling => pending().await,
        }
    }
}

/// The tasks of this member, by name.
#[derive(Default)]
struct Owned(Mutex<HashMap<String, Arc<Task>>>);

impl Owned {
    /// Takes part in the group until the end.
    async fn share(
        &self,
        mut group: Group,
        queue: &mpsc::UnboundedSender<Queue>,
        mut shutdown: impl Future + Unpin,
    ) -> Result<(), Error> {
        let mut revoked = FuturesUnordered::new();
        let outcome = loop {
            tokio::select! {
                biased;
                _ = &mut shutdown => break Ok(()),
                Some(task) = revoked.next() => self.forget(&task),
                assigned = group.next_task() => match assigned {
                    Ok(task) => {
                        let task = Arc::new(task);
                        let name = task.name().to_owned();
                        self.lock().insert(name.clone(), Arc::clone(&task));
                        // Now, and not before: a change that comes from here on is reconciled.
                        let _ = queue.send(Queue::Task(name));
                        revoked.push(async move {
                            task.revoked().await;
                            task
                        });
                    }
                    Err(error) => break Err(error),
                },
            }
        };
        group.begin_to_leave();
        self.lock().clear();
        drop(revoked);
        group.leave().await;
        outcome
    }

    /// The task that this object is, if this member owns it now.
    fn task_of(&self, object: &impl Resource) -> Option<Arc<Task>> {
        let name = task_of(object.meta())?;
        let owned = self.lock();
        owned.get(name.as_str()).filter(|task| task.is_valid()).cloned()
    }

    /// From here on no reconcile of it begins.
    fn forget(&self, task: &Arc<Task>) {
        let mut owned = self.lock();
        if owned.get(task.name()).is_some_and(|known| Arc::ptr_eq(known, task)) {
            owned.remove(task.name());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Task>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The object in the cache that is this task.
fn find<K>(store: &Store<K>, kind: &K::DynamicType, task: &str) -> Option<Arc<K>>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    let object = match task.split_once('/') {
        Some((namespace, name)) => ObjectRef::new_with(name, kind.clone()).within(namespace),
        None => ObjectRef::new_with(task, kind.clone()),
    };
    let is_task = |object: &K| task_of(object.meta()).is_some_and(|own| own.as_str() == task);
    // Only a task whose name had no room is called after the uid of its object.
    store.get(&object).filter(|found| is_task(found)).or_else(|| store.find(is_task))
}
