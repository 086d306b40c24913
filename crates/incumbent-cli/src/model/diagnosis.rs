//! What needs attention, why, and what to do about it. Pure.

use std::time::Duration;

use incumbent::HandOver;
use incumbent::survey::{LockView, ObservedLock, Registration, State};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::format::{self, age, millis, name};
use crate::model::lock_status::LockStatus;

/// Something about an election that somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Concern {
    pub(crate) weight: Weight,
    /// One word for programs.
    pub(crate) kind: &'static str,
    pub(crate) what: String,
    pub(crate) to_do: String,
    /// Since when, on the clock of the survey, where that is known.
    pub(crate) since: Option<Duration>,
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// Works, and may not one day.
    Note,
    /// Is about to go wrong, or something that was asked for does not happen.
    Warning,
    /// There is no leader.
    Bad,
}

impl Weight {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

/// What the rules go by.
pub(crate) struct Circumstances<'a> {
    pub(crate) sighted: &'a ObservedLock,
    /// This machine's wall clock.
    pub(crate) now: Timestamp,
    /// Changes of leader in the last ten minutes.
    pub(crate) recent_changes: usize,
    /// Since when the request to hand over stands, as far as was seen.
    pub(crate) asked_since: Option<Duration>,
}

impl Circumstances<'_> {
    fn view(&self) -> &LockView {
        &self.sighted.view
    }

    /// The moment, on the clock of the survey.
    fn at(&self) -> Duration {
        self.sighted.at.since_start()
    }

    fn since(&self, span: Option<Duration>) -> Option<Duration> {
        span.map(|span| self.at().saturating_sub(span))
    }

    fn lock_status(&self) -> LockStatus {
        LockStatus::of(self.sighted, self.now)
    }

    /// Whether a candidate may lead, as far as is known.
    fn may_lead(&self) -> bool {
        matches!(self.sighted.state, State::Held | State::Late)
    }

    fn holder(&self) -> String {
        self.view().holder.as_deref().map_or_else(|| "no candidate".to_owned(), name)
    }
}

impl Concern {
    pub(crate) fn json(&self, at: Duration) -> Value {
        json!({
            "kind": self.kind,
            "weight": self.weight.word(),
            "what": self.what,
            "toDo": self.to_do,
            "forMs": self.since.map(|since| millis(at.saturating_sub(since))),
        })
    }
}

/// All that is true of this election, what matters most first.
pub(crate) fn concerns(seen: &Circumstances<'_>) -> Vec<Concern> {
    // Of what cannot be seen, nothing but that can be said; and it is said once, for all.
    if seen.sighted.state == State::Unknown {
        return Vec::new();
    }
    let rules =
        [expired, late, paused, contested, unheeded, foreign, alone, stuck_claim, skewed, absurd];
    let mut concerns: Vec<_> = rules.iter().filter_map(|rule| rule(seen)).collect();
    concerns.sort_by_key(|concern| std::cmp::Reverse(concern.weight));
    concerns
}

type Found = Option<Concern>;

fn expired(seen: &Circumstances<'_>) -> Found {
    let holder = seen.holder();
    (seen.sighted.state == State::Expired).then(|| Concern {
        weight: Weight::Bad,
        kind: "expired",
        what: match seen.lock_status().mark().is_empty() {
            true => format!("No leader: {holder} fell silent, and no candidate has taken over"),
            false => format!("There seems to be no leader: by its own clock, {holder} has been silent for a long \
                time"),
        },
        to_do: match seen.view().waitlist.len() {
            0 => "No candidate waits. Start one, or look at the log of its Pods.".to_owned(),
            1 => "One candidate is in the waitlist: look at its log.".to_owned(),
            count => format!("{count} candidates are in the waitlist: look at their logs."),
        },
        since: seen.since(seen.sighted.over_for).filter(|_| seen.lock_status().mark().is_empty()),
    })
}

fn late(seen: &Circumstances<'_>) -> Found {
    (seen.sighted.state == State::Late).then(|| Concern {
        weight: Weight::Warning,
        kind: "late",
        what: format!("{} has not renewed for two thirds of its term", seen.holder()),
        to_do:
            "It has stopped by now, or will. Look at its process, and at its network path to the API server."
                .to_owned(),
        since: seen.since(seen.sighted.beat_age),
    })
}

fn paused(seen: &Circumstances<'_>) -> Found {
    let is_everybody = seen.view().is_paused("*");
    let leader = seen.view().holder.as_deref().filter(|_| seen.may_lead());
    let is_leader = leader.is_some_and(|leader| seen.view().is_paused(leader));
    if is_everybody && leader.is_none() {
        return Some(Concern {
            weight: Weight::Bad,
            kind: "paused",
            what: "No leader: the election is paused, so no candidate may lead".to_owned(),
            to_do: "To continue the election, resume it.".to_owned(),
            since: None,
        });
    }
    (is_everybody || is_leader).then(|| Concern {
        weight: Weight::Warning,
        kind: "paused-leader",
        what: format!("{} is paused, and still leads", seen.holder()),
        to_do: match seen.view().registration {
            Registration::Term => "It hands over when its work has stopped. To be sure, end it.",
            _ => "A candidate of another program ignores a pause: end its process.",
        }
        .to_owned(),
        since: None,
    })
}

fn contested(seen: &Circumstances<'_>) -> Found {
    (seen.recent_changes >= CONTESTED).then(|| Concern {
        weight: Weight::Warning,
        kind: "contested",
        what: format!("{} changes of leader in ten minutes", seen.recent_changes),
        to_do: "Look at how the terms ended: a slow API server needs a longer lease, a starved \
                process more CPU."
            .to_owned(),
        since: None,
    })
}

fn unheeded(seen: &Circumstances<'_>) -> Found {
    let request = seen.view().hand_over.as_ref()?;
    let asked = seen.asked_since?;
    let patience = seen.view().lease_duration.unwrap_or(A_LEASE);
    (seen.may_lead() && seen.at().saturating_sub(asked) > patience).then(|| Concern {
        weight: Weight::Warning,
        kind: "unheeded",
        what: format!("{} was asked to hand over{}, and has not", seen.holder(), to(request)),
        to_do: match seen.view().registration {
            Registration::Term => {
                "Its work may not have stopped yet. To be sure, end its process; or cancel the request."
            }
            _ => "A candidate of another program ignores requests: end its process.",
        }
        .to_owned(),
        since: Some(asked),
    })
}

fn foreign(seen: &Circumstances<'_>) -> Found {
    let is_foreign = seen.view().registration == Registration::Foreign && seen.may_lead();
    (is_foreign && !seen.view().waitlist.is_empty()).then(|| Concern {
        weight: Weight::Warning,
        kind: "foreign",
        what: format!("{} is a candidate of another program, and ours wait", seen.holder()),
        to_do: "It has no fencing token and ignores requests. Are both meant to take part?"
            .to_owned(),
        since: None,
    })
}

fn alone(seen: &Circumstances<'_>) -> Found {
    let is_ours = seen.view().registration == Registration::Term && seen.may_lead();
    (is_ours && seen.view().waitlist.is_empty()).then(|| Concern {
        weight: Weight::Note,
        kind: "no-standby",
        what: format!("No candidate waits behind {}", seen.holder()),
        to_do: "When it ends, there is no leader until another starts. Run a second replica."
            .to_owned(),
        since: None,
    })
}

/// A renew time that is still to come.
fn skewed(seen: &Circumstances<'_>) -> Found {
    let ahead = seen.view().renewed.map(|renewed| renewed.duration_since(seen.now))?;
    let ahead = Duration::try_from(ahead).ok().filter(|ahead| *ahead > SKEW)?;
    seen.may_lead().then(|| Concern {
        weight: Weight::Note,
        kind: "clock",
        what: format!("{}'s wall clock is {} ahead of this machine's", seen.holder(), age(ahead)),
        to_do: "It is harmless to the election; but times by that clock mislead.".to_owned(),
        since: None,
    })
}

/// A name that does not expire, where there was an election.
fn stuck_claim(seen: &Circumstances<'_>) -> Found {
    let view = seen.view();
    let is_election =
        view.lock.key().is_none() || !view.waitlist.is_empty() || view.transitions > 0;
    (seen.sighted.state == State::Claimed && is_election).then(|| Concern {
        weight: Weight::Warning,
        kind: "claimed",
        what: format!(
            "{} has claimed it, and a claim does not expire: no candidate takes it over",
            seen.holder()
        ),
        to_do:
            "If no process uses that name any longer, remove it: incumbent claim LOCK --identity \
             NAME --release."
                .to_owned(),
        since: None,
    })
}

fn absurd(seen: &Circumstances<'_>) -> Found {
    let lease = seen.view().lease_duration.filter(|_| seen.may_lead())?;
    let (what, to_do) = if lease < SHORTEST {
        (
            "less than a second",
            "Any hiccup ends such a term. Choose 15 s, or 5 s for a quick failover.",
        )
    } else if lease > LONGEST {
        (
            "longer than an hour",
            "After a crash, there is no leader for that long. Choose 15 s, or some minutes.",
        )
    } else {
        return None;
    };
    Some(Concern {
        weight: Weight::Note,
        kind: "lease-duration",
        what: format!("The lease duration is {}: {what}", age(lease)),
        to_do: to_do.to_owned(),
        since: None,
    })
}

fn to(request: &HandOver) -> String {
    match request {
        HandOver::ToNext => String::new(),
        HandOver::To(identity) => format!(" to {}", format::short(&name(identity.as_str()))),
    }
}

/// So many changes of leader in ten minutes are no rolling update of a small Deployment any more.
const CONTESTED: usize = 3;

/// More than clocks that are kept differ by.
const SKEW: Duration = Duration::from_secs(2);

/// The usual lease duration, for a record that says none.
const A_LEASE: Duration = Duration::from_secs(15);

const SHORTEST: Duration = Duration::from_secs(1);

/// kube-apiserver's own Leases, which tell that it lives, say an hour.
const LONGEST: Duration = Duration::from_secs(3600);
