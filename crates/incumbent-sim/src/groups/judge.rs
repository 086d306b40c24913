//! The properties, judged at true time, which no simulated process can read.

use std::collections::BTreeMap;

use incumbent_core::FencingToken;
use incumbent_core::group::TaskName;

use crate::clock::Micros;

/// A property that did not hold.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Which one.
    pub property: &'static str,
    /// How.
    pub detail: String,
}

/// No two processes run one task.
pub(super) const ONE_OWNER: &str = "one-owner";
/// Each start of a task has a higher token than all starts before it.
pub(super) const TOKENS_RISE: &str = "tokens-rise";
/// No process runs two permits.
pub(super) const ONE_PERMIT: &str = "one-permit";
/// A page that an allocator writes can be read.
pub(super) const PAGES_READ: &str = "pages-can-be-read";
/// After healing, each listed task runs once, and no other runs.
pub(super) const ALL_RUN: &str = "all-tasks-run";
/// Then no member has too much or too little, if all run one version.
pub(super) const LOADS_ARE_EVEN: &str = "loads-are-even";
/// After that, nothing moves.
pub(super) const NOTHING_MOVES: &str = "nothing-moves-without-need";
/// After that, processes send only renewals and polls.
pub(super) const NO_BUSY_LOOP: &str = "no-busy-loop";

#[derive(Default)]
pub(super) struct Judge {
    running: BTreeMap<TaskName, BTreeMap<usize, FencingToken>>,
    highest: BTreeMap<TaskName, FencingToken>,
    /// When a task was last started or stopped.
    pub(super) last_change: Micros,
    pub(super) broken: Option<Broken>,
    /// An old copy of a page was written back: an allocator that remembers nothing newer believes it. That is the one
    /// edit by hand that is not guaranteed to be noticed.
    pub(super) has_old_copy: bool,
    /// How often that excused something.
    pub(super) excused: u64,
}

impl Judge {
    pub(super) fn breaks(&mut self, property: &'static str, detail: String) {
        self.broken.get_or_insert(Broken { property, detail });
    }

    fn breaks_unless_old(&mut self, property: &'static str, detail: String) {
        match self.has_old_copy {
            true => self.excused += 1,
            false => self.breaks(property, detail),
        }
    }

    pub(super) fn starts(&mut self, at: Micros, node: usize, task: &TaskName, token: FencingToken) {
        self.last_change = at;
        let owners = self.running.entry(task.clone()).or_default();
        owners.insert(node, token);
        if owners.len() > 1 {
            let detail = format!("{task} is run by {owners:?}");
            self.breaks_unless_old(ONE_OWNER, detail);
        }
        let highest = self.highest.entry(task.clone()).or_default();
        let before = std::mem::replace(highest, token.max(*highest));
        if token <= before {
            self.breaks_unless_old(
                TOKENS_RISE,
                format!("{task} starts with token {token} after {before}"),
            );
        }
    }

    pub(super) fn counts_permits(&mut self, node: usize) {
        let permits = self.load(node);
        if permits > 1 {
            self.breaks_unless_old(ONE_PERMIT, format!("n{node} runs {permits} permits"));
        }
    }

    pub(super) fn stops(&mut self, at: Micros, node: usize, task: &TaskName) {
        self.last_change = at;
        if let Some(owners) = self.running.get_mut(task) {
            owners.remove(&node);
        }
    }

    pub(super) fn ends(&mut self, at: Micros, node: usize) {
        self.last_change = at;
        for owners in self.running.values_mut() {
            owners.remove(&node);
        }
    }

    pub(super) fn owners(&self, task: &TaskName) -> usize {
        self.running.get(task).map_or(0, BTreeMap::len)
    }

    /// How many tasks run on this node.
    pub(super) fn load(&self, node: usize) -> usize {
        self.running.values().filter(|owners| owners.contains_key(&node)).count()
    }

    pub(super) fn tasks(&self) -> impl Iterator<Item = &TaskName> {
        self.running.keys()
    }
}
