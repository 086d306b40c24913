//! The program of `--on-follower`: it runs while another candidate leads, and has ended before the command starts.
//!
//! It is under a guardian too, but has no term: what ends it is that this process leads, or no longer waits.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use crate::commands::participate::guarded::{
    Containment, Deadlines, GuardedChild, Guardians, Launch, after, asks_to_end, ends_by_default,
};

pub(crate) struct Standby {
    program: Option<OsString>,
    variables: Vec<(&'static str, String)>,
    containment: Containment,
    guarded: Option<GuardedChild>,
}

impl Standby {
    pub(crate) fn new(
        program: Option<OsString>,
        variables: Vec<(&'static str, String)>,
        containment: Containment,
    ) -> Self {
        Self { program, variables, containment, guarded: None }
    }

    /// Whether it shall run as soon as another candidate leads: it is started one time in each wait.
    pub(crate) fn is_due(&self) -> bool {
        self.program.is_some()
    }

    pub(crate) fn start(&mut self) -> io::Result<()> {
        if let Some(program) = self.program.take() {
            tracing::info!(program = %program.display(), "another candidate leads");
            self.guarded = Some(GuardedChild::start_aside(&Launch {
                command: std::slice::from_ref(&program),
                variables: &self.variables,
                containment: self.containment,
                deadlines: Deadlines::NONE,
                guardians: &Guardians::default(),
            })?);
        }
        Ok(())
    }

    /// Waits until it has ended by itself, where it runs. May be dropped and called again.
    pub(crate) async fn ended(&mut self) {
        let Some(guarded) = &mut self.guarded else { return std::future::pending().await };
        let end = guarded.end().await;
        tracing::info!(
            end = end.word(),
            code = end.code(),
            "the program of --on-follower has ended, and is not started again"
        );
        self.guarded = None;
    }

    /// Says whether the signal ends the wait; if not, it is handed on.
    pub(crate) fn ends_the_wait(&self, signal: i32) -> bool {
        match &self.guarded {
            None => ends_by_default(signal),
            Some(_) if asks_to_end(signal) => true,
            Some(guarded) => {
                guarded.signal(signal);
                false
            }
        }
    }

    /// Tells it to stop, and waits until nothing of it is left.
    pub(crate) async fn end(mut self, kill_after: Duration) {
        if let Some(guarded) = &mut self.guarded {
            guarded.stop(after(kill_after));
            let end = guarded.end().await;
            tracing::info!(
                end = end.word(),
                code = end.code(),
                "the program of --on-follower has been stopped"
            );
        }
    }
}
