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
/// As long as it exists, its work may be running: keep it with the work, and drop it when the work has stopped. Only
/// then does another member get the task. To share it, wrap it in an [`Arc`].
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

    /// The number to send along with each write, so that your storage can refuse an owner of the past.
    ///
    /// It is higher each time that the task is assigned.
    pub fn fencing_token(&self) -> FencingToken {
        self.token
    }

    /// Whether this process owns the task now. Ask before each act that only the owner may do.
    ///
    /// It reads the clock, and needs neither the API server nor the runtime to turn false in time.
    pub fn is_valid(&self) -> bool {
        !self.valid_for().is_zero()
    }

    /// For how long this process owns the task if nothing is renewed; zero once it is revoked or lost.
    ///
    /// An act that may take longer than this must not begin.
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

    /// Waits until this process is to stop the work: another member is to have the task, or the seat is lost.
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
