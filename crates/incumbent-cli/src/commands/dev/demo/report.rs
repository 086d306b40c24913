//! What the demo measured, in words and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::register::ObservedTerm;

/// What one step did to the election.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) before: String,
    pub(crate) after: String,
    /// From the last write of one leader to the first of the next; none where the leader stayed.
    pub(crate) gap_ms: Option<f64>,
    /// For how long two believed to lead at once.
    pub(crate) overlap_ms: f64,
    /// Writes with an old token, all refused.
    pub(crate) refused: u64,
    /// A promise that was broken, in words.
    pub(crate) violation: Option<String>,
}

/// The whole run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) pass: bool,
    pub(crate) steps: Vec<Step>,
    pub(crate) terms: usize,
    pub(crate) overlap_ms: f64,
    pub(crate) writes: u64,
    pub(crate) refused: u64,
    pub(crate) violations: Vec<String>,
}

impl Report {
    pub(crate) fn new(steps: Vec<Step>, terms: &BTreeMap<u64, ObservedTerm>) -> Self {
        let mut violations: Vec<_> =
            steps.iter().filter_map(|step| step.violation.clone()).collect();
        let overlap = total_overlap(terms);
        if !overlap.is_zero() {
            violations.push(format!("two believed to lead at once for {:.1} ms", millis(overlap)));
        }
        Self {
            pass: violations.is_empty(),
            steps,
            terms: terms.len(),
            overlap_ms: millis(overlap),
            writes: terms.values().map(|term| term.accepted).sum(),
            refused: terms.values().map(|term| term.refused).sum(),
            violations,
        }
    }
}

/// For how long the leader of one term still believed to lead when that of a newer term did.
pub(crate) fn overlap(older: &ObservedTerm, newer: &ObservedTerm) -> Duration {
    older.last_belief.saturating_sub(newer.first_belief)
}

pub(crate) fn total_overlap(terms: &BTreeMap<u64, ObservedTerm>) -> Duration {
    let terms: Vec<_> = terms.values().collect();
    terms.windows(2).map(|pair| overlap(pair[0], pair[1])).sum()
}

pub(crate) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(first: u64, last: u64) -> ObservedTerm {
        ObservedTerm {
            first_belief: Duration::from_millis(first),
            last_belief: Duration::from_millis(last),
            ..ObservedTerm::default()
        }
    }

    #[test]
    fn an_overlap_fails_the_run_and_is_said_in_words() {
        let apart = BTreeMap::from([(3, term(0, 100)), (7, term(110, 200))]);
        assert!(Report::new(Vec::new(), &apart).pass);
        let overlapping = BTreeMap::from([(3, term(0, 100)), (7, term(90, 200))]);
        let report = Report::new(Vec::new(), &overlapping);
        assert!(!report.pass);
        assert_eq!(report.violations, ["two believed to lead at once for 10.0 ms"]);
    }
}
