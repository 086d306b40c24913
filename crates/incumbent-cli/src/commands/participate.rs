//! Commands that take part in an election.

pub(crate) mod elect;
#[cfg(target_os = "linux")]
pub(crate) mod guarded;
#[cfg(target_os = "linux")]
pub(crate) mod once;
pub(crate) mod register;
#[cfg(target_os = "linux")]
pub(crate) mod run;
#[cfg(target_os = "linux")]
pub(crate) mod schedule;
#[cfg(unix)]
pub(crate) mod sidecar;
#[cfg(target_os = "linux")]
mod startable;
#[cfg(target_os = "linux")]
pub(crate) mod work;
