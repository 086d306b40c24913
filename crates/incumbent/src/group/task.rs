//! One task that is this member's.

use std::sync::Arc;
use std::time::Duration;

use incumbent_core::FencingToken;
use incumbent_core::group::TaskName;
use tokio::sync::{mpsc, watch};

use super::note::Note;
use crate::leadership::Leadership;

/// A task that this member owns, which expires by itself.
///
/// As long as it exists, its work may be running. So keep it together with the work, and drop it
/// when the work has stopped: only then does another member get the task. To share it, wrap it in
/// an [`Arc`].
#[derive(Debug)]
#[must_use = "dropping it says that its work has stopped"]
pub struct Task {
    name: TaskName,
    token: FencingToken,
    seat: Arc<Leadership>,
    revoked: watch::Receiver<bool>,
    notes: mpsc::UnboundedSender<Note>,
}

impl Task {
    pub(super) fn new(
        name: TaskName,
        token: FencingToken,
        seat: Arc<Leadership>,
        revoked: watch::Receiver<bool>,
        notes: mpsc::UnboundedSender<Note>,
    ) -> Self {
        Self { name, token, seat, revoked, notes }
    }

    /// The name of the task.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The number of the slot or permit; `None` if the tasks of the group have names.
    pub fn number(&self) -> Option<u16> {
        self.name.number()
    }

    /// The number to send with each write, so that your storage can refuse writes of a former
    /// owner.
    ///
    /// It rises each time that the task is assigned.
    pub fn fencing_token(&self) -> FencingToken {
        self.token
    }

    /// Whether this process owns the task now. Check it before every action that only the owner may
    /// take.
    ///
    /// It reads the clock. It needs neither the API server nor the runtime to turn false in time.
    pub fn is_valid(&self) -> bool {
        !self.valid_for().is_zero()
    }

    /// How much longer this process owns the task if no renewal succeeds; zero when the task is
    /// revoked or lost.
    ///
    /// Do not start an action that may take longer than this.
    pub fn valid_for(&self) -> Duration {
        match *self.revoked.borrow() {
            true => Duration::ZERO,
            false => self.seat.valid_for(),
        }
    }

    /// The leadership of this member's seat, which bounds the task. It lasts beyond a revoke, while the work stops.
    ///
    /// When it is lost, the work has to stop within [`Leadership::stop_within`].
    pub fn seat(&self) -> &Leadership {
        &self.seat
    }

    /// Waits until this process must stop the work, because another member should have the task, or
    /// because the seat is lost.
    pub async fn revoked(&self) {
        let mut revoked = self.revoked.clone();
        tokio::select! {
            biased;
            _ = revoked.wait_for(|revoked| *revoked) => {}
            _ = self.seat.lost() => {}
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let _ = self.notes.send(Note::Stopped(self.name.clone()));
    }
}
