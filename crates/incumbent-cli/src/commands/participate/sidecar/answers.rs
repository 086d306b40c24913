//! The answers to the application: who leads, and for how long that is valid.
//!
//! An application that learns that this candidate leads may act on it until the answer expires, and then needs a
//! moment to stop. So this module remembers for how long work may run that relies on an answer. The leader loop releases
//! the leadership no sooner, unless the application says that the work has stopped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use incumbent::{Candidate, Clock, Identity, Leader, LeadershipStatus, Observer};
use serde::Serialize;
use tokio::sync::watch;

use crate::model::format;

/// All that is known, to ask from any task.
#[derive(Clone, Debug)]
pub(crate) struct Answers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    standing: LeadershipStatus,
    observer: Observer,
    identity: String,
    stop_budget: Duration,
    /// Distinguishes the numbers of changes of this process from those of its predecessor.
    start: String,
    disclosure: Mutex<Disclosure>,
    changes: watch::Sender<Change>,
    was_reached: AtomicBool,
}

/// Whether an answer may say that this candidate leads.
#[derive(Debug, Default)]
struct Disclosure {
    is_open: bool,
    /// The leader loop has a leadership.
    is_held: bool,
    /// Until when, on the boot-time clock, work may run that relies on an answer of this term.
    work_until: Duration,
}

/// What is true, apart from the time for which it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Truth {
    state: State,
    leader: Option<(String, Option<u64>, Option<String>)>,
    is_self: bool,
}

/// How often something else was true than before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    pub(crate) number: u64,
    truth: Truth,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// There is a leader.
    Leader,
    /// There is none.
    Nobody,
    /// It is unknown.
    #[default]
    Unknown,
}

/// What asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The application, which acts on it.
    Application,
    /// A probe, a load balancer: it routes by it, and what is routed asks again.
    Probe,
}

/// What `GET /v1/leader` answers.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    pub(crate) lock: String,
    pub(crate) namespace: String,
    pub(crate) state: State,
    pub(crate) identity: Option<String>,
    pub(crate) token: Option<u64>,
    pub(crate) address: Option<String>,
    pub(crate) is_self: bool,
    #[serde(rename = "self")]
    pub(crate) own_identity: String,
    /// For how long all of this is valid; 0 if nothing is known.
    pub(crate) valid_for_ms: u64,
    /// The same as a moment, in milliseconds on `CLOCK_BOOTTIME`, which is what `/proc/uptime` shows.
    pub(crate) valid_until_boot_ms: u64,
    /// By when work that relies on it must have stopped.
    pub(crate) stop_within_ms: u64,
    pub(crate) change: String,
}

impl Answers {
    /// `stop_budget`: how long work may take to stop when an answer has expired.
    pub(crate) fn new(candidate: &Candidate, stop_budget: Duration) -> Self {
        Self(Arc::new(Inner {
            standing: candidate.leadership_status(),
            observer: candidate.observe(),
            identity: candidate.identity().to_owned(),
            stop_budget,
            start: format!("{:x}", boot_time().as_millis()),
            disclosure: Mutex::default(),
            changes: watch::Sender::default(),
            was_reached: AtomicBool::new(false),
        }))
    }

    /// What is true now. If the answer says that this candidate leads, the application may act on it.
    pub(crate) fn ask(&self, asker: Asker) -> Answer {
        // Read before, so that a pause between the two makes the answer valid for less, not for more.
        let now = boot_time();
        let mut disclosure = self.disclosure();
        let (truth, valid_for) = self.look(&disclosure);
        if truth.is_self && asker == Asker::Application {
            let work_until =
                boot_time().saturating_add(valid_for).saturating_add(self.0.stop_budget);
            disclosure.work_until = disclosure.work_until.max(work_until);
        }
        drop(disclosure);
        let stop_within = match truth.is_self {
            true => valid_for.saturating_add(self.0.stop_budget),
            false => Duration::ZERO,
        };
        let lock = self.0.standing.lock();
        let (identity, token, address) = match truth.leader {
            Some((identity, token, address)) => (Some(identity), token, address),
            None => (None, None, None),
        };
        Answer {
            lock: lock.to_string(),
            namespace: lock.namespace().to_owned(),
            state: truth.state,
            identity,
            token,
            address,
            is_self: truth.is_self,
            own_identity: self.0.identity.clone(),
            valid_for_ms: millis(valid_for),
            valid_until_boot_ms: match valid_for.is_zero() {
                true => 0,
                false => millis(now.saturating_add(valid_for)),
            },
            stop_within_ms: millis(stop_within),
            change: self.change(),
        }
    }

    fn look(&self, disclosure: &Disclosure) -> (Truth, Duration) {
        let active_term = self.0.standing.active_term();
        if let (true, Some(active_term)) = (disclosure.is_open, active_term)
            && active_term.valid_for >= SHORTEST
        {
            let address = match self.0.observer.leader() {
                Leader::Known { identity, address, .. } if self.is_own(&identity) => address,
                _ => None,
            };
            let leader = (self.0.identity.clone(), Some(active_term.fencing_token.0), address);
            let truth = Truth { state: State::Leader, leader: Some(leader), is_self: true };
            return (truth, active_term.valid_for);
        }
        let nothing = |state| (Truth { state, ..Truth::default() }, Duration::ZERO);
        match self.0.observer.leader() {
            Leader::Nobody => nothing(State::Nobody),
            Leader::Known { identity, .. } if self.is_own(&identity) => {
                // It holds the lock and does not lead: just not yet, or no longer; or it cannot tell.
                nothing(if active_term.is_some() { State::Nobody } else { State::Unknown })
            }
            Leader::Known { identity, token, address, valid_for, .. } if valid_for >= SHORTEST => {
                let leader = (identity.to_string(), token.map(|token| token.0), address);
                let truth = Truth { state: State::Leader, leader: Some(leader), is_self: false };
                (truth, valid_for.min(LONGEST))
            }
            _ => nothing(State::Unknown),
        }
    }

    fn is_own(&self, identity: &Identity) -> bool {
        identity.as_str() == self.0.identity
    }

    /// A term has begun: from now on, answers may say so.
    pub(crate) fn open(&self) {
        *self.disclosure() =
            Disclosure { is_open: true, is_held: true, work_until: Duration::ZERO };
        self.refresh();
    }

    /// From now on, no answer says that this candidate leads.
    pub(crate) fn close(&self) {
        self.disclosure().is_open = false;
        self.refresh();
    }

    /// The leadership is released.
    pub(crate) fn given_back(&self) {
        self.disclosure().is_held = false;
    }

    /// Whether there is a leadership to give back.
    pub(crate) fn is_held(&self) -> bool {
        self.disclosure().is_held
    }

    /// For how long work may still run that relies on an answer.
    pub(crate) fn work_may_run_for(&self) -> Duration {
        self.disclosure().work_until.saturating_sub(boot_time())
    }

    /// Looks again, and wakes all listeners if something else is true.
    pub(crate) fn refresh(&self) {
        let truth = self.look(&self.disclosure()).0;
        if truth.state != State::Unknown {
            self.reached();
        }
        self.0.changes.send_if_modified(|change| {
            let differs = change.truth != truth;
            change.number += u64::from(differs);
            change.truth = truth;
            differs
        });
    }

    /// Keeps up with what the candidate sees, for as long as that lives.
    pub(crate) async fn follow(self) {
        let mut observer = self.0.observer.clone();
        loop {
            self.refresh();
            if observer.changed().await.is_none() {
                return;
            }
        }
    }

    pub(crate) fn changes(&self) -> watch::Receiver<Change> {
        self.0.changes.subscribe()
    }

    /// What the latest change is called.
    pub(crate) fn change(&self) -> String {
        format!("{}-{}", self.0.start, self.0.changes.borrow().number)
    }

    /// The API server has answered.
    pub(crate) fn reached(&self) {
        self.0.was_reached.store(true, Ordering::Relaxed);
    }

    /// Whether it ever has: then this candidate can take part.
    pub(crate) fn is_ready(&self) -> bool {
        self.0.was_reached.load(Ordering::Relaxed)
    }

    fn disclosure(&self) -> MutexGuard<'_, Disclosure> {
        self.0.disclosure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    pub(crate) fn json(&self) -> String {
        let json = serde_json::to_string(self).expect("it has only names and numbers");
        format::printable_json(&json)
    }

    /// The same with what clients of older sidecars look for.
    pub(crate) fn old_json(&self) -> String {
        #[derive(Serialize)]
        struct Old<'a> {
            name: &'a str,
            is_leader: bool,
            leader: &'a str,
            node: &'a str,
            last_update: String,
            timestamp: String,
            #[serde(flatten)]
            answer: &'a Answer,
        }
        let leader = pod(self.identity.as_deref().unwrap_or(""));
        let now = format!("{:.3}", jiff::Timestamp::now());
        let old = Old {
            name: leader,
            is_leader: self.is_self,
            leader,
            node: pod(&self.own_identity),
            last_update: now.clone(),
            timestamp: now,
            answer: self,
        };
        format::printable_json(&serde_json::to_string(&old).expect("as above"))
    }
}

/// The Pod's name: old clients compare it with their host's.
fn pod(identity: &str) -> &str {
    match identity.rsplit_once('_') {
        Some((pod, uid)) if is_uid(uid) => pod,
        _ => identity,
    }
}

fn is_uid(text: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.split('-').all(is_hex)
}

pub(crate) fn boot_time() -> Duration {
    Clock::system().instant().since_start()
}

/// Rounded down, so that no answer states more time than there is.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What is shorter would be shown as 0.
const SHORTEST: Duration = Duration::from_millis(1);

/// A claim without expiry makes an answer that is always valid; but numbers in JSON have an end.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_clients_are_told_the_pod_s_name() {
        assert_eq!(pod("scanner-7_3f0d2c52-8f3e-4d0c-9d55-0f3c5f1b7a10"), "scanner-7");
        assert_eq!(pod("a_b"), "a_b");
        assert_eq!(
            pod("a_3f0d2c52-8f3e-4d0c-9d55-0f3c5f1b7aXX"),
            "a_3f0d2c52-8f3e-4d0c-9d55-0f3c5f1b7aXX"
        );
        assert_eq!(pod(""), "");
    }
}
