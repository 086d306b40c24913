//! Programs that are run when a term begins and ends.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

pub(crate) struct Hooks {
    pub(crate) elected: Option<PathBuf>,
    pub(crate) lost: Option<PathBuf>,
    pub(crate) timeout: Duration,
    /// What both get, beside the token.
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) running: Option<JoinHandle<bool>>,
}

impl Hooks {
    /// Starts the program for a term that has begun; it is not waited for.
    pub(crate) fn elected(&mut self, token: u64) {
        self.end_running();
        if let Some(program) = &self.elected {
            let child = self.start(program, token);
            self.running = child.map(|child| tokio::spawn(child.ended_within(self.timeout)));
        }
    }

    /// Runs the program for a term that has ended, and says whether it stopped the work.
    pub(crate) async fn lost(&mut self, token: u64, at_most: Duration) -> bool {
        self.end_running();
        let Some(program) = &self.lost else { return false };
        match self.start(program, token) {
            Some(child) => child.ended_within(self.timeout.min(at_most)).await,
            None => false,
        }
    }

    /// Kills what the beginning of the term has started, if it still runs.
    fn end_running(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }

    fn start(&self, program: &Path, token: u64) -> Option<Running> {
        let mut command = Command::new(program);
        command.env("INCUMBENT_TOKEN", token.to_string()).envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        match command.spawn() {
            Ok(child) => Some(Running { name: program.display().to_string(), child }),
            Err(error) => {
                tracing::warn!(hook = %program.display(), %error, "cannot be started");
                None
            }
        }
    }
}

/// A program of ours, which is killed with its group when this is dropped before its end.
struct Running {
    name: String,
    child: Child,
}

impl Running {
    async fn ended_within(mut self, timeout: Duration) -> bool {
        match tokio::time::timeout(timeout, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => return true,
            Ok(Ok(status)) => tracing::warn!(hook = self.name, %status, "failed"),
            Ok(Err(error)) => tracing::warn!(hook = self.name, %error, "cannot be waited for"),
            Err(_) => {
                let seconds = timeout.as_secs_f64();
                tracing::warn!(hook = self.name, seconds, "took too long, and is killed");
            }
        }
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // None once it was waited for: the number may be another process's by now.
        let id = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(group) = id {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
