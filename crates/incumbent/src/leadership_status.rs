//! Whether a candidate leads, for those who are not its work.

use std::time::Duration;

use incumbent_core::FencingToken;

use crate::lock::Lock;
use crate::term::CurrentTerm;

/// Tells at any time whether its candidate leads: for a readiness handler, a status page, or
/// metrics.
///
/// It is cheap to clone, and answers from any thread without waiting. It needs neither the API
/// server nor a runtime, and outlives its candidate. It is not proof of leadership: work must hold
/// its [`Leadership`](crate::Leadership), because nothing waits for work without one before another
/// candidate leads.
///
/// ```
/// # use incumbent::{Candidate, Clock, Lock};
/// # use incumbent_apiserver::ApiServer;
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), incumbent::Error> {
/// # let server = ApiServer::new();
/// # let client = kube::Client::new(server.service(), "default");
/// # let lock = Lock::lease("default", "scanner");
/// let mut candidate = Candidate::builder(client, lock).clock(Clock::tokio()).build()?;
/// let status = candidate.leadership_status();
/// let ready = move || if status.is_leading() { 200 } else { 503 }; // a handler, in its own task
///
/// assert_eq!(ready(), 503);
/// let leadership = candidate.campaign().await?;
/// assert_eq!(ready(), 200);
/// leadership.release().await;
/// assert_eq!(ready(), 503);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LeadershipStatus {
    lock: Lock,
    current: CurrentTerm,
}

/// A term that was valid at the time of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActiveTerm {
    /// Its fencing token.
    pub fencing_token: FencingToken,
    /// How much longer it is valid if no renewal succeeds; more than zero.
    pub valid_for: Duration,
}

impl LeadershipStatus {
    pub(crate) fn new(lock: Lock, current: CurrentTerm) -> Self {
        Self { lock, current }
    }

    /// In which election.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Whether the candidate leads now.
    pub fn is_leading(&self) -> bool {
        self.active_term().is_some()
    }

    /// The term in which the candidate leads now, if it does.
    pub fn active_term(&self) -> Option<ActiveTerm> {
        let term = self.current.get()?;
        let valid_for = term.valid_for();
        (!valid_for.is_zero()).then(|| ActiveTerm { fencing_token: term.token(), valid_for })
    }
}
