//! How a member of a group is described, and started.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use incumbent_core::group::{Allocator, Member, SeatInfo, Settings, TaskName};
use incumbent_core::{Identity, Timing, TimingError};
use tokio::sync::{mpsc, watch};

use super::driver::{Driver, State};
use super::seat::{Wish, allocate, hold, look_at_lock};
use super::source::{MOST_TASKS, Source, Tasks};
use super::store::Store;
use super::table::Table;
use super::{Group, Handle};
use crate::candidate::Candidate;
use crate::clock::Clock;
use crate::error::Error;
use crate::identity::host_name;
use crate::invalid::{InvalidSetting, checked_address};
use crate::requests::Requests;

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

    /// Sets the name of this member, which is a part of its seat's name. Default: the Pod's name, else the host's name
    /// and a random number.
    ///
    /// A process that starts again under the same name takes its own seat back, and gets the same tasks.
    pub fn member(self, name: impl Into<String>) -> Self {
        Self { member: Some(name.into()), ..self }
    }

    /// Publishes where this member can be reached, for [`GroupHandle::owner_of`](super::GroupHandle::owner_of).
    pub fn address(self, address: impl Into<String>) -> Self {
        Self { address: Some(address.into()), ..self }
    }

    /// Sets how much this member can do, compared with others: one of capacity 2 gets twice the tasks of one of
    /// capacity 1. Default: 1. One of capacity 0 gets only tasks that are pinned to it.
    pub fn capacity(self, capacity: u32) -> Self {
        Self { capacity, ..self }
    }

    /// Sets the version of the program. While members of two versions run, tasks move only if they must, and then to
    /// the newer one. Default: none.
    pub fn version(self, version: impl Into<String>) -> Self {
        Self { version: version.into(), ..self }
    }

    /// Sets all durations. Default: 15 s / 10 s / 2 s. The lease has at most 60 s.
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
    /// Where a name or a duration cannot work.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn build(self) -> Result<Group, Error> {
        let (timing, member) = (self.timing.clone()?, self.checked()?);
        let requests = Requests::new(self.client.clone()).timed(self.clock);
        let store = Store::new(requests, self.namespace.clone(), self.group.clone());
        let info = SeatInfo {
            capacity: self.capacity,
            version: self.version.clone(),
            ..SeatInfo::default()
        };
        let (seat, lock) = self.both_candidates(&store, &member, timing, &info)?;
        let (sender, notes) = mpsc::unbounded_channel();
        let (assign, assigned) = mpsc::unbounded_channel();
        let (table, tables) = watch::channel(Arc::new(Table::default()));
        let (wish, wishes) = watch::channel(Wish::Hold);
        let (leave, leaves) = watch::channel(false);
        let (end, ended) = watch::channel(false);
        let driver = Box::new(Driver {
            member: Member::new(member.clone(), info),
            allocator: Allocator::new(settings(timing)),
            store,
            clock: self.clock,
            timing,
            source: self.tasks.0,
            notes,
            sender: sender.clone(),
            assigned: assign,
            table,
            seat: seat.publisher(),
            lock: lock.publisher(),
            wish,
            leaves: leave,
            state: State::default(),
        });
        let weak = sender.downgrade();
        tokio::spawn(look_at_lock(lock.views.clone(), member.clone(), weak.clone()));
        tokio::spawn(allocate(lock, leaves, weak.clone()));
        tokio::spawn(hold(seat, wishes, weak));
        tokio::spawn(async move {
            driver.run().await;
            let _ = end.send(true);
        });
        Ok(Group {
            name: self.group,
            member: member.to_string(),
            clock: self.clock,
            notes: Handle(sender),
            assigned,
            table: tables,
            ended,
        })
    }

    /// One for the seat, and one for the allocators' Lease.
    fn both_candidates(
        &self,
        store: &Store,
        member: &Identity,
        timing: Timing,
        info: &SeatInfo,
    ) -> Result<(Candidate, Candidate), Error> {
        let candidate = |lock: crate::lock::Lock| {
            let builder = Candidate::builder(self.client.clone(), lock);
            let builder = builder.identity(member.as_str()).timing(timing).clock(self.clock);
            #[cfg(test)]
            let builder = match &self.candidates {
                Some(adjust) => adjust(builder),
                None => builder,
            };
            builder
        };
        let mut seat = candidate(store.seat(member.as_str())).seat(info.clone());
        if let Some(address) = &self.address {
            seat = seat.address(address);
        }
        Ok((seat.build()?, candidate(store.lock()).build()?))
    }

    /// The name of the member, if everything can work.
    fn checked(&self) -> Result<Identity, InvalidSetting> {
        let is_label = !self.group.contains('.') && self.group.len() <= 63;
        if !is_label {
            return Err(InvalidSetting::GroupName(self.group.clone()));
        }
        if self.timing.as_ref().is_ok_and(|timing| timing.lease_duration() > LONGEST_LEASE) {
            return Err(InvalidSetting::GroupLease);
        }
        if let Source::Named { names, .. } = &self.tasks.0 {
            if let Some(wrong) = names.iter().find(|name| TaskName::new(name.as_str()).is_none()) {
                return Err(InvalidSetting::TaskName(wrong.clone()));
            }
            if names.len() > MOST_TASKS {
                return Err(InvalidSetting::TooManyTasks(names.len()));
            }
        }
        if let Some(address) = &self.address {
            checked_address(address, LONGEST_ADDRESS)?;
        }
        let name = self.member.clone().unwrap_or_else(default_member);
        let seat = crate::lock::Lock::lease(&self.namespace, format!("{}.{name}", self.group));
        seat.checked()?;
        Identity::new(name.clone()).ok_or(InvalidSetting::Identity(name))
    }
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

/// The longest lease of a member of any version: how long work may go on unseen (G8).
const LONGEST_LEASE: Duration = Duration::from_secs(60);

const LONGEST_ADDRESS: usize = 1024;
