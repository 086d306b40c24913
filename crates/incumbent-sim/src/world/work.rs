//! What a leader does during its term. It works like `term.rs`, `leadership.rs` and `watchdog.rs`
//! of the adapter.

use incumbent_core::{Input, Instant, Term};

use super::node::{Flight, Work};
use super::trouble::Advantage;
use super::{Event, Granted, World};
use crate::clock::{Micros, micros};
use crate::properties;
use crate::tally::{Fault, Outcome};

impl World {
    pub(super) fn start_term(
        &mut self,
        index: usize,
        term: Term,
        flight: Option<Flight>,
    ) -> Option<Input> {
        self.tally.outcome(Outcome::Term);
        self.check_deadlines(index, &term, flight.as_ref());
        let Some(landed) = self.landed else { return Some(Input::Release) };
        let remembered = flight.as_ref().map_or(0, |flight| flight.remembered);
        let granted = Granted { grant: landed.grant, token: term.token.0, remembered };
        self.check_token(granted);
        let number = self.number();
        let node = &mut self.nodes[index];
        node.remembered = node.remembered.max(term.token.0);
        if !std::mem::take(&mut node.campaigns) {
            return Some(Input::Release);
        }
        node.work = Some(Work {
            number,
            token: term.token.0,
            grant: landed.grant,
            valid_until: term.valid_until,
            stop_by: term.stop_by,
            stopping: false,
            stubborn: false,
            asked: false,
            sent_at: flight.as_ref().map_or(self.now, |flight| flight.sent_at_truly),
            landed_at: landed.at,
            lost_time: flight.is_none_or(|flight| flight.sent_at_truly < node.machine_paused_at),
            void: false,
        });
        self.is_handing_over = false;
        if self.has_settled {
            self.settled = Some(index);
        }
        self.check_alone(index);
        self.look_at_term_at(index, term.valid_until);
        self.after(0, Event::WorkActs { node: index, term: number });
        None
    }

    pub(super) fn renew_term(&mut self, index: usize, term: Term, flight: Option<Flight>) {
        self.tally.outcome(Outcome::Renewal);
        self.check_deadlines(index, &term, flight.as_ref());
        let landed = self.landed;
        let node = &mut self.nodes[index];
        let now = node.clock.instant(self.now);
        let Some(work) = node.work.as_mut().filter(|work| now < work.valid_until) else { return };
        work.valid_until = term.valid_until;
        work.stop_by = term.stop_by;
        work.lost_time = flight.is_none_or(|flight| flight.sent_at_truly < node.machine_paused_at);
        work.landed_at = landed.map_or(work.landed_at, |landed| landed.at);
    }

    fn check_deadlines(&mut self, index: usize, term: &Term, flight: Option<&Flight>) {
        let sent_at = flight.map_or(Instant::START, |flight| flight.sent_at);
        let timing = &self.nodes[index].timing;
        let verdict = properties::deadline_counts_from_sending(term, sent_at, timing);
        self.violate(verdict);
    }

    /// Terms may begin in another order than their grants: an answer comes late, and the lock was edited
    /// meanwhile.
    fn check_token(&mut self, granted: Granted) {
        let grant = granted.grant;
        let position = self.terms.partition_point(|earlier| earlier.grant < grant);
        let earlier = self.terms[..position].iter().max_by_key(|earlier| earlier.token);
        let before = self.clash(earlier, Some(&granted));
        let after = self.clash(Some(&granted), self.terms.get(position));
        if before == Clash::Forgotten || after == Clash::Forgotten {
            // Only the terms from the repeated token on count.
            self.tally.outcome(Outcome::ForgottenToken);
            self.store = super::Store::default();
            self.terms.drain(..position);
            if after == Clash::Forgotten {
                return;
            }
        }
        for clash in [before, after] {
            if let Clash::Fault { token, highest } = clash {
                self.violate(properties::tokens_rise(token, highest, false));
            }
        }
        let position = self.terms.partition_point(|earlier| earlier.grant < grant);
        self.terms.insert(position, granted);
    }

    /// Compares the tokens of two grants, of which the second came later.
    fn clash(&self, earlier: Option<&Granted>, later: Option<&Granted>) -> Clash {
        match earlier.zip(later) {
            Some((earlier, later)) if later.token <= earlier.token => {
                match self.history_went_back && later.remembered < earlier.token {
                    true => Clash::Forgotten,
                    false => Clash::Fault { token: later.token, highest: earlier.token },
                }
            }
            _ => Clash::None,
        }
    }

    fn look_at_term_at(&mut self, index: usize, moment: Instant) {
        let node = &self.nodes[index];
        let Some(work) = &node.work else { return };
        let event = Event::TermDue { node: index, term: work.number };
        self.at(node.clock.when(moment), event);
    }

    /// The work checks its leadership, and the watchdog checks the term.
    pub(super) fn on_term_due(&mut self, index: usize, term: u32) {
        let node = &self.nodes[index];
        let Some(work) = node.work.as_ref().filter(|work| work.number == term) else { return };
        if node.paused_until > self.now {
            return self.at(node.paused_until, Event::TermDue { node: index, term });
        }
        let now = node.clock.instant(self.now);
        let (valid_until, stop_by, stopping) = (work.valid_until, work.stop_by, work.stopping);
        if now < valid_until {
            return self.look_at_term_at(index, valid_until);
        }
        if now < stop_by {
            return match stopping {
                true => self.look_at_term_at(index, stop_by),
                false => self.stop_work(index),
            };
        }
        self.tally.outcome(Outcome::EndedByWatchdog);
        self.crash(index, "overran");
    }

    /// The work learns that it no longer leads, and needs some time to stop.
    pub(super) fn stop_work(&mut self, index: usize) {
        let stubborn = self.plan.rate(Fault::StubbornWork) * 5;
        let stubborn = !self.is_healed && self.chance.permille(stubborn);
        let node = &mut self.nodes[index];
        let Some(work) = node.work.as_mut().filter(|work| !work.stopping) else { return };
        work.stopping = true;
        work.stubborn = stubborn;
        // From now on, only the stop deadline counts, which the watchdog enforces.
        work.valid_until = Instant::START;
        let (term, stop_by) = (work.number, work.stop_by);
        let left = node.clock.when(stop_by).saturating_sub(self.now);
        self.look_at_term_at(index, stop_by);
        if stubborn {
            return self.tally.fault(Fault::StubbornWork);
        }
        let most = if self.chance.permille(700) { left / 10 } else { left };
        let delay = self.chance.below(most.max(1));
        self.after(delay, Event::WorkStops { node: index, term });
    }

    pub(super) fn on_work_stops(&mut self, index: usize, term: u32) {
        let node = &self.nodes[index];
        let Some(work) = node.work.as_ref().filter(|work| work.number == term) else { return };
        if node.paused_until > self.now {
            return self.at(node.paused_until, Event::WorkStops { node: index, term });
        }
        if work.stubborn {
            return;
        }
        let (free_at, life) = (node.stalled_until, node.life);
        self.nodes[index].work = None;
        self.note_of(index, "stopped", String::new);
        self.at(free_at, Event::Release { node: index, life });
    }

    pub(super) fn on_release(&mut self, index: usize, life: u32) {
        let node = &self.nodes[index];
        if node.life != life {
            return;
        }
        let free_at = node.paused_until.max(node.stalled_until);
        if free_at > self.now {
            return self.at(free_at, Event::Release { node: index, life });
        }
        let release = self.release_input();
        self.step(index, release, 0);
    }

    /// The work checks whether it leads. If it does, it writes to the store, which takes some time.
    pub(super) fn on_work_acts(&mut self, index: usize, term: u32) {
        let node = &self.nodes[index];
        let Some(work) = node.work.as_ref().filter(|work| work.number == term) else { return };
        if node.paused_until > self.now {
            return self.at(node.paused_until, Event::WorkActs { node: index, term });
        }
        self.tally.events += 1;
        let lease = micros(node.timing.lease_duration());
        if !work.stopping && node.clock.instant(self.now) < work.valid_until {
            let event = Event::StoreWrite { token: work.token, grant: work.grant };
            // Sometimes a write is on its way for as long as a term.
            let late = if self.chance.permille(50) { 2 * lease } else { 20_000 };
            let way = self.chance.below(late);
            self.after(way, event);
        }
        let pause = lease / 8 + self.chance.below(lease / 4);
        self.after(pause, Event::WorkActs { node: index, term });
    }

    pub(super) fn on_store_write(&mut self, token: u64, grant: u64) {
        self.tally.events += 1;
        if token < self.store.token {
            return self.tally.outcome(Outcome::OldTokenRefused);
        }
        // If history went back and no process remembered the last token, the store starts from
        // zero.
        if self.terms.iter().all(|term| term.grant != grant) {
            return;
        }
        self.tally.outcome(Outcome::StoreWrite);
        self.violate(properties::store_keeps_the_order(grant, self.store.grant));
        self.store = super::Store { token, grant };
    }

    // Overlaps between leaders.

    /// Checks that no other work runs at the same time as the work of `client`, which begins or
    /// continues now.
    pub(super) fn check_alone(&mut self, client: usize) {
        let others = (0..self.nodes.len() + self.foreign.len()).filter(|other| *other != client);
        let beside: Vec<usize> = others.filter(|other| self.is_beside(client, *other)).collect();
        for other in beside {
            match self.excuse(client, other).or_else(|| self.excuse(other, client)) {
                Some(excuse) => {
                    self.tally.outcome(excuse);
                    self.note_of(client, "excused", || format!("beside {other}: {excuse:?}"));
                }
                None => self.violate(properties::at_most_one_leader(client, Some(other))),
            }
        }
    }

    fn is_beside(&self, client: usize, other: usize) -> bool {
        match (client.checked_sub(self.nodes.len()), other.checked_sub(self.nodes.len())) {
            (_, None) => self.nodes[other].acts(self.now),
            (Some(_), Some(_)) => false,
            // A foreign leader may act for longer than its lease. That is not our promise.
            (None, Some(foreign)) => {
                self.foreign[foreign].leads_within_lease(self.landed_of(client))
            }
        }
    }

    fn landed_of(&self, client: usize) -> Micros {
        match client.checked_sub(self.nodes.len()) {
            None => self.nodes[client].work.as_ref().map_or(self.now, |work| work.landed_at),
            Some(foreign) => self.foreign[foreign].landed_at,
        }
    }

    /// The event outside of the assumptions that explains why `starter` leads beside `runner`, if
    /// any.
    fn excuse(&self, starter: usize, runner: usize) -> Option<Outcome> {
        let work = self.nodes.get(runner).and_then(|node| node.work.as_ref());
        if work.is_some_and(|work| work.lost_time) {
            return Some(Outcome::BesideFrozen);
        }
        let foreign = |client: usize| {
            client.checked_sub(self.nodes.len()).map(|foreign| &self.foreign[foreign])
        };
        if foreign(starter).is_some_and(|foreign| foreign.mistakes) {
            return Some(Outcome::BesideForeign);
        }
        let landed = self.landed_of(runner);
        let upsets = self.upsets.iter().rev().take_while(|upset| upset.at >= landed);
        let upset =
            upsets.filter_map(|upset| self.profits(&upset.advantage, starter, runner)).next();
        let is_void = work.is_some_and(|work| work.void)
            || foreign(runner).is_some_and(|foreign| foreign.void);
        upset.or_else(|| is_void.then_some(Outcome::BesideVoid))
    }

    fn profits(&self, advantage: &Advantage, starter: usize, runner: usize) -> Option<Outcome> {
        let is_behind = |knew: &Vec<u32>| {
            let life = knew.get(starter);
            life.is_none_or(|life| *life == 0 || *life != self.nodes[starter].life)
        };
        let (profits, outcome) = match advantage {
            Advantage::Everybody => (true, Outcome::BesideVacated),
            Advantage::Foreign => (starter >= self.nodes.len(), Outcome::BesideForeign),
            Advantage::Unaware { knew, by } => (
                is_behind(knew) && !self.knew_term_of(starter, runner, *by),
                Outcome::BesideUnknown,
            ),
            Advantage::Behind { knew } => (is_behind(knew), Outcome::BesideUnseen),
        };
        profits.then_some(outcome)
    }

    /// Whether `starter` had been shown the term of `runner` before `by`, and before it sent its
    /// acquiring write.
    fn knew_term_of(&self, starter: usize, runner: usize, by: Micros) -> bool {
        let work = |index: usize| self.nodes.get(index).and_then(|node| node.work.as_ref());
        let (Some(later), Some(earlier)) = (work(starter), work(runner)) else { return false };
        let known = self.known.get(&earlier.token).map(|known| known[starter]);
        known.is_some_and(|(life, at)| {
            life == self.nodes[starter].life && at < later.sent_at.min(by)
        })
    }

    /// A write of `client` has acquired the lock. A leader that still runs beside it with an excuse
    /// no longer counts as the leader.
    pub(super) fn void_beside(&mut self, client: usize) {
        for other in (0..self.nodes.len() + self.foreign.len()).filter(|other| *other != client) {
            if self.excuse(client, other).is_some() {
                match other.checked_sub(self.nodes.len()) {
                    None => self.nodes[other].work.iter_mut().for_each(|work| work.void = true),
                    Some(foreign) => self.foreign[foreign].void = true,
                }
            }
        }
    }

    pub(super) fn on_resume(&mut self, index: usize) {
        let node = &self.nodes[index];
        if node.paused_until > self.now || node.life == 0 {
            return;
        }
        let Some(work) = &node.work else { return };
        let term = work.number;
        // The watchdog's timer has expired in the meantime.
        self.on_term_due(index, term);
        if self.nodes[index].acts(self.now) {
            self.check_alone(index);
        }
    }
}

/// What is wrong with the tokens of two grants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clash {
    None,
    /// History went back, and the later candidate was never shown the earlier token.
    Forgotten,
    Fault {
        token: u64,
        highest: u64,
    },
}
