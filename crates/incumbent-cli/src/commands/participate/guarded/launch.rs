//! How the command is started: by a process that is this program again, and becomes the command.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::process::{self, Signal, setpriority_process};
use rustix::thread::set_no_new_privs;

use super::cgroup;
use super::protocol::End;
use crate::runtime::stderr;

/// The first argument of a process that is on its way to become the command.
pub(super) const LAUNCH: &str = "__launch";

/// How a command is started: what `run` tells its guardian, and that the process that becomes the command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Start {
    /// Its programs gain no rights by being setuid.
    pub(crate) is_confined: bool,
    /// The folder of its control group.
    pub(crate) group: Option<PathBuf>,
}

impl Start {
    pub(crate) fn arguments(&self) -> [OsString; 2] {
        let confined = if self.is_confined { "confined" } else { "free" };
        [confined.into(), self.group.clone().unwrap_or_default().into()]
    }

    pub(super) fn take(arguments: &mut impl Iterator<Item = OsString>) -> Option<Self> {
        let is_confined = arguments.next()? == "confined";
        let group = Some(PathBuf::from(arguments.next()?)).filter(|folder| folder != Path::new(""));
        Some(Self { is_confined, group })
    }
}

pub(super) fn failed(what: &str, error: &io::Error) -> ExitCode {
    stderr::say(&format!("error: the guardian {what}: {error}"));
    ExitCode::from(End::REFUSED.code())
}

/// What this very program is started as, also where its file was replaced meanwhile.
pub(crate) const SELF: &str = "/proc/self/exe";

/// Becomes the command, which the kernel kills when the guardian dies.
pub(super) fn launch(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut number = || arguments.next()?.to_str()?.parse::<i32>().ok();
    let (guardian, priority) = (number(), number());
    let Some(start) = Start::take(&mut arguments) else { return ExitCode::FAILURE };
    if start.is_confined
        && let Err(error) = set_no_new_privs(true)
    {
        return failed("cannot confine the command", &error.into());
    }
    if let Some(folder) = &start.group
        && let Err(error) = cgroup::join(folder)
    {
        return failed("cannot move the command to its control group", &error);
    }
    let is_set = process::set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
    // It may have died before that was said.
    if !is_set || process::getppid().map(|pid| pid.as_raw_nonzero().get()) != guardian {
        return ExitCode::FAILURE;
    }
    let _ = setpriority_process(None, priority.unwrap_or(0));
    let Some(program) = arguments.next() else { return ExitCode::FAILURE };
    let error = Command::new(&program).args(arguments).exec();
    stderr::say(&format!("error: cannot run {}: {error}", program.display()));
    ExitCode::from(match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    })
}

/// As shells say it.
const NOT_EXECUTABLE: u8 = 126;

const NOT_FOUND: u8 = 127;
