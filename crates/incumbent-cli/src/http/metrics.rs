//! `--metrics-addr`: elections in numbers, for Prometheus. docs/metrics.md says what each means.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use incumbent::{
    Candidate, Ending, Exchange, FencingToken, GroupHandle, Leader, LeadershipStatus, Lock, Loss,
    Metrics, Observer, Release,
};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

mod serve;

pub(crate) use serve::page;

/// Counts what happens, and asks what is true when somebody reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exporter(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    registry: Registry,
    counts: Counts,
    states: States,
    sources: Mutex<Vec<Source>>,
    groups: Mutex<Vec<GroupHandle>>,
}

/// One candidate of each lock.
#[derive(Debug)]
struct Source {
    standing: LeadershipStatus,
    observer: Observer,
}

/// Which election.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Election {
    /// The object's name, as client-go has it.
    name: String,
    namespace: String,
    lock: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfVerb {
    #[prometheus(flatten)]
    election: Election,
    verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCode {
    #[prometheus(flatten)]
    election: Election,
    verb: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    #[prometheus(flatten)]
    election: Election,
    reason: &'static str,
}

/// What is told.
#[derive(Debug)]
struct Counts {
    requests: Family<OfCode, Counter>,
    durations: Family<OfVerb, Histogram, fn() -> Histogram>,
    slow_path: Family<Election, Counter>,
    terms: Family<Election, Counter>,
    ends: Family<OfReason, Counter>,
    leader_changes: Family<Election, Counter>,
}

/// What is asked for.
#[derive(Debug, Default)]
struct States {
    leads: Family<Election, Gauge>,
    valid: Family<Election, Gauge<f64, std::sync::atomic::AtomicU64>>,
    token: Family<Election, Gauge>,
    leader_known: Family<Election, Gauge>,
    waiting: Family<Election, Gauge>,
}

impl Exporter {
    pub(crate) fn new() -> Self {
        let (mut registry, counts, states) =
            (Registry::default(), Counts::default(), States::default());
        counts.register(&mut registry);
        states.register(&mut registry);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("incumbent_build", "The version of this program", build);
        let (sources, groups) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { registry, counts, states, sources, groups }))
    }

    /// Shows the state of this candidate; of several for one lock, the last one's.
    pub(crate) fn show(&self, candidate: &Candidate) {
        self.0.counts.start_at_zero(&election(candidate.lock()));
        let (standing, observer) = (candidate.leadership_status(), candidate.observe());
        let mut sources = self.sources();
        sources.retain(|source| source.standing.lock() != candidate.lock());
        sources.push(Source { standing, observer });
    }

    /// Shows the numbers of this group as well.
    pub(crate) fn show_group(&self, handle: GroupHandle) {
        self.groups().push(handle);
    }

    /// All of it, in the text format of OpenMetrics.
    pub(crate) fn text(&self) -> String {
        for source in &*self.sources() {
            self.0.states.ask(source);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0.registry)
            .expect("a string takes all that is written to it");
        if let Some(end) = text.rfind(END) {
            text.truncate(end);
        }
        text.extend(self.groups().iter().map(GroupHandle::open_metrics));
        text + END
    }

    fn groups(&self) -> MutexGuard<'_, Vec<GroupHandle>> {
        self.0.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sources(&self) -> MutexGuard<'_, Vec<Source>> {
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last line of a page.
const END: &str = "# EOF\n";

impl Metrics for Exporter {
    fn request(&self, lock: &Lock, exchange: &Exchange) {
        let (election, counts) = (election(lock), &self.0.counts);
        let (verb, code) = (exchange.verb, code(exchange.code));
        if exchange.while_leading && verb == "get" {
            counts.slow_path.get_or_create(&election).inc();
        }
        let seconds = exchange.latency.as_secs_f64();
        let of_verb = OfVerb { election: election.clone(), verb };
        counts.durations.get_or_create(&of_verb).observe(seconds);
        counts.requests.get_or_create(&OfCode { election, verb, code }).inc();
    }

    fn term_began(&self, lock: &Lock, _token: FencingToken) {
        self.0.counts.terms.get_or_create(&election(lock)).inc();
    }

    fn term_ended(&self, lock: &Lock, ending: &Ending) {
        let of_reason = OfReason { election: election(lock), reason: reason(ending) };
        self.0.counts.ends.get_or_create(&of_reason).inc();
    }

    fn leader_changed(&self, lock: &Lock) {
        self.0.counts.leader_changes.get_or_create(&election(lock)).inc();
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            slow_path: Family::default(),
            terms: Family::default(),
            ends: Family::default(),
            leader_changes: Family::default(),
        }
    }
}

impl Counts {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "leader_election_slowpath",
            "Reads that this candidate needed while it led, as client-go counts them",
            self.slow_path.clone(),
        );
        registry.register(
            "incumbent_requests",
            "Requests for the lock, by RBAC's verb and HTTP status",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "incumbent_request_duration",
            "Time from a request to its answer, or until it was given up",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register(
            "incumbent_terms",
            "Terms that this candidate has begun to lead",
            self.terms.clone(),
        );
        registry.register(
            "incumbent_term_ends",
            "Terms of this candidate that have ended, by the reason",
            self.ends.clone(),
        );
        registry.register(
            "incumbent_leader_changes",
            "How often the leader changed, as this candidate saw it",
            self.leader_changes.clone(),
        );
    }

    /// A counter that is not there until it is needed hides its first event from `increase()`.
    fn start_at_zero(&self, election: &Election) {
        for family in [&self.slow_path, &self.terms, &self.leader_changes] {
            drop(family.get_or_create(election));
        }
        for reason in REASONS {
            drop(self.ends.get_or_create(&OfReason { election: election.clone(), reason }));
        }
    }
}

impl States {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "leader_election_master_status",
            "1 while this candidate leads, else 0, as client-go shows it",
            self.leads.clone(),
        );
        registry.register_with_unit(
            "incumbent_lease_valid",
            "For how long this candidate leads if no renewal succeeds; 0 while it does not lead",
            Unit::Seconds,
            self.valid.clone(),
        );
        registry.register(
            "incumbent_fencing_token",
            "The token of this candidate's term; 0 while it does not lead",
            self.token.clone(),
        );
        registry.register(
            "incumbent_leader_known",
            "1 while this candidate knows the leader, else 0",
            self.leader_known.clone(),
        );
        registry.register(
            "incumbent_waiting_candidates",
            "Candidates in the waitlist, which has at most 16 places",
            self.waiting.clone(),
        );
    }

    fn ask(&self, source: &Source) {
        let (election, active_term) =
            (election(source.standing.lock()), source.standing.active_term());
        let valid_for = active_term.map_or(0.0, |active_term| active_term.valid_for.as_secs_f64());
        let token = active_term.map_or(0, |active_term| active_term.fencing_token.0);
        let is_known = matches!(source.observer.leader(), Leader::Known { .. });
        self.leads.get_or_create(&election).set(active_term.is_some().into());
        self.valid.get_or_create(&election).set(valid_for);
        self.token.get_or_create(&election).set(i64::try_from(token).unwrap_or(i64::MAX));
        self.leader_known.get_or_create(&election).set(is_known.into());
        let waiting = source.observer.waitlist().len();
        self.waiting.get_or_create(&election).set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}

fn election(lock: &Lock) -> Election {
    Election {
        name: lock.name().to_owned(),
        namespace: lock.namespace().to_owned(),
        lock: lock.to_string(),
    }
}

/// The server says it, so it could be anything; a label must not.
fn code(code: Option<u16>) -> &'static str {
    match code {
        None => "none",
        Some(200) => "200",
        Some(201) => "201",
        Some(401) => "401",
        Some(403) => "403",
        Some(404) => "404",
        Some(409) => "409",
        Some(422) => "422",
        Some(429) => "429",
        Some(500) => "500",
        Some(502) => "502",
        Some(503) => "503",
        Some(504) => "504",
        Some(_) => "other",
    }
}

fn reason(ending: &Ending) -> &'static str {
    match ending {
        Ending::Released(Release::Done) => "released",
        Ending::Released(_) => "left-to-expire",
        Ending::Lost(Loss::DeadlinePassed) => "deadline-passed",
        Ending::Lost(Loss::RecordChanged { .. }) => "record-changed",
        Ending::Lost(Loss::LockGone) => "lock-gone",
        _ => "other",
    }
}

/// All that [`reason`] can say of what there is today.
const REASONS: [&str; 5] =
    ["released", "left-to-expire", "deadline-passed", "record-changed", "lock-gone"];

/// From a server next door to the time-out of a patient lease.
const SECONDS: [f64; 9] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn whatever_a_server_answers_there_are_few_codes() {
        let codes: HashSet<_> = (0..=u16::MAX).map(|number| code(Some(number))).collect();
        assert_eq!(codes.len(), 13);
    }

    #[test]
    fn hostile_names_cannot_break_the_format() {
        let exporter = Exporter::new();
        let lock = Lock::lease("a\"b\\c\n", "x} 1\nevil 2");
        exporter.leader_changed(&lock);
        let text = exporter.text();
        assert!(!text.lines().any(|line| line.starts_with("evil")), "{text}");
    }
}
