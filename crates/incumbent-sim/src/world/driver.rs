//! The code around an elector. It works like `driver.rs` and `follow.rs` of the adapter.

use incumbent_core::{
    Change, Follow, Input, Instant, Loss, Observation, Operation, Output, Record, Release, Reply,
    Request, Snapshot, Window,
};

use super::network::{Answer, News};
use super::node::Flight;
use super::{Event, World};
use crate::clock::micros;
use crate::properties;
use crate::server::Ask;
use crate::tally::Outcome;

impl World {
    /// Passes `input` to the elector of `node`, does what the elector asks for, and repeats this
    /// while it leads to further input.
    pub(super) fn step(&mut self, node: usize, input: Input, others: u32) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            next = self.step_once(node, input, others);
        }
    }

    fn step_once(&mut self, index: usize, input: Input, others: u32) -> Option<Input> {
        self.tally.events += 1;
        let told = match &input {
            Input::Reply(Reply::Found(snapshot) | Reply::Written(snapshot))
            | Input::Observed(Observation::Present(snapshot)) => Some(snapshot.clone()),
            _ => None,
        };
        let answers_a_write = matches!(&input, Input::Reply(Reply::Written(_)));
        let flight = match &input {
            Input::Reply(_) => self.nodes[index].flight.take(),
            _ => None,
        };
        self.note_of(index, "told", || tell_input(&input));
        let node = &mut self.nodes[index];
        if flight.as_ref().is_some_and(|flight| flight.is_write) {
            node.last_is_unknown = input == Input::Reply(Reply::Unknown);
        }
        let now = node.clock.now(self.now);
        let Output { request, change, wake } = node.elector.step(now, input);
        let learnt = told.filter(|told| node.elector.version() == Some(&told.version));
        if let Some(snapshot) = &learnt {
            node.others = (snapshot.version.revision, others);
        }
        let term = node.elector.term();
        let own = node.elector.config().session;
        let shows_own =
            |told: &Snapshot| told.record.holder.is_some() && told.record.session == Some(own);
        let knows_own = learnt.as_ref().map_or_else(|| node.elector.version().is_some(), shows_own);
        self.violate(properties::stops_by_its_deadline(now.instant, term));
        self.violate(properties::one_cause_to_lead(change.as_ref(), answers_a_write));
        self.violate(properties::stops_for_another_holder(term, knows_own));
        // Handle the change first: a request that the elector sends with it belongs to the state
        // after the change.
        let mut next = change.and_then(|change| self.on_change(index, change, flight));
        self.remember(index, learnt.as_ref());
        self.knows_term(index, learnt.as_ref());
        if let Some(request) = request {
            self.send(index, request);
        }
        next = next.or_else(|| self.fail_for_namesake(index)).or_else(|| self.conclude_end(index));
        self.set_alarm(index, wake);
        self.hand_over_if_asked(index);
        next
    }

    /// Records that this process knows the term that the lock shows.
    fn knows_term(&mut self, index: usize, learnt: Option<&Snapshot>) {
        let Some(token) = learnt.and_then(|lock| lock.record.token()) else { return };
        let (now, life, nodes) = (self.now, self.nodes[index].life, self.nodes.len());
        let known = self.known.entry(token.0).or_insert_with(|| vec![(0, 0); nodes]);
        if known[index].0 != life {
            known[index] = (life, now);
        }
    }

    /// Remembers the token that another candidate's record has shown. The candidate's own token is
    /// remembered from the start of its term.
    fn remember(&mut self, index: usize, learnt: Option<&Snapshot>) {
        let node = &mut self.nodes[index];
        let own = Some(node.elector.config().session);
        if let Some(lock) = learnt.filter(|lock| lock.record.session != own) {
            node.remembered = node.remembered.max(lock.record.last_token.0);
        }
    }

    fn fail_for_namesake(&mut self, index: usize) -> Option<Input> {
        let node = &mut self.nodes[index];
        if !node.campaigns || !node.elector.has_namesake() {
            return None;
        }
        node.campaigns = false;
        self.tally.outcome(Outcome::NamesakeReported);
        node.work.is_none().then_some(Input::Release)
    }

    fn send(&mut self, index: usize, request: Request) {
        let number = self.number();
        self.note_of(index, "sends", || tell_operation(&request.operation));
        self.check_request(index, &request.operation);
        let node = &mut self.nodes[index];
        let sent_at = node.clock.instant(self.now);
        let deadline = request.deadline;
        let gives_up_at = node.clock.when(deadline).max(self.now);
        let is_write = request.operation != Operation::Read;
        node.flight = Some(Flight { number, sent_at, sent_at_truly: self.now, deadline, is_write });
        let others = match &request.operation {
            Operation::Replace { base, .. } => node.copy_of(base),
            _ => Some(0),
        };
        self.at(gives_up_at, Event::GiveUp { node: index, flight: number });
        match others {
            Some(others) => {
                let session = self.nodes[index].elector.config().session;
                let ask = Ask::Ours { operation: request.operation, others, session };
                self.post(index, number, ask, gives_up_at);
            }
            // The copy is not the version that the elector judged. The adapter reports a conflict
            // without asking the server.
            None => self.answer_soon(index, number, Answer::plain(Reply::Conflict)),
        }
    }

    fn check_request(&mut self, index: usize, operation: &Operation) {
        let node = &mut self.nodes[index];
        let lease = micros(node.timing.lease_duration());
        if self.now - node.window_began > lease {
            (node.window_began, node.sent) = (self.now, 0);
        }
        node.sent += 1;
        let tries = node.timing.lease_duration().div_duration_f64(node.timing.retry_period());
        let (sent, limit) = (node.sent, 100 + 20 * tries as u32);
        let leads = node.elector.term().is_some();
        let work_runs = node.work.is_some();
        let last_is_unknown = std::mem::take(&mut self.nodes[index].last_is_unknown);
        self.violate(properties::no_busy_loop(sent, limit));
        self.violate(properties::read_follows_unknown(operation, last_is_unknown));
        self.violate(properties::writes_carry_a_version(operation));
        self.violate(properties::release_comes_last(operation, leads, work_runs));
    }

    pub(super) fn on_give_up(&mut self, index: usize, number: u32) {
        let node = &self.nodes[index];
        let Some(flight) = node.flight.as_ref().filter(|flight| flight.number == number) else {
            return;
        };
        // If an answer and a deadline have both arrived by the end of a pause, the driver uses the
        // answer.
        let free_at = node.paused_until.max(node.stalled_until);
        if free_at > self.now {
            return self.at(free_at + 1, Event::GiveUp { node: index, flight: number });
        }
        if node.clock.instant(self.now) < flight.deadline {
            let at = node.clock.when(flight.deadline).max(self.now + 1);
            return self.at(at, Event::GiveUp { node: index, flight: number });
        }
        self.step(index, Input::Reply(Reply::Unknown), 0);
    }

    pub(super) fn on_answer(
        &mut self,
        client: usize,
        number: u32,
        incarnation: u32,
        mut answer: Box<Answer>,
    ) {
        if incarnation != self.server.incarnation {
            *answer = Answer::plain(Reply::Unknown);
        }
        if client >= self.nodes.len() {
            return self.foreign_hears(client - self.nodes.len(), number, *answer);
        }
        if self.nodes[client].flight.as_ref().is_none_or(|flight| flight.number != number) {
            return self.tally.outcome(Outcome::AnswerToCloser);
        }
        let node = &self.nodes[client];
        let free_at = node.paused_until.max(node.stalled_until);
        if free_at > self.now {
            return self.at(free_at, Event::Answer { client, flight: number, incarnation, answer });
        }
        self.hear(client, *answer);
    }

    fn hear(&mut self, index: usize, answer: Answer) {
        let node = &mut self.nodes[index];
        if let Reply::Found(snapshot) | Reply::Written(snapshot) = &answer.reply {
            let revision = snapshot.version.revision;
            let watch = &mut node.watch;
            if watch.is_open && revision > watch.shown && watch.ahead.is_none() {
                watch.ahead = Some((revision, node.clock.instant(self.now)));
            }
        }
        self.landed = answer.landed;
        self.step(index, Input::Reply(answer.reply), answer.others);
    }

    // Wake-ups.

    fn set_alarm(&mut self, index: usize, wake: Option<Window>) {
        let wake = wake.map(|window| self.pick(window));
        self.nodes[index].alarm.wake = wake;
        self.schedule_alarm(index);
    }

    fn schedule_alarm(&mut self, index: usize) {
        let number = self.number();
        let node = &mut self.nodes[index];
        node.alarm.number = number;
        let moment = node.alarm.wake.into_iter().chain(node.watch_deadline()).min();
        if let Some(moment) = moment.filter(|moment| *moment < FAR_AWAY) {
            let at = node.clock.when(moment);
            self.at(at, Event::Alarm { node: index, number });
        }
    }

    fn pick(&mut self, window: Window) -> Instant {
        let width = window.latest.saturating_since(window.earliest);
        let nanos = u64::try_from(width.as_nanos()).unwrap_or(u64::MAX);
        window.earliest
            + std::time::Duration::from_nanos(self.chance.below(nanos.saturating_add(1)))
    }

    pub(super) fn on_alarm(&mut self, index: usize, number: u32) {
        let node = &self.nodes[index];
        if node.alarm.number != number || node.life == 0 {
            return;
        }
        let free_at = node.paused_until.max(node.stalled_until);
        if free_at > self.now {
            return self.at(free_at, Event::Alarm { node: index, number });
        }
        let now = node.clock.instant(self.now);
        let silent = node.watch_deadline().is_some_and(|deadline| now >= deadline);
        let due = node.alarm.wake.is_some_and(|wake| now >= wake);
        match (silent, due) {
            (true, _) => self.watch_anew(index),
            (false, true) => self.step(index, Input::Wake, 0),
            // The clock has stood still in the meantime.
            (false, false) => self.schedule_alarm(index),
        }
    }

    fn watch_anew(&mut self, index: usize) {
        self.tally.outcome(Outcome::SilentWatchReplaced);
        self.open_watch(index, 0);
        self.step(index, Input::Follow(Follow::Poll), 0);
    }

    // Watch events.

    pub(super) fn on_news(&mut self, index: usize, watch: u32, news: News) {
        let node = &mut self.nodes[index];
        if node.watch.number != watch || node.life == 0 {
            return;
        }
        let free_at = node.paused_until.max(node.stalled_until);
        if free_at > self.now {
            return self.at(free_at, Event::News { node: index, watch, news });
        }
        match news {
            News::Opened => {
                node.watch.is_open = true;
                node.watch.ahead = None;
                self.step(index, Input::Follow(Follow::Watch), 0);
            }
            News::Seen { revision, observation, others } => {
                let watch = &mut node.watch;
                watch.shown = revision;
                watch.resume_after = Some(revision);
                watch.ahead = watch.ahead.filter(|(ahead, _)| *ahead > revision);
                self.step(index, Input::Observed(*observation), others);
            }
            News::Ended { pause, forgets } => {
                if forgets {
                    node.watch.resume_after = None;
                }
                node.watch.is_open = false;
                node.watch.ahead = None;
                self.open_watch(index, pause);
                self.step(index, Input::Follow(Follow::Poll), 0);
            }
        }
    }

    // Changes.

    fn on_change(&mut self, index: usize, change: Change, flight: Option<Flight>) -> Option<Input> {
        self.note_of(index, tell_change(&change), || format!("{change:?}"));
        if self.settled == Some(index) {
            self.violate(properties::no_churn_while_healthy(index, &change));
        }
        match change {
            Change::Started(term) => self.start_term(index, term, flight),
            Change::Renewed(term) => {
                self.renew_term(index, term, flight);
                None
            }
            Change::Lost(loss) => {
                self.tally.outcome(match loss {
                    Loss::DeadlinePassed => Outcome::LostByDeadline,
                    Loss::LockGone => Outcome::LostWithLock,
                    _ => Outcome::LostToChange,
                });
                self.stop_work(index);
                None
            }
            Change::Released(release) => self.on_released(index, release),
        }
    }

    fn on_released(&mut self, index: usize, release: Release) -> Option<Input> {
        self.tally.outcome(match release {
            Release::Done => Outcome::Released,
            Release::NotHeld => Outcome::NothingToRelease,
            _ => Outcome::LeftToExpire,
        });
        let node = &self.nodes[index];
        if node.campaigns {
            return Some(Input::Campaign);
        }
        let most = micros(node.timing.lease_duration());
        let pause = if self.is_healed { 0 } else { self.chance.below(most) };
        let pause = if self.chance.permille(700) { 0 } else { pause };
        let event = Event::Campaign { node: index, life: node.life };
        self.after(pause, event);
        None
    }

    pub(super) fn on_campaign(&mut self, index: usize, life: u32) {
        let node = &mut self.nodes[index];
        if node.life != life || node.campaigns || node.work.is_some() {
            return;
        }
        let free_at = node.paused_until.max(node.stalled_until);
        if free_at > self.now {
            return self.at(free_at, Event::Campaign { node: index, life });
        }
        node.campaigns = true;
        self.step(index, Input::Campaign, 0);
    }

    pub(super) fn on_start(&mut self, index: usize) {
        if self.nodes[index].life != 0 {
            return;
        }
        let life = self.number();
        self.nodes[index].start(life);
        self.note_of(index, "starts", || format!("session {life}"));
        if self.nodes[index].may_watch {
            self.open_watch(index, 0);
        }
        self.introduce(index);
        self.step(index, Input::Wake, 0);
        self.after(0, Event::Campaign { node: index, life });
    }
}

impl super::node::Node {
    /// The time by which the watch must have shown what the driver already knows from an answer.
    fn watch_deadline(&self) -> Option<Instant> {
        self.watch.ahead.map(|(_, since)| since + self.timing.retry_period())
    }
}

/// Later than the end of any run. "Never" is not put on the agenda.
const FAR_AWAY: Instant = Instant::new(std::time::Duration::from_secs(1 << 31));

// Text for the trace.

fn tell_input(input: &Input) -> String {
    match input {
        Input::Reply(Reply::Found(snapshot)) => format!("found {}", tell_snapshot(snapshot)),
        Input::Reply(Reply::Written(snapshot)) => format!("written {}", tell_snapshot(snapshot)),
        Input::Observed(Observation::Present(snapshot)) => {
            format!("saw {}", tell_snapshot(snapshot))
        }
        other => format!("{other:?}").to_lowercase(),
    }
}

pub(super) fn tell_operation(operation: &Operation) -> String {
    match operation {
        Operation::Read => "read".to_owned(),
        Operation::Create(_) => "create".to_owned(),
        Operation::Replace { base, record } => {
            let version =
                incumbent_core::Version { uid: base.uid.clone(), revision: base.revision };
            let snapshot = Snapshot { version, record: record.clone() };
            format!("replace {}", tell_snapshot(&snapshot))
        }
    }
}

pub(super) fn tell_snapshot(snapshot: &Snapshot) -> String {
    let Snapshot { version, record } = snapshot;
    let holder = record.holder.as_ref().map_or("-", |holder| holder.as_str());
    let session = record.session.map_or_else(|| "-".to_owned(), |session| session.0.to_string());
    let (uid, revision, token) = (&version.uid.0, version.revision, record.last_token);
    let seconds = record.lease_duration.map_or(0, |duration| duration.as_secs());
    let beat = match &record.renewed {
        Some(incumbent_core::Stamp::At(wall)) => wall.unix_micros() % 1_000_000_000_000,
        _ => 0,
    };
    format!(
        "{uid}@{revision} holder {holder} session {session} token {token} for {seconds}s beat {beat}{}",
        tell_line(record)
    )
}

/// The waiting sessions, and the requests to the leader.
fn tell_line(record: &Record) -> String {
    let waiters = record.waitlist.waiters().iter();
    let waiters: Vec<String> = waiters
        .map(|waiter| match waiter.session {
            Some(session) => session.0.to_string(),
            None => waiter.identity.to_string(),
        })
        .collect();
    let mut line = match waiters.is_empty() {
        true => String::new(),
        false => format!(" line {}", waiters.join(",")),
    };
    if let Some(wish) = &record.hand_over {
        line.push_str(&format!(" asked {wish:?}"));
    }
    if !record.paused.is_empty() {
        line.push_str(&format!(" paused {:?}", record.paused));
    }
    line
}

fn tell_change(change: &Change) -> &'static str {
    match change {
        Change::Started(_) => "LEADS",
        Change::Renewed(_) => "renewed",
        Change::Lost(_) => "LOST",
        Change::Released(_) => "released",
    }
}
