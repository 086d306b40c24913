//! Tasks that are prepared here while another member works on them.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use incumbent_core::group::TaskName;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::note::Note;

/// What prepares a task of this name.
pub(super) type Prepare =
    Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// The preparations that are asked for.
#[derive(Default)]
pub(super) struct Preparations {
    prepare: Option<Prepare>,
    begun: BTreeMap<TaskName, Preparation>,
    number: u64,
}

/// It ends when this is dropped.
struct Preparation {
    number: u64,
    running: Option<AbortHandle>,
}

impl Preparations {
    pub(super) fn new(prepare: Option<Prepare>) -> Self {
        Self { prepare, ..Self::default() }
    }

    pub(super) fn begin(&mut self, task: TaskName, notes: mpsc::WeakUnboundedSender<Note>) {
        self.number += 1;
        let number = self.number;
        let name = task.clone();
        // Even the first line of it may block or panic, and the driver must not.
        let running = self.prepare.clone().map(|prepare| {
            tokio::spawn(async move {
                prepare(name.to_string()).await;
                if let Some(notes) = notes.upgrade() {
                    let _ = notes.send(Note::Prepared(name, number));
                }
            })
        });
        let running = running.map(|running| running.abort_handle());
        self.begun.insert(task, Preparation { number, running });
    }

    pub(super) fn end(&mut self, task: &TaskName) {
        self.begun.remove(task);
    }

    /// Whether this is the number of the last preparation of this task, and it is still asked for.
    pub(super) fn is_latest(&self, task: &TaskName, number: u64) -> bool {
        self.begun.get(task).is_some_and(|preparation| preparation.number == number)
    }
}

impl Drop for Preparation {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}
