//! The waitlist: how people edit it, how leaders react to requests, and which candidate takes over.

use incumbent_core::{HandOver, Identity, Input, Record, Session, Waiter, Waitlist};

use super::node::identity;
use super::{Event, World};
use crate::clock::micros;
use crate::properties;
use crate::tally::{Fault, Outcome};

impl World {
    /// One of our writes was applied: `written` replaces `before`.
    pub(super) fn look_at_waitlist(
        &mut self,
        client: usize,
        before: &Record,
        written: &Record,
        session: Session,
    ) {
        let name = identity(self.nodes[client].name);
        self.violate(properties::waitlist_is_only_a_hint(before, written, (&name, session)));
        let rank = before.waitlist.rank_of(&name, session);
        let begins = written.session == Some(session)
            && (before.session, &before.acquired) != (written.session, &written.acquired);
        if !begins {
            let joins = rank.is_none() && written.waitlist.rank_of(&name, session).is_some();
            if joins {
                self.tally.outcome(Outcome::Joined);
            }
            return;
        }
        if rank == Some(0) {
            self.tally.outcome(Outcome::InTurn);
        }
        if before.is_held() && self.nodes[client].told_ended == before.session {
            self.tally.outcome(Outcome::Succession);
        }
        if self.has_settled && before.session != Some(session) {
            let line = before.waitlist.waiters();
            let ahead = &line[..rank.unwrap_or(line.len())];
            let passed_over = ahead.iter().find_map(|waiter| self.is_ready(client, waiter));
            self.violate(properties::first_come_first_served(client, passed_over));
        }
    }

    /// The node of `waiter`, if nothing prevents it from taking its turn.
    fn is_ready(&self, client: usize, waiter: &Waiter) -> Option<usize> {
        // On a slower network, the next candidate may not hear of the release within a step.
        let is_near = 4 * self.plan.latency < micros(Waitlist::STEP);
        self.nodes.iter().enumerate().position(|(index, node)| {
            is_near
                && index != client
                && waiter.session == Some(Session(u128::from(node.life)))
                && node.is_running(self.now)
                && node.stalled_until <= self.now
                && node.campaigns
                && node.flight.is_none()
                && node.watch.is_open
                && node.watch.streams
                && !node.watch.is_silent
        })
    }

    /// Does what `Candidate::run` does when its leader is asked to hand over: it ends the work,
    /// releases the lock, and campaigns again.
    pub(super) fn hand_over_if_asked(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if node.elector.asked_to_hand_over().is_none() {
            return;
        }
        let Some(work) = node.work.as_mut().filter(|work| !work.stopping && !work.asked) else {
            return;
        };
        work.asked = true;
        let term = work.number;
        let delay = self.chance.below(micros(node.timing.retry_period()) / 4);
        self.after(delay, Event::HandOver { node: index, term });
    }

    pub(super) fn on_hand_over(&mut self, index: usize, term: u32) {
        let node = &self.nodes[index];
        let is_running = node.is_running(self.now);
        let works = |work: &&super::node::Work| work.number == term && !work.stopping;
        if is_running && node.work.as_ref().is_some_and(|work| works(&work)) {
            self.tally.outcome(Outcome::HandedOver);
            self.is_handing_over = true;
            self.on_work_stops(index, term);
        }
    }

    /// The input that reports the end of the work. Sometimes it names the next leader.
    pub(super) fn release_input(&mut self) -> Input {
        match !self.is_healed && self.plan.has(Fault::HandOverAsked) && self.chance.permille(300) {
            true => Input::HandOver(self.somebody()),
            false => Input::Release,
        }
    }

    /// While all is well, this asks for another leader again and again, and each time a candidate
    /// must lead.
    pub(super) fn on_ask(&mut self) {
        self.check_that_somebody_leads(self.plan.recovery_bound());
        self.server.edit_line(self.now, |record| record.hand_over = Some(HandOver::ToNext));
        self.spread();
        self.after(micros(self.plan.longest_lease()), Event::Ask);
    }

    pub(super) fn ask_to_hand_over(&mut self) {
        let wish = match self.chance.permille(500) {
            true => HandOver::To(self.somebody()),
            false => HandOver::ToNext,
        };
        self.server.edit_line(self.now, |record| record.hand_over = Some(wish));
    }

    pub(super) fn pause_election(&mut self) {
        let names = match self.chance.below(4) {
            0 => Vec::new(),
            1 => Identity::new("*").into_iter().collect(),
            _ => vec![self.somebody()],
        };
        self.server.edit_line(self.now, |record| record.paused = names);
    }

    /// Edits the annotation by hand: adds a name, removes one, reverses the order, or writes
    /// nonsense.
    pub(super) fn edit_line_by_hand(&mut self) {
        let Some(lock) = self.server.lock() else { return };
        let mut line = lock.snapshot.record.waitlist.waiters().to_vec();
        match self.chance.below(4) {
            0 => line.reverse(),
            1 => drop(line.pop()),
            2 => line.clear(),
            _ => {
                let identity = self.somebody();
                line.extend(line.clone());
                line.insert(0, Waiter { identity, session: None, priority: -7 });
            }
        }
        self.server.edit_line(self.now, |record| record.waitlist = Waitlist::new(line));
    }

    fn somebody(&mut self) -> Identity {
        // One more number than there are candidates, so that the name may belong to none of them.
        identity(self.chance.below(self.nodes.len() as u64 + 1) as usize)
    }
}
