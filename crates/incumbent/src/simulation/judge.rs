//! Who works when, in true time and as seen from outside of all candidates; and what must hold of it.
//!
//! A machine may have come further than the others, so that what happens is written down with its time and
//! judged at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::excuse::{Upset, Upsets};
use crate::leadership::Leadership;
use crate::term::Overrun;

/// What candidates do; each must have happened in a test that counts.
pub(super) const EVENTS: &[&str] = &[
    "term",
    "loss",
    "handover",
    "overrun",
    "asked",
    "ill",
    "foreign term",
    "stood still in a run",
];

/// Shared by all processes of one trial.
#[derive(Clone, Default)]
pub(super) struct Judge {
    pages: Arc<Mutex<Pages>>,
    pub(super) is_traced: bool,
}

#[derive(Default)]
pub(super) struct Pages {
    pub(super) violations: Vec<String>,
    trace: Vec<(Duration, String)>,
    counts: BTreeMap<&'static str, u64>,
    terms: Vec<Term>,
    /// By process and token: what became known of the write that acquired.
    grants: BTreeMap<(usize, u64), Grant>,
    /// When each process stood still.
    pauses: BTreeMap<usize, Vec<(Duration, Duration)>>,
    pub(super) upsets: Upsets,
    /// Pairs of terms that were valid at once, and when first.
    both_valid: BTreeMap<[(usize, u64); 2], Duration>,
    overran: BTreeSet<(usize, u64)>,
    late: Vec<(Duration, usize, String)>,
    /// Since when tokens of before count no more: history went back, or the last one was erased.
    forgotten: Vec<Duration>,
}

/// The write that acquires.
#[derive(Clone, Default)]
struct Grant {
    stored_at: Option<Duration>,
    /// The tokens that this process had been shown when it was sent last, and the highest that was news.
    shown: Arc<BTreeSet<u64>>,
    highest: u64,
}

/// Work of one term, from its beginning to its end.
#[derive(Clone)]
pub(super) struct Term {
    pub(super) process: usize,
    pub(super) name: String,
    /// None of a foreign candidate.
    pub(super) token: Option<u64>,
    /// When the write that acquired was stored.
    pub(super) granted: Duration,
    pub(super) begins: Duration,
    pub(super) ends: Option<Duration>,
    pub(super) shown: Arc<BTreeSet<u64>>,
}

/// What is left of a trial.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl Judge {
    pub(super) fn new(is_traced: bool) -> Self {
        Self { is_traced, ..Self::default() }
    }

    pub(super) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().expect("nobody panics while judging")
    }

    pub(super) fn trace(&self, at: Duration, text: impl FnOnce() -> String) {
        if self.is_traced {
            self.pages().trace.push((at, text()));
        }
    }

    pub(super) fn count(&self, what: &'static str, times: u64) {
        *self.pages().counts.entry(what).or_insert(0) += times;
    }

    pub(super) fn note(&self, at: Duration, what: &'static str, text: impl FnOnce() -> String) {
        self.count(what, 1);
        self.trace(at, text);
    }

    pub(super) fn violation(&self, at: Duration, text: String) {
        self.trace(at, || format!("VIOLATED: {text}"));
        self.pages().violations.push(format!("{:.6} s: {text}", at.as_secs_f64()));
    }

    /// A process sends a record with this token, and has been shown these.
    pub(super) fn sends(
        &self,
        process: usize,
        token: u64,
        shown: &Arc<BTreeSet<u64>>,
        highest: u64,
    ) {
        let mut pages = self.pages();
        let grant = pages.grants.entry((process, token)).or_default();
        if grant.stored_at.is_none() {
            (grant.shown, grant.highest) = (shown.clone(), highest);
        }
    }

    pub(super) fn stored(&self, at: Duration, process: usize, token: u64) {
        self.pages().grants.entry((process, token)).or_default().stored_at.get_or_insert(at);
    }

    /// `name` begins to work.
    pub(super) fn begins(&self, at: Duration, process: usize, name: &str, leadership: &Leadership) {
        let token = leadership.fencing_token().0;
        self.note(at, "term", || format!("{name} leads with token {token}"));
        let mut pages = self.pages();
        let Grant { stored_at, shown, highest } =
            pages.grants.get(&(process, token)).cloned().unwrap_or_default();
        let Some(granted) = stored_at else {
            drop(pages);
            return self.violation(at, format!("{name} leads by a write that was never stored"));
        };
        let wrong = pages.is_wrong_token(name, token, granted, highest);
        pages.terms.push(Term {
            process,
            name: name.to_owned(),
            token: Some(token),
            granted,
            begins: at,
            ends: None,
            shown,
        });
        drop(pages);
        if let Some(wrong) = wrong {
            self.violation(at, wrong);
        }
    }

    /// The work under this token has ended, by itself or by force.
    pub(super) fn ends(&self, at: Duration, process: usize, token: u64) {
        let mut pages = self.pages();
        let term = pages
            .terms
            .iter_mut()
            .find(|term| (term.process, term.token) == (process, Some(token)));
        let Some(term) = term else { return };
        if term.ends.replace(term.ends.map_or(at, |ends| ends.min(at))).is_some() {
            return;
        }
        let name = term.name.clone();
        drop(pages);
        self.trace(at, || format!("{name} ends with token {token}"));
    }

    /// Work ends by itself, which would have had to end before.
    pub(super) fn ends_late(&self, at: Duration, process: usize, name: &str, token: u64) {
        let is_told = self.pages().overran.contains(&(process, token));
        if !is_told {
            self.is_late(at, process, format!("{name} overran, and nobody was told"));
        }
    }

    pub(super) fn overran(&self, at: Duration, process: usize, name: &str, overrun: &Overrun) {
        self.note(at, "overrun", || format!("{name}: {overrun:?}"));
        let token = overrun.token.0;
        self.pages().overran.insert((process, token));
        if overrun.late_by > TIMER {
            self.is_late(
                at,
                process,
                format!("{name}: the watchdog came {:?} late", overrun.late_by),
            );
        }
        self.ends(at, process, token);
    }

    /// Wrong, unless the process has just woken up: that is known when its run is over.
    fn is_late(&self, at: Duration, process: usize, text: String) {
        self.pages().late.push((at, process, text));
    }

    /// A candidate of another program begins to work by a write that was sent then.
    pub(super) fn foreign_begins(&self, at: Duration, sent: Duration, process: usize, name: &str) {
        self.note(at, "foreign term", || format!("{name} leads"));
        self.pages().terms.push(Term {
            process,
            name: name.to_owned(),
            token: None,
            granted: sent,
            begins: at,
            ends: None,
            shown: Arc::default(),
        });
    }

    /// It has renewed, or ended; it works until `ends` if nothing more is heard.
    pub(super) fn foreign_ends(&self, process: usize, ends: Duration) {
        let mut pages = self.pages();
        if let Some(term) = pages.terms.iter_mut().rfind(|term| term.process == process) {
            term.ends = Some(ends);
        }
    }

    /// Its process is gone.
    pub(super) fn foreign_is_gone(&self, process: usize, at: Duration) {
        let mut pages = self.pages();
        for term in pages.terms.iter_mut().filter(|term| term.process == process) {
            term.ends = term.ends.map(|ends| ends.min(at));
        }
    }

    pub(super) fn pauses(&self, process: usize, from: Duration, to: Duration) {
        self.pages().pauses.entry(process).or_default().push((from, to));
    }

    pub(super) fn upset(&self, upset: Upset) {
        self.pages().upsets.0.push(upset);
    }

    pub(super) fn tokens_are_forgotten(&self, at: Duration) {
        self.pages().forgotten.push(at);
    }

    /// These leaderships say at this moment that they are valid.
    pub(super) fn are_valid(&self, at: Duration, valid: &[(usize, u64)]) {
        let mut pages = self.pages();
        for (index, one) in valid.iter().enumerate() {
            for other in &valid[index + 1..] {
                pages.both_valid.entry([*one, *other]).or_insert(at);
            }
        }
    }

    /// Who works at the moment, and under which token.
    pub(super) fn working(&self, now: Duration) -> Vec<(usize, String, Option<u64>)> {
        let pages = self.pages();
        let working = pages
            .terms
            .iter()
            .filter(|term| term.begins <= now && term.ends.is_none_or(|ends| ends > now));
        working.map(|term| (term.process, term.name.clone(), term.token)).collect()
    }

    pub(super) fn close(&self, now: Duration) -> Outcome {
        let mut pages = std::mem::take(&mut *self.pages());
        pages.judge(now);
        let Pages { violations, mut trace, counts, .. } = pages;
        trace.sort_by_key(|(at, _)| *at);
        let line = |(at, text): (Duration, String)| format!("{:11.6} s  {text}", at.as_secs_f64());
        Outcome { violations, trace: trace.into_iter().map(line).collect(), counts }
    }
}

impl Pages {
    fn is_wrong_token(
        &self,
        name: &str,
        token: u64,
        granted: Duration,
        shown: u64,
    ) -> Option<String> {
        if shown >= token {
            return Some(format!("{name} has token {token}, and had been shown {shown}"));
        }
        let since = self.forgotten.iter().rfind(|at| **at <= granted).copied().unwrap_or_default();
        let earlier = self.terms.iter().filter(|term| (since..granted).contains(&term.granted));
        let highest = earlier.filter_map(|term| term.token).max()?;
        (highest >= token).then(|| format!("{name} has token {token}, after {highest}"))
    }

    /// Whether the process stands still, or did until just now: then its watchdog and its work wake up together.
    fn has_just_woken(&self, process: usize, at: Duration) -> bool {
        let pauses = self.pauses.get(&process).into_iter().flatten();
        pauses.into_iter().any(|(from, to)| (*from..=*to + TIMER).contains(&at))
    }

    fn judge(&mut self, now: Duration) {
        for (at, process, text) in std::mem::take(&mut self.late) {
            if !self.has_just_woken(process, at) {
                self.violations.push(format!("{:.6} s: {text}", at.as_secs_f64()));
            }
        }
        self.terms.sort_by_key(|term| term.granted);
        for (at, text, excuse) in self.overlaps(now).into_iter().chain(self.valid_at_once()) {
            match excuse {
                Some(excuse) => *self.counts.entry(excuse).or_insert(0) += 1,
                None => self.violations.push(format!("{:.6} s: {text}", at.as_secs_f64())),
            }
        }
    }

    fn overlaps(&self, now: Duration) -> Vec<Overlap> {
        let pairs = self.terms.iter().enumerate().flat_map(|(index, later)| {
            self.terms[..index].iter().map(move |earlier| (earlier, later))
        });
        let overlap = |(earlier, later): (&Term, &Term)| {
            let at = self.overlap(earlier, later, now)?;
            let text = format!(
                "{} (token {:?}) works beside {} (token {:?})",
                later.name, later.token, earlier.name, earlier.token
            );
            Some((at, text, self.excuse(earlier, later, at)))
        };
        pairs.filter_map(overlap).collect()
    }

    fn valid_at_once(&self) -> Vec<Overlap> {
        let find = |key: &(usize, u64)| {
            self.terms.iter().position(|term| (term.process, term.token) == (key.0, Some(key.1)))
        };
        let both = self.both_valid.iter().map(|(pair, at)| {
            let [Some(one), Some(other)] = pair.each_ref().map(find) else {
                return (*at, format!("valid at once, and not in the books: {pair:?}"), None);
            };
            let (earlier, later) = (&self.terms[one.min(other)], &self.terms[one.max(other)]);
            let text = format!("{} and {} are valid at once: {pair:?}", earlier.name, later.name);
            (*at, text, self.excuse(earlier, later, *at))
        });
        both.collect()
    }

    /// Why both may work at once: what was done to the lock or a clock; or the release of a term in between, which
    /// is excused for having begun beside `earlier`. Who reads a release believes it.
    fn excuse(&self, earlier: &Term, later: &Term, at: Duration) -> Option<&'static str> {
        let began_too_early = |between: &Term| {
            between.process != earlier.process
                && (earlier.granted..later.granted).contains(&between.granted)
                && between.ends.is_some_and(|ends| ends <= later.granted)
                && self.upsets.excuse(earlier, between, between.granted).is_some()
        };
        self.upsets.excuse(earlier, later, at).or_else(|| {
            let is_released = self.terms.iter().any(began_too_early);
            is_released.then_some("excused: released by one that is excused")
        })
    }

    /// When both work for the first time. Who stands still does not, nor in the moment of waking up: whatever
    /// comes first then, the watchdog or the work's own look at its leadership.
    fn overlap(&self, earlier: &Term, later: &Term, now: Duration) -> Option<Duration> {
        if earlier.process == later.process {
            return None;
        }
        let until = |term: &Term| term.ends.unwrap_or(now);
        let from = earlier.begins.max(later.begins);
        let to = until(earlier).min(until(later));
        self.awake_at([earlier.process, later.process], from, to)
    }

    /// When these two, which work from `from` until `to`, both run for the first time.
    pub(super) fn awake_at(
        &self,
        processes: [usize; 2],
        mut from: Duration,
        to: Duration,
    ) -> Option<Duration> {
        let rests = |process: &usize| self.pauses.get(process).into_iter().flatten();
        let mut rests: Vec<_> = processes.iter().flat_map(rests).copied().collect();
        rests.sort_unstable();
        for (begins, ends) in rests {
            if begins <= from {
                from = from.max(ends + TIMER);
            }
        }
        (from < to).then_some(from)
    }
}

/// Since when two work at once, whom it concerns, and why that may be.
type Overlap = (Duration, String, Option<&'static str>);

/// Timers have a grain of a millisecond.
const TIMER: Duration = Duration::from_millis(2);
