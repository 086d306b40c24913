//! Kubernetes Events about what an allocator does, on page 0 of the table: a few for people, not one for each task.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use incumbent_core::group::{Page, PageIndex};
use incumbent_core::{FencingToken, Instant};

use super::board::{Board, FullPage, StuckTask};
use crate::events::{Events, Kind};
use crate::stored::Stored;

/// What is still to be told.
pub(super) struct Bulletin {
    events: Events,
    /// The content of the last write, which has no answer yet.
    sent: Option<(PageIndex, Page)>,
    /// The highest token of each page of which the tasks were counted.
    counted: BTreeMap<PageIndex, FencingToken>,
    /// How many tasks were given to whom, and how many were asked to stop.
    given: BTreeMap<String, usize>,
    revoked: usize,
    /// Before this, no more assignments are reported.
    next: Instant,
    /// Tasks that are stuck.
    stuck: Told,
    /// Pages that have no room for all of their tasks.
    full: Told,
    wake: Option<Instant>,
}

impl Bulletin {
    pub(super) fn new(events: Events) -> Self {
        Self {
            events,
            sent: None,
            counted: BTreeMap::new(),
            given: BTreeMap::new(),
            revoked: 0,
            next: Instant::START,
            stuck: Told::default(),
            full: Told::default(),
            wake: None,
        }
    }

    /// When to tell something, if nothing happens before.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.wake
    }

    /// This is about to be written.
    pub(super) fn sent(&mut self, index: PageIndex, page: Page) {
        self.sent = Some((index, page));
    }

    /// A write was answered: this is stored.
    pub(super) fn stored(&mut self, index: PageIndex, stored: &Page, now: Instant) {
        let Some((sent, page)) = self.sent.take() else { return };
        let before = self.counted.insert(index, stored.highest_token);
        if sent != index || page != *stored {
            return;
        }
        for (term, _, _, given) in page.entries() {
            let is_of_this_write = given.revoked == Some(page.replaces);
            self.revoked += usize::from(is_of_this_write);
            // All that one write gives has its highest token.
            let is_new = given.token == page.highest_token && before != Some(page.highest_token);
            if is_new && given.revoked.is_none() {
                *self.given.entry(term.member.to_string()).or_default() += 1;
            }
        }
        self.wake = Some(self.next.max(now));
    }

    /// Tells what is due, about page 0 as it is stored.
    pub(super) fn tell(
        &mut self,
        now: Instant,
        bound: Duration,
        board: &Board,
        stored: Option<&Stored>,
    ) {
        let (stuck, full) = (board.stuck(now, bound), board.full());
        let news = self.stuck.news(&stuck, |task| &task.name);
        if !news.is_empty() && now >= self.next {
            drop(self.events.tell(Kind::Warning, "TasksStuck", &words_of_stuck(&news), stored));
            self.stuck.tell(&news, |task| &task.name);
            self.next = now + INTERVAL;
        }
        let news = self.full.news(full, |page| &page.config_map);
        if !news.is_empty() && now >= self.next {
            drop(self.events.tell(Kind::Warning, "PageFull", &words_of_full(&news), stored));
            self.full.tell(&news, |page| &page.config_map);
            self.next = now + INTERVAL;
        }
        let has_changes = self.revoked > 0 || !self.given.is_empty();
        if has_changes && now >= self.next {
            drop(self.events.tell(Kind::Normal, "TasksAssigned", &self.words(), stored));
            (self.given, self.revoked) = (BTreeMap::new(), 0);
            self.next = now + INTERVAL;
        }
        let is_left = self.revoked > 0
            || !self.given.is_empty()
            || !self.stuck.news(&stuck, |task| &task.name).is_empty()
            || !self.full.news(full, |page| &page.config_map).is_empty();
        let later = is_left.then_some(self.next);
        self.wake = later.into_iter().chain(board.next_stuck_at(now, bound)).min();
    }

    fn words(&self) -> String {
        let to = |(member, tasks): (&String, &usize)| format!("{tasks} to {member}");
        let mut shares: Vec<String> = self.given.iter().take(MOST_NAMED).map(to).collect();
        if self.given.len() > MOST_NAMED {
            shares.push(format!("others to {} more members", self.given.len() - MOST_NAMED));
        }
        let assigned: usize = self.given.values().sum();
        let mut words = Vec::new();
        if assigned > 0 {
            words.push(format!("assigned {assigned} tasks: {}", shares.join(", ")));
        }
        if self.revoked > 0 {
            words.push(format!("asked the owners of {} tasks to stop", self.revoked));
        }
        words.join("; ")
    }
}

/// What was told, for as long as it is so.
#[derive(Default)]
struct Told(BTreeSet<String>);

impl Told {
    /// What was not told yet, of all that is so.
    fn news<'a, T>(&mut self, all: &'a [T], name: impl Fn(&T) -> &String) -> Vec<&'a T> {
        let names: BTreeSet<&String> = all.iter().map(&name).collect();
        self.0.retain(|told| names.contains(told));
        all.iter().filter(|one| !self.0.contains(name(one))).collect()
    }

    fn tell<T>(&mut self, news: &[&T], name: impl Fn(&T) -> &String) {
        self.0.extend(news.iter().map(|one| name(one).clone()));
    }
}

fn words_of_full(full: &[&FullPage]) -> String {
    let one = |page: &&FullPage| format!("in {} for {} tasks", page.config_map, page.tasks);
    let mut named: Vec<String> = full.iter().take(MOST_NAMED).map(one).collect();
    if full.len() > MOST_NAMED {
        named.push(format!("and {} more pages", full.len() - MOST_NAMED));
    }
    format!("finds no room {}, so these tasks have no owner", named.join(", "))
}

fn words_of_stuck(stuck: &[&StuckTask]) -> String {
    let one = |task: &&StuckTask| {
        let (name, seconds) = (&task.name, task.waits_for.as_secs());
        match &task.owner {
            Some(owner) => {
                format!(
                    "{name:.60} still runs in {owner:.60}, which was asked to stop {seconds} s ago"
                )
            }
            None => format!("{name:.60} has had no owner for {seconds} s"),
        }
    };
    let mut named: Vec<String> = stuck.iter().take(MOST_NAMED).map(one).collect();
    if stuck.len() > MOST_NAMED {
        named.push(format!("and {} more", stuck.len() - MOST_NAMED));
    }
    format!("sees stuck tasks: {}", named.join("; "))
}

/// One Event for all changes of this time.
const INTERVAL: Duration = Duration::from_secs(10);

/// A message has room for a kilobyte.
const MOST_NAMED: usize = 5;
