//! Since when a survey has seen what it sees. Each span is too short rather than too long.

use std::collections::{BTreeMap, BTreeSet};

use incumbent_core::Instant;
use incumbent_core::group::{Assignment, PageIndex, SeatTerm, TaskName};

use super::GroupSurvey;
use super::sought::{Found, Part};

/// What the table says of a task: whose it is, and how.
pub(super) type Entry = (SeatTerm, Assignment);

#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Since when the table has said this of a task.
    pub(super) entries: BTreeMap<TaskName, (Entry, Instant)>,
    /// Since when no page has given a task to a member, though the page that would can be seen.
    pub(super) unowned: BTreeMap<TaskName, Instant>,
    /// Tasks of pages that cannot be seen.
    pub(super) hidden: BTreeSet<TaskName>,
    /// Since when a seat has shown that a term is over to which the table gives tasks. The silence of its member is
    /// timed elsewhere.
    pub(super) ended: BTreeMap<SeatTerm, Instant>,
}

impl GroupSurvey {
    /// Counts from this moment on what is new.
    pub(super) fn count(&mut self, at: Instant) {
        let mut known = std::mem::take(&mut self.counted);
        let entries = self.owned().into_iter().map(|(task, (entry, _))| {
            let before = known.entries.remove(&task).filter(|(before, _)| *before == entry);
            let since = before.map_or(at, |(_, since)| since);
            (task, (entry, since))
        });
        let entries: BTreeMap<_, _> = entries.collect();
        let listed = self.listed().into_iter();
        let without = listed.filter(|task| !entries.contains_key(task));
        let (seen, hidden): (BTreeSet<_>, BTreeSet<_>) =
            without.partition(|task| self.is_seen(task));
        let since = |task: TaskName| {
            let since = known.unowned.get(&task).copied().unwrap_or(at);
            (task, since)
        };
        let unowned = seen.into_iter().map(since).collect();
        self.counted = Counted { entries, unowned, hidden, ended: known.ended };
        self.count_ended(at);
    }

    /// The same of terms alone, which is all that a seat can change.
    pub(super) fn count_ended(&mut self, at: Instant) {
        let known = std::mem::take(&mut self.counted.ended);
        let terms: BTreeSet<_> = self.obeyed().flat_map(|(_, page)| page.orders.keys()).collect();
        let ended = terms.into_iter().filter_map(|term| {
            // A term that is over does not begin again.
            let since = known.get(term).copied();
            let since = since.or_else(|| self.has_ended(term).then_some(at))?;
            Some((term.clone(), since))
        });
        self.counted.ended = ended.collect();
    }

    /// Whether the page that would name this task can be seen.
    fn is_seen(&self, task: &TaskName) -> bool {
        match self.page_of(task) {
            Some(index) => self.pages.contains_key(&index),
            // An unreadable page 0 may have other pages, which members obey.
            None if self.pages.contains_key(&PageIndex::FIRST) => self.pages.len() == 1,
            None => self.found(&Part::Page(PageIndex::FIRST)) == Some(&Found::Missing),
        }
    }

    /// Whether the seat shows, whatever the time, that this term is over.
    fn has_ended(&self, term: &SeatTerm) -> bool {
        let Some(seat) = self.seat(&term.member) else {
            return self.found(&Part::Seat(term.member.clone())) == Some(&Found::Missing);
        };
        let is_that_seat = seat.view.object["metadata"]["uid"] == *term.seat.0;
        if is_that_seat && seat.view.token == Some(term.token) {
            return false;
        }
        // A vacant seat keeps the token of its last term; another term has a higher one.
        let is_later = || {
            let read = self.store.read_seat(&seat.view.object);
            read.is_some_and(|(_, shown)| shown.record.last_token >= term.token)
        };
        !is_that_seat || is_later()
    }
}
