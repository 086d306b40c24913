//! Process 1 of a container: it reaps the orphans that the kernel gives it, and passes signals on.
//!
//! The program itself runs as a child. There, code that waits for its own children never meets an orphan, and no
//! dead child of a hook fills the container's table of processes.

use std::env;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus};

use rustix::process::{self, Pid, Signal};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::Signals;

use crate::runtime::descendants::{adopt_orphans, bury_children};
use crate::runtime::exit;

/// Where this process is the first of a container, runs the same as a child until that has ended, and returns its exit
/// code. `None` in any other process, and in that child.
pub(crate) fn stand_in() -> Option<ExitCode> {
    if process::getpid() != Pid::INIT {
        return None;
    }
    Some(match serve() {
        Ok(status) => ExitCode::from(code_of(status)),
        Err(error) => exit::report(&anyhow::Error::new(error).context("cannot start as process 1")),
    })
}

fn serve() -> io::Result<ExitStatus> {
    // Before the child starts: what ends it may come at once.
    let mut signals =
        Signals::new([SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH])?;
    adopt_orphans()?;
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    let mut child = Command::new("/proc/self/exe").arg0(name).args(arguments).spawn()?;
    loop {
        for signal in signals.wait() {
            match signal {
                SIGCHLD => bury_children(Some(Pid::from_child(&child))),
                signal => hand_on(signal, &child),
            }
        }
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
    }
}

fn hand_on(signal: i32, child: &Child) {
    // A child that has ended keeps its number until it is waited for, which only this loop does.
    if let Some(signal) = Signal::from_named_raw(signal) {
        let _ = process::kill_process(Pid::from_child(child), signal);
    }
}

/// As a shell says it.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
