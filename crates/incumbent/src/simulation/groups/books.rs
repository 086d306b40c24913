//! Who runs which task when, in true time; and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::super::judge::Judge;

/// What members do; each must have happened in a test that counts.
pub(in super::super) const EVENTS: &[&str] = &[
    "a task began",
    "a task was revoked",
    "a task was dropped early",
    "work failed",
    "a member failed",
    "a member left",
    "a process ended itself",
    "stood still in a run",
];

#[derive(Clone)]
pub(super) struct Books {
    pub(super) judge: Judge,
    runs: Arc<Mutex<Vec<Run>>>,
}

/// The work on a task in one process under one token.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) process: usize,
    name: String,
    pub(super) task: String,
    token: u64,
    begins: Duration,
    ends: Option<Duration>,
}

impl Books {
    pub(super) fn new(judge: Judge) -> Self {
        Self { judge, runs: Arc::default() }
    }

    fn runs(&self) -> MutexGuard<'_, Vec<Run>> {
        self.runs.lock().expect("nobody panics with the books")
    }

    /// Work begins. The number names it.
    pub(super) fn begin(
        &self,
        at: Duration,
        process: usize,
        name: &str,
        task: &str,
        token: u64,
    ) -> usize {
        let text = || format!("{name} begins {task} with token {token}");
        self.judge.note(at, "a task began", text);
        let (name, task) = (name.to_owned(), task.to_owned());
        let mut runs = self.runs();
        runs.push(Run { process, name, task, token, begins: at, ends: None });
        runs.len() - 1
    }

    pub(super) fn end(&self, at: Duration, number: usize) {
        let mut runs = self.runs();
        runs[number].ends = Some(at);
        let Run { name, task, token, .. } = runs[number].clone();
        drop(runs);
        self.judge.trace(at, || format!("{name} ends {task} with token {token}"));
    }

    /// Which process runs which task.
    pub(super) fn running(&self, now: Duration) -> BTreeSet<(String, usize)> {
        let runs = self.runs();
        let running =
            runs.iter().filter(|run| run.begins <= now && run.ends.is_none_or(|ends| ends > now));
        running.map(|run| (run.task.clone(), run.process)).collect()
    }

    pub(super) fn starts(&self) -> usize {
        self.runs().len()
    }

    /// No task has two owners, and its tokens rise.
    pub(super) fn close(&self, now: Duration) {
        let mut tasks: BTreeMap<String, Vec<Run>> = BTreeMap::new();
        for run in self.runs().iter() {
            tasks.entry(run.task.clone()).or_default().push(run.clone());
        }
        for runs in tasks.values_mut() {
            runs.sort_by_key(|run| run.begins);
            self.tokens_rise(runs);
            for (index, later) in runs.iter().enumerate() {
                for earlier in &runs[..index] {
                    self.are_apart(earlier, later, now);
                }
            }
        }
    }

    fn tokens_rise(&self, runs: &[Run]) {
        for pair in runs.windows(2) {
            let (earlier, later) = (&pair[0], &pair[1]);
            // Work that has failed begins again under its token.
            let is_again = earlier.process == later.process && earlier.token == later.token;
            if earlier.token >= later.token && !is_again {
                self.judge.violation(later.begins, format!("tokens: {earlier:?}, then {later:?}"));
            }
        }
    }

    fn are_apart(&self, earlier: &Run, later: &Run, now: Duration) {
        let until = |run: &Run| run.ends.unwrap_or(now);
        let (from, to) = (later.begins, until(earlier).min(until(later)));
        if from >= to {
            return;
        }
        let processes = [earlier.process, later.process];
        let at = self.judge.pages().awake_at(processes, from, to);
        if let Some(at) = at {
            self.judge.violation(at, format!("two owners: {earlier:?} and {later:?}"));
        }
    }
}
