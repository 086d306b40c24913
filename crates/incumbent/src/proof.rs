//! Proofs that the holder's process has ended: then no candidate has to wait for its lease.
//!
//! There are two, and no others. A later start of the same container shows by itself that the earlier one
//! has ended; and, where it is asked for, the kubelet reports that a container has terminated. The rules of
//! both are in the core, [`Container`]. That a Pod is gone, failed, unready or being deleted proves nothing,
//! because its processes may run.

mod container;
mod kubelet;
mod suspects;

use incumbent_core::{Container, Elector, HolderInfo, Input, Observed, Session};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::lock_api::LockApi;

pub(crate) use suspects::{Suspects, watch_for_ends};

/// Looks for proofs about the holder of the lock, on behalf of a driver.
pub(crate) struct Proofs {
    api: LockApi,
    own: Option<Container>,
    heeds_kubelet: bool,
    /// The process that was last shown to have ended.
    proven: Option<Session>,
    inquiry: Option<Inquiry>,
    sender: mpsc::Sender<Found>,
    found: mpsc::Receiver<Found>,
}

/// What is found out in the background. Small, for a channel sets aside room for many, and there may be a
/// thousand channels.
enum Found {
    Ended(Box<Session>),
    Own(Box<HolderInfo>),
}

/// A question that is open at the kubelet.
struct Inquiry {
    session: Session,
    task: JoinHandle<()>,
}

impl Proofs {
    pub(crate) fn new(api: LockApi, holder_info: &HolderInfo, heeds_kubelet: bool) -> Self {
        let (sender, found) = mpsc::channel(4);
        let own = holder_info.container.clone();
        if let Some(claimed) = own.clone().filter(|own| heeds_kubelet && own.report.is_none()) {
            let (api, holder_info, sender) = (api.clone(), holder_info.clone(), sender.clone());
            tokio::task::spawn_blocking(move || {
                if let Some(container) = kubelet::introduce(&api, &claimed) {
                    let holder_info = HolderInfo { container: Some(container), ..holder_info };
                    let _ = sender.blocking_send(Found::Own(Box::new(holder_info)));
                }
            });
        }
        let (proven, inquiry) = (None, None);
        Self { api, own, heeds_kubelet, proven, inquiry, sender, found }
    }

    /// Draws what follows from the record at once, and asks the kubelet where that is worth it.
    pub(crate) fn look(&mut self, elector: &Elector) -> Option<Input> {
        let own_session = elector.config().session;
        let holder = elector.record().and_then(|record| record.other_holder(own_session));
        let holder = holder.filter(|(session, _)| self.proven != Some(*session));
        let Some((session, container)) = holder else {
            self.inquiry = None;
            return None;
        };
        if self.own.as_ref().is_some_and(|own| own.succeeds(container)) {
            return Some(self.has_ended(session));
        }
        let is_asked = self.inquiry.as_ref().is_some_and(|inquiry| inquiry.session == session);
        match &container.report {
            Some(report) if self.heeds_kubelet && is_next(elector) => {
                if !is_asked {
                    let (api, report, sender) =
                        (self.api.clone(), report.clone(), self.sender.clone());
                    let container = container.clone();
                    let task = tokio::spawn(async move {
                        kubelet::has_terminated(&api, &container, &report).await;
                        let _ = sender.send(Found::Ended(Box::new(session))).await;
                    });
                    self.inquiry = Some(Inquiry { session, task });
                }
            }
            _ => self.inquiry = None,
        }
        None
    }

    /// Waits for what is found out in the background.
    pub(crate) async fn next(&mut self) -> Input {
        match self.found.recv().await.expect("a sender is kept here") {
            Found::Ended(session) => self.has_ended(*session),
            Found::Own(holder_info) => Input::Introduce(*holder_info),
        }
    }

    fn has_ended(&mut self, session: Session) -> Input {
        self.proven = Some(session);
        self.inquiry = None;
        Input::Ended(session)
    }
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The container that this process runs in, where it runs in one.
pub(crate) fn own_container() -> Option<Container> {
    container::own().map(|own| own.container.clone())
}

/// Whether it is this candidate's to ask. With a hundred that wait, two ask.
fn is_next(elector: &Elector) -> bool {
    let is_held = matches!(elector.observed(), Observed::Held { .. });
    is_held && elector.is_campaigning() && elector.rank().is_some_and(|rank| rank < 2)
}
