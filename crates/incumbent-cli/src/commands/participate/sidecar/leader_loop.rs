//! Campaigns for the application, holds its leadership, and gives it back when the work has stopped.

use std::time::Duration;

use incumbent::{Candidate, Error, Identity, Leader, Leadership, Release};
use tokio::sync::{mpsc, oneshot};

use super::answers::Answers;
use super::args::{Lifeline, OnTerm};
use super::hooks::Hooks;
use super::lifeline::Lifelines;
use super::stop_time::StopTime;

pub(crate) struct LeaderLoop {
    pub(crate) candidate: Candidate,
    pub(crate) answers: Answers,
    pub(crate) lifelines: Lifelines,
    pub(crate) hooks: Hooks,
    pub(crate) requests: mpsc::Receiver<StepDown>,
    pub(crate) lifeline: Lifeline,
    pub(crate) on_term: OnTerm,
    /// How long one stays away after a step-down, if no other candidate comes.
    pub(crate) stay_away: Duration,
    pub(crate) stop_time: StopTime,
}

/// The application says that its work has stopped, and wants the leadership to be given back.
#[derive(Debug)]
pub(crate) struct StepDown {
    pub(crate) to: Option<Identity>,
    /// How it went; `None` where there was nothing to give back.
    pub(crate) done: oneshot::Sender<Option<Release>>,
}

/// Why a term ends.
enum Cause {
    /// This process has got a signal to end.
    Shutdown,
    SteppedDown(StepDown),
    /// The application is gone.
    LifelineEnded,
    /// Another leader is requested; the application does not know yet.
    Asked,
    Lost,
}

impl Cause {
    /// For the log.
    fn word(&self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::SteppedDown(_) => "stepped-down",
            Self::LifelineEnded => "lifeline-ended",
            Self::Asked => "requested",
            Self::Lost => "lost",
        }
    }
}

impl LeaderLoop {
    /// Takes part until `shutdown`, and leaves nothing behind in the lock.
    pub(crate) async fn run(
        mut self,
        mut shutdown: impl Future<Output = ()> + Unpin,
    ) -> Result<(), Error> {
        let outcome = loop {
            let leadership = tokio::select! {
                biased;
                () = &mut shutdown => break Ok(()),
                outcome = self.campaign() => match outcome {
                    Ok(leadership) => leadership,
                    Err(error) => break Err(error),
                },
            };
            let cause = self.reign(&leadership, &mut shutdown).await;
            let (is_over, stepped_down) =
                (matches!(cause, Cause::Shutdown), matches!(cause, Cause::SteppedDown(_)));
            self.give_back(leadership, cause, &mut shutdown).await;
            if is_over {
                break Ok(());
            }
            if stepped_down {
                tokio::select! {
                    () = &mut shutdown => break Ok(()),
                    () = self.let_others_go_first() => {}
                }
            }
        };
        self.candidate.leave().await;
        outcome
    }

    /// Campaigns while there is an application to lead.
    async fn campaign(&mut self) -> Result<Leadership, Error> {
        loop {
            let refused = refuse(&mut self.requests);
            let ready = async {
                if self.lifeline == Lifeline::Required {
                    self.lifelines.held().await;
                }
                self.lifelines.ended()
            };
            let ended = tokio::select! {
                ended = ready => ended,
                never = refused => match never {},
            };
            let is_gone = async {
                match self.lifeline {
                    Lifeline::Required => self.lifelines.ended_since(ended).await,
                    Lifeline::Optional => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                leadership = self.candidate.campaign() => return leadership,
                () = is_gone => tracing::debug!("no lifeline: no longer a candidate"),
                never = refuse(&mut self.requests) => match never {},
            }
        }
    }

    /// Leads until there is a reason to stop.
    async fn reign(
        &mut self,
        leadership: &Leadership,
        shutdown: &mut (impl Future<Output = ()> + Unpin),
    ) -> Cause {
        let ended = self.lifelines.ended();
        if self.lifeline == Lifeline::Required && !self.lifelines.is_held() {
            return Cause::LifelineEnded;
        }
        // This task may have been woken late: in a term that is over, no hook runs, and no answer says that it leads.
        if !leadership.is_valid() {
            return Cause::Lost;
        }
        self.answers.open();
        self.hooks.elected(leadership.fencing_token().0);
        tokio::select! {
            biased;
            () = shutdown => Cause::Shutdown,
            () = self.lifelines.ended_since(ended) => Cause::LifelineEnded,
            Some(request) = self.requests.recv() => Cause::SteppedDown(request),
            _ = leadership.lost() => Cause::Lost,
            _ = leadership.asked_to_hand_over() => Cause::Asked,
        }
    }

    /// Waits until the work has stopped, as far as can be known from here, and releases the lock.
    async fn give_back(
        &mut self,
        leadership: Leadership,
        cause: Cause,
        shutdown: &mut (impl Future<Output = ()> + Unpin),
    ) {
        self.answers.close();
        let token = leadership.fencing_token().0;
        tracing::debug!(token, reason = cause.word(), "stopping");
        let was_stopped =
            self.hooks.lost(token, self.stop_time.left(leadership.stop_within())).await;
        let mut request = None;
        match cause {
            _ if was_stopped => {}
            Cause::SteppedDown(_) | Cause::LifelineEnded => {}
            Cause::Shutdown if self.application_has_ended() => {}
            Cause::Shutdown => {
                request = self.work_stopped(&leadership, &mut std::future::pending()).await
            }
            Cause::Asked | Cause::Lost => request = self.work_stopped(&leadership, shutdown).await,
        }
        if let Cause::SteppedDown(stepped_down) = cause {
            request = Some(stepped_down);
        }
        let to = request.as_mut().and_then(|request| request.to.take());
        let release = match to {
            Some(to) => leadership.hand_over_to(to).await,
            None => leadership.release().await,
        };
        self.answers.given_back();
        self.answers.refresh();
        if let Some(request) = request {
            let _ = request.done.send(Some(release));
        }
    }

    /// Waits until the application says that it has stopped, or is gone, or no answer to it is valid any
    /// more; but no longer than the term's work may.
    async fn work_stopped(
        &mut self,
        leadership: &Leadership,
        shutdown: &mut (impl Future<Output = ()> + Unpin),
    ) -> Option<StepDown> {
        let ended = self.lifelines.ended();
        let mut is_ending = false;
        loop {
            let most = self.stop_time.left(leadership.stop_within());
            let left = self.answers.work_may_run_for().min(most);
            if left.is_zero() || (is_ending && self.application_has_ended()) {
                return None;
            }
            tokio::select! {
                biased;
                () = self.lifelines.ended_since(ended) => return None,
                Some(request) = self.requests.recv() => return Some(request),
                () = &mut *shutdown, if !is_ending => is_ending = true,
                // Timers may stand still while the machine is suspended; the deadline does not.
                () = tokio::time::sleep(left.min(Duration::from_secs(1))) => {}
            }
        }
    }

    /// Whether SIGTERM says that the application has ended, as it does for a native sidecar.
    fn application_has_ended(&self) -> bool {
        self.on_term == OnTerm::Release && !self.lifelines.is_held()
    }

    /// After a step-down, this candidate waits until another has led, or for a while if no other comes.
    async fn let_others_go_first(&mut self) {
        let mut observer = self.candidate.observe();
        let own = self.candidate.identity().to_owned();
        let other = async {
            loop {
                if let Leader::Known { identity, .. } = observer.leader()
                    && identity.as_str() != own
                {
                    return;
                }
                if observer.changed().await.is_none() {
                    return;
                }
            }
        };
        tokio::select! {
            () = other => {}
            () = tokio::time::sleep(self.stay_away) => {}
            never = refuse(&mut self.requests) => match never {},
        }
    }
}

/// There is nothing to give back.
async fn refuse(requests: &mut mpsc::Receiver<StepDown>) -> std::convert::Infallible {
    loop {
        match requests.recv().await {
            Some(request) => drop(request.done.send(None)),
            None => std::future::pending().await,
        }
    }
}
