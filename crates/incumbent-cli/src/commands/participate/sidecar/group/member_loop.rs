//! Takes part in the group for the application, holds its tasks, and releases each when its work has stopped.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use incumbent::{Error, Group, Task};

use super::super::args::OnTerm;
use super::super::lifeline::Lifelines;
use super::own_tasks::OwnTasks;

pub(crate) struct MemberLoop {
    pub(crate) group: Group,
    pub(crate) tasks: OwnTasks,
    pub(crate) lifelines: Lifelines,
    pub(crate) on_term: OnTerm,
}

impl MemberLoop {
    /// Takes part until `shutdown`. It leaves when the work of all tasks has stopped, as far as can be known from here.
    pub(crate) async fn run(
        mut self,
        mut shutdown: impl Future<Output = ()> + Unpin,
    ) -> Result<(), Error> {
        let mut ends = FuturesUnordered::new();
        let mut changes = self.tasks.changes();
        let (mut is_leaving, mut was_terminated, mut outcome) = (false, false, Ok(()));
        loop {
            changes.borrow_and_update();
            // An error says nothing about the application, which works on what it was answered.
            let has_ended = was_terminated && self.application_has_ended();
            let next = self.tasks.settle(has_ended);
            if is_leaving && self.tasks.is_empty() {
                break;
            }
            // Timers may stand still while the machine is suspended; a deadline does not.
            let next = next.unwrap_or(LONGEST_NAP).min(LONGEST_NAP);
            let mut leaves = false;
            tokio::select! {
                biased;
                () = &mut shutdown, if !was_terminated => (was_terminated, leaves) = (true, true),
                assigned = self.group.next_task() => match assigned {
                    Ok(task) if is_leaving => drop(task),
                    Ok(task) => {
                        let task = Arc::new(task);
                        self.tasks.assign(&task);
                        ends.push(revoked(task));
                    }
                    Err(error) => (outcome, leaves) = (outcome.and(Err(error)), true),
                },
                Some(name) = ends.next() => {
                    self.tasks.look(&name);
                    // All that end together are settled together: each settling looks at all tasks that have to stop.
                    while let Some(Some(name)) = ends.next().now_or_never() {
                        self.tasks.look(&name);
                    }
                }
                _ = changes.changed() => {}
                () = tokio::time::sleep(next) => {}
            }
            if leaves && !is_leaving {
                is_leaving = true;
                // All tasks are revoked with that. Others get each as soon as it is released.
                self.group.begin_to_leave();
            }
        }
        drop(ends);
        self.group.leave().await;
        outcome
    }

    /// Whether SIGTERM says that the application has ended, as it does for a native sidecar.
    fn application_has_ended(&self) -> bool {
        self.on_term == OnTerm::Release && !self.lifelines.is_held()
    }
}

/// Waits until the work on the task has to stop, and says which task that is.
async fn revoked(task: Arc<Task>) -> String {
    task.revoked().await;
    task.name().to_owned()
}

const LONGEST_NAP: Duration = Duration::from_secs(1);
