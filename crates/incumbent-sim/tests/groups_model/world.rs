//! What can happen in a world, and what it does.

use std::time::Duration;

use incumbent_core::group::{Answer, Ask, Event, Happening, PageIndex, TaskName};
use incumbent_core::{Observation, Record};

use crate::state::{Late, State, TASKS};
use crate::store::{LEASE, identity};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A member sees the next version of a page.
    SeesPage(usize, usize),
    /// A member is shown once more what it saw before.
    Replay(usize, usize),
    /// A member writes to its seat what it has to say.
    Says(usize),
    /// The time for which a member waits before a release is over.
    Wakes(usize),
    Stops(usize, TaskName),
    /// A member learns that its seat is not its own any more.
    Loses(usize),
    Acquires(usize),
    /// A member that leaves and runs nothing releases its seat and ends.
    Ends(usize),
    AllocatorSeesPage(usize, usize),
    AllocatorSeesSeat(usize, usize),
    /// The request of an allocator is performed and answered.
    Answers(usize),
    /// A short wait of an allocator is over.
    AllocatorWakes(usize),
    /// The allocators' Lease names the table that an allocator knows.
    Names(usize),
    /// A write is performed whose sender has given up.
    Lands,
    // What needs luck:
    Starts(usize),
    Crash(usize),
    Cut(usize),
    Leave(usize),
    Loss(usize),
    DeletePage(usize),
    DeleteSeat(usize),
    TakeLabel(usize),
    Edit(&'static str),
    /// The longest lease passes on the clock of an allocator.
    Pass(usize),
}

impl Action {
    pub(crate) fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Starts(_)
                | Self::Crash(_)
                | Self::Cut(_)
                | Self::Leave(_)
                | Self::Loss(_)
                | Self::DeletePage(_)
                | Self::DeleteSeat(_)
                | Self::TakeLabel(_)
                | Self::Edit(_)
                | Self::Pass(_)
        )
    }
}

/// Waits of an allocator are shorter than this, or as long as a lease.
const SHORT: Duration = Duration::from_secs(2);

impl State {
    pub(crate) fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for index in 0..self.members.len() {
            self.actions_of_member(index, &mut actions);
        }
        for index in 0..2 {
            self.actions_of_allocator(index, &mut actions);
        }
        actions.extend(self.adrift.is_some().then_some(Action::Lands));
        for index in 0..2 {
            let wanted = &self.allocators[index].wants_to_name;
            let is_other = wanted.is_some() && *wanted != self.store.named;
            actions.extend(is_other.then_some(Action::Names(index)));
        }
        self.faults(&mut actions);
        actions
    }

    fn actions_of_member(&self, index: usize, actions: &mut Vec<Action>) {
        let process = &self.members[index];
        let Some(member) = &process.member else {
            actions.extend((self.luck.starts > 0).then_some(Action::Starts(index)));
            return;
        };
        for page in 0..2 {
            let pages = &self.store.pages[page];
            actions.extend(pages.after(process.seen[page]).map(|_| Action::SeesPage(index, page)));
            let is_there = pages.before(process.seen[page]).is_some();
            actions.extend(is_there.then_some(Action::Replay(index, page)));
        }
        actions.extend(process.stopping.iter().map(|task| Action::Stops(index, task.clone())));
        actions.extend(process.wake.map(|_| Action::Wakes(index)));
        let Some(term) = &process.term else {
            let seat = self.store.seats[process.name].present();
            let record = seat.map(|seat| &seat.lock.record);
            let is_free =
                record.is_none_or(|record| !record.is_held() || self.is_of_the_dead(record));
            if process.is_leaving && member.is_idle() {
                actions.push(Action::Ends(index));
            } else if is_free && member.is_idle() {
                actions.push(Action::Acquires(index));
            }
            return;
        };
        if !self.store.is_held_in(process.name, term) {
            actions.push(Action::Loses(index));
        } else if process.is_leaving && member.is_idle() {
            actions.push(Action::Ends(index));
        } else if process.has_to_write {
            actions.push(Action::Says(index));
        }
    }

    /// Whether the process that holds a seat, as the seat says, has ended or lost the term.
    fn is_of_the_dead(&self, record: &Record) -> bool {
        let mut holders = self.members.iter().enumerate().filter(|(index, process)| {
            let session = incumbent_core::Session(process.session(*index));
            process.member.is_some() && record.session == Some(session)
        });
        holders.all(|(_, process)| process.term.is_none() && process.work.is_empty())
    }

    fn actions_of_allocator(&self, index: usize, actions: &mut Vec<Action>) {
        let acting = &self.allocators[index];
        // The first one sees everything at once.
        if index == 1 {
            for object in 0..2 {
                let next = self.store.pages[object].after(acting.pages_seen[object]);
                let next = next.filter(|_| self.late.pages);
                actions.extend(next.map(|_| Action::AllocatorSeesPage(index, object)));
                let next = self.store.seats[object].after(acting.seats_seen[object]);
                let next = next.filter(|_| self.late.seats);
                actions.extend(next.map(|_| Action::AllocatorSeesSeat(index, object)));
            }
        }
        actions.extend(acting.sent.as_ref().map(|_| Action::Answers(index)));
        let is_short = acting.wake.is_some_and(|wake| wake <= acting.clock + SHORT);
        actions.extend(is_short.then_some(Action::AllocatorWakes(index)));
    }

    fn faults(&self, actions: &mut Vec<Action>) {
        let luck = self.luck;
        for (index, process) in self.members.iter().enumerate().filter(|(_, p)| p.member.is_some())
        {
            actions.extend((luck.crashes > 0).then_some(Action::Crash(index)));
            actions.extend((luck.cuts > 0 && process.term.is_some()).then_some(Action::Cut(index)));
            let may_leave = luck.leaves > 0 && !process.is_leaving;
            actions.extend(may_leave.then_some(Action::Leave(index)));
        }
        for (index, task) in TASKS.into_iter().enumerate() {
            let is_sent = self.allocators[index].sent.is_some() && self.adrift.is_none();
            actions.extend((luck.losses > 0 && is_sent).then_some(Action::Loss(index)));
            let has_page = self.store.pages[index].present().is_some();
            actions
                .extend((luck.pages_deleted > 0 && has_page).then_some(Action::DeletePage(index)));
            let seat = self.store.seats[index].present();
            let has_seat = luck.seats_deleted > 0 && seat.is_some();
            actions.extend(has_seat.then_some(Action::DeleteSeat(index)));
            let has_label = seat.is_some_and(|seat| seat.has_label);
            actions.extend((luck.labels > 0 && has_label).then_some(Action::TakeLabel(index)));
            actions.extend((luck.edits > 0).then_some(Action::Edit(task)));
            actions.extend((luck.passes > 0 && self.may_pass()).then_some(Action::Pass(index)));
        }
    }

    /// Within the longest lease, each process renews its term, or its work has ended.
    pub(crate) fn may_pass(&self) -> bool {
        self.members.iter().all(|process| match &process.term {
            Some(term) => self.store.is_held_in(process.name, term),
            None => process.work.is_empty(),
        })
    }

    pub(crate) fn after(&self, action: &Action) -> Self {
        let mut state = self.clone();
        state.does(action);
        state.show_all_that_is_seen_at_once();
        state.forget_what_all_have_seen();
        state
    }

    fn does(&mut self, action: &Action) {
        match action {
            Action::SeesPage(index, page) => {
                let seen = self.members[*index].seen[*page];
                let next = self.store.pages[*page].after(seen).expect("it was checked").clone();
                self.members[*index].seen[*page] = next.0;
                self.show_page(*index, *page, next);
            }
            Action::Replay(index, page) => {
                let seen = self.members[*index].seen[*page];
                let old = self.store.pages[*page].before(seen).expect("it was checked").clone();
                self.show_page(*index, *page, old);
            }
            Action::Wakes(index) => {
                let process = &mut *self.members[*index];
                process.clock = process.wake.expect("it was checked").max(process.clock);
                self.step_member(*index, Event::Wake);
            }
            Action::Stops(index, task) => {
                let process = &mut *self.members[*index];
                process.stopping.remove(task);
                process.work.remove(task);
                self.step_member(*index, Event::Stopped(task.clone()));
            }
            Action::Loses(index) => self.lose(*index),
            Action::Lands => {
                let write = self.adrift.take().expect("it was checked");
                let _ = self.store.answer(&write);
            }
            Action::Names(index) => {
                let table = self.allocators[*index].wants_to_name.take();
                self.store.named.clone_from(&table);
                for index in 0..2 {
                    self.step_allocator(index, Happening::Lease { table: table.clone() });
                }
            }
            Action::Says(index) => self.says(*index),
            Action::Acquires(index) => self.acquires(*index),
            Action::Ends(index) => self.ends(*index),
            Action::AllocatorSeesPage(index, page) => self.sees_page(*index, *page),
            Action::AllocatorSeesSeat(index, name) => self.sees_seat(*index, *name),
            Action::Answers(index) => {
                let ask = self.allocators[*index].sent.take().expect("it was checked");
                let answer = self.store.answer(&ask);
                self.step_allocator(*index, Happening::Answer(answer));
            }
            Action::AllocatorWakes(index) => {
                let acting = &mut *self.allocators[*index];
                acting.clock = acting.wake.expect("it was checked").max(acting.clock);
                self.step_allocator(*index, Happening::Wake);
            }
            fault => self.befalls(fault),
        }
    }

    fn befalls(&mut self, fault: &Action) {
        let luck = &mut self.luck;
        match fault {
            Action::Starts(index) => {
                luck.starts -= 1;
                self.start(*index);
            }
            Action::Crash(index) => {
                luck.crashes -= 1;
                self.end(*index);
            }
            Action::Cut(index) => {
                luck.cuts -= 1;
                self.lose(*index);
            }
            Action::Leave(index) => {
                luck.leaves -= 1;
                self.members[*index].is_leaving = true;
                self.step_member(*index, Event::Leave);
            }
            Action::Loss(index) => {
                luck.losses -= 1;
                let ask = self.allocators[*index].sent.take().expect("it was checked");
                let is_read = matches!(ask, Ask::ReadPage(_) | Ask::ReadSeat(_) | Ask::ListSeats);
                self.adrift = Some(ask).filter(|_| !is_read);
                self.step_allocator(*index, Happening::Answer(Answer::Unknown));
            }
            Action::DeletePage(page) => {
                luck.pages_deleted -= 1;
                self.store.pages[*page].delete();
            }
            Action::DeleteSeat(name) => {
                luck.seats_deleted -= 1;
                self.store.seats[*name].delete();
            }
            Action::TakeLabel(name) => {
                luck.labels -= 1;
                let record =
                    self.store.seats[*name].present().expect("checked").lock.record.clone();
                self.store.put_seat(*name, record, false);
            }
            Action::Edit(task) => {
                luck.edits -= 1;
                if !self.listed.remove(task) {
                    self.listed.insert(task);
                }
                for index in 0..2 {
                    self.step_allocator(index, Happening::Wishes(self.wishes()));
                }
            }
            Action::Pass(index) => {
                luck.passes -= 1;
                self.pass(*index);
            }
            other => unreachable!("{other:?} is no fault"),
        }
    }

    /// The longest lease passes: every term is renewed, and every allocator's timer runs out that nothing renews.
    pub(crate) fn pass(&mut self, index: usize) {
        for member in 0..self.members.len() {
            let Some(term) = self.members[member].term.clone() else { continue };
            let name = self.members[member].name;
            if self.store.is_held_in(name, &term) {
                let record =
                    self.store.seats[name].present().expect("it is held").lock.record.clone();
                self.store.put_seat(name, record, true);
            }
        }
        let acting = &mut *self.allocators[index];
        acting.clock = acting.clock + LEASE + SHORT;
        self.show_all_that_is_seen_at_once();
        if index == 0 || self.allocators[index].sent.is_none() {
            self.step_allocator(index, Happening::Wake);
        }
    }

    fn lose(&mut self, index: usize) {
        self.members[index].term = None;
        self.members[index].has_to_write = false;
        self.step_member(index, Event::Over);
    }

    fn says(&mut self, index: usize) {
        let process = &mut *self.members[index];
        process.has_to_write = false;
        let (name, info) = (process.name, process.info.clone());
        let mut record = self.store.seats[name].present().expect("it is held").lock.record.clone();
        record.holder_info.seat = Some(info);
        self.store.put_seat(name, record, true);
    }

    fn acquires(&mut self, index: usize) {
        let process = &self.members[index];
        let (name, session, info) = (process.name, process.session(index), process.info.clone());
        let term = self.store.acquire(name, session, &info);
        self.members[index].term = Some(term.clone());
        self.step_member(index, Event::Started { seat: term.seat, token: term.token });
    }

    fn ends(&mut self, index: usize) {
        let name = self.members[index].name;
        if let Some(term) = &self.members[index].term
            && self.store.is_held_in(name, term)
        {
            let last_token = term.token;
            self.store.put_seat(name, Record { last_token, ..Record::default() }, true);
        }
        self.end(index);
    }

    fn show_page(
        &mut self,
        index: usize,
        page: usize,
        (revision, content): (u64, Option<incumbent_core::group::PageVersion>),
    ) {
        let page = PageIndex(page as u8);
        self.step_member(
            index,
            match content {
                Some(content) => Event::Page(page, content),
                None => Event::PageGone(page, revision),
            },
        );
    }

    fn sees_page(&mut self, index: usize, page: usize) {
        let seen = self.allocators[index].pages_seen[page];
        let (revision, content) = self.store.pages[page].after(seen).expect("checked").clone();
        self.allocators[index].pages_seen[page] = revision;
        let page = PageIndex(page as u8);
        self.step_allocator(
            index,
            match content {
                Some(content) => Happening::Page(page, content),
                None => Happening::PageGone(page, revision),
            },
        );
    }

    /// A watch by label shows a seat that has lost its label as gone.
    fn sees_seat(&mut self, index: usize, name: usize) {
        let seen = self.allocators[index].seats_seen[name];
        let (revision, content) = self.store.seats[name].after(seen).expect("checked").clone();
        self.allocators[index].seats_seen[name] = revision;
        let observation = match content {
            Some(seat) if seat.has_label => Observation::Present(seat.lock),
            _ => Observation::Gone { revision },
        };
        self.step_allocator(index, Happening::Seat(identity(name), observation));
    }

    fn show_all_that_is_seen_at_once(&mut self) {
        self.show_all_but(0, Late::NOTHING);
        self.show_all_but(1, self.late);
    }

    pub(crate) fn show_all_but(&mut self, index: usize, late: Late) {
        for object in 0..2 {
            let has_news = |state: &Self| {
                let acting = &state.allocators[index];
                let page = state.store.pages[object].after(acting.pages_seen[object]);
                let seat = state.store.seats[object].after(acting.seats_seen[object]);
                (page.is_some(), seat.is_some())
            };
            while !late.pages && has_news(self).0 {
                self.sees_page(index, object);
            }
            while !late.seats && has_news(self).1 {
                self.sees_seat(index, object);
            }
        }
    }
}
