//! Following an election without taking part.

use std::sync::Arc;
use std::time::Duration;

use incumbent_core::{FencingToken, Identity, Instant, Observed};
use tokio::sync::watch;

use crate::candidate::Candidate;
use crate::clock::Clock;
use crate::error::Error;
use crate::lock::Lock;
use crate::view::View;

/// The leader, as far as it is known now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leader {
    /// The leader is unknown: there has been no news, or none for as long as the last leader's term
    /// could last.
    Unknown,
    /// There is no leader.
    Nobody,
    /// This candidate leads.
    #[non_exhaustive]
    Known {
        /// Its identity.
        identity: Identity,
        /// Its fencing token, if it writes one.
        token: Option<FencingToken>,
        /// Where it can be reached, if it says so.
        address: Option<String>,
        /// How long this answer is valid without further news.
        valid_for: Duration,
    },
}

impl Leader {
    /// The leader's identity, if there is one and it is known.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Known { identity, .. } => Some(identity),
            Self::Unknown | Self::Nobody => None,
        }
    }
}

/// Follows an election: that of a candidate, from [`Candidate::observe`], or without taking part.
///
/// ```
/// # use incumbent::{Candidate, Clock, Lock};
/// # use incumbent_apiserver::ApiServer;
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), incumbent::Error> {
/// # let server = ApiServer::new();
/// # let client = kube::Client::new(server.service(), "default");
/// # let lock = Lock::lease("default", "scanner");
/// # let candidate = Candidate::builder(client.clone(), lock).identity("john").clock(Clock::tokio());
/// # let mut candidate = candidate.build()?;
/// # let _leadership = candidate.campaign().await?;
/// use incumbent::{Leader, Observer};
///
/// let mut observer = Observer::new(client, Lock::lease("default", "scanner"))?;
/// while let Some(leader) = observer.changed().await {
///     if let Leader::Known { identity, .. } = leader {
///         println!("{identity} leads");
///         # break;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Observer {
    views: watch::Receiver<View>,
    clock: Clock,
    last: Distinct,
    last_waitlist: Vec<Identity>,
    /// The task that looks at the lock, where this observer comes from no candidate. It never campaigns.
    _follower: Option<Arc<Candidate>>,
}

/// What distinguishes one leader from the next, from none, and from an unknown one.
type Distinct = (bool, Option<(Identity, Option<FencingToken>)>);

impl Candidate {
    /// Follows who leads, also while this candidate does not campaign.
    pub fn observe(&self) -> Observer {
        Observer::of(self.views.clone(), self.clock)
    }
}

impl Observer {
    /// Follows `lock` without taking part. The account needs the verb `get`, and should have
    /// `watch`, so that following costs no requests.
    ///
    /// A task on the current tokio runtime watches the lock. It ends when the last clone of this
    /// observer is dropped.
    ///
    /// # Errors
    /// If Kubernetes would refuse a name.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(client: kube::Client, lock: Lock) -> Result<Self, Error> {
        Self::with_clock(client, lock, Clock::system())
    }

    /// The same with another clock, for tests in paused time.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn with_clock(client: kube::Client, lock: Lock, clock: Clock) -> Result<Self, Error> {
        // No record names it, so it is never taken for the holder.
        let nobody = format!("observer_{:032x}", fastrand::u128(..));
        let follower = Candidate::builder(client, lock).identity(nobody).container(None);
        let follower = follower.clock(clock).build()?;
        let observer = follower.observe();
        Ok(Self { _follower: Some(Arc::new(follower)), ..observer })
    }

    fn of(views: watch::Receiver<View>, clock: Clock) -> Self {
        let last = distinct(&as_of(&views.borrow(), clock.instant()));
        let last_waitlist = views.borrow().waitlist.clone();
        Self { views, clock, last, last_waitlist, _follower: None }
    }

    /// The current leader. Turns to [`Leader::Unknown`] by itself instead of repeating an outdated
    /// answer.
    pub fn leader(&self) -> Leader {
        as_of(&self.views.borrow(), self.clock.instant())
    }

    /// The candidates that wait to lead, the next one first, as far as they are known. At most
    /// sixteen have a place; others may be waiting as well.
    pub fn waitlist(&self) -> Vec<Identity> {
        self.views.borrow().waitlist.clone()
    }

    /// Waits until the waitlist differs from what this returned last (or, at first, from when the
    /// observer was created): a candidate has joined, left or acquired the lock.
    ///
    /// `None` when the candidate that this observer came from is gone.
    pub async fn waitlist_changed(&mut self) -> Option<Vec<Identity>> {
        let last = &self.last_waitlist;
        let differs = |view: &View| view.waitlist != *last;
        let waitlist = self.views.wait_for(differs).await.ok()?.waitlist.clone();
        self.last_waitlist.clone_from(&waitlist);
        Some(waitlist)
    }

    /// Waits until the leader differs from what this returned last (or, at first, from when the
    /// observer was created): another candidate leads, none does, or the leader is no longer known.
    ///
    /// `None` when the candidate that this observer came from is gone.
    pub async fn changed(&mut self) -> Option<Leader> {
        loop {
            let expiry = match &self.views.borrow_and_update().observed {
                Observed::Held { expires_at, .. } => *expires_at,
                Observed::Unknown | Observed::Vacant => Instant::new(Duration::MAX),
            };
            let now = self.leader();
            if distinct(&now) != self.last {
                self.last = distinct(&now);
                return Some(now);
            }
            let expiry = match now {
                Leader::Unknown => Instant::new(Duration::MAX),
                _ => expiry,
            };
            tokio::select! {
                changed = self.views.changed() => changed.ok()?,
                () = self.clock.sleep_until(expiry) => {}
            }
        }
    }
}

fn distinct(leader: &Leader) -> Distinct {
    match leader {
        Leader::Unknown => (false, None),
        Leader::Nobody => (true, None),
        Leader::Known { identity, token, .. } => (true, Some((identity.clone(), *token))),
    }
}

fn as_of(view: &View, now: Instant) -> Leader {
    match &view.observed {
        Observed::Unknown => Leader::Unknown,
        Observed::Vacant => Leader::Nobody,
        Observed::Held { expires_at, .. } if now >= *expires_at => Leader::Unknown,
        Observed::Held { holder: None, .. } => Leader::Nobody,
        Observed::Held { holder: Some(holder), token, expires_at } => Leader::Known {
            identity: holder.clone(),
            token: *token,
            address: view.address.clone(),
            valid_for: expires_at.saturating_since(now),
        },
    }
}
