//! What ends guarded commands by force, from any thread.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use incumbent::Overrun;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::process::{self, Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cgroup::Cgroup;
use crate::runtime::descendants;

/// What is needed to end one guarded command by force.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    guardian: Arc<(Pid, OwnedFd)>,
    /// Once it was started.
    command: Arc<OnceLock<Commanded>>,
    group: Option<Arc<Cgroup>>,
}

/// A command, which is also the number of its process group.
#[derive(Debug)]
struct Commanded {
    pid: Pid,
    /// Stays its own when the number is another's.
    pidfd: OwnedFd,
}

impl Handle {
    pub(super) fn new(guardian: Pid, pidfd: OwnedFd, group: Option<Cgroup>) -> Self {
        let guardian = Arc::new((guardian, pidfd));
        Self { guardian, command: Arc::default(), group: group.map(Arc::new) }
    }

    pub(super) fn has_started(&self, pid: Pid) {
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        // If it is no longer the guardian's, the number may be another's by now.
        if descendants::is_child_of(pid, self.guardian.0) {
            let _ = self.command.set(Commanded { pid, pidfd });
        }
    }

    pub(super) fn knows_the_command(&self) -> bool {
        self.command.get().is_some()
    }

    /// Kills the guardian, by that the command, its process group, and its control group. Depends on nothing but what
    /// is open, and does not wait.
    pub(crate) fn kill(&self) {
        let _ = pidfd_send_signal(&self.guardian.1, Signal::KILL);
        if let Some(Commanded { pid, pidfd }) = self.command.get()
            // The number of one that was buried may be another's.
            && pidfd_send_signal(pidfd, Signal::KILL) != Err(rustix::io::Errno::SRCH)
        {
            let _ = process::kill_process_group(*pid, Signal::KILL);
        }
        self.kill_group();
    }

    pub(super) fn kill_group(&self) {
        if let Some(group) = &self.group {
            group.kill();
        }
    }

    pub(super) fn remove_group(&self) {
        if let Some(group) = &self.group {
            group.remove();
        }
    }

    /// Whether the guardian has not ended. Its number stays its own for so long.
    fn lives(&self) -> bool {
        // A pidfd can be read once its process has ended.
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut ended = [PollFd::new(&self.guardian.1, PollFlags::IN)];
        !matches!(poll(&mut ended, Some(&at_once)), Ok(1..))
    }

    fn is_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.guardian, &other.guardian)
    }
}

/// The guardians of all commands of this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guardians(Arc<Mutex<Vec<Handle>>>);

impl Guardians {
    pub(super) fn add(&self, handle: Handle) {
        self.lock().push(handle);
    }

    pub(super) fn remove(&self, handle: &Handle) {
        self.lock().retain(|known| !known.is_of(handle));
    }

    /// Those that have not ended.
    pub(super) fn living(&self) -> Vec<Pid> {
        self.lock().iter().filter(|known| known.lives()).map(|known| known.guardian.0).collect()
    }

    /// For the watchdog: where all else has failed, it kills what still runs at the end of the lease.
    pub(crate) fn on_overrun(&self) -> impl Fn(Overrun) + Send + Sync + 'static {
        let guardians = self.clone();
        move |overrun| {
            // Kill first, then log: logging may need what is missing.
            if guardians.kill() {
                let lock = &overrun.lock;
                tracing::error!(%lock, "the command still ran at the end of its lease: killed it");
            }
        }
    }

    /// Says whether there was a command.
    fn kill(&self) -> bool {
        let handles = self.lock().clone();
        handles.iter().for_each(Handle::kill);
        !handles.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Handle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
