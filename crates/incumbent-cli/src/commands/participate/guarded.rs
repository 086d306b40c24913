//! A command under guard: a guardian, a separate process, ends it in time, whatever becomes of this process.
//!
//! The caller decides what the command is for and when its time ends, and tells the guardian each new deadline. The
//! command has ended only when no process of it is left.

mod cgroup;
mod child;
mod company;
mod containment;
mod deadlines;
mod guardian;
mod handle;
mod kernel_timer;
mod kill_backoff;
mod launch;
mod protocol;
mod restart;
mod signals;

pub(crate) use child::{GuardedChild, Launch};
pub(crate) use company::{Cause, Company, after};
pub(crate) use containment::{Containment, look as look_at_reach};
pub(crate) use deadlines::Deadlines;
pub(crate) use guardian::become_helper;
pub(crate) use handle::Guardians;
pub(crate) use protocol::End;
pub(crate) use restart::{LONG_ENOUGH, Restart};
pub(crate) use signals::{Signals, asks_to_end, ends_by_default};
