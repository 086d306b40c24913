//! Leader election for distributed workloads on Kubernetes.

mod api;
mod blackboard;
mod candidate;
mod clock;
mod connect;
mod driver;
mod error;
mod follow;
mod identity;
mod leadership;
mod lock;
mod observer;
mod survey;
mod term;
mod watchdog;

pub use blackboard::{Blackboard, BlackboardObserver, Claim};
pub use candidate::{Builder, Candidate};
pub use clock::Clock;
pub use connect::{Connect, connect};
pub use error::{BoxError, Error};
#[doc(inline)]
pub use incumbent_core::{FencingToken, Identity, Loss, Release, Timing, TimingError};
pub use leadership::Leadership;
pub use lock::Lock;
pub use observer::{Leader, Observer};
pub use survey::{LockView, Registration};
pub use term::Overrun;
