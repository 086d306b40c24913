//! Who works when, written down from outside of all candidates, and what must hold of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use incumbent::{Leadership, Overrun};
use tokio::time::Instant;

/// What candidates do; each must have happened in a test that counts.
pub(crate) const EVENTS: &[&str] = &["term", "loss", "handover", "overrun"];

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
    deleted_at: Option<Instant>,
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
            pages.unless_deleted(format!("token {token} of {name} is below {highest:?}"));
        }
        pages.tokens.push(token);
        if !pages.working.is_empty() {
            let beside = format!("{name} works beside {:?}", pages.working);
            pages.unless_deleted(beside);
        }
        pages.working.push((name.to_owned(), token));
        pages.leaderships.retain(|leadership| leadership.strong_count() > 0);
        pages.leaderships.push(Arc::downgrade(&leadership));
        drop(pages);
        self.look();
        Entry { ledger: self.clone(), name: name.to_owned(), leadership }
    }

    /// No two leaderships are valid at once. Asked whenever somebody acts.
    pub(crate) fn look(&self) {
        let mut pages = self.pages.lock().unwrap();
        let valid: Vec<_> = pages.leaderships.iter().filter_map(Weak::upgrade).collect();
        let valid: Vec<_> = valid.iter().filter(|leadership| leadership.is_valid()).collect();
        if valid.len() > 1 {
            pages.unless_deleted(format!("valid at once: {valid:?}"));
        }
    }

    pub(crate) fn overrun(&self, name: &str, overrun: &Overrun) {
        self.note("overrun", &format!("{name}: {overrun:?}"));
        let mut pages = self.pages.lock().unwrap();
        pages.overran.push(overrun.token.0);
        if overrun.late_by > TIMER {
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

    /// Who has never seen the lock held, and then finds it deleted, leads at once: that is a stated
    /// limit.
    pub(crate) fn lock_deleted(&self) {
        self.pages.lock().unwrap().deleted_at = Some(Instant::now());
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
    fn unless_deleted(&mut self, text: String) {
        let is_excused = self.deleted_at.is_some_and(|at| at.elapsed() < A_TERM);
        match is_excused {
            true => *self.counts.entry("overlap after a deletion").or_insert(0) += 1,
            false => self.violations.push(text),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let token = self.leadership.fencing_token().0;
        self.ledger.trace(&format!("{} ends with token {token}", self.name));
        let mut pages = self.ledger.pages.lock().unwrap();
        pages.working.retain(|(name, other)| (name, *other) != (&self.name, token));
        if self.leadership.stop_within().is_zero() && !pages.overran.contains(&token) {
            pages.violations.push(format!("{} overran, and nobody was told", self.name));
        }
    }
}

/// Timers have a grain of a millisecond.
const TIMER: Duration = Duration::from_millis(2);

/// How long a leader may go on that does not know yet that its lock was deleted.
const A_TERM: Duration = Duration::from_secs(15);
