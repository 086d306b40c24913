//! What must hold some time after everything has healed.

use std::collections::BTreeSet;

use incumbent_core::group::{Kind, PageIndex, TaskName};

use super::cluster::Name;
use super::judge::{ALL_RUN, LOADS_ARE_EVEN, NO_BUSY_LOOP, NOTHING_MOVES};
use super::node::wishes;
use super::world::World;

impl World {
    pub(super) fn judge_liveness(&mut self) {
        // Page 0 says what the tasks are, whatever the programs want.
        let first = self.cluster.get(Name::Page(PageIndex::FIRST)).and_then(|page| page.page());
        let shape = first.and_then(|first| first.page?.shape());
        let listed: BTreeSet<TaskName> = match shape.map_or(self.plan.kind, |shape| shape.kind) {
            kind @ Kind::Slots(_) => kind.tasks().collect(),
            Kind::Permits(count) => return self.judge_permits(count),
            kind @ Kind::Named => {
                wishes(kind, self.listed.iter().copied()).tasks.into_keys().collect()
            }
        };
        let wrong: Vec<String> = self
            .judge
            .tasks()
            .chain(&listed)
            .filter(|task| self.judge.owners(task) != usize::from(listed.contains(task)))
            .map(|task| format!("{task} has {} owners", self.judge.owners(task)))
            .collect();
        if !wrong.is_empty() {
            self.judge.breaks(ALL_RUN, wrong.join(", "));
        }
        self.judge_loads(listed.len());
        self.count_requests();
    }

    /// As many permits as there are, or one for each member, have an owner.
    fn judge_permits(&mut self, count: u16) {
        let processes = self.nodes.iter().filter_map(|node| node.process.as_ref());
        let members = processes.filter(|process| process.seat.term().is_some()).count();
        let owned = self.judge.tasks().map(|task| self.judge.owners(task)).sum::<usize>();
        let due = members.min(usize::from(count));
        if owned != due {
            let detail = format!("{owned} permits of {count} have an owner, and {due} should");
            self.judge.breaks(ALL_RUN, detail);
        }
        self.count_requests();
    }

    fn count_requests(&mut self) {
        self.requests_at_judgement = self.nodes.iter().map(|node| node.requests).sum();
    }

    /// A load may be one tenth, or one task, beside the fair share.
    fn judge_loads(&mut self, tasks: usize) {
        let members = self.nodes.iter().enumerate().filter_map(|(index, node)| {
            let process = node.process.as_ref().filter(|process| process.seat.term().is_some())?;
            Some((index, &process.holder_info.seat.as_ref()?.version))
        });
        let (members, versions): (Vec<usize>, BTreeSet<_>) = members.unzip();
        if versions.len() != 1 {
            return;
        }
        let share = tasks as f64 / members.len() as f64;
        let loads: Vec<f64> = members.iter().map(|node| self.judge.load(*node) as f64).collect();
        let most = (share * 1.1).max(share + 1.0);
        let least = (share * 0.9).min(share - 1.0);
        if !loads.iter().all(|load| (least..=most).contains(load)) {
            let detail = format!("{loads:?}, and {share} is fair");
            self.judge.breaks(LOADS_ARE_EVEN, detail);
        }
    }

    pub(super) fn judge_calm(&mut self) {
        self.has_ended = true;
        if self.judge.last_change > self.plan.judge_at {
            let at = self.judge.last_change as f64 / 1e6;
            self.judge.breaks(NOTHING_MOVES, format!("something started or stopped at {at}"));
        }
        let requests: u64 = self.nodes.iter().map(|node| node.requests).sum();
        let sent = requests - self.requests_at_judgement;
        let renewals = (self.plan.end_at - self.plan.judge_at)
            / (self.plan.timing.renew_interval().as_micros() as u64 * 8 / 10);
        let most = (self.nodes.len() as u64 + 1) * (renewals + 4);
        if sent > most {
            self.judge.breaks(NO_BUSY_LOOP, format!("{sent} requests, at most {most} are needed"));
        }
    }
}
