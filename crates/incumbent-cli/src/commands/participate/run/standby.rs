//! The program of `--on-follower`: it runs while somebody else leads, and has ended before the command starts.
//!
//! It is under a guardian too, but has no term: what ends it is that this process leads, or no longer waits.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use super::after;
use super::child::Ward;
use super::containment::Means;
use super::signals;

pub(crate) struct Standby {
    program: Option<OsString>,
    variables: Vec<(&'static str, String)>,
    means: Means,
    ward: Option<Ward>,
}

impl Standby {
    pub(crate) fn new(
        program: Option<OsString>,
        variables: Vec<(&'static str, String)>,
        means: Means,
    ) -> Self {
        Self { program, variables, means, ward: None }
    }

    /// Whether it shall run as soon as somebody else leads: it is started one time in each wait.
    pub(crate) fn is_due(&self) -> bool {
        self.program.is_some()
    }

    pub(crate) fn start(&mut self) -> io::Result<()> {
        if let Some(program) = self.program.take() {
            tracing::info!(program = %program.display(), "somebody else leads");
            self.ward = Some(Ward::start_aside(&program, &self.variables, self.means)?);
        }
        Ok(())
    }

    /// Waits until it has ended by itself, where it runs. May be dropped and called again.
    pub(crate) async fn ended(&mut self) {
        let Some(ward) = &mut self.ward else { return std::future::pending().await };
        let end = ward.end().await;
        tracing::info!(?end, "the program of --on-follower has ended, and is not started again");
        self.ward = None;
    }

    /// Says whether the signal ends the wait; if not, it is handed on.
    pub(crate) fn ends_the_wait(&self, signal: i32) -> bool {
        match &self.ward {
            None => signals::ends_by_default(signal),
            Some(_) if signals::asks_to_end(signal) => true,
            Some(ward) => {
                ward.signal(signal);
                false
            }
        }
    }

    /// Tells it to stop, and waits until nothing of it is left.
    pub(crate) async fn end(mut self, kill_after: Duration) {
        if let Some(ward) = &mut self.ward {
            ward.stop(after(kill_after));
            let end = ward.end().await;
            tracing::info!(?end, "the program of --on-follower has been stopped");
        }
    }
}
