//! What every command needs around its work: output, exit codes, signals, questions.

pub(crate) mod confirm;
#[cfg(target_os = "linux")]
pub(crate) mod descendants;
pub(crate) mod events;
pub(crate) mod exit;
pub(crate) mod help;
#[cfg(target_os = "linux")]
pub(crate) mod init;
#[cfg(target_os = "linux")]
pub(crate) mod notify;
pub(crate) mod output;
pub(crate) mod preflight;
pub(crate) mod program_name;
pub(crate) mod signals;
pub(crate) mod stderr;
