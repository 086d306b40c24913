//! True time, and the order in which everything happens.
//!
//! A process runs when something reaches it or one of its timers is due, each time until it has nothing more
//! to do. It touches nothing outside of itself: what it sends leaves with its own time, and what it is sent
//! waits while it stands still. So machines may be run one after the other, whatever their clocks show.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;
use http::Response;
use incumbent_apiserver::Body;
use tokio::sync::oneshot;

use super::judge::Judge;
use super::line::{self, Answer, Broken, Sent, arrived, error, verb};
use super::lock::Says;
use super::machine::Machine;
use super::network::{Effect, Fate, Fault, Network, Outcome, Verb};
use super::resident::{AnswerTo, Parcel, Piece, PieceTo, Process};
use super::server::{self, Account, Server};
use super::watches::{HowWatchesEnd, Watch};

/// Something that is due at a moment.
pub(super) enum Event {
    Arrives(Box<Sent>, Verb, Fate),
    /// The answer is back.
    Answers(usize, AnswerTo, Result<Response<Answer>, Broken>, Says),
    /// A piece of a watch is.
    Shows(usize, PieceTo, Piece, Says),
    /// Watches that were frozen may continue.
    Thaws,
    /// A process may run again.
    Wakes(usize),
    /// Something that the trial has planned.
    Planned(usize),
}

/// What is the trial's business.
pub(super) enum Happening {
    /// Something that it has planned.
    Planned(usize),
    /// A process has ended itself.
    Ended(usize),
}

pub(super) struct World<'a> {
    pub(super) now: Duration,
    /// In the order of time, and then in that in which they were planned.
    events: BTreeMap<(Duration, u64), Event>,
    latest: u64,
    pub(super) processes: Vec<Process>,
    pub(super) server: &'a mut Server,
    pub(super) network: Network,
    pub(super) watches: Vec<Watch>,
    pub(super) judge: Judge,
    rng: Rng,
    steps: u32,
    ended: Vec<usize>,
    pub(super) lease: Duration,
    /// How often a backup was restored.
    pub(super) history: u32,
    /// Each process has a seat of its own, so that many terms are valid at once.
    pub(super) is_of_a_group: bool,
}

impl<'a> World<'a> {
    pub(super) fn new(server: &'a mut Server, judge: Judge, mut rng: Rng, lease: Duration) -> Self {
        super::machine::reset();
        drop(line::take_sent());
        Self {
            now: Duration::ZERO,
            events: BTreeMap::new(),
            latest: 0,
            processes: Vec::new(),
            server,
            network: Network::new(rng.fork()),
            watches: Vec::new(),
            judge,
            rng,
            steps: 0,
            ended: Vec::new(),
            lease,
            history: 0,
            is_of_a_group: false,
        }
    }

    pub(super) fn plan(&mut self, at: Duration, number: usize) {
        self.push(at, Event::Planned(number));
    }

    pub(super) fn push(&mut self, at: Duration, event: Event) {
        self.latest += 1;
        self.events.insert((at.max(self.now), self.latest), event);
    }

    pub(super) fn add(
        &mut self,
        name: String,
        slot: Option<usize>,
        account: Account,
        machine: Machine,
    ) -> usize {
        self.processes.push(Process::new(name, slot, account, machine));
        self.processes.len() - 1
    }

    /// Lets everything happen until `until`, or until something happens that is the trial's business.
    pub(super) fn go_on(&mut self, until: Duration) -> Option<Happening> {
        loop {
            if let Some(ended) = self.ended.pop() {
                return Some(Happening::Ended(ended));
            }
            let wakes =
                |(index, process): (usize, &Process)| Some((process.machine.wakes_at()?, index));
            let machine = self.processes.iter().enumerate().filter_map(wakes).min();
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let next = machine.map(|(at, _)| at).into_iter().chain(event).min();
            let Some(next) = next.filter(|next| *next <= until) else {
                self.set_now(until);
                return None;
            };
            self.set_now(next.max(self.now));
            match machine {
                Some((at, index)) if event.is_none_or(|event| at < event) => self.run(index),
                _ => {
                    let Some((_, event)) = self.events.pop_first() else { continue };
                    if let Some(planned) = self.happen(event) {
                        return Some(Happening::Planned(planned));
                    }
                }
            }
            self.steps += 1;
            if self.steps == MOST_STEPS {
                self.judge.violation(self.now, format!("{MOST_STEPS} steps: no time passes"));
                return None;
            }
            if self.steps > MOST_STEPS {
                return None;
            }
        }
    }

    fn set_now(&mut self, now: Duration) {
        self.now = now;
        server::set_now(now);
    }

    fn happen(&mut self, event: Event) -> Option<usize> {
        match event {
            Event::Planned(number) => return Some(number),
            Event::Arrives(sent, verb, fate) => self.arrive(*sent, verb, fate),
            Event::Answers(process, to, answer, says) => self.answer(process, to, answer, says),
            Event::Shows(process, to, piece, says) => {
                self.deliver(process, Parcel::Piece(to, piece, says));
            }
            Event::Thaws => self.show(),
            Event::Wakes(index) => self.run(index),
        }
        None
    }

    /// A fault of the network or the server begins, for one process or for all.
    pub(super) fn add_fault(&mut self, fault: &Fault, whom: Option<usize>) {
        self.network.add(self.now, Fault { whom, ..fault.clone() });
        if let Effect::Cut { closes } = fault.effect {
            let how = match closes {
                true => HowWatchesEnd::Broken,
                false => HowWatchesEnd::Unnoticed,
            };
            self.end_watches(whom, how);
        }
    }

    /// Stops a process for so long, and says until when by its own clock.
    pub(super) fn stop(&mut self, index: usize, span: Duration) -> Duration {
        let machine = &mut self.processes[index].machine;
        let from = machine.now(self.now);
        let until = machine.stopped_until.unwrap_or_default().max(from + span);
        machine.stopped_until = Some(until);
        self.judge.pauses(index, from, until);
        until
    }

    /// All have left: no watch may be open. Ends every process.
    pub(super) fn close(&mut self) {
        let watches = self.open_watches();
        if watches > 0 {
            self.judge.violation(self.now, format!("{watches} watches are still open"));
        }
        for (kind, hits) in std::mem::take(&mut self.network.hits) {
            self.judge.count(kind, hits);
        }
        for process in &mut self.processes {
            process.machine.kill(self.now);
        }
    }

    /// A backup was restored: of what there is now, nothing was shown to any process, nor is it on its way.
    pub(super) fn begin_history(&mut self) {
        self.history += 1;
        self.processes.iter_mut().for_each(|process| process.newest = 0);
    }

    /// Runs a process until it has nothing more to do, and sends what it wants to send.
    pub(super) fn run(&mut self, index: usize) {
        let watchdog_first = self.rng.bool();
        let process = &mut self.processes[index];
        if !process.machine.runs_at(self.now) {
            return self.run_later(index);
        }
        if process.machine.blocked_until.is_none_or(|until| self.now >= until) {
            process.open_inbox(self.history);
        }
        let stalls = process.machine.run(self.now, watchdog_first);
        for (from, to) in stalls {
            self.judge.pauses(index, from, to);
            let text =
                || format!("{} stands still for {:?}", self.processes[index].name, to - from);
            self.judge.note(from, "stood still in a run", text);
        }
        self.send_all();
        let aborted = self.processes[index].aborted.as_ref();
        if aborted.is_some_and(|aborted| aborted.load(Ordering::Relaxed)) {
            self.kill(index);
            self.ended.push(index);
        }
        self.look();
    }

    /// All who lead say so now.
    fn look(&self) {
        let valid = self.processes.iter().enumerate().flat_map(|(index, process)| {
            let terms = process.machine.valid_terms(self.now);
            terms.into_iter().map(move |token| (index, token))
        });
        let valid: Vec<_> = valid.collect();
        if valid.len() > 1 && !self.is_of_a_group {
            self.judge.are_valid(self.now, &valid);
        }
    }

    fn send_all(&mut self) {
        for sent in line::take_sent() {
            let process = &mut self.processes[sent.process];
            if !process.machine.is_alive() || process.is_cut_off {
                continue;
            }
            self.count_request(sent.process, sent.at);
            let process = &self.processes[sent.process];
            let verb = verb(&sent);
            let says = Says::read(sent.request.body());
            if let (Verb::Write, Some(token)) = (verb, says.token) {
                self.judge.sends(sent.process, token, &process.shown, process.highest);
            }
            let fate = self.network.fate(sent.at, process.slot, verb);
            let name = &process.name;
            self.judge.trace(sent.at, || format!("{name} sends {verb:?} {says:?}: {fate:?}"));
            self.push(sent.at + fate.there, Event::Arrives(Box::new(sent), verb, fate));
        }
    }

    /// No candidate asks without end.
    fn count_request(&mut self, index: usize, at: Duration) {
        // A member takes part in two elections, and may write the table.
        let most = MOST_REQUESTS * if self.is_of_a_group { 3 } else { 1 };
        let process = &mut self.processes[index];
        if at > process.requests.0 + self.lease {
            process.requests = (at, 0);
        }
        process.requests.1 += 1;
        process.sent += 1;
        if process.requests.1 == most {
            let text = format!("{} has sent {most} requests in a lease", process.name);
            self.judge.violation(at, text);
        }
    }

    fn arrive(&mut self, mut sent: Sent, verb: Verb, fate: Fate) {
        let index = sent.process;
        let slot = self.processes[index].slot;
        let is_lost = match fate.outcome {
            Outcome::Lost { closes } => Some(closes),
            _ => self.network.is_cut(self.now, slot),
        };
        if let Some(closes) = is_lost {
            return if closes {
                self.answer_later(sent, fate, Err(Broken))
            } else {
                self.hang(sent)
            };
        }
        match fate.outcome {
            Outcome::Error { code, retry_after } => {
                return self.answer_later(sent, fate, Ok(error(code, retry_after)));
            }
            Outcome::ErrorApplied { code, later } => {
                let (unheard, _) = oneshot::channel();
                let to = std::mem::replace(&mut sent.answer, unheard);
                let refused = Sent { answer: to, request: sent.request.clone(), ..sent };
                self.answer_later(refused, fate, Ok(error(code, 0)));
                let fate = Fate { outcome: Outcome::Unanswered { closes: false }, ..fate };
                return self.push(self.now + later, Event::Arrives(Box::new(sent), verb, fate));
            }
            _ => {}
        }
        let answer = self.ask(&sent, verb, fate);
        match fate.outcome {
            Outcome::Unanswered { closes: true } => self.answer_later(sent, fate, Err(Broken)),
            Outcome::Unanswered { closes: false } => self.hang(sent),
            _ if verb == Verb::Watch => self.open(sent, fate, answer),
            _ => {
                let answer = answer.map(arrived);
                self.answer_later(sent, fate, answer);
            }
        }
    }

    /// Nothing comes back, and the connection stays.
    fn hang(&mut self, sent: Sent) {
        drop(sent);
    }

    fn ask(&mut self, sent: &Sent, verb: Verb, fate: Fate) -> Result<Response<Body>, Broken> {
        let request = || {
            let mut request = http::Request::new(sent.request.body().clone());
            *request.method_mut() = sent.request.method().clone();
            *request.uri_mut() = sent.request.uri().clone();
            *request.headers_mut() = sent.request.headers().clone();
            request
        };
        // What a group asks the store itself for is no read of a cache.
        let is_cached = sent.request.uri().query().is_some_and(|query| query.ends_with("ersion=0"));
        if let Some(lag) = fate.stale
            && (is_cached || !self.is_of_a_group)
            && let Some(answer) = self.server.ask_past(self.now.saturating_sub(lag), request())
        {
            return answer;
        }
        let account = self.processes[sent.process].account;
        let answer = self.server.ask(self.now, account, request());
        if verb == Verb::Write {
            let is_stored = answer.as_ref().is_ok_and(|answer| answer.status().is_success());
            if let (true, Some(token)) = (is_stored, Says::read(sent.request.body()).token) {
                self.judge.stored(self.now, sent.process, token);
            }
            let name = &self.processes[sent.process].name;
            let code = answer.as_ref().map(|answer| answer.status().as_u16());
            self.judge.trace(self.now, || format!("server: write of {name}: {code:?}"));
            self.show();
        }
        answer
    }

    pub(super) fn answer_later(
        &mut self,
        sent: Sent,
        fate: Fate,
        answer: Result<(Response<Answer>, Says), Broken>,
    ) {
        let says = answer.as_ref().map_or_else(|_| Says::default(), |(_, says)| *says);
        let says = Says { history: self.history, ..says };
        let answer = answer.map(|(answer, _)| answer);
        let event = Event::Answers(sent.process, sent.answer, answer, says);
        self.push(self.now + fate.back, event);
    }

    fn answer(
        &mut self,
        index: usize,
        to: AnswerTo,
        answer: Result<Response<Answer>, Broken>,
        says: Says,
    ) {
        match self.network.is_cut(self.now, self.processes[index].slot) {
            Some(false) => {}
            Some(true) => self.deliver(index, Parcel::Answer(to, Err(Broken), Says::default())),
            None => self.deliver(index, Parcel::Answer(to, answer, says)),
        }
    }

    /// Ends a process from one moment to the next. What is on its way to it finds nobody.
    pub(super) fn kill(&mut self, index: usize) {
        self.processes[index].machine.kill(self.now);
        self.processes[index].inbox.clear();
    }

    fn deliver(&mut self, index: usize, parcel: Parcel) {
        if !self.processes[index].machine.is_alive() {
            return;
        }
        self.processes[index].inbox.push_back(parcel);
        let process = &self.processes[index];
        let is_blocked = process.machine.blocked_until.is_some_and(|until| self.now < until);
        if process.machine.runs_at(self.now) && !is_blocked {
            return self.run(index);
        }
        self.run_later(index);
    }

    /// Runs a process as soon as it can: one that stood still while it was started has no timer yet.
    fn run_later(&mut self, index: usize) {
        if let Some(at) = self.processes[index].machine.free_at(self.now) {
            self.push(at, Event::Wakes(index));
        }
    }
}

/// Many times what a trial takes.
const MOST_STEPS: u32 = 100_000;

/// Several times what a candidate asks in a lease in the worst case.
const MOST_REQUESTS: u32 = 150;
