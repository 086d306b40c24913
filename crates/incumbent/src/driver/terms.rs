//! Who wants to lead, the term that comes of it, and who waits for its end.

use std::sync::Arc;
use std::time::Duration;

use incumbent_core::{FencingToken, HandOverReason, Loss, Release, Term};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::error::Error;
use crate::leadership::{Command, Leadership};
use crate::lock::Lock;
use crate::term::{CurrentTerm, OnOverrun, TermState};
use crate::watchdog::Guard;

pub(crate) struct Terms {
    /// For the leaderships that the driver hands out. Weak, so that it ends with its candidate.
    sender: mpsc::WeakUnboundedSender<Command>,
    current: CurrentTerm,
    on_overrun: OnOverrun,
    campaign: Option<Campaign>,
    term: Option<Arc<TermState>>,
    awaiting_release: Vec<oneshot::Sender<Release>>,
    last_release: Release,
}

/// A wish to lead, and what guards the term that comes of it.
struct Campaign {
    answer: oneshot::Sender<Result<Leadership, Error>>,
    guard: Guard,
}

impl Terms {
    pub(crate) fn new(
        sender: mpsc::WeakUnboundedSender<Command>,
        current: CurrentTerm,
        on_overrun: OnOverrun,
    ) -> Self {
        let (campaign, term, awaiting_release) = (None, None, Vec::new());
        let last_release = Release::NotHeld;
        Self { sender, current, on_overrun, campaign, term, awaiting_release, last_release }
    }

    /// Takes on a wish to lead. Where nothing can guard the term, it is refused.
    pub(super) fn campaign(
        &mut self,
        answer: oneshot::Sender<Result<Leadership, Error>>,
        clock: Clock,
    ) -> bool {
        match Guard::start(clock) {
            Ok(guard) => {
                self.campaign = Some(Campaign { answer, guard });
                true
            }
            Err(error) => {
                let _ = answer.send(Err(error));
                false
            }
        }
    }

    pub(super) fn is_campaigning(&self) -> bool {
        self.campaign.is_some()
    }

    /// Waits until whoever campaigns no longer wants to. Then there is no campaign any more.
    pub(super) async fn withdrawn(&mut self) {
        match &mut self.campaign {
            Some(campaign) => campaign.answer.closed().await,
            None => std::future::pending().await,
        }
        self.campaign = None;
    }

    /// Ends the campaign, if there is one, and says whether there was.
    pub(super) fn fail(&mut self, error: Error) -> bool {
        let Some(campaign) = self.campaign.take() else { return false };
        let _ = campaign.answer.send(Err(error));
        true
    }

    /// Begins a term and hands out its leadership. `false` where nobody wants it any more: then it has to be
    /// released.
    pub(super) fn begin(&mut self, lock: &Lock, term: Term, clock: Clock) -> bool {
        let state = TermState::new(lock.clone(), term, clock, self.on_overrun.clone());
        self.term = Some(state.clone());
        let (Some(sender), Some(campaign)) = (self.sender.upgrade(), self.campaign.take()) else {
            return false;
        };
        campaign.guard.guard(&state);
        self.current.set(&state);
        // Where nobody takes it any more, it is dropped here, and with that released.
        let _ = campaign.answer.send(Ok(Leadership::new(state, sender)));
        true
    }

    pub(super) fn renew(&self, term: Term) {
        if let Some(state) = &self.term {
            state.renew(term);
        }
    }

    pub(super) fn end(&self, loss: Loss) {
        if let Some(state) = &self.term {
            state.end(loss);
        }
    }

    /// The lock is released.
    pub(super) fn revoke(&mut self) {
        if let Some(state) = self.term.take() {
            state.revoke();
        }
    }

    pub(super) fn has_term(&self) -> bool {
        self.term.is_some()
    }

    pub(super) fn is_current(&self, token: FencingToken) -> bool {
        self.term.as_ref().is_some_and(|term| term.token() == token)
    }

    pub(super) fn ask(&self, asked: Option<HandOverReason>) {
        if let Some(term) = &self.term {
            term.ask(asked);
        }
    }

    /// Answers at once where nothing is (any longer) to be released.
    pub(super) fn await_release(&mut self, waiting: oneshot::Sender<Release>, is_idle: bool) {
        match is_idle {
            true => drop(waiting.send(self.last_release)),
            false => self.awaiting_release.push(waiting),
        }
    }

    /// Answers those who wait for a release. A process may end then, so what tells others of it goes first.
    pub(super) fn released(&mut self, release: Release, told: Vec<JoinHandle<()>>, clock: Clock) {
        self.last_release = release;
        let waiting: Vec<_> = self.awaiting_release.drain(..).collect();
        let answer = move || {
            for waiting in waiting {
                let _ = waiting.send(release);
            }
        };
        if told.is_empty() {
            return answer();
        }
        tokio::spawn(async move {
            let _ = clock.timeout(PATIENCE, futures_util::future::join_all(told)).await;
            answer();
        });
    }
}

/// An Event or a route is not worth more to somebody who wants to end.
const PATIENCE: Duration = Duration::from_secs(1);
