//! Leader election for distributed workloads on Kubernetes.
//!
//! Replicas of an application agree on one leader without running a consensus system of their own,
//! because Kubernetes already has a consistent store behind its API. The first client that
//! *replaces* an object with the `resourceVersion` that it has read wins; every other client gets
//! 409 Conflict, and learns which one leads.
//!
//! This crate starts no server, and makes no decision by wall clocks. It takes a [`kube::Client`],
//! and returns a [`Leadership`] that expires by itself and carries a fencing token.
//!
//! # The smallest example
//!
//! ```no_run
//! use incumbent::{Candidate, Error, Lock, connect, shutdown_signal};
//!
//! # async fn send(token: incumbent::FencingToken) -> std::io::Result<()> { Ok(()) }
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     let shutdown = shutdown_signal(); // SIGTERM or ctrl-c: stop the work, then hand over
//!     let client = connect().await?; // a Pod's service account, or the kubeconfig
//!     let mut candidate = Candidate::builder(client, Lock::lease("default", "scanner")).build()?;
//!     candidate
//!         .run_until(shutdown, |leadership| async move {
//!             while leadership.is_valid() {
//!                 send(leadership.fencing_token()).await?;
//!             }
//!             Ok(())
//!         })
//!         .await?;
//!     Ok(())
//! }
//! ```
//!
//! [`Candidate::run_until`] campaigns, runs the work, drops it when leadership is lost, and
//! campaigns again. For more control, use [`Candidate::campaign`]; to follow without taking part,
//! [`Observer`]; to run something once, [`Once`]; to share tasks among replicas, [`Group`]; and for
//! first-come registration without expiry, [`Blackboard`].
//!
//! # Dependencies
//!
//! ```toml
//! [dependencies]
//! incumbent = { version = "0.1", features = ["latest"] }
//! tokio = { version = "1", features = ["macros", "rt-multi-thread", "time"] }
//! ```
//!
//! k8s-openapi, which contains Kubernetes' types, does not build unless exactly one version of them
//! is selected in the whole program. So this crate selects none by default. Its features `latest`
//! and `earliest` select one; omit them if another of your dependencies, or your own dependency on
//! k8s-openapi, selects a version. This crate re-exports [`kube`] and [`k8s_openapi`] in the
//! versions that fit.
//!
//! # What it promises
//!
//! - [`Leadership::is_valid`] compares a clock that counts suspend time with a deadline that counts
//!   from when the last successful renewal was *sent*. It needs neither the API server nor the
//!   runtime to turn false.
//! - The [fencing token](Leadership::fencing_token) rises with each term, even if the lock is
//!   deleted and created again. Send it with each write to the storage that you protect; for
//!   Kubernetes objects, [`Leadership::fenced`] does that.
//! - The lock is released only when the [`Leadership`] is dropped, so keep it together with the
//!   work. If work still holds it when another candidate may lead, a watchdog on a separate thread
//!   ends the process.
//! - Waiting costs no requests if the account may watch. `get` and `update` on the one object are
//!   enough to take part.
//!
//! `docs/guarantees.md` has the whole list, with the assumptions behind it and a test for each
//! line.
//!
//! # Tests of your own
//!
//! With [`Clock::tokio`] and `tokio::time::pause`, a lease of fifteen seconds passes in no time.
//! The crate `incumbent-apiserver` is an API server in the test's own process:
//!
//! ```
//! use incumbent::{Candidate, Clock, Lock};
//! use incumbent_apiserver::ApiServer;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), incumbent::Error> {
//! let server = ApiServer::new();
//! let client = kube::Client::new(server.service(), "default");
//! let mut candidate = Candidate::builder(client, Lock::lease("default", "scanner"))
//!     .identity("john")
//!     .clock(Clock::tokio())
//!     .build()?;
//!
//! let leadership = candidate.campaign().await?;
//! tokio::time::sleep(std::time::Duration::from_secs(3600)).await; // an hour, in no time
//! assert!(leadership.is_valid());
//! # Ok(())
//! # }
//! ```

mod abort;
mod answer;
mod blackboard;
mod candidate;
mod clock;
mod connect;
mod control;
#[cfg(feature = "controller")]
pub mod controller;
mod dead_man;
mod driver;
mod elections;
mod error;
mod events;
mod fence;
mod follow;
mod gate;
mod group;
mod identity;
mod invalid;
mod leadership;
mod leadership_status;
mod limiter;
mod lock;
mod lock_api;
mod metrics;
mod observer;
mod once;
mod proof;
mod report;
#[doc(hidden)]
pub mod requests;
mod rights;
mod route;
mod schedule;
mod shutdown;
#[cfg(test)]
mod simulation;
mod stored;
mod stream;
pub mod survey;
mod term;
mod view;
mod watchdog;

pub use blackboard::{Blackboard, BlackboardObserver, Claim, Member, MembersObserver, Membership};
pub use candidate::{Builder, Candidate};
pub use clock::Clock;
pub use connect::{Connect, connect};
pub use control::ElectionControl;
pub use elections::Elections;
pub use error::{BoxError, Error};
pub use fence::{FenceError, Fenced};
pub use gate::{Gated, NotLeading, WriteGate};
pub use group::{
    FullPage, Group, GroupBuilder, GroupControl, GroupHandle, GroupMember, GroupStatus, Owner,
    StuckTask, Task, Tasks, slot_of,
};
#[doc(inline)]
pub use incumbent_core::{
    Container, ContainerReport, ContainerStart, FencingToken, HandOver, HandOverReason, Identity,
    Instant, Loss, Mark, Release, Session, Timing, TimingError, Waiter,
};
pub use invalid::InvalidSetting;
pub use leadership::Leadership;
pub use leadership_status::{ActiveTerm, LeadershipStatus};
pub use lock::{InvalidLock, Lock, LockKind, Resource};
pub use metrics::{Exchange, Metrics};
pub use observer::{Leader, Observer};
#[doc(hidden)]
pub use once::parts as once_parts;
pub use once::{Once, OnceOutcome, OnceRecord, OnceResult, OnceRun, OnceState};
pub use route::Route;
pub use schedule::{
    CatchUp, OnDeath, Outcome, Overlap, Schedule, ScheduleControl, ScheduleRunner, ScheduledRun,
};
pub use shutdown::shutdown_signal;
pub use term::{Ending, Overrun};

/// Looking at groups from outside: what their tables, seats and `GROUP.config` say.
///
/// Nothing here takes part in a group. To change where tasks run, use [`GroupControl`].
pub mod group_survey {
    pub use crate::group::{
        ConfigView, GroupChange, GroupSurvey, GroupView, HiddenSeat, PageState, PageView, SeatView,
        TaskKind, TaskView, UnownedView,
    };
}

/// Looking at schedules from outside: what their records say.
///
/// Nothing here runs anything. To suspend a schedule, or to ask for a run, use [`ScheduleControl`].
pub mod schedule_view {
    pub use incumbent_core::schedule::{
        Asked, Counts, Moment, Outcome, Past, Run, ScheduleRecord, Spec, Suspension, Tick, When,
    };

    pub use crate::schedule::{ScheduleView, time};
}

/// The client that elections use, and the versions of Kubernetes' types that go with it: a program needs neither
/// among its own dependencies, and cannot have another version of them by mistake.
#[doc(no_inline)]
pub use {k8s_openapi, kube};

/// What `benches/record.rs` cannot reach otherwise. No promise is made of it.
#[doc(hidden)]
pub mod benched {
    use incumbent_core::{Record, Snapshot};
    use serde_json::Value;

    /// Reads a lock from what a server has sent.
    pub fn read(lock: &crate::Lock, text: &str) -> Option<Snapshot> {
        lock.decode(&serde_json::from_str(text).ok()?).ok()
    }

    /// Writes the next record into it, as it is sent.
    pub fn write(lock: &crate::Lock, object: &Value, record: &Record) -> String {
        lock.edit(object, record).to_string()
    }
}

/// The examples of the README compile, and those that can run do.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/blackboard.md")]
struct BlackboardPage;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/once.md")]
struct OncePage;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/schedules.md")]
struct SchedulesPage;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/routing.md")]
struct RoutingPage;
