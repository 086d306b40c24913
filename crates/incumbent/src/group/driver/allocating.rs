//! The allocator's side of a member: requests for the table and the seats.

use incumbent_core::group::{
    Answer, Ask, Event, Excess, Happening, PageIndex, PageVersion, Sought,
};
use incumbent_core::{Identity, Snapshot};

use super::super::board::FullPage;
use super::super::store::{Done, asked};
use super::super::troubles::Trouble;
use super::{Driver, MOST_UNDECIDED};
use crate::error::Error;
use crate::lock::LockKind;
use crate::proof::watch_for_ends;

use super::super::note::Note;

impl Driver {
    pub(super) fn want(&mut self) {
        if let Some(wishes) = self.source.wishes() {
            let now = self.clock.instant();
            self.board
                .send_modify(|board| board.list(now, wishes.kind, wishes.tasks.keys().cloned()));
            self.allocate(Happening::Wishes(wishes));
        }
    }

    pub(super) fn allocate(&mut self, happening: Happening) {
        let may_grow = matches!(
            happening,
            Happening::Active(true)
                | Happening::Wishes(_)
                | Happening::Seat(..)
                | Happening::SeatsListed(_)
        );
        let now = self.clock.now();
        let undecided = &mut self.state.undecided;
        undecided.may_have_grown |= may_grow;
        // When many members join, one decision about all tasks serves them all.
        let is_of_a_seat = matches!(happening, Happening::Seat(..));
        if is_of_a_seat && !self.notes.is_empty() && undecided.news < MOST_UNDECIDED {
            undecided.news += 1;
            self.allocator.learn(now, happening);
            self.state.allocator_wake = Some(now.instant);
            return;
        }
        let may_have_grown = std::mem::take(undecided).may_have_grown;
        let Sought { ask, wake, table } = self.allocator.step(now, happening);
        self.state.allocator_wake = wake;
        if let Some(table) = table.filter(|table| self.state.named_table.as_ref() != Some(table)) {
            self.state.named_table = Some(table.clone());
            self.lock.name(table);
        }
        if may_have_grown && self.state.allocates {
            self.look_at_size();
        }
        self.look_at_room();
        let Some(ask) = ask else { return };
        let current = match &ask {
            Ask::ReplacePage { index, .. } => self.state.pages.get(index).cloned(),
            _ => None,
        };
        if let (Some(bulletin), Ask::ReplacePage { index, page, .. }) = (&mut self.bulletin, &ask) {
            bulletin.sent(*index, page.clone());
        }
        tracing::debug!(group = self.store.group(), action = action(&ask), "asking");
        let (store, clock, timing) = (self.store.clone(), self.clock, self.timing);
        let has_conflicted = self.state.has_conflicted;
        self.state.in_flight = Some(Box::pin(async move {
            let asked = asked(&ask);
            let done = clock.timeout(timing.request_timeout(), store.send(ask, current)).await;
            let done = done.unwrap_or_else(|| store.late(asked));
            if has_conflicted && done.answer == Answer::Conflict {
                // Not another writer: something answers each write like this. That is not to become a busy loop.
                clock.sleep(timing.retry_period()).await;
            }
            done
        }));
    }

    pub(super) fn on_answer(&mut self, done: Done) {
        self.state.in_flight = None;
        if !matches!(done.asked.1, "get" | "list") {
            self.state.has_conflicted = done.answer == Answer::Conflict;
        }
        if let Some((index, stored)) = done.page {
            self.keep(index, stored);
        }
        match done.trouble {
            Some(trouble) => self.on_trouble(trouble),
            None => self.forget_trouble(done.asked),
        }
        if let Answer::Page(page) = &done.answer {
            // The member need not wait for its watch.
            if let Some(index) = self.index_of(page) {
                if let (Some(bulletin), Some(content)) = (&mut self.bulletin, &page.page) {
                    bulletin.stored(index, content, self.clock.instant());
                }
                self.show_page(index, page);
                self.work(Event::Page(index, page.clone()));
            }
        }
        self.allocate(Happening::Answer(done.answer));
        self.report();
    }

    fn index_of(&self, page: &PageVersion) -> Option<PageIndex> {
        let mut pages = self.state.pages.iter();
        pages.find(|(_, stored)| *stored.version() == page.version).map(|(index, _)| *index)
    }

    /// Refuses a table that would send too much. One that assigns tasks stays as it is.
    fn look_at_size(&mut self) {
        let asked = (LockKind::ConfigMap, "grow");
        let Some(Excess { tasks, members, bytes }) = self.allocator.excess() else {
            return self.settle_trouble(asked);
        };
        let group = self.store.group();
        let error = Error::Full {
            what: format!(
                "group {group} has no room for {tasks} tasks and {members} members: each change of its table would \
                 send about {} MiB, and {} MiB is the most",
                bytes >> 20,
                Excess::MOST_BYTES >> 20
            ),
            hint: "use fewer tasks, each a range of keys; or shorter names; or fewer members"
                .to_owned(),
        };
        let may_end = self.member.is_idle() && self.board.borrow().is_empty();
        self.tell_trouble(Trouble { asked, error, lasts: true }, may_end);
    }

    /// Reports pages that have no room for all of their tasks. The tasks on them continue.
    fn look_at_room(&mut self) {
        let full = self.allocator.full_pages().iter().map(|(index, tasks)| FullPage {
            config_map: self.store.page_name(*index),
            tasks: *tasks,
        });
        let full: Vec<FullPage> = full.collect();
        if *self.board.borrow().full() == full {
            return;
        }
        let asked = (LockKind::ConfigMap, "fill");
        match self.store.full(&full) {
            Some(error) => self.tell_trouble(Trouble { asked, error, lasts: true }, false),
            None => self.settle_trouble(asked),
        }
        self.board.send_modify(|board| board.fill(full));
    }

    /// Tells people what was done, where that is asked for.
    pub(super) fn report(&mut self) {
        let (now, bound) = (self.clock.instant(), self.bound);
        if let Some(bulletin) = self.bulletin.as_mut().filter(|_| self.state.allocates) {
            let board = self.board.borrow();
            bulletin.tell(now, bound, &board, self.state.pages.get(&PageIndex::FIRST));
        }
    }

    /// Remembers in which container a member lives, to hear of its end.
    pub(super) fn suspect(&mut self, member: &Identity, seat: &Snapshot) {
        let record = &seat.record;
        let lives = record.session.zip(record.holder_info.container.clone());
        let Some((session, container)) = lives else {
            self.state.suspects.send_if_modified(|known| known.remove(member).is_some());
            return;
        };
        // A later start of the same container shows that the earlier one has ended.
        if self.own.as_ref().is_some_and(|own| own.succeeds(&container)) {
            self.allocate(Happening::Ended(member.clone(), session));
        }
        let Some(report) = container.report.clone().filter(|_| self.heeds_kubelet) else { return };
        self.state.suspects.send_if_modified(|known| {
            let news = (session, container);
            known.insert(member.clone(), news.clone()) != Some(news)
        });
        if self.state.watched_pods.insert(report.namespace.clone()) {
            let (requests, notes) = (self.store.requests().clone(), self.sender.downgrade());
            let suspects = self.state.suspects.subscribe();
            let tell = move |member: &Identity, session| {
                let note = Note::Ended(member.clone(), session);
                notes.upgrade().is_some_and(|notes| notes.send(note).is_ok())
            };
            tokio::spawn(watch_for_ends(requests, report.namespace, suspects, tell));
        }
    }
}

/// What is asked for, as a word for the log.
fn action(ask: &Ask) -> &'static str {
    match ask {
        Ask::CreatePage(..) => "create-page",
        Ask::ReplacePage { .. } => "replace-page",
        Ask::DeletePage { .. } => "delete-page",
        Ask::ReadPage(_) => "read-page",
        Ask::CreateSeat(_) => "create-seat",
        Ask::ReadSeat(_) => "read-seat",
        Ask::VacateSeat { .. } => "vacate-seat",
        Ask::DeleteSeat { .. } => "delete-seat",
        Ask::ListSeats => "list-seats",
    }
}
