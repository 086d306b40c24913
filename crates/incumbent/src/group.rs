//! Groups: members that share tasks.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use incumbent_core::group::TaskName;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::error::{BoxError, Error};
use crate::leadership_status::LeadershipStatus;

mod board;
mod builder;
mod bulletin;
mod driver;
mod note;
mod seat;
mod source;
mod store;
mod task;
mod troubles;
mod watching;

pub use board::{GroupMember, GroupStatus, Owner, StuckTask};
pub use builder::GroupBuilder;
pub use source::Tasks;
pub use task::Task;

use self::board::Board;
use self::note::Note;
use self::store::Store;

/// One member of a group: a process that shares the group's tasks with others, so that no task has two owners.
///
/// It holds a Lease of its own, its seat, and learns from the group's table which tasks are its own. Any member can
/// write the table; one at a time does. A task moves only when its owner has stopped it, or can no longer run it.
///
/// A task on the current tokio runtime does the requests. It ends when the group and its tasks are gone.
#[derive(Debug)]
pub struct Group {
    name: String,
    member: String,
    clock: Clock,
    notes: Handle,
    assigned: mpsc::UnboundedReceiver<Result<Task, Error>>,
    handle: GroupHandle,
    ended: watch::Receiver<bool>,
}

impl Group {
    /// Starts to describe a member of the group `name` in `namespace`.
    ///
    /// The name is a DNS label: lower case letters, digits and `-`. Each member's seat is the Lease `GROUP.MEMBER`.
    pub fn builder(
        client: kube::Client,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> GroupBuilder {
        GroupBuilder::new(client, namespace.into(), name.into())
    }

    /// The name of the group.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of this member.
    pub fn member(&self) -> &str {
        &self.member
    }

    /// Waits for the next task that is this member's. Keep it as long as its work may run, and drop it when the work
    /// has stopped: only then does another member get it.
    ///
    /// A task that is dropped while it is still this member's is returned again.
    ///
    /// # Errors
    /// Where it will not get better by itself: a missing permission, credentials that are not accepted, a namespace
    /// that does not exist, or another living process of the same name.
    pub async fn next_task(&mut self) -> Result<Task, Error> {
        match self.assigned.recv().await {
            Some(assigned) => assigned,
            None => std::future::pending().await,
        }
    }

    /// Runs `work` for each task while it is this member's, until `shutdown` is ready; then stops all work and leaves.
    ///
    /// The future of a task is polled only while the task is valid, and dropped at its next `.await` when the task is
    /// revoked or lost. Work that returns `Ok` is done, and begins again only when the task is assigned again. Work
    /// that fails is logged, and begins again after a pause that doubles from one second to a minute.
    ///
    /// # Errors
    /// Those of [`next_task`](Self::next_task).
    pub async fn run_until<F>(
        mut self,
        shutdown: impl Future,
        work: impl Fn(Arc<Task>) -> F,
    ) -> Result<(), Error>
    where
        F: Future<Output = Result<(), BoxError>>,
    {
        let mut shutdown = pin!(shutdown);
        let mut running = FuturesUnordered::new();
        let mut failures = HashMap::new();
        let (clock, group, work) = (self.clock, self.name.clone(), &work);
        let outcome = loop {
            tokio::select! {
                biased;
                _ = &mut shutdown => break Ok(()),
                assigned = self.next_task() => match assigned {
                    Ok(task) => {
                        let failed: u32 = failures.get(task.name()).copied().unwrap_or_default();
                        running.push(run(clock, group.clone(), Arc::new(task), work, failed));
                    }
                    Err(error) => break Err(error),
                },
                Some((task, failed)) = running.next() => {
                    let _ = match failed {
                        0 => failures.remove(&task),
                        failed => failures.insert(task, failed),
                    };
                }
            }
        };
        // First, so that no task whose work stops is taken for one to begin again. Dropping the futures stops the work.
        self.notes.leave();
        drop(running);
        self.leave().await;
        outcome
    }

    /// Begins to leave: all tasks are revoked, and none is assigned any more. Others get each task as soon as its work has
    /// stopped. Call [`leave`](Self::leave) when the work of all tasks has.
    pub fn begin_to_leave(&self) {
        self.notes.leave();
    }

    /// Leaves the group, and waits until others have this member's tasks, or until they can take them: for ten
    /// seconds at most. Drop all tasks before.
    pub async fn leave(self) {
        let Self { notes, assigned, mut ended, clock, .. } = self;
        drop(notes);
        // Tasks that wait to be taken are given up.
        drop(assigned);
        let left = async { drop(ended.wait_for(|ended| *ended).await) };
        let _ = clock.timeout(LEAVE_TIMEOUT, left).await;
    }

    /// What can be asked, and asked for, while [`run_until`](Self::run_until) runs.
    pub fn handle(&self) -> GroupHandle {
        self.handle.clone()
    }
}

/// A member's knowledge of its group, and its wish for tasks, to keep beside the work.
#[derive(Clone)]
pub struct GroupHandle {
    notes: mpsc::WeakUnboundedSender<Note>,
    board: watch::Receiver<Board>,
    store: Store,
    seat: LeadershipStatus,
    clock: Clock,
    bound: Duration,
}

impl GroupHandle {
    /// Wants no tasks for now, so that others get those of this member; `false` wants them again.
    pub fn drain(&self, wants_none: bool) {
        if let Some(notes) = self.notes.upgrade() {
            let _ = notes.send(Note::Drain(wants_none));
        }
    }

    /// Declines `task` for now, so that a member that does not decline it gets it; `false` takes it again. If every member
    /// declines it, it stays where it is. Useful where the work of one task fails here, and may work elsewhere.
    ///
    /// A seat has room for about 40 names of ten characters. Those beyond that are not declined.
    pub fn decline(&self, task: &str, declines: bool) {
        if let Some((notes, task)) = self.notes.upgrade().zip(TaskName::new(task)) {
            let _ = notes.send(Note::Decline(task, declines));
        }
    }

    /// Who owns `task`, as far as this member knows, and for how long that answer is good. `None` if the task has no owner,
    /// or nothing is known for sure.
    ///
    /// The answer is good for as long as this member's own seat is valid, which a member that is cut off cannot renew; and
    /// at most until 75 s after the watch of the table last showed a sign of life, which the API server sends about once a
    /// minute. The owner may still change meanwhile: send the [token](Owner::fencing_token) along, so that the receiver
    /// can reject a wrong one.
    pub fn owner_of(&self, task: &str) -> Option<Owner> {
        let task = TaskName::new(task)?;
        let seat = self.seat.active_term()?;
        self.board.borrow().owner_of(self.clock.instant(), &task, seat.valid_for)
    }

    /// All members that hold their seats, or own tasks, with what they say of themselves. It lists the seats, which is one
    /// request.
    ///
    /// # Errors
    /// Where the seats cannot be listed.
    pub async fn members(&self) -> Result<Vec<GroupMember>, Error> {
        let seats = self.store.seats().await?;
        let mut members = self.board.borrow().members();
        for (name, seat) in seats.iter().filter_map(|seat| self.store.read_seat(seat)) {
            let Some(info) = seat.record.holder_info.seat else { continue };
            let said = |text: String| Some(text).filter(|text| !text.is_empty());
            let known = members.entry(name.to_string()).or_default();
            *known = GroupMember {
                name: name.to_string(),
                address: seat.record.holder_info.address.or_else(|| known.address.take()),
                capacity: info.capacity,
                version: said(info.version),
                zone: said(info.zone),
                is_draining: info.is_draining || info.is_leaving,
                tasks: std::mem::take(&mut known.tasks),
            };
        }
        Ok(members.into_values().collect())
    }

    /// What is true now, for metrics and status pages. It is computed when it is asked for.
    ///
    /// A task is stuck if it has had no owner, or has not been stopped by an owner that was asked to, for longer than this
    /// member's lease and two retry periods: 19 s by default.
    pub fn status(&self) -> GroupStatus {
        self.board.borrow().status(self.clock.instant(), self.bound)
    }

    /// Waits until something has changed: the table, the list of tasks, or the work of this member.
    pub async fn changed(&mut self) {
        if self.board.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl std::fmt::Debug for GroupHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupHandle").field("group", &self.store.group()).finish_non_exhaustive()
    }
}

/// Runs the work of one task until the task is over, and says how often in a row it has failed.
async fn run<F>(
    clock: Clock,
    group: String,
    task: Arc<Task>,
    work: &impl Fn(Arc<Task>) -> F,
    mut failed: u32,
) -> (String, u32)
where
    F: Future<Output = Result<(), BoxError>>,
{
    let name = task.name().to_owned();
    loop {
        if !task.is_valid() {
            return (name, failed);
        }
        let began = clock.instant();
        let outcome = while_valid(&task, work(Arc::clone(&task))).await;
        match outcome {
            None => return (name, failed),
            Some(Ok(())) => {
                task.revoked().await;
                return (name, 0);
            }
            Some(Err(error)) => {
                let is_first = clock.instant().saturating_since(began) > LONGEST_PAUSE;
                failed = if is_first { 1 } else { failed.saturating_add(1) };
                let pause = pause_after(failed);
                tracing::warn!(%group, task = name, %error, ?pause, "the work of a task failed");
                tokio::select! {
                    biased;
                    () = task.revoked() => return (name, failed),
                    () = clock.sleep(pause) => {}
                }
            }
        }
    }
}

/// Polls the work only while the task is valid; nothing comes of it after that.
async fn while_valid<T>(task: &Task, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut revoked = pin!(task.revoked());
    poll_fn(|context| {
        if revoked.as_mut().poll(context).is_ready() || !task.is_valid() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(context).map(Some)
    })
    .await
}

fn pause_after(failed: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failed.saturating_sub(1).min(6));
    doubled.min(LONGEST_PAUSE)
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Two requests, of which each may have to be repeated.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A group's end of the channel to its driver. Without it, the member leaves.
#[derive(Debug)]
struct Handle(mpsc::UnboundedSender<Note>);

impl Handle {
    fn leave(&self) {
        let _ = self.0.send(Note::Leave);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.leave();
    }
}
