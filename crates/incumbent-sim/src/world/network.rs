//! Requests, answers and watch events on their way.

use std::time::Duration;

use incumbent_core::{Observation, Operation, Record, Reply};

use super::driver::{tell_operation, tell_snapshot};
use super::node::Watch;
use super::{Event, World};
use crate::clock::{Micros, micros};
use crate::plan::LONGEST_PATIENCE;
use crate::properties;
use crate::server::Ask;
use crate::tally::{Fault, Outcome};

/// A request on its way to the server.
pub(super) struct Arrival {
    client: usize,
    flight: u32,
    ask: Ask,
    answer: Fate,
    /// It arrives after its caller gave up, from a queue on the way that a restart does not empty.
    is_late: bool,
    incarnation: u32,
}

/// What happens to the answer.
enum Fate {
    /// It arrives after this time.
    Comes(Micros),
    Lost,
    /// The server answers something other than what it did.
    Instead(Box<Reply>),
}

/// An answer on its way back.
pub(super) struct Answer {
    pub(super) reply: Reply,
    /// The content of other programs, in the version that the reply shows.
    pub(super) others: u32,
    pub(super) landed: Option<Landed>,
}

/// A write that the server applied.
#[derive(Clone, Copy)]
pub(super) struct Landed {
    pub(super) at: Micros,
    /// Its number among the acquiring writes.
    pub(super) grant: u64,
}

impl Answer {
    pub(super) fn plain(reply: Reply) -> Self {
        Self { reply, others: 0, landed: None }
    }
}

/// What the watching task tells the driver.
#[derive(Clone)]
pub(super) enum News {
    Opened,
    Seen {
        revision: u64,
        observation: Box<Observation>,
        others: u32,
    },
    /// The watch has ended. The next attempt follows after `pause`, and starts from the current
    /// state if this one `forgets`.
    Ended {
        pause: Micros,
        forgets: bool,
    },
}

impl World {
    /// Sends a request. What happens to it is drawn here.
    pub(super) fn post(&mut self, client: usize, flight: u32, ask: Ask, gives_up_at: Micros) {
        let (cut_until, forbidden_until) = match self.nodes.get(client) {
            Some(node) => (node.cut_until, node.forbidden_until),
            None => (0, 0),
        };
        if cut_until > self.now || self.strikes(Fault::RequestLost) {
            return;
        }
        if self.server.away_until > self.now {
            return self.answer_soon(client, flight, Answer::plain(Reply::Unknown));
        }
        if forbidden_until > self.now {
            let reply = Reply::Refused { retry_after: None };
            return self.answer_soon(client, flight, Answer::plain(reply));
        }
        if let Some(reply) = self.refusal(&ask) {
            return self.answer_soon(client, flight, Answer::plain(reply));
        }
        let incarnation = self.server.incarnation;
        let mut arrival =
            Arrival { client, flight, ask, answer: Fate::Lost, is_late: false, incarnation };
        if arrival.ask.is_write() && self.strikes_late(&arrival) {
            arrival.is_late = true;
            let lease = micros(self.plan.longest_lease());
            let very = self.chance.permille(300) && self.plan.has(Fault::WriteLandsVeryLate);
            let delay = self.chance.below(if very { 4 * lease } else { lease / 2 });
            self.tally.fault(if very { Fault::WriteLandsVeryLate } else { Fault::WriteLandsLate });
            return self.at(gives_up_at + delay, Event::Arrive(Box::new(arrival)));
        }
        arrival.answer = self.draw_answer(&arrival.ask, gives_up_at);
        let way = self.latency();
        self.after(way, Event::Arrive(Box::new(arrival)));
    }

    fn strikes_late(&mut self, arrival: &Arrival) -> bool {
        arrival.ask.is_write()
            && !self.is_healed
            && self.chance.permille(self.plan.rate(Fault::WriteLandsLate))
    }

    /// The refusal that the server sends without looking at the lock, if any.
    fn refusal(&mut self, ask: &Ask) -> Option<Reply> {
        let patience = Duration::from_secs(1 + self.chance.below(LONGEST_PATIENCE.as_secs()));
        let in_storm = self.server.conflicts_until > self.now;
        if ask.is_write() && (in_storm || self.strikes(Fault::ConflictFromNowhere)) {
            return Some(Reply::Conflict);
        }
        if self.strikes(Fault::TooManyRequests) {
            return Some(Reply::Refused { retry_after: Some(patience) });
        }
        if self.strikes(Fault::Unavailable) {
            return Some(server_error(ask, Some(patience)));
        }
        None
    }

    fn draw_answer(&mut self, ask: &Ask, gives_up_at: Micros) -> Fate {
        if self.strikes(Fault::AnswerLost) {
            return Fate::Lost;
        }
        if self.strikes(Fault::AnswerLate) {
            return Fate::Comes(self.chance.below(2 * (gives_up_at - self.now) + 1));
        }
        if self.strikes(Fault::InternalError) || self.strikes(Fault::GatewayTimeout) {
            return Fate::Instead(Box::new(server_error(ask, None)));
        }
        Fate::Comes(self.latency())
    }

    pub(super) fn latency(&mut self) -> Micros {
        self.plan.latency / 2 + self.chance.below(self.plan.latency * 3 / 2)
    }

    pub(super) fn answer_soon(&mut self, client: usize, flight: u32, answer: Answer) {
        let way = self.latency();
        let (incarnation, answer) = (self.server.incarnation, Box::new(answer));
        self.after(way, Event::Answer { client, flight, incarnation, answer });
    }

    pub(super) fn on_arrival(&mut self, arrival: Arrival) {
        let Arrival { client, flight, ask, answer, is_late, incarnation } = arrival;
        if is_late && self.is_healed {
            return;
        }
        if !is_late && incarnation != self.server.incarnation {
            // The connection broke, so the client cannot know whether the server took the request.
            return self.answer_soon(client, flight, Answer::plain(Reply::Unknown));
        }
        self.tally.events += 1;
        let stale = match ask.operation() {
            Operation::Read => self.stale_read(),
            _ => None,
        };
        let reply = match stale {
            Some(answer) => answer,
            None => self.apply(client, ask, is_late),
        };
        match answer {
            Fate::Lost => {}
            Fate::Instead(reply) => self.answer_soon(client, flight, Answer::plain(*reply)),
            Fate::Comes(way) => {
                let incarnation = self.server.incarnation;
                let answer = Box::new(reply);
                self.after(way, Event::Answer { client, flight, incarnation, answer });
            }
        }
    }

    /// The answer of a server that lags behind: the state of some versions ago.
    fn stale_read(&mut self) -> Option<Answer> {
        if self.server.log().len() < 2 || !self.strikes(Fault::StaleRead) {
            return None;
        }
        let back = 1 + self.chance.below(3) as usize;
        let index = self.server.log().len().saturating_sub(1 + back);
        let entry = &self.server.log()[index];
        let reply = match &entry.stored {
            Some(stored) => Reply::Found(stored.snapshot.clone()),
            None => Reply::Missing,
        };
        Some(Answer { reply, others: entry.others(), landed: None })
    }

    /// Passes a request to the register.
    fn apply(&mut self, client: usize, ask: Ask, is_late: bool) -> Answer {
        let before = self.server.lock().cloned();
        let (is_ours, is_write) = (matches!(ask, Ask::Ours { .. }), ask.is_write());
        let written = match &ask {
            Ask::Ours { operation: Operation::Replace { record, .. }, others, session } => {
                Some((record.clone(), *others, *session))
            }
            _ => None,
        };
        let acquires =
            acquires(before.as_ref().map(|before| &before.snapshot.record), ask.operation());
        if is_write {
            self.note("api", "gets", || tell_operation(ask.operation()));
        }
        let (reply, changed) = self.server.apply(self.now, ask);
        let applied = matches!(reply, Reply::Written(_));
        if let (true, Some(before), Some((record, others, session))) = (applied, before, written) {
            self.violate(properties::others_content_stays(before.others, others));
            self.violate(properties::nobody_is_overwritten(
                &before.snapshot.record,
                &record,
                session,
            ));
            self.look_at_line(client, &before.snapshot.record, &record, session);
        }
        if is_late && is_write {
            self.tally.outcome(if applied {
                Outcome::LateWriteApplied
            } else {
                Outcome::LateWriteRefused
            });
        }
        if applied && acquires && changed {
            self.grants += 1;
            self.void_beside(client);
        }
        // A write that changes nothing is not a heartbeat, even if its writer believes so.
        if !is_ours && applied && changed {
            let index = client - self.nodes.len();
            self.foreign[index].landed_at = self.now;
            self.foreign[index].void = false;
        }
        if changed {
            self.spread();
        }
        let landed = applied.then_some(Landed { at: self.now, grant: self.grants });
        Answer { reply, others: self.server.last().others(), landed }
    }

    /// Shows the newest version to all watching candidates.
    pub(super) fn spread(&mut self) {
        if self.trace == crate::Trace::On {
            let line = self
                .server
                .lock()
                .map_or_else(|| "gone".to_owned(), |lock| tell_snapshot(&lock.snapshot));
            self.note("api", "stores", || line);
        }
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            if !node.watch.streams {
                continue;
            }
            if node.cut_until > self.now {
                // Events that are lost on a hanging connection do not arrive later.
                self.nodes[index].watch.is_silent = true;
            }
            if !self.nodes[index].watch.is_silent {
                self.show(index);
            }
        }
    }

    fn show(&mut self, index: usize) {
        if self.strikes(Fault::WatchSilent) {
            self.nodes[index].watch.is_silent = true;
            return;
        }
        if self.strikes(Fault::WatchBroken) {
            return self.end_watch(index, true);
        }
        if self.strikes(Fault::WatchExpired) {
            return self.end_watch(index, true);
        }
        if self.strikes(Fault::EventLost) {
            return;
        }
        let last = self.server.last();
        let (revision, observation, others) =
            (last.revision, last.observation().into(), last.others());
        let news = News::Seen { revision, observation, others };
        let lease = micros(self.nodes[index].timing.lease_duration());
        let watch = self.nodes[index].watch.number;
        if self.strikes(Fault::EventTwice) {
            let (news, late) = (news.clone(), self.chance.below(lease));
            self.after(late, Event::News { node: index, watch, news });
        }
        if self.strikes(Fault::EventLate) {
            let late = self.chance.below(lease);
            return self.after(late, Event::News { node: index, watch, news });
        }
        self.stream(index, news);
    }

    /// Sends news into the watch of `index`, after all earlier news.
    fn stream(&mut self, index: usize, news: News) {
        let arrives = self.now + self.latency();
        let watch = &mut self.nodes[index].watch;
        watch.last_arrival = arrives.max(watch.last_arrival);
        let (at, watch) = (watch.last_arrival, watch.number);
        self.at(at, Event::News { node: index, watch, news });
    }

    /// The server or the network ends the watch of `index`, and the watching task notices.
    pub(super) fn end_watch(&mut self, index: usize, forgets: bool) {
        let retry = micros(self.nodes[index].timing.retry_period());
        let watch = &mut self.nodes[index].watch;
        if !watch.streams {
            return;
        }
        watch.streams = false;
        let pause = if self.now - watch.opened_at < retry || forgets { retry } else { 0 };
        let pause = pause + self.chance.below(retry / 5);
        self.stream(index, News::Ended { pause, forgets });
    }

    /// The watching task of `index` starts again after `pause`. Events of an older watch are
    /// ignored.
    pub(super) fn open_watch(&mut self, index: usize, pause: Micros) {
        let number = self.number();
        let way = self.latency();
        let watch = &mut self.nodes[index].watch;
        let resume_after = watch.resume_after;
        *watch = Watch { number, resume_after, ..Watch::default() };
        self.after(pause + way, Event::OpenWatch { node: index, watch: number });
    }

    pub(super) fn on_open_watch(&mut self, index: usize, number: u32) {
        let node = &self.nodes[index];
        if node.watch.number != number || node.life == 0 {
            return;
        }
        let retry = micros(node.timing.retry_period());
        let hindered =
            node.cut_until.max(self.server.away_until).max(node.forbidden_until) > self.now;
        if hindered || self.nodes[index].paused_until > self.now {
            self.nodes[index].watch.resume_after = None;
            let pause = retry + self.chance.below(retry / 5);
            return self.after(pause, Event::OpenWatch { node: index, watch: number });
        }
        let now = self.now;
        let watch = &mut self.nodes[index].watch;
        let after = watch.resume_after;
        (watch.streams, watch.opened_at) = (true, now);
        self.stream(index, News::Opened);
        match after {
            Some(after) if after > self.server.last().revision => self.end_watch(index, true),
            Some(after) => self.replay(index, after),
            None => self.replay(index, self.server.last().revision.saturating_sub(1)),
        }
    }

    /// Replays everything since `after`. If the watch starts from the current state, it does not
    /// show a lock that is gone.
    fn replay(&mut self, index: usize, after: u64) {
        let resumes = self.nodes[index].watch.resume_after.is_some();
        let log = self.server.log();
        let first = log.partition_point(|entry| entry.revision <= after);
        let news: Vec<News> = log[first..]
            .iter()
            .filter(|entry| resumes || entry.stored.is_some())
            .map(|entry| News::Seen {
                revision: entry.revision,
                observation: entry.observation().into(),
                others: entry.others(),
            })
            .collect();
        news.into_iter().for_each(|news| self.stream(index, news));
    }
}

/// A 5xx answer. After a write, it leaves open whether the write was applied.
fn server_error(ask: &Ask, retry_after: Option<Duration>) -> Reply {
    match ask.is_write() {
        true => Reply::Unknown,
        false => Reply::Refused { retry_after },
    }
}

/// Whether a write begins a term.
fn acquires(before: Option<&Record>, operation: &Operation) -> bool {
    let (Operation::Replace { record, .. } | Operation::Create(record)) = operation else {
        return false;
    };
    let goes_on = before.is_some_and(|before| {
        let is_same_process = record.session.is_none() || before.session == record.session;
        is_same_process && (&before.holder, &before.acquired) == (&record.holder, &record.acquired)
    });
    record.holder.is_some() && !goes_on
}
