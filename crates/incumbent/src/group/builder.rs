//! How a member of a group is described, and started.

use std::collections::HashSet;
use std::env;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use incumbent_core::group::{Allocator, Kind, Member, SeatInfo, Settings, TaskName};
use incumbent_core::{Container, Identity, Timing, TimingError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::board::Board;
use super::bulletin::Bulletin;
use super::config::MOST_TASKS;
use super::driver::{Driver, State};
use super::note::Note;
use super::preparing::{Preparations, Prepare};
use super::seat::{Wish, allocate, hold, look_at_lock};
use super::source::{Source, Tasks};
use super::store::Store;
use super::survey::check_name;
use super::{Group, GroupHandle, Handle};
use crate::candidate::Candidate;
use crate::clock::Clock;
use crate::error::Error;
use crate::events::Events;
use crate::identity::host_name;
use crate::invalid::{InvalidSetting, checked_address};
use crate::lock::Lock;
use crate::lock_api::LockApi;
use crate::metrics::Metrics;
use crate::proof;
use crate::requests::Requests;
use crate::term::Overrun;

/// What ends work by force.
type Action = Arc<dyn Fn(Overrun) + Send + Sync>;

/// Describes a member of a [`Group`].
#[must_use]
pub struct GroupBuilder {
    client: kube::Client,
    namespace: String,
    group: String,
    member: Option<String>,
    tasks: Tasks,
    address: Option<String>,
    capacity: u32,
    version: String,
    zone: String,
    health: Option<watch::Receiver<bool>>,
    has_events: bool,
    metrics: Option<Arc<dyn Metrics>>,
    container: Option<Container>,
    kubelet_reports: bool,
    on_overrun: Option<Action>,
    prepare: Option<(Duration, Prepare)>,
    timing: Result<Timing, TimingError>,
    clock: Clock,
    /// What a simulation adds to the candidates for the seat and for the allocators' Lease.
    #[cfg(test)]
    candidates: Option<Box<dyn Fn(crate::Builder) -> crate::Builder>>,
}

impl GroupBuilder {
    pub(super) fn new(client: kube::Client, namespace: String, group: String) -> Self {
        Self {
            client,
            namespace,
            group,
            member: None,
            tasks: Tasks::config_map(),
            address: None,
            capacity: 1,
            version: String::new(),
            zone: String::new(),
            health: None,
            has_events: false,
            metrics: None,
            container: proof::own_container(),
            kubelet_reports: false,
            on_overrun: None,
            prepare: None,
            timing: Ok(Timing::default()),
            clock: Clock::system(),
            #[cfg(test)]
            candidates: None,
        }
    }

    /// Sets the tasks. Default: those of the ConfigMap `GROUP.config`.
    pub fn tasks(self, tasks: Tasks) -> Self {
        Self { tasks, ..self }
    }

    /// Sets the name of this member, which is part of its seat's name. Default: the Pod's name, or
    /// outside of Pods the host's name and a random number.
    ///
    /// If a process restarts under the same name, it takes its seat back, and gets the same tasks.
    pub fn member(self, name: impl Into<String>) -> Self {
        Self { member: Some(name.into()), ..self }
    }

    /// Publishes where this member can be reached, for [`GroupHandle::owner_of`](super::GroupHandle::owner_of).
    pub fn address(self, address: impl Into<String>) -> Self {
        Self { address: Some(address.into()), ..self }
    }

    /// Sets how much this member can do compared with others: a member with capacity 2 gets twice
    /// as many tasks as one with capacity 1. A member with capacity 0 gets only tasks that are
    /// pinned to it. Default: 1.
    pub fn capacity(self, capacity: u32) -> Self {
        Self { capacity, ..self }
    }

    /// Sets the version of the program. While members of two versions run, tasks move only if they
    /// must, and then to members of the newer version. Default: none.
    pub fn version(self, version: impl Into<String>) -> Self {
        Self { version: version.into(), ..self }
    }

    /// Publishes where this member runs, for people and for [`GroupHandle::members`]. The
    /// assignment of tasks ignores it. Default: none.
    pub fn zone(self, zone: impl Into<String>) -> Self {
        Self { zone: zone.into(), ..self }
    }

    /// Takes tasks only while `health` is true. An unhealthy member gives its tasks to others, as
    /// if it [drained](GroupHandle::drain), and takes tasks again when it is healthy. If no member
    /// is healthy, tasks stay where they are.
    ///
    /// An unhealthy member can still be the allocator, because that does not involve your work.
    pub fn health(self, health: watch::Receiver<bool>) -> Self {
        Self { health: Some(health), ..self }
    }

    /// Writes Kubernetes Events on the first page of the table, at most one every ten seconds: what
    /// the allocator has assigned, and a warning about [stuck](super::GroupStatus::stuck) tasks.
    /// Default: off.
    ///
    /// The account needs the verb `create` on `events`.
    pub fn events(self, on: bool) -> Self {
        Self { has_events: on, ..self }
    }

    /// Reports to `metrics` the two elections in which the member takes part: that of its seat, and
    /// that of the allocator. For numbers about tasks, call [`GroupHandle::status`] when your
    /// metrics are read.
    pub fn metrics(self, metrics: impl Metrics) -> Self {
        Self { metrics: Some(Arc::new(metrics)), ..self }
    }

    /// Sets the container in which this process runs; see
    /// [`Builder::container`](crate::Builder::container).
    pub fn container(self, container: Option<Container>) -> Self {
        Self { container, ..self }
    }

    /// Ends the term of a member, and assigns its tasks again, as soon as the kubelet reports that its container has
    /// terminated; see [`Builder::kubelet_reports`](crate::Builder::kubelet_reports). Default: off.
    ///
    /// All members need this setting. The account needs the verb `watch` on all `pods` in the
    /// members' namespace, because the allocator watches all of them.
    pub fn kubelet_reports(self, on: bool) -> Self {
        Self { kubelet_reports: on, ..self }
    }

    /// Sets what is done about work that still runs when other members may own its task. Default: the process is aborted.
    ///
    /// The action has to end the work of all tasks of this member; see
    /// [`Builder::on_overrun`](crate::Builder::on_overrun). The member takes its seat again when all tasks are dropped.
    pub fn on_overrun(self, action: impl Fn(Overrun) + Send + Sync + 'static) -> Self {
        Self { on_overrun: Some(Arc::new(action)), ..self }
    }

    /// Prepares each task that is to move here, while its owner still works on it: `prepare` gets the task's name, and may
    /// load what the work needs. Tasks that are to move in one change of a page move together: their owners are asked to stop
    /// when the last of them is prepared, or after `within` at the latest. So a task has no owner only while one stops and
    /// the other starts. Default: the owner is asked to stop at once.
    ///
    /// The member does not own the task yet: `prepare` must not change anything that the owner changes. It runs on the
    /// current tokio runtime, several at a time, and is dropped at its next `.await` when the task begins here, or is not
    /// to move here any more. What it has loaded is for you to keep, and to drop if the task does not come.
    ///
    /// If `prepare` panics, the task counts as not prepared. A task whose owner has died or leaves is not prepared: it
    /// begins at once. Neither are permits, which are alike.
    /// `within` is counted by the allocator, in whole milliseconds, and again if another member becomes the allocator.
    pub fn prepare<F>(
        self,
        within: Duration,
        prepare: impl Fn(String) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let prepare: Prepare = Arc::new(move |task| Box::pin(prepare(task)));
        Self { prepare: Some((within, prepare)), ..self }
    }

    /// Sets all durations. Default: 15 s / 10 s / 2 s. The lease may last at most 60 s.
    pub fn timing(self, timing: Timing) -> Self {
        Self { timing: Ok(timing), ..self }
    }

    /// Scales all durations to a lease of this many whole seconds, 60 s at most.
    pub fn lease_duration(self, lease_duration: Duration) -> Self {
        Self { timing: Timing::from_lease_duration(lease_duration), ..self }
    }

    /// Sets the clock; for tests under paused time.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    #[cfg(test)]
    pub(crate) fn candidates(
        self,
        adjust: impl Fn(crate::Builder) -> crate::Builder + 'static,
    ) -> Self {
        Self { candidates: Some(Box::new(adjust)), ..self }
    }

    /// Starts the member.
    ///
    /// # Errors
    /// If a name or a duration cannot work.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn build(self) -> Result<Group, Error> {
        let (timing, member) = (self.timing.clone()?, self.checked()?);
        let store = self.store();
        let info = self.info();
        let (seat, lock) = self.both_candidates(&store, &member, timing, &info)?;
        let (sender, notes) = mpsc::unbounded_channel();
        let (assign, assigned) = mpsc::unbounded_channel();
        let (board, boards) = watch::channel(Board::default());
        let (wish, wishes) = watch::channel(Wish::Hold);
        let (leave, leaves) = watch::channel(false);
        let (end, ended) = watch::channel(false);
        let handle = GroupHandle {
            notes: sender.downgrade(),
            board: boards,
            store: store.clone(),
            seat: seat.leadership_status(),
            clock: self.clock,
            bound: timing.lease_duration() + 2 * timing.retry_period(),
        };
        let driver = Box::new(Driver {
            member: Member::new(member.clone(), info),
            allocator: Allocator::new(settings(timing)),
            clock: self.clock,
            timing,
            notes,
            sender: sender.clone(),
            assigned: assign,
            board,
            bound: handle.bound,
            bulletin: self.bulletin(&member),
            own: self.container,
            heeds_kubelet: self.kubelet_reports,
            source: self.tasks.0,
            seat: seat.publisher(),
            lock: lock.publisher(),
            wish,
            leaves: leave,
            state: State::new(
                self.health.as_ref().is_some_and(|health| !*health.borrow()),
                Preparations::new(self.prepare.map(|(_, prepare)| prepare)),
            ),
            store,
        });
        let weak = sender.downgrade();
        tokio::spawn(look_at_health(self.health, weak.clone()));
        tokio::spawn(look_at_lock(lock.views.clone(), member.clone(), weak.clone()));
        let pause = timing.lease_duration();
        let allocating = tokio::spawn(allocate(lock, leaves, weak.clone(), self.clock, pause));
        tokio::spawn(hold(seat, wishes, weak));
        tokio::spawn(run(driver, allocating, end));
        Ok(Group {
            name: self.group,
            member: member.to_string(),
            clock: self.clock,
            notes: Handle(sender),
            assigned,
            handle,
            ended,
        })
    }

    fn store(&self) -> Store {
        let requests = Requests::new(self.client.clone()).timed(self.clock);
        Store::new(requests, self.namespace.clone(), self.group.clone())
    }

    /// What the member says of itself.
    fn info(&self) -> SeatInfo {
        SeatInfo {
            capacity: self.capacity,
            version: self.version.clone(),
            zone: self.zone.clone(),
            prepares_within: self.prepare.as_ref().map(|(within, _)| *within),
            ..SeatInfo::default()
        }
    }

    /// Events are about page 0 of the table.
    fn bulletin(&self, member: &Identity) -> Option<Bulletin> {
        let table = Lock::config_map(&self.namespace, format!("{}.tasks", self.group));
        let api = LockApi::new(self.client.clone(), table).timed(self.clock);
        self.has_events.then(|| Bulletin::new(Events::new(api, member.clone())))
    }

    /// One for the seat, and one for the allocators' Lease.
    fn both_candidates(
        &self,
        store: &Store,
        member: &Identity,
        timing: Timing,
        info: &SeatInfo,
    ) -> Result<(Candidate, Candidate), Error> {
        let candidate = |lock: Lock| {
            let builder = Candidate::builder(self.client.clone(), lock);
            let builder = builder.identity(member.as_str()).timing(timing).clock(self.clock);
            let builder = builder.container(self.container.clone());
            let builder = builder.kubelet_reports(self.kubelet_reports);
            let builder = match &self.metrics {
                Some(metrics) => builder.metrics(Arc::clone(metrics)),
                None => builder,
            };
            #[cfg(test)]
            let builder = match &self.candidates {
                Some(adjust) => adjust(builder),
                None => builder,
            };
            builder
        };
        let mut seat = candidate(store.seat(member.as_str())).seat(info.clone());
        if let Some(action) = self.on_overrun.clone() {
            seat = seat.on_overrun(move |overrun| action(overrun));
        }
        if let Some(address) = &self.address {
            seat = seat.address(address);
        }
        let mut lock = candidate(store.lock());
        if self.on_overrun.is_some() {
            // A late allocator is safe (G6), so it does not end the process.
            lock = lock.on_overrun(|_| {});
        }
        Ok((seat.build()?, lock.build()?))
    }

    /// The name of the member, if everything can work.
    fn checked(&self) -> Result<Identity, InvalidSetting> {
        check_name(&self.group)?;
        if self.timing.as_ref().is_ok_and(|timing| timing.lease_duration() > LONGEST_LEASE) {
            return Err(InvalidSetting::GroupLease);
        }
        if let Source::Named { names, .. } = &self.tasks.0 {
            if let Some(wrong) = names.iter().find(|name| TaskName::new(name.as_str()).is_none()) {
                return Err(InvalidSetting::TaskName(wrong.clone()));
            }
            let mut known = HashSet::new();
            if let Some(twice) = names.iter().find(|name| !known.insert(name.as_str())) {
                return Err(InvalidSetting::DuplicateTask(twice.clone()));
            }
            if names.len() > MOST_TASKS {
                return Err(InvalidSetting::TooManyTasks(names.len()));
            }
        }
        if let Source::Numbered { kind, .. } = &self.tasks.0
            && let Some(count) = kind.count().filter(|count| !(1..=Kind::MOST).contains(count))
        {
            return Err(InvalidSetting::TaskCount(count));
        }
        if let Some(address) = &self.address {
            checked_address(address, LONGEST_ADDRESS)?;
        }
        let name = self.member.clone().unwrap_or_else(default_member);
        let seat = Lock::lease(&self.namespace, format!("{}.{name}", self.group));
        seat.checked()?;
        Identity::new(name.clone()).ok_or(InvalidSetting::Identity(name))
    }
}

/// Reports whether the member is well, until the application drops its side.
async fn look_at_health(
    health: Option<watch::Receiver<bool>>,
    notes: mpsc::WeakUnboundedSender<Note>,
) {
    let Some(mut health) = health else { return };
    loop {
        let is_well = *health.borrow_and_update();
        let is_heard =
            notes.upgrade().is_some_and(|notes| notes.send(Note::Health(is_well)).is_ok());
        if !is_heard || health.changed().await.is_err() {
            return;
        }
    }
}

/// The process may end after this: the allocators' Lease must be free by then, too.
async fn run(driver: Box<Driver>, allocating: JoinHandle<()>, ended: watch::Sender<bool>) {
    driver.run().await;
    let _ = allocating.await;
    let _ = ended.send(true);
}

fn settings(timing: Timing) -> Settings {
    Settings {
        request_timeout: timing.request_timeout(),
        retry_period: timing.retry_period(),
        longest_lease: LONGEST_LEASE,
    }
}

/// The Pod's name: a container that starts again takes its own seat back.
fn default_member() -> String {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
    if let Some(pod) = set("POD_NAME") {
        return pod;
    }
    let host = set("HOSTNAME").or_else(host_name).unwrap_or_else(|| "member".to_owned());
    format!("{}-{:08x}", host.to_lowercase(), fastrand::u32(..))
}

/// The longest lease of a member of any version: how long work may continue unseen (G8).
const LONGEST_LEASE: Duration = Duration::from_secs(60);

const LONGEST_ADDRESS: usize = 1024;
