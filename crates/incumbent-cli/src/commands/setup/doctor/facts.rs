//! What was seen, as plain data.

use std::collections::BTreeMap;
use std::time::Duration;

use incumbent::group_survey::GroupView;
use incumbent::survey::LockView;
use incumbent::{Lock, Timing};
use jiff::Timestamp;

use super::rights::Right;

/// What was named on the command line.
pub(super) struct Named {
    pub(super) locks: Vec<Lock>,
    pub(super) groups: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Facts {
    pub(super) namespace: String,
    /// The durations to judge by.
    pub(super) timing: Timing,
    /// Now, by the API server's clock where it is known.
    pub(super) now: Timestamp,
    pub(super) version: Option<String>,
    /// As whom the API server knows us.
    pub(super) user: Option<String>,
    pub(super) rights: Vec<Checked>,
    pub(super) latency: Latency,
    pub(super) clock: Option<ClockReading>,
    /// What there is, or why it may not be seen.
    pub(super) locks: Result<Vec<LockFacts>, String>,
    /// The groups that were named; if nothing was, those of the namespace.
    pub(super) groups: Vec<GroupFacts>,
    /// Of the locks that were named, the other kind of the same name.
    pub(super) beside: Vec<LockView>,
    /// Locks that were named and do not exist.
    pub(super) missing: Vec<Lock>,
    /// The Pods of the namespace by name, where they may be listed.
    pub(super) pods: Option<BTreeMap<String, PodFacts>>,
    /// What `incumbent run` could not kill, here and as this user, and what to do; `None` where there is no `run`.
    pub(super) out_of_reach: Option<Vec<(&'static str, &'static str)>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PodFacts {
    /// The field of its spec that lets processes of a container outlive it, or that hides its sandbox.
    pub(super) shares: Option<&'static str>,
}

/// A right, and whether the account has it; `None` where the API server does not say.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) right: Right,
    pub(super) is_allowed: Option<bool>,
}

/// How long requests took, one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Latency {
    /// What was read.
    pub(super) what: String,
    /// In order.
    pub(super) answered: Vec<Duration>,
    /// How many had no answer.
    pub(super) unanswered: usize,
}

/// How much the API server's clock is ahead of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockReading {
    pub(super) ahead_ms: i64,
    /// What is not known of it: the answer's way, and that it says whole seconds.
    pub(super) error: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct GroupFacts {
    pub(super) name: String,
    /// What there is of it, or why it may not be seen.
    pub(super) view: Result<GroupView, String>,
}

#[derive(Clone, Debug)]
pub(super) struct LockFacts {
    pub(super) view: LockView,
    /// Whether it was named on the command line, and so is meant to be an election.
    pub(super) is_named: bool,
    /// When the request to hand over was written, by the API server's clock.
    pub(super) asked_at: Option<Timestamp>,
    /// Who led earlier, as Events say.
    pub(super) led_earlier: Vec<String>,
    /// What comes of a candidate's write of it.
    pub(super) rehearsal: Rehearsal,
}

/// What the API server makes of the dry run of a candidate's write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Rehearsal {
    /// It was not tried, or this account may not.
    #[default]
    Untried,
    /// It would be stored as it is written.
    Stored,
    /// Something else would be stored: which field, what was written, and what is stored.
    Altered { field: String, wrote: String, stored: String },
    /// It would be refused, in these words and with this hint.
    Refused { why: String, hint: String },
}
