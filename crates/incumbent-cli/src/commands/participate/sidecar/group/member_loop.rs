//! Takes part in the group for the application, holds its tasks, and releases each when its work has stopped.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use incumbent::{Error, Group};

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
            let leaves = tokio::select! {
                biased;
                () = &mut shutdown, if !was_terminated => {
                    was_terminated = true;
                    true
                }
                assigned = self.group.next_task() => match assigned {
                    Ok(task) if is_leaving => {
                        drop(task);
                        false
                    }
                    Ok(task) => {
                        let task = Arc::new(task);
                        self.tasks.assign(&task);
                        ends.push(async move {
                            task.revoked().await;
                            task.name().to_owned()
                        });
                        false
                    }
                    Err(error) => {
                        outcome = outcome.and(Err(error));
                        true
                    }
                },
                Some(name) = ends.next() => {
                    self.tasks.look(&name);
                    false
                }
                _ = changes.changed() => false,
                () = tokio::time::sleep(next) => false,
            };
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

const LONGEST_NAP: Duration = Duration::from_secs(1);
