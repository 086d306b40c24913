//! What is true of a lock, by what evidence, and how old that is: the one judgement that all commands and the
//! dashboard show. Pure.

use std::time::Duration;

use incumbent::survey::{LockView, ObservedLock, Registration, State};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::format::{age, millis, name};

/// What is known of a lock at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LockStatus {
    pub(crate) state: State,
    /// Whom the record names, for people: without tricks, and not too long.
    pub(crate) holder: Option<String>,
    pub(crate) evidence: Evidence,
    /// How old the evidence is.
    pub(crate) age: Option<Duration>,
    /// In how long the term is over, unless it is renewed. `None` where nothing expires, or nothing is known.
    pub(crate) expires_in: Option<Duration>,
}

/// What a judgement rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// A renewal that came in here; or that none did for as long as the term lasts.
    Watched,
    /// The times in the record, by the wall clocks of the holder and of this machine.
    Clocks,
    /// What the API server said last. A claim or a vacancy stays true until the next write.
    Record,
    /// Nothing: the lock cannot be seen, or its record does not say enough.
    Nothing,
}

impl LockStatus {
    pub(crate) fn of(sighted: &ObservedLock, now: Timestamp) -> Self {
        let view = &*sighted.view;
        let by_clock = || view.renewed.map(|renewed| since(renewed, now));
        let (evidence, age) = match (sighted.state, sighted.is_certain) {
            (State::Vacant | State::Claimed, _) => (Evidence::Record, Some(sighted.heard_age)),
            (State::Unknown, _) => {
                (Evidence::Nothing, sighted.unseen_for.or(sighted.over_for).or_else(by_clock))
            }
            (_, true) => (Evidence::Watched, sighted.beat_age.or(Some(sighted.looked_for))),
            (_, false) => (Evidence::Clocks, by_clock()),
        };
        let expires_in = match evidence {
            _ if !expires(view) => None,
            Evidence::Watched => sighted.expires_in,
            Evidence::Clocks => view
                .lease_duration
                .zip(by_clock())
                .map(|(lease, silent_for)| lease.saturating_sub(silent_for)),
            Evidence::Record | Evidence::Nothing => None,
        };
        let holder = view.holder.as_deref().map(name);
        Self { state: sighted.state, holder, evidence, age, expires_in }
    }

    /// The state; with `~` where it rests on wall clocks.
    pub(crate) fn word(&self) -> String {
        format!("{:?}{}", self.state, self.mark())
    }

    pub(crate) fn mark(&self) -> &'static str {
        if self.evidence == Evidence::Clocks { "~" } else { "" }
    }

    /// Whether there is a leader, or a name that stands for one, as far as is known.
    pub(crate) fn is_led(&self) -> bool {
        matches!(self.state, State::Held | State::Late | State::Claimed)
    }

    /// The same, and no wall clock was asked.
    pub(crate) fn is_surely_led(&self) -> bool {
        self.is_led() && self.evidence != Evidence::Clocks
    }

    /// Whether there is no leader, and no wall clock was asked.
    pub(crate) fn is_surely_free(&self) -> bool {
        matches!(self.state, State::Vacant | State::Expired) && self.evidence != Evidence::Clocks
    }

    /// One sentence for people.
    pub(crate) fn sentence(&self) -> String {
        let holder = self.holder.as_deref().unwrap_or("no candidate");
        let mark = self.mark();
        let silent = self.age.map(|silent| format!(" for {}", age(silent))).unwrap_or_default();
        match (self.state, &self.holder) {
            (State::Vacant, _) | (_, None) if self.state != State::Unknown => {
                "no leader".to_owned()
            }
            (State::Held, _) => format!("{holder} leads{mark}"),
            (State::Late, _) => {
                format!("{holder} leads{mark}, or has just stopped: no renewal{silent}")
            }
            (State::Claimed, _) => format!("{holder} claims it"),
            (State::Expired, _) => {
                format!("no leader{mark}: no renewal of {holder}{silent}, and its term is over")
            }
            (_, None) => "unknown".to_owned(),
            (_, Some(holder)) => format!("unknown: the record names {holder}"),
        }
    }

    /// For `Leader`, in a word or two.
    pub(crate) fn who(&self) -> String {
        match (self.state, &self.holder) {
            (State::Expired, Some(holder)) => format!("none; the last was {holder}"),
            (State::Unknown, Some(holder)) => format!("unknown; the record names {holder}"),
            (State::Unknown, None) => "unknown".to_owned(),
            (State::Vacant, _) | (_, None) => "none".to_owned(),
            (_, Some(holder)) => holder.clone(),
        }
    }

    /// By what it is known, and how old that is.
    pub(crate) fn basis(&self) -> String {
        let ago = self.age.map(|span| format!(" {} ago", age(span))).unwrap_or_default();
        match (self.evidence, self.state) {
            (Evidence::Watched, State::Expired) => "no renewal for a whole term".to_owned(),
            (Evidence::Watched, _) => format!("a renewal arrived{ago}"),
            (Evidence::Clocks, _) => format!("renewed{ago} by its holder's wall clock"),
            (Evidence::Record, _) => format!("the API server said so{ago}"),
            (Evidence::Nothing, _) => "it cannot be seen".to_owned(),
        }
    }

    /// For programs.
    pub(crate) fn json(&self, view: &LockView) -> Value {
        json!({
            "state": format!("{:?}", self.state).to_lowercase(),
            "leader": view.holder.as_deref().filter(|_| self.is_led()),
            "holder": view.holder,
            "evidence": self.evidence.word(),
            "evidenceAgeMs": self.age.map(millis),
            "isCertain": matches!(self.evidence, Evidence::Watched | Evidence::Record),
            "expiresInMs": self.expires_in.map(millis),
        })
    }
}

impl Evidence {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Watched => "watched",
            Self::Clocks => "clocks",
            Self::Record => "record",
            Self::Nothing => "none",
        }
    }

    /// What that means, where no age is at hand.
    pub(crate) fn basis(self) -> &'static str {
        match self {
            Self::Watched => "by renewals that arrived here, or did not",
            Self::Clocks => "by the wall clocks of the holder and of this machine: a hint",
            Self::Record => {
                "by the last answer of the API server, which is true until the next write"
            }
            Self::Nothing => "nothing tells",
        }
    }
}

/// Whether a registration ends when it is not renewed.
pub(crate) fn expires(view: &LockView) -> bool {
    matches!(view.registration, Registration::Term | Registration::Foreign)
}

/// Whether nobody holds a lock, waits for it or has asked anything of it, for so long that nobody seems to need
/// it: what `once` and workers that have ended leave behind. A lock that was never held is none.
pub(crate) fn is_left_over(view: &LockView, now: Timestamp) -> bool {
    view.registration == Registration::Vacant
        && view.waitlist.is_empty()
        && view.paused.is_empty()
        && view.hand_over.is_none()
        && view.renewed.is_some_and(|renewed| since(renewed, now) > LEFT)
}

/// An election that is down for so long has been noticed by then.
const LEFT: Duration = Duration::from_secs(3600);

pub(crate) fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}
