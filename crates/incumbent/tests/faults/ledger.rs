//! Who works when, written down from outside of all candidates, and what must hold of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use incumbent::{Leadership, Overrun};
use tokio::time::Instant;

use crate::client_go;

/// What candidates do; each must have happened in a test that counts.
pub(crate) const EVENTS: &[&str] =
    &["term", "loss", "handover", "overrun", "asked", "ill", "foreign term"];

/// Shared by all candidates of one trial.
#[derive(Clone)]
pub(crate) struct Ledger {
    start: Instant,
    pages: Arc<Mutex<Pages>>,
}

#[derive(Default)]
struct Pages {
    violations: Vec<String>,
    trace: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
    /// Of all terms so far.
    tokens: Vec<u64>,
    /// Whose work runs, and under which token.
    working: Vec<(String, u64)>,
    leaderships: Vec<Weak<Leadership>>,
    overran: Vec<u64>,
    /// Since when the last write of a foreign leader was on its way, while one works.
    foreign_sent_at: Option<Instant>,
    upsets: Vec<(Instant, Advantage)>,
    /// When all wake up that have stood still.
    awake_at: Option<Instant>,
}

/// Who may lead beside a term that was running when somebody did this to the lock: `docs/guarantees.md`,
/// "What is not guaranteed".
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advantage {
    Everybody,
    Foreign,
}

/// What is left of a trial.
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

/// Work that runs, for as long as this exists.
pub(crate) struct Entry {
    ledger: Ledger,
    name: String,
    leadership: Arc<Leadership>,
}

/// The same of a foreign candidate.
pub(crate) struct ForeignEntry {
    ledger: Ledger,
    name: String,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), pages: Arc::default() }
    }

    /// `name` begins to work.
    pub(crate) fn enter(&self, name: &str, leadership: Arc<Leadership>) -> Entry {
        let token = leadership.fencing_token().0;
        self.note("term", &format!("{name} leads with token {token}"));
        let mut pages = self.pages.lock().unwrap();
        if pages.tokens.contains(&token) {
            pages.violations.push(format!("{name} has token {token}, which was given before"));
        }
        let highest = pages.tokens.iter().max().copied();
        if highest > Some(token) {
            // Granted before the other one, that is, and started after it.
            let below = format!("token {token} of {name} is below {highest:?}");
            pages.unless(&[Advantage::Everybody], below);
        }
        pages.tokens.push(token);
        if !pages.working.is_empty() && !pages.wakes_up("work of the past at a wake-up") {
            let beside = format!("{name} works beside {:?}", pages.working);
            pages.unless(&[Advantage::Everybody], beside);
        }
        // One that goes on for longer than its lease is its own affair.
        if pages
            .foreign_sent_at
            .is_some_and(|sent_at| sent_at.elapsed() < client_go::LEASE_DURATION)
        {
            let beside = format!("{name} works beside a foreign leader");
            pages.unless(&[Advantage::Everybody], beside);
        }
        pages.working.push((name.to_owned(), token));
        pages.leaderships.retain(|leadership| leadership.strong_count() > 0);
        pages.leaderships.push(Arc::downgrade(&leadership));
        drop(pages);
        self.look();
        Entry { ledger: self.clone(), name: name.to_owned(), leadership }
    }

    /// `name`, which is none of ours, begins to work by a write that was sent then.
    pub(crate) fn enter_foreign(&self, name: &str, sent_at: Instant) -> ForeignEntry {
        self.note("foreign term", &format!("{name} leads"));
        let mut pages = self.pages.lock().unwrap();
        if !pages.working.is_empty() && !pages.wakes_up("work of the past at a wake-up") {
            let beside = format!("{name} works beside {:?}", pages.working);
            pages.unless(&[Advantage::Everybody, Advantage::Foreign], beside);
        }
        pages.foreign_sent_at = Some(sent_at);
        ForeignEntry { ledger: self.clone(), name: name.to_owned() }
    }

    pub(crate) fn foreign_renewed(&self, sent_at: Instant) {
        self.pages.lock().unwrap().foreign_sent_at = Some(sent_at);
    }

    /// No two leaderships are valid at once. Asked whenever somebody acts.
    pub(crate) fn look(&self) {
        let mut pages = self.pages.lock().unwrap();
        let valid: Vec<_> = pages.leaderships.iter().filter_map(Weak::upgrade).collect();
        let valid: Vec<_> = valid.iter().filter(|leadership| leadership.is_valid()).collect();
        if valid.len() > 1 {
            pages.unless(&[Advantage::Everybody], format!("valid at once: {valid:?}"));
        }
    }

    pub(crate) fn overrun(&self, name: &str, overrun: &Overrun) {
        self.note("overrun", &format!("{name}: {overrun:?}"));
        let mut pages = self.pages.lock().unwrap();
        pages.overran.push(overrun.token.0);
        if overrun.late_by > TIMER && !pages.wakes_up("watchdog late at a wake-up") {
            pages.violations.push(format!("{name}: the watchdog came {:?} late", overrun.late_by));
        }
    }

    pub(crate) fn note(&self, what: &'static str, text: &str) {
        self.count(what, 1);
        self.trace(text);
    }

    pub(crate) fn trace(&self, text: &str) {
        let since = self.start.elapsed().as_secs_f64();
        self.pages.lock().unwrap().trace.push(format!("{since:8.3} s  {text}"));
    }

    pub(crate) fn count(&self, what: &'static str, times: u64) {
        *self.pages.lock().unwrap().counts.entry(what).or_insert(0) += times;
    }

    /// Somebody does to the lock what gives others an advantage over the term that is running.
    pub(crate) fn upset(&self, advantage: Advantage) {
        self.pages.lock().unwrap().upsets.push((Instant::now(), advantage));
    }

    /// History goes back. Whoever has not seen the tokens since cannot know them.
    pub(crate) fn tokens_are_forgotten(&self) {
        self.pages.lock().unwrap().tokens.clear();
    }

    /// Everything stands still until then, and no timer goes off.
    pub(crate) fn stands_still_until(&self, awake_at: Instant) {
        self.pages.lock().unwrap().awake_at = Some(awake_at);
    }

    pub(crate) fn violation(&self, text: String) {
        self.pages.lock().unwrap().violations.push(text);
    }

    /// Who works now, and the token.
    pub(crate) fn working(&self) -> Vec<(String, u64)> {
        self.pages.lock().unwrap().working.clone()
    }

    pub(crate) fn close(&self) -> Outcome {
        let Pages { violations, trace, counts, .. } =
            std::mem::take(&mut *self.pages.lock().unwrap());
        Outcome { violations, trace, counts }
    }
}

impl Pages {
    fn unless(&mut self, excuses: &[Advantage], text: String) {
        let explains = |(at, advantage): &(Instant, Advantage)| {
            at.elapsed() < A_TERM && excuses.contains(advantage)
        };
        match self.upsets.iter().any(explains) {
            true => *self.counts.entry("excused").or_insert(0) += 1,
            false => self.violations.push(text),
        }
    }

    /// Whether all have just woken up, and no time has passed since: whoever comes first, the watchdog or
    /// the next leader, comes before any work of the past has done anything.
    fn wakes_up(&mut self, what: &'static str) -> bool {
        let since = self.awake_at.and_then(|at| Instant::now().checked_duration_since(at));
        let wakes_up = since.is_some_and(|since| since <= TIMER);
        *self.counts.entry(what).or_insert(0) += u64::from(wakes_up);
        wakes_up
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let token = self.leadership.fencing_token().0;
        self.ledger.trace(&format!("{} ends with token {token}", self.name));
        let mut pages = self.ledger.pages.lock().unwrap();
        pages.working.retain(|(name, other)| (name, *other) != (&self.name, token));
        let overran = self.leadership.stop_within().is_zero();
        let is_told = pages.overran.contains(&token);
        if overran && !is_told && !pages.wakes_up("overran unseen at a wake-up") {
            pages.violations.push(format!("{} overran, and nobody was told", self.name));
        }
    }
}

impl Drop for ForeignEntry {
    fn drop(&mut self) {
        self.ledger.trace(&format!("{} ends", self.name));
        self.ledger.pages.lock().unwrap().foreign_sent_at = None;
    }
}

/// Timers have a grain of a millisecond.
const TIMER: Duration = Duration::from_millis(2);

/// How long a leader may go on that does not know yet what was done to its lock.
const A_TERM: Duration = Duration::from_secs(15);
