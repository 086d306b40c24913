//! What should exist and is in no list of the group: a read by name says whether it is missing, or only lacks the label.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use incumbent_core::group::PageIndex;
use incumbent_core::{Identity, Instant};
use serde_json::Value;

use super::{GroupChange, GroupSurvey, Heard, revision};
use crate::answer::Why;
use crate::group::store::Store;
use crate::lock::LockKind;

/// An object of the group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Page(PageIndex),
    /// The seat of a member to which the table gives tasks.
    Seat(Identity),
    Config,
}

/// What a read by name has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It does not exist.
    Missing,
    /// It exists at this version, without the group's label.
    Unlabelled(u64),
    /// It exists, and the watch is about to show it.
    Labelled,
    /// It cannot be read, and why.
    Unseen(String),
}

/// Looking for one object.
#[derive(Debug)]
pub(super) struct Search {
    found: Option<Found>,
    sent_at: Instant,
    is_under_way: bool,
}

impl GroupSurvey {
    /// What the last read by name has found.
    pub(super) fn found(&self, part: &Part) -> Option<&Found> {
        self.sought.get(part)?.found.as_ref()
    }

    /// What no list shows, of all that should exist.
    fn hidden(&self) -> BTreeSet<Part> {
        let all = self.shape().map_or(1, |shape| shape.pages);
        let pages = (0..all).map(PageIndex).filter(|page| !self.pages.contains_key(page));
        let owners = self.obeyed().flat_map(|(_, page)| page.orders.keys());
        let owners: BTreeSet<&Identity> = owners.map(|term| &term.member).collect();
        let owners = owners.into_iter().filter(|owner| self.seat(owner).is_none());
        let has_config = self.config.as_ref().is_some_and(|config| config.has_label);
        let parts = pages.map(Part::Page).chain(owners.cloned().map(Part::Seat));
        parts.chain((!has_config).then_some(Part::Config)).collect()
    }

    /// Reads what is hidden, now and once.
    pub(super) async fn search_once(&mut self) {
        let sent_at = self.clock.instant();
        let hidden = self.hidden().into_iter().take(AT_ONCE);
        let reads = hidden.map(async |part| (look(&self.store, &part).await, part));
        for ((found, object), part) in join_all(reads).await {
            let search = Search { found: None, sent_at, is_under_way: true };
            self.sought.insert(part.clone(), search);
            self.find(part, sent_at, found, object);
        }
    }

    /// Reads what is newly hidden, and what has been for long.
    pub(super) fn search(&mut self, now: Instant) {
        let hidden = self.hidden();
        self.sought.retain(|part, _| hidden.contains(part));
        let under_way = self.sought.values().filter(|search| search.is_under_way).count();
        let is_due = |search: &Search| !search.is_under_way && now >= search.sent_at + AGAIN;
        let due = hidden.into_iter().filter(|part| self.sought.get(part).is_none_or(is_due));
        let mut due: Vec<Part> = due.collect();
        // Those that were never read come first.
        due.sort_by_key(|part| self.sought.get(part).map(|search| search.sent_at));
        for part in due.into_iter().take(AT_ONCE.saturating_sub(under_way)) {
            let found = self.sought.remove(&part).and_then(|search| search.found);
            self.sought.insert(part.clone(), Search { found, sent_at: now, is_under_way: true });
            let (store, clock, sender) = (self.store.clone(), self.clock, self.sender.downgrade());
            tokio::spawn(async move {
                let (found, object) = look(&store, &part).await;
                if let Some(sender) = sender.upgrade() {
                    let found = Heard::Found(part, now, found, object);
                    let _ = sender.send((clock.instant(), found));
                }
            });
        }
    }

    /// When the next read is due.
    pub(super) fn next_search(&self) -> Instant {
        let waiting = self.sought.values().filter(|search| !search.is_under_way);
        waiting.map(|search| search.sent_at + AGAIN).min().unwrap_or(NEVER)
    }

    /// A read by name is answered.
    pub(super) fn find(
        &mut self,
        part: Part,
        sent_at: Instant,
        found: Found,
        object: Option<Value>,
    ) -> Option<GroupChange> {
        let search = self.sought.get_mut(&part).filter(|search| search.sent_at == sent_at)?;
        search.is_under_way = false;
        let is_news = search.found.as_ref() != Some(&found);
        search.found = Some(found.clone());
        match (part, &found) {
            (Part::Config, Found::Missing) => self.config.take().map(|_| GroupChange::Config),
            // Without its label, no member reads it, and people are to see why.
            (Part::Config, _) | (Part::Page(_), Found::Labelled) => self.see(object?),
            (Part::Page(_), _) => is_news.then_some(GroupChange::Table),
            (Part::Seat(_), _) => is_news.then_some(GroupChange::Members),
        }
    }
}

async fn look(store: &Store, part: &Part) -> (Found, Option<Value>) {
    let maps = LockKind::ConfigMap.collection_path(Some(store.namespace()));
    let path = match part {
        Part::Page(index) => format!("{maps}/{}", store.page_name(*index)),
        Part::Config => format!("{maps}/{}", store.config_name()),
        Part::Seat(member) => store.seat(member.as_str()).path(),
    };
    match store.requests().read(&path).await {
        Ok(object) if store.has_label(&object) => (Found::Labelled, Some(object)),
        Ok(object) => (Found::Unlabelled(revision(&object)), Some(object)),
        Err(failure) if matches!(failure.why, Why::Gone | Why::NoNamespace) => {
            (Found::Missing, None)
        }
        Err(failure) => (Found::Unseen(failure.message), None),
    }
}

/// How many reads are sent at once.
const AT_ONCE: usize = 20;

/// When what was found is read again: hidden objects are rare, and mostly not for long.
const AGAIN: Duration = Duration::from_secs(15);

const NEVER: Instant = Instant::new(Duration::MAX);
