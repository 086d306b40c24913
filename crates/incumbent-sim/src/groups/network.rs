//! Requests and watches between processes and the API server.

use incumbent_core::group::{Answer, Ask, Event, Happening, PageIndex, PageVersion};
use incumbent_core::{Follow, Input, Instant, Observation, Reply, Snapshot};

use super::cluster::{Call, Change, Name, Object, Response};
use super::judge::PAGES_READ;
use super::node::{Machine, Stream, Watch, identity, number};
use super::tally::{GroupFault, Step};
use super::world::{Address, Happens, World};
use crate::clock::Micros;

impl World {
    pub(super) fn send(&mut self, node: usize, machine: Machine, call: Call, deadline: Instant) {
        let fault = |world: &mut Self, fault| world.draws(fault);
        let is_lost = fault(self, GroupFault::RequestLost);
        let is_late = fault(self, GroupFault::RequestLate);
        let number = self.next_number();
        let life = self.nodes[node].life;
        self.nodes[node].requests += 1;
        let process = self.nodes[node].process.as_mut().expect("it sends");
        process.pending[machine as usize] = Some(number);
        let gives_up = process.clock.when(deadline).max(self.now + 1);
        let address = Address { node, life, machine, number };
        self.trace(format_args!("n{node} {machine:?} sends {}", brief(&call)));
        self.at(gives_up, Happens::Timeout(address));
        if is_lost && self.chance.permille(500) {
            return;
        }
        let arrives = match is_late {
            true => gives_up + self.chance.below(gives_up - self.now + 1_000_000),
            false => self.now + self.latency(),
        };
        self.at(arrives, Happens::Arrive { address, call, is_answered: !is_lost && !is_late });
    }

    pub(super) fn arrives(&mut self, address: Address, call: Call, is_answered: bool) {
        let is_cut = self.nodes[address.node].cut_until > self.now;
        if self.away_until > self.now || is_cut {
            return;
        }
        if self.draws(GroupFault::Refused) {
            let refused = match call {
                Call::Lease(..) => Response::Lease(Reply::Refused { retry_after: None }),
                Call::Group(_) => Response::Group(Answer::Refused { retry_after: None }),
            };
            self.at(self.now + 1, Happens::Answer(address, refused));
            return;
        }
        let changes = self.cluster.log().len();
        let response = self.cluster.apply(&call, &number);
        self.trace(format_args!(
            "server: n{} {} → {}",
            address.node,
            brief(&call),
            result(&response)
        ));
        if let Some(fault) = self.cluster.unreadable.take() {
            self.judge.breaks(PAGES_READ, fault);
        }
        self.count(&call, &response, address);
        if self.cluster.log().len() > changes {
            self.wake_watches();
        }
        if is_answered {
            let at = self.now + self.latency();
            self.at(at, Happens::Answer(address, response));
        }
    }

    fn count(&mut self, call: &Call, response: &Response, address: Address) {
        let is_late = self.nodes[address.node].process.as_ref().is_none_or(|process| {
            process.pending[address.machine as usize] != Some(address.number)
        });
        match (call, response) {
            (Call::Group(Ask::VacateSeat { .. }), Response::Group(Answer::Seat(_))) => {
                self.tally.step(Step::Vacated);
            }
            (Call::Group(Ask::CreateSeat(_)), Response::Group(Answer::Seat(_))) => {
                self.tally.step(Step::SeatCreated);
            }
            (Call::Group(Ask::CreateSeat(_)), Response::Group(Answer::Conflict)) => {
                self.tally.step(Step::SeatExists);
            }
            (Call::Group(Ask::ListSeats), _) => self.tally.step(Step::Listed),
            (Call::Group(Ask::DeletePage { .. }), Response::Group(Answer::Deleted)) => {
                self.tally.step(Step::PageRemoved);
            }
            (Call::Group(Ask::ReplacePage { .. }), Response::Group(Answer::Conflict)) => {
                self.tally.step(Step::PageConflict);
            }
            (Call::Group(Ask::ReplacePage { page, .. }), Response::Group(Answer::Page(_))) => {
                if is_late {
                    self.tally.step(Step::LandedLate);
                }
                if page.entries().any(|(_, _, _, given)| given.revoked == Some(page.replaces)) {
                    self.tally.step(Step::Revoked);
                }
                if page.entries().any(|(_, _, _, given)| given.token == page.highest_token) {
                    self.tally.step(Step::Moved);
                }
                self.tally.step(if page.is_open { Step::Opened } else { Step::PageEmptied });
            }
            _ => {}
        }
    }

    pub(super) fn answers(&mut self, address: Address, response: Response) {
        if self.nodes[address.node].cut_until > self.now || !self.is_pending(address) {
            return;
        }
        self.settle_request(address, response);
    }

    pub(super) fn times_out(&mut self, address: Address) {
        if self.is_pending(address) {
            let response = match address.machine {
                Machine::Allocator => Response::Group(Answer::Unknown),
                _ => Response::Lease(Reply::Unknown),
            };
            self.settle_request(address, response);
        }
    }

    fn is_pending(&self, address: Address) -> bool {
        self.process(address.node, address.life).is_some_and(|process| {
            process.pending[address.machine as usize] == Some(address.number)
        })
    }

    fn settle_request(&mut self, address: Address, response: Response) {
        let node = address.node;
        if let Some(process) = &mut self.nodes[node].process {
            process.pending[address.machine as usize] = None;
        }
        match (address.machine, response) {
            (Machine::Seat, Response::Lease(reply)) => self.step_seat(node, Input::Reply(reply)),
            (Machine::Lock, Response::Lease(reply)) => self.step_lock(node, Input::Reply(reply)),
            (_, Response::Group(answer)) => {
                self.step_allocator(node, Happening::Answer(answer));
            }
            _ => unreachable!("an answer of another kind"),
        }
    }

    // Watches.

    pub(super) fn wake_watches(&mut self) {
        for node in 0..self.nodes.len() {
            for stream in Stream::ALL {
                self.schedule_watch(node, stream);
            }
        }
    }

    fn schedule_watch(&mut self, node: usize, stream: Stream) {
        let behind = self.cluster.log().len();
        let lags = self.draws(GroupFault::WatchLag);
        let mut delay = self.latency() + if lags { self.chance.below(5_000_000) } else { 0 };
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return };
        let watch = &mut process.watches[stream as usize];
        if watch.is_open && !watch.is_scheduled && watch.position < behind {
            // What has waited for long comes all at once.
            if behind - watch.position > 10 {
                delay = 1;
            }
            watch.is_scheduled = true;
            self.at(self.now + delay, Happens::Watch { node, life, stream });
        }
    }

    pub(super) fn delivers(&mut self, node: usize, life: u64, stream: Stream) {
        let is_cut = self.nodes[node].cut_until > self.now || self.away_until > self.now;
        let breaks = is_cut || self.draws(GroupFault::WatchBroken);
        if self.process(node, life).is_none() {
            return;
        }
        let watch =
            &mut self.nodes[node].process.as_mut().expect("checked").watches[stream as usize];
        watch.is_scheduled = false;
        if breaks {
            self.break_watch(node, stream);
            return;
        }
        if watch.blind_until > self.now {
            watch.is_scheduled = true;
            let at = watch.blind_until;
            self.at(at, Happens::Watch { node, life, stream });
            return;
        }
        // The watch may have been opened again since this was due.
        let Some(change) =
            self.cluster.log().get(watch.position).filter(|_| watch.is_open).cloned()
        else {
            return;
        };
        watch.position += 1;
        self.show(node, stream, &change);
        if self.process(node, life).is_some() {
            self.schedule_watch(node, stream);
        }
    }

    pub(super) fn break_watch(&mut self, node: usize, stream: Stream) {
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return };
        process.watches[stream as usize].is_open = false;
        let after = self.now + 1_000 + self.chance.below(1_000_000);
        self.at(after, Happens::Relist { node, life, stream });
        match stream {
            Stream::Lock => self.step_lock(node, Input::Follow(Follow::Poll)),
            Stream::OwnSeat => self.step_seat(node, Input::Follow(Follow::Poll)),
            Stream::Pages | Stream::Seats => {}
        }
    }

    /// Watches that were blind deliver at once.
    pub(super) fn open_eyes(&mut self, node: usize) {
        let Some(process) = &mut self.nodes[node].process else { return };
        for watch in &mut process.watches {
            watch.is_scheduled &= watch.blind_until <= self.now;
            watch.blind_until = 0;
        }
        for stream in Stream::ALL {
            self.schedule_watch(node, stream);
        }
    }

    /// Lists again, perhaps from an old cache, and watches from there.
    pub(super) fn relists(&mut self, node: usize, life: u64, stream: Stream) {
        if self.process(node, life).is_none() {
            return;
        }
        if self.nodes[node].cut_until > self.now || self.away_until > self.now {
            let after = self.now + 500_000;
            self.at(after, Happens::Relist { node, life, stream });
            return;
        }
        let is_stale =
            self.draws(GroupFault::StaleList) && matches!(stream, Stream::Pages | Stream::Seats);
        let newest = self.cluster.revision();
        let behind = if is_stale { self.chance.below(40) } else { 0 };
        let revision = newest.saturating_sub(behind);
        let position = self.cluster.log().partition_point(|change| change.revision <= revision);
        let process = self.nodes[node].process.as_mut().expect("checked");
        let watch = &mut process.watches[stream as usize];
        *watch = Watch { position, is_open: true, is_scheduled: false, blind_until: 0 };
        let objects = self.cluster.at(revision);
        match stream {
            Stream::Lock => self.step_lock(node, Input::Follow(Follow::Watch)),
            Stream::OwnSeat => self.step_seat(node, Input::Follow(Follow::Watch)),
            Stream::Pages => {
                let pages = objects.iter().filter(|(_, object)| object.has_label);
                let pages = pages.filter_map(|(name, object)| match name {
                    Name::Page(index) => Some((*index, object.page()?)),
                    _ => None,
                });
                let pages: Vec<(PageIndex, PageVersion)> = pages.collect();
                self.trace(format_args!("n{node} lists {} pages as of {revision}", pages.len()));
                let listed = Event::Listed { revision, pages: pages.clone() };
                self.step_member(node, listed);
                self.step_allocator(node, Happening::PagesListed { revision, pages });
            }
            Stream::Seats => {
                let seats = objects.iter().filter(|(_, object)| object.has_label);
                let seats = seats.filter_map(|(name, object)| match name {
                    Name::Seat(name) => Some((identity(*name), object.snapshot()?)),
                    _ => None,
                });
                let seats: Vec<(_, Snapshot)> = seats.collect();
                self.trace(format_args!("n{node} lists {} seats as of {revision}", seats.len()));
                self.step_allocator(node, Happening::SeatsListed((revision, seats)));
            }
        }
        if self.process(node, life).is_some() {
            self.schedule_watch(node, stream);
        }
    }

    fn show(&mut self, node: usize, stream: Stream, change: &Change) {
        let own = self.nodes[node].name;
        match (stream, change.name) {
            (Stream::Pages, Name::Page(index)) => match shown(change) {
                Some(Some(object)) => {
                    let page = object.page().expect("a page");
                    self.step_member(node, Event::Page(index, page.clone()));
                    self.step_allocator(node, Happening::Page(index, page));
                }
                Some(None) => {
                    self.step_member(node, Event::PageGone(index, change.revision));
                    self.step_allocator(node, Happening::PageGone(index, change.revision));
                }
                None => {}
            },
            (Stream::Seats, Name::Seat(name)) => {
                let seen = match shown(change) {
                    Some(Some(object)) => Observation::Present(object.snapshot().expect("a Lease")),
                    Some(None) => Observation::Gone { revision: change.revision },
                    None => return,
                };
                self.step_allocator(node, Happening::Seat(identity(name), seen));
            }
            (Stream::OwnSeat, Name::Seat(name)) if name == own => {
                self.step_seat(node, Input::Observed(observed(change)));
            }
            (Stream::Lock, Name::Lock) => {
                self.step_lock(node, Input::Observed(observed(change)));
            }
            _ => {}
        }
    }

    fn latency(&mut self) -> Micros {
        let latency = self.plan.latency;
        self.chance.between(latency / 2, latency * 2)
    }
}

/// What a watch by label shows of a change: a version, or that the object is there no longer.
fn shown(change: &Change) -> Option<Option<&Object>> {
    let has_label = |object: &&Object| object.has_label;
    let now = change.object.as_deref().filter(has_label);
    let before = change.before.as_deref().filter(has_label);
    (now.is_some() || before.is_some()).then_some(now)
}

fn observed(change: &Change) -> Observation {
    let found = change.object.as_ref().and_then(|object| object.snapshot());
    match found {
        Some(snapshot) => Observation::Present(snapshot),
        None => Observation::Gone { revision: change.revision },
    }
}

fn brief(call: &Call) -> String {
    match call {
        Call::Lease(name, operation) => format!("{name:?} {}", operation_brief(operation)),
        Call::Group(Ask::ReplacePage { index, base, page }) => {
            let entries: Vec<String> = page
                .entries()
                .map(|(term, _, task, given)| {
                    let revoked =
                        given.revoked.map_or(String::new(), |at| format!(" revoked {at}"));
                    format!("{task}={}@{}#{}{revoked}", term.member, term.token, given.token)
                })
                .collect();
            let open = if page.is_open { "open" } else { "closed" };
            format!("replace page {} v{} {open} [{}]", index.0, base.revision, entries.join(", "))
        }
        Call::Group(ask) => format!("{ask:?}").chars().take(90).collect(),
    }
}

fn operation_brief(operation: &incumbent_core::Operation) -> String {
    use incumbent_core::Operation;
    match operation {
        Operation::Read => "read".to_owned(),
        Operation::Create(_) => "create".to_owned(),
        Operation::Replace { base, record } => {
            let holder =
                record.holder.as_ref().map_or_else(|| "vacant".to_owned(), ToString::to_string);
            let released = record.holder_info.seat.as_ref().map_or(String::new(), |info| {
                let pages: Vec<_> =
                    info.released.pages.iter().map(|(i, v)| format!("{}:{v}", i.0)).collect();
                let leaving = if info.is_leaving { " leaving" } else { "" };
                let but: Vec<_> =
                    info.released.exceptions.iter().map(|task| task.to_string()).collect();
                format!(" released {}{leaving} but {}", pages.join(" "), but.join(" "))
            });
            let token = record.last_token;
            format!("replace v{} {holder} token {token}{released}", base.revision)
        }
    }
}

fn result(response: &Response) -> String {
    match response {
        Response::Lease(Reply::Found(seat) | Reply::Written(seat)) => {
            format!("v{}", seat.version.revision)
        }
        Response::Group(Answer::Page(page)) => format!("v{}", page.version.revision),
        Response::Group(Answer::Seat(seat)) => format!("v{}", seat.version.revision),
        Response::Lease(reply) => format!("{reply:?}"),
        Response::Group(answer) => format!("{answer:?}").chars().take(120).collect(),
    }
}
