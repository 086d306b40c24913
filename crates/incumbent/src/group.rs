//! Groups: members that share tasks.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use incumbent_core::group::{Kind, TaskName};
use k8s_openapi::api::rbac::v1::PolicyRule;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::error::{BoxError, Error};
use crate::leadership_status::LeadershipStatus;
use crate::rights;

mod board;
mod builder;
mod bulletin;
mod config;
mod control;
mod driver;
mod note;
mod numbers;
mod objects;
mod preparing;
mod seat;
mod source;
mod store;
mod survey;
mod task;
mod troubles;
mod view;
mod watching;

pub use incumbent_core::group::slot_of;

pub use board::{FullPage, GroupMember, GroupStatus, Owner, StuckTask};
pub use builder::GroupBuilder;
pub use control::GroupControl;
pub use source::Tasks;
pub use survey::{GroupChange, GroupSurvey};
pub use task::Task;
pub use view::{
    ConfigView, GroupView, HiddenSeat, PageState, PageView, SeatView, TaskKind, TaskView,
    UnownedView,
};

#[cfg(feature = "controller")]
pub(crate) use objects::task_of;

use self::board::Board;
use self::note::Note;
use self::store::Store;

/// One member of a group: a process that shares the group's tasks with others, so that no task has two owners.
///
/// Each member holds its own Lease, its seat, and learns from the group's table which tasks it
/// owns. Any member can write the table, but only one does so at a time. A task moves only when its
/// owner has stopped it, or can no longer run it.
///
/// A task on the current tokio runtime sends the requests. It ends when the group and its tasks
/// have been dropped.
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

    /// The rules that the account of each member needs in a Role of the group's namespace, because any member may become
    /// the allocator. `incumbent manifests --group GROUP` prints a whole Role.
    ///
    /// [`GroupBuilder::events`] and [`GroupBuilder::kubelet_reports`] need more.
    pub fn policy_rules() -> Vec<PolicyRule> {
        rights::of_a_group()
    }

    /// The name of the group.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of this member.
    pub fn member(&self) -> &str {
        &self.member
    }

    /// Waits for the next task that this member owns. Keep it for as long as its work may run, and
    /// drop it when the work has stopped: only then does another member get the task.
    ///
    /// If a task is dropped while this member still owns it, it is returned again.
    ///
    /// # Errors
    /// If waiting cannot help: a permission is missing, the credentials are not accepted,
    /// the namespace does not exist, or another living process has the same name. While a task of this
    /// member exists, the error is logged instead, and shown by [`GroupHandle::status`].
    pub async fn next_task(&mut self) -> Result<Task, Error> {
        match self.assigned.recv().await {
            Some(assigned) => assigned,
            None => std::future::pending().await,
        }
    }

    /// Runs `work` for each task that this member owns. When `shutdown` completes, it stops all
    /// work and leaves the group.
    ///
    /// The future of a task is polled only while the task is valid, and dropped at its next
    /// `.await` when the task is revoked or lost. Work that returns `Ok` is done, and starts again
    /// only when the task is assigned again. If work fails, the error is logged, and it starts
    /// again after a pause. The pause doubles each time, from one second up to one minute.
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
        let mut failures = Failures::default();
        let (clock, group, work) = (self.clock, self.name.clone(), &work);
        let outcome = loop {
            tokio::select! {
                biased;
                _ = &mut shutdown => break Ok(()),
                assigned = self.next_task() => match assigned {
                    Ok(task) => {
                        let failed = failures.of(task.name());
                        running.push(run(clock, group.clone(), Arc::new(task), work, failed));
                    }
                    Err(error) => break Err(error),
                },
                Some((task, failed)) = running.next() => failures.note(task, failed),
            }
        };
        // First, so that no task whose work stops is taken for one to begin again. Dropping the futures stops the work.
        self.notes.leave();
        drop(running);
        self.leave().await;
        outcome
    }

    /// Begins to leave: all tasks are revoked, and none is assigned any more. Other members get each task
    /// as soon as its work has stopped. Call [`leave`](Self::leave) when the work of all tasks has stopped.
    pub fn begin_to_leave(&self) {
        self.notes.leave();
    }

    /// Leaves the group, and waits until other members have this member's tasks or can take them,
    /// for ten seconds at most. Drop all tasks first.
    pub async fn leave(self) {
        let Self { notes, assigned, mut ended, clock, .. } = self;
        drop(notes);
        // Tasks that wait to be taken are given up.
        drop(assigned);
        let left = async { drop(ended.wait_for(|ended| *ended).await) };
        let _ = clock.timeout(LEAVE_TIMEOUT, left).await;
    }

    /// A handle to use while [`run_until`](Self::run_until) runs.
    pub fn handle(&self) -> GroupHandle {
        self.handle.clone()
    }
}

/// What a member knows about its group, and how it asks for more or fewer tasks. Use it while the
/// work runs.
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
    /// With `true`, this member's tasks move to others, and it gets no new ones; with `false`, it
    /// takes tasks again.
    pub fn drain(&self, wants_none: bool) {
        if let Some(notes) = self.notes.upgrade() {
            let _ = notes.send(Note::Drain(wants_none));
        }
    }

    /// Declines `task` for now, so that a member that does not decline it gets it; `false` accepts it
    /// again. If every member declines it, it stays where it is. Use this if the work of one task fails
    /// here, and may work elsewhere. A permit cannot be declined.
    ///
    /// A seat has room for about 40 names of ten characters. Tasks beyond that are not declined.
    pub fn decline(&self, task: &str, declines: bool) {
        if let Some((notes, task)) = self.notes.upgrade().zip(TaskName::new(task)) {
            let _ = notes.send(Note::Decline(task, declines));
        }
    }

    /// The owner of `task`, as far as this member knows, and how long that answer is valid. `None`
    /// if the task has no owner, or if the owner is not certain.
    ///
    /// The answer is valid for as long as this member's own seat, which a member that is cut off
    /// cannot renew; but at most until 75 s after the watch of the table last showed a sign of
    /// life, which the API server sends about once a minute. The owner may still change in that
    /// time, so send the [token](Owner::fencing_token) along, and let the receiver reject a wrong
    /// one.
    pub fn owner_of(&self, task: &str) -> Option<Owner> {
        let task = TaskName::new(task)?;
        let seat = self.seat.active_term()?;
        self.board.borrow().owner_of(self.clock.instant(), &task, seat.valid_for)
    }

    /// Who owns the slot of this key, as far as this member knows. `None` also if the tasks are not slots.
    ///
    /// It counts as many slots as the table has. See [`owner_of`](Self::owner_of) for how long the answer is good.
    pub fn owner_of_key(&self, key: impl AsRef<[u8]>) -> Option<Owner> {
        let Some(Kind::Slots(slots)) = self.board.borrow().kind() else { return None };
        self.owner_of(TaskName::numbered(slot_of(key.as_ref(), slots)).as_str())
    }

    /// All members that hold their seats or own tasks, with what they publish. This sends one
    /// request, which lists the seats.
    ///
    /// # Errors
    /// If the seats cannot be listed.
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

    /// The current numbers, for metrics and status pages. They are computed on each call.
    ///
    /// A task is stuck if, for longer than this member's lease and two retry periods (19 s by
    /// default), it has had no owner, or its owner was asked to stop and has not stopped.
    pub fn status(&self) -> GroupStatus {
        self.board.borrow().status(self.clock.instant(), self.bound)
    }

    /// The numbers of [`status`](Self::status) as Prometheus reads them: in the text format of OpenMetrics, for the page on
    /// which your program serves its metrics. The line `# EOF`, which ends such a page, is left to you.
    ///
    /// `docs/metrics.md` says what each number means. The name of a task is in none of them.
    pub fn open_metrics(&self) -> String {
        numbers::text(self.store.namespace(), self.store.group(), &self.status())
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
                let pause_seconds = pause.as_secs();
                tracing::warn!(%group, task = name, %error, pause_seconds, "the work of a task failed");
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
pub(crate) async fn while_valid<T>(task: &Task, work: impl Future<Output = T>) -> Option<T> {
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

/// How often in a row the work of tasks has failed that this member owns no longer, for when they come back.
#[derive(Debug, Default)]
struct Failures(HashMap<String, u32>);

impl Failures {
    fn of(&self, task: &str) -> u32 {
        self.0.get(task).copied().unwrap_or_default()
    }

    fn note(&mut self, task: String, failed: u32) {
        if failed == 0 {
            self.0.remove(&task);
            return;
        }
        // Names of tasks may come and go without end. What is forgotten only makes the next pause short.
        if self.0.len() >= MOST_REMEMBERED {
            self.0.clear();
        }
        self.0.insert(task, failed);
    }
}

/// How long to wait after work has failed this many times in a row.
pub(crate) fn pause_after(failed: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failed.saturating_sub(1).min(6));
    doubled.min(LONGEST_PAUSE)
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// As many as a group may have tasks, twice, so that what is forgotten is seldom of a task that is still there.
const MOST_REMEMBERED: usize = 2 * 16_384;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_remembered_until_the_work_succeeds_and_not_without_end() {
        let mut failures = Failures::default();
        failures.note("eu".to_owned(), 3);
        assert_eq!((failures.of("eu"), failures.of("us")), (3, 0));
        failures.note("eu".to_owned(), 0);
        assert_eq!((failures.of("eu"), failures.0.len()), (0, 0));
        for task in 0..=MOST_REMEMBERED {
            failures.note(task.to_string(), 1);
        }
        assert_eq!((failures.of("0"), failures.of(&MOST_REMEMBERED.to_string())), (0, 1));
        assert!(failures.0.len() <= MOST_REMEMBERED);
    }
}
