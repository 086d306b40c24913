//! What goes wrong by chance, and how everything heals.

use std::rc::Rc;

use incumbent_core::Record;
use incumbent_core::group::{Event, Kind, Page, PageIndex, Place, Shape};

use super::cluster::{Content, Name};
use super::node::{Node, Stream, larger};
use super::tally::GroupFault;
use super::world::{Happens, World};

impl World {
    pub(super) fn trouble(&mut self) {
        if self.is_healed {
            return;
        }
        // Troubles come in bursts: most of what goes wrong needs two or three of them.
        let longest_gap = match self.chance.permille(400) {
            true => 1_000_000,
            false => self.plan.trouble_gap * 2,
        };
        let gap = self.chance.between(1, longest_gap);
        self.at(self.now + gap, Happens::Trouble);
        let weights: Vec<u64> = GroupFault::TABLE
            .iter()
            .map(
                |(fault, _)| {
                    if is_random_event(*fault) { u64::from(self.plan.rate(*fault)) } else { 0 }
                },
            )
            .collect();
        let sum: u64 = weights.iter().sum();
        let mut drawn = self.chance.below(sum);
        for ((fault, _), weight) in GroupFault::TABLE.iter().zip(weights) {
            if drawn < weight {
                self.befalls(*fault);
                return;
            }
            drawn -= weight;
        }
    }

    fn befalls(&mut self, fault: GroupFault) {
        self.trace(format_args!("fault: {fault}"));
        // They often befall the same member.
        if self.chance.permille(500) {
            self.focus = self.chance.below(self.nodes.len() as u64) as usize;
        }
        let node = self.focus;
        let has_happened = match fault {
            GroupFault::Crash => self.crash(node),
            GroupFault::Leave => self.leave(node),
            GroupFault::CrashOfTwo => self.crash_two(),
            GroupFault::CutOff => self.cut_off(node),
            GroupFault::WatchBlind => self.blind(node),
            GroupFault::ServerAway => {
                self.away_until = self.now + self.chance.below(20_000_000);
                true
            }
            GroupFault::RogueAllocator => self.toggle_rogue(node),
            GroupFault::Namesake => self.add_namesake(),
            GroupFault::ListEdited => self.edit_list(),
            GroupFault::Drain => self.drain(node),
            GroupFault::LockDeleted => self.delete_by_hand(|name| name == Name::Lock),
            GroupFault::SeatDeleted => self.delete_seat(),
            GroupFault::PageDeleted => self.delete_by_hand(|name| matches!(name, Name::Page(_))),
            GroupFault::SeatCleared => self.clear_seat(),
            GroupFault::SeatUnlabelled => {
                let seat = self.pick_seat();
                self.take_label(seat)
            }
            GroupFault::PageUnlabelled => {
                let page = self.pick(|name| matches!(name, Name::Page(_)));
                self.take_label(page)
            }
            GroupFault::SeatByHand => self.create_seat(),
            GroupFault::PageEdited => self.change_page(|_| None),
            GroupFault::PageTouched => self.change_page(Some),
            GroupFault::PageOldCopy => self.write_old_copy(),
            GroupFault::PageRecreated => self.recreate_table(),
            _ => false,
        };
        if has_happened {
            self.tally.fault(fault);
            self.wake_watches();
        }
    }

    fn crash(&mut self, node: usize) -> bool {
        let is_up = self.nodes[node].process.is_some();
        self.ends(node, "it is killed");
        is_up
    }

    /// The allocator and a member are killed together.
    fn crash_two(&mut self) -> bool {
        let leads = |node: &Node| {
            node.process.as_ref().is_some_and(|process| process.lock.term().is_some())
        };
        let Some(allocator) = self.nodes.iter().position(leads) else { return false };
        self.ends(allocator, "it is killed with another");
        self.crash(self.focus)
    }

    /// A watch shows nothing for a long time, although requests are answered.
    fn blind(&mut self, node: usize) -> bool {
        let until = self.now + self.chance.below(60_000_000);
        let streams = match self.chance.below(3) {
            0 => &[Stream::Pages][..],
            1 => &[Stream::Seats],
            _ => &[Stream::Pages, Stream::Seats, Stream::OwnSeat],
        };
        let Some(process) = &mut self.nodes[node].process else { return false };
        for stream in streams {
            let watch = &mut process.watches[*stream as usize];
            watch.blind_until = watch.blind_until.max(until);
        }
        true
    }

    /// SIGTERM. A process of another name, or of the same one, takes its place.
    fn leave(&mut self, node: usize) -> bool {
        let Some(process) = &mut self.nodes[node].process else { return false };
        if process.is_leaving {
            return false;
        }
        process.is_leaving = true;
        if self.chance.permille(300) {
            self.version += 1;
        }
        if self.chance.permille(500) {
            self.nodes[node].restarts = false;
            let name = self.names;
            self.names += 1;
            self.nodes.push(Node::new(name));
            let at = self.now + self.chance.below(3_000_000);
            self.at(at, Happens::Start(self.nodes.len() - 1));
        }
        self.step_member(node, Event::Leave);
        true
    }

    fn cut_off(&mut self, node: usize) -> bool {
        self.nodes[node].cut_until = self.now + self.chance.below(40_000_000);
        for stream in Stream::ALL {
            self.break_watch(node, stream);
        }
        true
    }

    fn toggle_rogue(&mut self, node: usize) -> bool {
        let Some(process) = &mut self.nodes[node].process else { return false };
        process.is_rogue = !process.is_rogue;
        self.let_allocator_rest(node);
        true
    }

    fn add_namesake(&mut self) -> bool {
        if self.nodes.len() > self.plan.members + 3 {
            return false;
        }
        let name = self.nodes[self.focus].name;
        self.nodes.push(Node::new(name));
        self.at(self.now, Happens::Start(self.nodes.len() - 1));
        true
    }

    fn edit_list(&mut self) -> bool {
        let task = self.chance.below(6) as usize;
        if !self.listed.remove(&task) {
            self.listed.insert(task);
        }
        self.tell_wishes();
        true
    }

    fn tell_wishes(&mut self) {
        for node in 0..self.nodes.len() {
            let life = self.nodes[node].life;
            let at = self.now + self.chance.below(2_000_000);
            self.at(at, Happens::Wishes { node, life });
        }
    }

    fn drain(&mut self, node: usize) -> bool {
        if self.nodes[node].process.is_none() {
            return false;
        }
        let wants_none = self.chance.permille(500);
        self.step_member(node, Event::Drain(wants_none));
        true
    }

    fn pick(&mut self, is_meant: impl Fn(Name) -> bool) -> Option<Name> {
        let names: Vec<Name> =
            self.cluster.names().into_iter().filter(|name| is_meant(*name)).collect();
        let drawn = self.chance.below(names.len() as u64) as usize;
        names.get(drawn).copied()
    }

    fn delete_by_hand(&mut self, is_meant: impl Fn(Name) -> bool) -> bool {
        let name = self.pick(is_meant);
        if let Some(name) = name {
            self.trace(format_args!("{name:?} is deleted by hand"));
            self.cluster.delete(name);
        }
        name.is_some()
    }

    /// Often the seat of the member that has trouble already.
    fn pick_seat(&mut self) -> Option<Name> {
        let own = Name::Seat(self.nodes[self.focus].name);
        match self.chance.permille(500) && self.cluster.get(own).is_some() {
            true => Some(own),
            false => self.pick(|name| matches!(name, Name::Seat(_))),
        }
    }

    fn delete_seat(&mut self) -> bool {
        let name = self.pick_seat();
        self.delete_by_hand(|other| Some(other) == name)
    }

    fn take_label(&mut self, name: Option<Name>) -> bool {
        if let Some(name) = name {
            self.trace(format_args!("{name:?} loses its label"));
            self.cluster.take_label(name);
        }
        name.is_some()
    }

    fn clear_seat(&mut self) -> bool {
        let Some(name) = self.pick_seat() else { return false };
        self.trace(format_args!("{name:?} is emptied by hand"));
        self.cluster.edit(name, Content::Lease(Record::default()));
        true
    }

    fn create_seat(&mut self) -> bool {
        let name = Name::Seat(self.chance.below(self.names as u64) as usize);
        if self.cluster.get(name).is_some() {
            return false;
        }
        self.cluster.create(name, Content::Lease(Record::default()));
        true
    }

    fn change_page(&mut self, change: impl Fn(Page) -> Option<Page>) -> bool {
        let Some(name) = self.pick(|name| matches!(name, Name::Page(_))) else { return false };
        let object = self.cluster.get(name).map(Rc::clone);
        let Some(page) = object.and_then(|object| object.page()?.page) else { return false };
        self.trace(format_args!("{name:?} is edited by hand"));
        self.cluster.edit(name, Content::Page(change(page)));
        true
    }

    /// Writes back what a page said some versions ago, if it is the same object.
    fn write_old_copy(&mut self) -> bool {
        let Some(name) = self.pick(|name| matches!(name, Name::Page(_))) else { return false };
        let uid = self.cluster.get(name).map(|object| object.version.uid.clone());
        let versions = self.cluster.log().iter().filter(|change| change.name == name);
        let old: Vec<Page> = versions
            .filter_map(|change| change.object.as_ref())
            .filter(|object| Some(&object.version.uid) == uid.as_ref())
            .filter_map(|object| object.page()?.page)
            .collect();
        let drawn = self.chance.below(old.len() as u64) as usize;
        let Some(page) = old.into_iter().nth(drawn) else { return false };
        self.trace(format_args!("{name:?} gets an old copy"));
        self.judge.has_old_copy = true;
        self.cluster.edit(name, Content::Page(Some(page)));
        true
    }

    /// Page 0 is deleted by hand, and created with another number of pages.
    fn recreate_table(&mut self) -> bool {
        let first = Name::Page(PageIndex::FIRST);
        let has_deleted = self.delete_by_hand(|name| name == first);
        let kind = larger(self.plan.kind, self.chance.below(2) as u16);
        let pages = match kind {
            Kind::Permits(_) => 1,
            _ => self.chance.between(1, 3) as u8,
        };
        let page = Page::empty(Place::First(Shape { kind, pages }));
        self.cluster.create(first, Content::Page(Some(page)));
        has_deleted
    }

    /// All faults end.
    pub(super) fn heal(&mut self) {
        self.is_healed = true;
        self.away_until = 0;
        self.trace(format_args!("everything heals"));
        for node in 0..self.nodes.len() {
            self.nodes[node].cut_until = 0;
            self.open_eyes(node);
            let life = self.nodes[node].life;
            if self.nodes[node].process.is_none() && self.nodes[node].restarts {
                self.at(self.now, Happens::Start(node));
            }
            let Some(process) = &mut self.nodes[node].process else { continue };
            process.is_rogue = false;
            let stuck: Vec<_> = process
                .work
                .iter()
                .filter(|(_, work)| work.is_stopping)
                .map(|(task, work)| (task.clone(), work.token))
                .collect();
            for (task, token) in stuck {
                self.at(self.now, Happens::Stopped { node, life, task, token });
            }
            self.let_allocator_rest(node);
            self.step_member(node, Event::Drain(false));
        }
        self.tell_wishes();
        if !self.nodes.iter().any(|node| node.restarts) {
            let name = self.names;
            self.names += 1;
            self.nodes.push(Node::new(name));
            self.at(self.now, Happens::Start(self.nodes.len() - 1));
        }
    }
}

/// Faults that happen at random moments; the others happen to messages, work and clocks.
fn is_random_event(fault: GroupFault) -> bool {
    use GroupFault as F;
    !matches!(
        fault,
        F::RequestLost
            | F::RequestLate
            | F::Refused
            | F::WatchBroken
            | F::StaleList
            | F::WatchLag
            | F::SlowStop
            | F::StuckWork
            | F::ClockRates
    )
}
