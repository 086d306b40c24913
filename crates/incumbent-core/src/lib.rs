//! The election as one pure state machine.
//!
//! This crate opens no socket, reads no clock, draws no random number, and depends on nothing. An
//! [`Elector`] is one candidate's side of the election. Its caller says what happened and what time it is,
//! and it answers what to do: which [`Request`] to send, which [`Change`] to report, when to call again.
//! Because it does nothing else, the code that runs in production can be simulated and
//! model-checked.
//!
//! To understand the protocol, read `elector.rs` from top to bottom, then `elector/plan.rs`.
//!
//! # Driving it
//!
//! There is never more than one request in flight, so callers cannot get the order of calls wrong:
//!
//! ```
//! # use incumbent_core::*;
//! # use std::time::Duration;
//! # let at = |seconds| Now {
//! #     instant: Instant::new(Duration::from_secs(seconds)),
//! #     wall: WallTime::from_unix_micros(1_767_225_600_000_000 + seconds as i64 * 1_000_000),
//! # };
//! let mut elector = Elector::new(Config {
//!     timing: Timing::default(),
//!     identity: Identity::new("john").unwrap(),
//!     session: Session(1), // random in production
//!     token_floor: FencingToken(0),
//!     priority: 0,
//!     holder_info: HolderInfo::default(),
//! });
//!
//! // 1. Say that we want to lead. The answer is a request: read the lock.
//! let output = elector.step(at(0), Input::Campaign);
//! assert_eq!(output.request.unwrap().operation, Operation::Read);
//!
//! // 2. The lock is vacant, at revision 7. The answer is a replace of exactly that version.
//! let vacant = Version { uid: Uid("a".into()), revision: 7 };
//! let found = Snapshot { version: vacant.clone(), record: Record::default() };
//! let output = elector.step(at(0), Input::Reply(Reply::Found(found)));
//! let Operation::Replace { base, record } = output.request.unwrap().operation else { panic!() };
//! assert_eq!(base, vacant);
//!
//! // 3. The server took it: that, and nothing else, starts a term.
//! let stored = Snapshot { version: Version { revision: 8, ..vacant }, record };
//! let output = elector.step(at(0), Input::Reply(Reply::Written(stored)));
//! let Some(Change::Started(term)) = output.change else { panic!() };
//! assert_eq!(term.token, FencingToken(7));
//! assert_eq!(term.valid_until.since_start(), Duration::from_secs(10));
//!
//! // 4. No answer comes for ten seconds: the term is over, by the clock alone.
//! let output = elector.step(at(10), Input::Wake);
//! assert_eq!(output.change, Some(Change::Lost(Loss::DeadlinePassed)));
//! ```
//!
//! # Which time is which
//!
//! [`Instant`] is a moment on this process's own clock and decides everything. [`WallTime`] is
//! written into records for people and for other programs; it has no order, so that no decision can
//! rest on it. Chance stays outside: where candidates should spread, the core answers with a
//! [`Window`].

mod container;
mod elector;
pub mod group;
mod identity;
mod message;
mod observer_state;
mod record;
pub mod schedule;
mod seat;
mod seen;
mod time;
mod timing;
mod waitlist;

pub use container::{
    Container, ContainerReport, ContainerStart, Mark, MessageFile, Surroundings, Termination,
};
pub use elector::{Config, Elector};
pub use identity::{Identity, Session};
pub use message::{
    Change, Follow, HandOverReason, Input, Loss, Observation, Observed, Operation, Output, Release,
    Reply, Request, Term,
};
pub use observer_state::ObserverState;
pub use record::{FencingToken, HandOver, HolderInfo, Record, Snapshot, Stamp, Uid, Version};
pub use time::{Instant, Now, WallTime, Window};
pub use timing::{Timing, TimingError};
pub use waitlist::{Waiter, Waitlist};
