//! The properties that must hold, with one function for each.
//!
//! The simulator calls them with what an outside observer sees at true time. They do not know how
//! an elector makes its decisions, so they cannot repeat its mistakes.

use incumbent_core::{Change, Identity, Instant, Operation, Record, Session, Term, Timing, Waiter};

use crate::clock::Micros;

/// A promise, and its source.
#[derive(Debug, PartialEq, Eq)]
pub struct Property {
    /// The name that mutants and reports use.
    pub name: &'static str,
    /// The rule, paper or issue behind it.
    pub source: &'static str,
}

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property.
    pub property: &'static Property,
    /// How it was violated.
    pub detail: String,
}

type Verdict = Result<(), Violation>;

/// All properties.
pub const TABLE: [&Property; 19] = [
    &AT_MOST_ONE_LEADER,
    &TOKENS_RISE,
    &STORE_KEEPS_THE_ORDER,
    &WRITES_CARRY_A_VERSION,
    &ONE_CAUSE_TO_LEAD,
    &READ_FOLLOWS_UNKNOWN,
    &STOPS_FOR_ANOTHER_HOLDER,
    &DEADLINE_COUNTS_FROM_SENDING,
    &STOPS_BY_ITS_DEADLINE,
    &RELEASE_COMES_LAST,
    &NOBODY_IS_OVERWRITTEN,
    &OTHERS_CONTENT_STAYS,
    &LINE_IS_ONLY_A_HINT,
    &FIRST_COME_FIRST_SERVED,
    &PROOF_IMPLIES_A_DEATH,
    &RECOVERS_AFTER_HEALING,
    &NO_CHURN_WHILE_HEALTHY,
    &NO_BUSY_LOOP,
    &NO_PANIC,
];

const AT_MOST_ONE_LEADER: Property = Property {
    name: "at-most-one-leader",
    source: "invariants 3 and 4; Gray & Cheriton 1989; kubernetes#23731, cilium#42920",
};

/// At true time, the work of two candidates never runs at once. `beside` is another candidate whose
/// work runs while the work of `starter` begins or continues, and no fault outside of the
/// assumptions explains that.
pub(crate) fn at_most_one_leader(starter: usize, beside: Option<usize>) -> Verdict {
    require(&AT_MOST_ONE_LEADER, beside.is_none(), || {
        format!("{starter} leads while the work of {} still runs", beside.unwrap_or_default())
    })
}

const TOKENS_RISE: Property = Property {
    name: "tokens-rise",
    source: "invariant 5; Chubby (Burrows 2006) §2.4; kubernetes#41956",
};

/// Each grant has a higher token than all earlier grants. `forgotten` means that history went back,
/// and the candidate cannot know the last token.
pub(crate) fn tokens_rise(token: u64, highest: u64, forgotten: bool) -> Verdict {
    require(&TOKENS_RISE, token > highest || forgotten, || {
        format!("token {token} is granted after token {highest}")
    })
}

const STORE_KEEPS_THE_ORDER: Property = Property {
    name: "store-keeps-the-order",
    source: "goal 2; Kleppmann 2016 (fencing); Jepsen etcd 3.4.3",
};

/// A store that compares tokens never accepts a write of an earlier grant after a write of a later
/// grant.
pub(crate) fn store_keeps_the_order(grant: u64, latest: u64) -> Verdict {
    require(&STORE_KEEPS_THE_ORDER, grant >= latest, || {
        format!("the store took a write of grant {grant} after one of grant {latest}")
    })
}

const WRITES_CARRY_A_VERSION: Property = Property {
    name: "writes-carry-a-version",
    source: "invariant 2; the fine print of PUT on Leases and ConfigMaps",
};

/// Every write names the version that it replaces, and a create makes no candidate the holder.
pub(crate) fn writes_carry_a_version(operation: &Operation) -> Verdict {
    let is_conditional = match operation {
        Operation::Read => true,
        Operation::Create(record) => !record.is_held(),
        Operation::Replace { base, .. } => !base.uid.0.is_empty() && base.revision > 0,
    };
    require(&WRITES_CARRY_A_VERSION, is_conditional, || format!("{operation:?}"))
}

const ONE_CAUSE_TO_LEAD: Property = Property {
    name: "one-cause-to-lead",
    source: "invariants 1, 6 and 14; etcd#20418 (stale reads)",
};

/// A term begins only with the answer to the candidate's own acquiring write.
pub(crate) fn one_cause_to_lead(change: Option<&Change>, answers_a_write: bool) -> Verdict {
    let started = matches!(change, Some(Change::Started(_) | Change::Renewed(_)));
    require(&ONE_CAUSE_TO_LEAD, !started || answers_a_write, || {
        format!("{change:?} without a write")
    })
}

const READ_FOLLOWS_UNKNOWN: Property = Property {
    name: "read-follows-unknown",
    source: "invariant 6; kubernetes#112022, client-go#1417",
};

/// If a candidate does not know whether its write was applied, its next request is a read.
pub(crate) fn read_follows_unknown(operation: &Operation, last_is_unknown: bool) -> Verdict {
    let reads = *operation == Operation::Read;
    require(&READ_FOLLOWS_UNKNOWN, reads || !last_is_unknown, || {
        format!("{operation:?} after a write of unknown outcome")
    })
}

const STOPS_FOR_ANOTHER_HOLDER: Property =
    Property { name: "stops-for-another-holder", source: "invariant 7; C4 (kubernetes#44887)" };

/// A candidate stops leading when it knows that the record belongs to another, or that there is no
/// record.
pub(crate) fn stops_for_another_holder(term: Option<Term>, knows_own: bool) -> Verdict {
    require(&STOPS_FOR_ANOTHER_HOLDER, term.is_none() || knows_own, || {
        format!("leads on, though the lock is not its own: {term:?}")
    })
}

const DEADLINE_COUNTS_FROM_SENDING: Property =
    Property { name: "deadline-counts-from-sending", source: "invariant 3; C1; yugabyte-db#16" };

/// A term is valid for a renew deadline after its last write was sent. Its work must stop within
/// the lease duration minus the clock error.
pub(crate) fn deadline_counts_from_sending(
    term: &Term,
    sent_at: Instant,
    timing: &Timing,
) -> Verdict {
    let in_time = term.valid_until <= sent_at + timing.renew_deadline()
        && term.stop_by <= sent_at + timing.stop_deadline();
    require(&DEADLINE_COUNTS_FROM_SENDING, in_time, || {
        format!("sent at {sent_at}, valid until {}, stopped by {}", term.valid_until, term.stop_by)
    })
}

const STOPS_BY_ITS_DEADLINE: Property = Property {
    name: "stops-by-its-deadline",
    source: "invariants 3 and 13; kubernetes#65090, controller-runtime#1760",
};

/// No elector reports that it leads at or after `valid_until`, and the work gets no other deadline.
pub(crate) fn stops_by_its_deadline(now: Instant, term: Option<Term>) -> Verdict {
    let over = term.is_some_and(|term| now >= term.valid_until);
    require(&STOPS_BY_ITS_DEADLINE, !over, || format!("leads at {now}: {term:?}"))
}

const RELEASE_COMES_LAST: Property =
    Property { name: "release-comes-last", source: "invariant 8; C2; kubernetes#139991; KEP-5366" };

/// A candidate neither releases nor acquires the lock while its own work still runs.
pub(crate) fn release_comes_last(operation: &Operation, leads: bool, work_runs: bool) -> Verdict {
    let gives_or_takes = match operation {
        Operation::Replace { record, .. } => !record.is_held() || !leads,
        _ => false,
    };
    require(&RELEASE_COMES_LAST, !(work_runs && gives_or_takes), || {
        format!("the work still runs at {operation:?}")
    })
}

const NOBODY_IS_OVERWRITTEN: Property = Property {
    name: "nobody-is-overwritten",
    source: "invariant 8; C3 (kubernetes#132849); kubert's vacate",
};

/// A candidate releases only its own record.
pub(crate) fn nobody_is_overwritten(replaced: &Record, written: &Record, own: Session) -> Verdict {
    let others = replaced.is_held() && replaced.session != Some(own);
    require(&NOBODY_IS_OVERWRITTEN, written.is_held() || !others, || {
        format!("{own:?} releases {replaced:?}")
    })
}

const OTHERS_CONTENT_STAYS: Property = Property {
    name: "others-content-stays",
    source: "invariant 10; KEP-4355 (strategy, preferredHolder)",
};

/// A write keeps the labels and annotations of other programs as they were in the version that it
/// replaces. (This checks the driver's bookkeeping. `crates/incumbent/src/lock/tests.rs` checks the
/// JSON itself.)
pub(crate) fn others_content_stays(replaced: u32, written: u32) -> Verdict {
    require(&OTHERS_CONTENT_STAYS, replaced == written, || {
        format!("edit {replaced} of a label is overwritten with edit {written}")
    })
}

const LINE_IS_ONLY_A_HINT: Property = Property {
    name: "waitlist-is-only-a-hint",
    source: "invariant 15; Kubernetes KEP-4355 (candidates apart from the lease)",
};

/// A candidate that joins or leaves the waitlist changes nothing else: not the holder, not the time
/// of acquiring, and not the places of others. If the waitlist is full, its last candidate may lose
/// its place to one with a higher priority.
pub(crate) fn waitlist_is_only_a_hint(
    replaced: &Record,
    written: &Record,
    (name, own): (&Identity, Session),
) -> Verdict {
    let is_others = replaced.is_held() && replaced.session != Some(own);
    let stays = written.is_held() && written.session != Some(own);
    let line_apart = Record { waitlist: replaced.waitlist.clone(), ..written.clone() };
    // The candidate may have been renamed since.
    let name = place_of(written, own).or_else(|| place_of(replaced, own)).unwrap_or(name);
    let (before, after) = (others_in_line(replaced, name), others_in_line(written, name));
    let is_kept = before.starts_with(&after) && before.len() <= after.len() + 1;
    let holds = !(is_others && stays) || (line_apart == *replaced && is_kept);
    require(&LINE_IS_ONLY_A_HINT, holds, || format!("{name} makes {written:?} of {replaced:?}"))
}

fn place_of(record: &Record, session: Session) -> Option<&Identity> {
    let own = |waiter: &&Waiter| waiter.session == Some(session);
    record.waitlist.waiters().iter().find(own).map(|waiter| &waiter.identity)
}

/// A process that takes a place removes the places of its predecessors, which had the same name.
fn others_in_line<'a>(record: &'a Record, own: &Identity) -> Vec<&'a Waiter> {
    let others = |waiter: &&Waiter| waiter.identity != *own;
    record.waitlist.waiters().iter().filter(others).collect()
}

const FIRST_COME_FIRST_SERVED: Property = Property {
    name: "first-come-first-served",
    source: "invariant 16; etcd's concurrency.Election (lowest create revision)",
};

/// If nothing goes wrong, no candidate acquires before another one that is ahead of it in the
/// waitlist and can take its turn.
pub(crate) fn first_come_first_served(acquirer: usize, passed_over: Option<usize>) -> Verdict {
    require(&FIRST_COME_FIRST_SERVED, passed_over.is_none(), || {
        format!("{acquirer} acquires before {}", passed_over.unwrap_or_default())
    })
}

const PROOF_IMPLIES_A_DEATH: Property = Property {
    name: "proof-implies-a-death",
    source: "docs/operating.md, faster than the lease; the kubelet (makeMounts, ContainerStatusUnknown)",
};

/// When `believer` concludes that a process has ended, that process has ended. `alive` is the
/// candidate in which the process still runs.
pub(crate) fn proof_implies_a_death(
    believer: usize,
    alive: Option<usize>,
    shape: impl FnOnce() -> String,
) -> Verdict {
    require(&PROOF_IMPLIES_A_DEATH, alive.is_none(), || {
        let alive = alive.unwrap_or_default();
        format!("{believer} takes {alive} for dead, which runs; deployed as {}", shape())
    })
}

const RECOVERS_AFTER_HEALING: Property = Property {
    name: "recovers-after-healing",
    source: "VOPR, openraft tests-turmoil; docs/timing.md",
};

/// Once all faults are over, a candidate leads within the bound that `Plan::recovery_bound`
/// computes.
pub(crate) fn recovers_after_healing(leader: Option<usize>, bound: Micros) -> Verdict {
    require(&RECOVERS_AFTER_HEALING, leader.is_some(), || format!("nobody leads after {bound} µs"))
}

const NO_CHURN_WHILE_HEALTHY: Property = Property {
    name: "no-churn-while-healthy",
    source: "fabric8#7343; opensearch-k8s-operator#1545",
};

/// If nothing goes wrong, the leader keeps leading.
pub(crate) fn no_churn_while_healthy(leader: usize, change: &Change) -> Verdict {
    let lost = matches!(change, Change::Lost(_));
    require(&NO_CHURN_WHILE_HEALTHY, !lost, || format!("{leader} led in good health: {change:?}"))
}

const NO_BUSY_LOOP: Property =
    Property { name: "no-busy-loop", source: "docs/guarantees.md, fault 19; kubernetes#101652" };

/// No candidate sends more than `limit` requests in one lease duration.
pub(crate) fn no_busy_loop(sent: u32, limit: u32) -> Verdict {
    require(&NO_BUSY_LOOP, sent <= limit, || format!("{sent} requests in one lease duration"))
}

const NO_PANIC: Property =
    Property { name: "no-panic", source: "the elector's own assertions (docs/design.md)" };

/// An elector panics if it finds its own invariants broken.
pub(crate) fn no_panic(message: String) -> Violation {
    Violation { property: &NO_PANIC, detail: message }
}

fn require(property: &'static Property, holds: bool, detail: impl FnOnce() -> String) -> Verdict {
    match holds {
        true => Ok(()),
        false => Err(Violation { property, detail: detail() }),
    }
}
