//! The world that is checked: real electors, one register, a network, and time in ticks.
//!
//! Everything that may happen next is an [`Action`]. The checker tries all actions in each state,
//! and nothing is random.

use std::fmt;
use std::time::Duration;

use incumbent_core::{
    Change, Config, FencingToken, Follow, Input, Instant, Now, Observation, Operation, Reply,
    Session, WallTime,
};
use stateright::Model;

use crate::register::Register;
use crate::state::{Exchange, Node, State, Work, moment, tick_of, timing};
use crate::tally::{Event, Tally};

/// One election and the faults that may occur: the model. A [`State`] is one moment of it.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) candidates: u8,
    /// How many of them watch. The others poll.
    pub(crate) watching: u8,
    /// When the world ends.
    pub(crate) ticks: u64,
    /// How often each kind of fault may occur.
    pub(crate) luck: Luck,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) tally: Tally,
}

/// Shows the bounds only, not the events that were counted.
impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { candidates, watching, ticks, luck, .. } = self;
        write!(f, "{candidates} candidates ({watching} watching), {ticks} ticks, {luck:?}")
    }
}

/// How often each kind of fault may still occur.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Luck {
    /// Processes that crash and start again under the same name.
    pub(crate) crashes: u8,
    /// Ticks in which a process does not do what is due, or a request or answer does not arrive.
    pub(crate) delays: u8,
    /// Requests whose outcome stays unknown.
    pub(crate) losses: u8,
    /// Requests that the server refuses.
    pub(crate) refusals: u8,
    /// Leaders that release the lock.
    pub(crate) releases: u8,
    /// Edits of labels by other programs.
    pub(crate) edits: u8,
    /// Deletions of the lock.
    pub(crate) deletions: u8,
}

/// A world that contains one error. The checker must find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The register replaces any version.
    BlindRegister,
    /// A follower waits for one tick, regardless of the lease in the record.
    Impatient,
    /// A leader counts its deadline from the answer, not from the request.
    FromTheAnswer,
    /// Work that overruns is not ended.
    NoWatchdog,
    /// A leader releases the lock while its work still runs.
    ReleaseBeforeStop,
    /// The second candidate's clock runs at twice the rate.
    FastClock,
    /// Revisions start again with each object.
    FallingRevisions,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A second passes. Work that overruns is ended.
    Tick,
    Wake(usize),
    /// The server performs the request, and the answer arrives.
    Answer(usize),
    /// The server performs the request, and the answer is still on its way.
    Serve(usize),
    /// That answer arrives.
    Deliver(usize),
    Refuse(usize),
    /// The sender receives no answer. Its write may be applied later, or never. If it is applied at
    /// once, only the answer was lost.
    Lose(usize),
    /// A write is applied whose sender no longer waits for it.
    Land,
    /// The watch shows the current lock.
    Observe(usize),
    /// The watch shows the lock as it was one version ago.
    ObserveLate(usize),
    /// The work stops, by itself or because it was told to stop.
    Stop(usize),
    Crash(usize),
    Edit,
    Delete,
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            now: 0,
            nodes: Vec::new(),
            register: Register::new(),
            adrift: None,
            luck: self.luck,
            granted: FencingToken(0),
            token_fell: false,
            started_late: false,
        };
        for index in 0..usize::from(self.candidates) {
            state.nodes.push(Node::new(index, Session(10 * index as u128)));
            self.start(&mut state, index);
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.now < self.ticks && state.late() <= state.luck.delays {
            actions.push(Action::Tick);
        }
        for (index, node) in state.nodes.iter().enumerate() {
            self.actions_of(state, index, node, actions);
        }
        if state.adrift.is_some() {
            actions.push(Action::Land);
        }
        if state.register.lock().is_some() {
            actions.extend((state.luck.edits > 0).then_some(Action::Edit));
            actions.extend((state.luck.deletions > 0).then_some(Action::Delete));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut state = state.clone();
        match action {
            Action::Tick => self.tick(&mut state),
            Action::Wake(index) => self.step(&mut state, index, Input::Wake),
            Action::Answer(index) => {
                self.serve(&mut state, index);
                self.deliver(&mut state, index);
            }
            Action::Serve(index) => {
                state.luck.delays -= 1;
                self.serve(&mut state, index);
            }
            Action::Deliver(index) => self.deliver(&mut state, index),
            Action::Refuse(index) => {
                state.luck.refusals -= 1;
                state.nodes[index].exchange = Exchange::None;
                self.step(&mut state, index, Input::Reply(Reply::Refused { retry_after: None }));
            }
            Action::Lose(index) => {
                state.luck.losses -= 1;
                Self::lose(&mut state, index);
                self.step(&mut state, index, Input::Reply(Reply::Unknown));
            }
            Action::Land => {
                let operation = state.adrift.take()?;
                let reply = self.apply(&mut state, &operation);
                self.tally.count_if(matches!(reply, Reply::Written(_)), Event::LateWrite);
            }
            Action::Observe(index) => {
                let seen = state.register.newest();
                self.step(&mut state, index, Input::Observed(seen));
            }
            Action::ObserveLate(index) => {
                let seen = Observation::Present(state.register.before()?.clone());
                self.tally.count(Event::LateNews);
                self.step(&mut state, index, Input::Observed(seen));
            }
            Action::Stop(index) => self.stop(&mut state, index),
            Action::Crash(index) => self.crash(&mut state, index),
            Action::Edit => {
                state.luck.edits -= 1;
                state.register.edit();
            }
            Action::Delete => {
                state.luck.deletions -= 1;
                state.register.delete(self.mutant == Some(Mutant::FallingRevisions));
            }
        }
        state.forget_what_cannot_land();
        Some(state)
    }

    fn properties(&self) -> Vec<stateright::Property<Self>> {
        crate::properties::of(self)
    }
}

/// Which actions are possible.
impl World {
    fn actions_of(&self, state: &State, index: usize, node: &Node, actions: &mut Vec<Action>) {
        let luck = &state.luck;
        match &node.exchange {
            Exchange::None => {}
            Exchange::Sent(_) => {
                actions.push(Action::Answer(index));
                actions.extend((luck.delays > 0).then_some(Action::Serve(index)));
                actions.extend((luck.refusals > 0).then_some(Action::Refuse(index)));
                actions.extend((luck.losses > 0).then_some(Action::Lose(index)));
            }
            Exchange::Answered(..) => {
                actions.push(Action::Deliver(index));
                actions.extend((luck.losses > 0).then_some(Action::Lose(index)));
            }
        }
        if node.wake.is_some_and(|wake| wake <= state.now) {
            actions.push(Action::Wake(index));
        }
        if index < usize::from(self.watching) {
            let known = node.elector.version().map_or(0, |version| version.revision);
            let is_news = |revision| revision > known;
            actions.extend(is_news(state.register.revision()).then_some(Action::Observe(index)));
            let before = state.register.before().map_or(0, |before| before.version.revision);
            actions.extend(is_news(before).then_some(Action::ObserveLate(index)));
        }
        let may_stop = match node.work {
            Work::None => false,
            Work::Runs(_) => luck.releases > 0 || node.elector.term().is_none(),
            Work::Ended => true,
        };
        actions.extend(may_stop.then_some(Action::Stop(index)));
        actions.extend((luck.crashes > 0).then_some(Action::Crash(index)));
    }
}

/// The effects of the actions.
impl World {
    fn tick(&self, state: &mut State) {
        state.luck.delays -= state.late();
        state.now += 1;
        for node in &mut state.nodes {
            match node.work {
                Work::Runs(stop_by) if moment(state.now) >= stop_by => {
                    self.tally.count(Event::Overrun);
                    if self.mutant != Some(Mutant::NoWatchdog) {
                        node.work = Work::Ended;
                    }
                }
                _ => {}
            }
        }
    }

    fn serve(&self, state: &mut State, index: usize) {
        let exchange = std::mem::replace(&mut state.nodes[index].exchange, Exchange::None);
        let Exchange::Sent(operation) = exchange else { return };
        let reply = self.apply(state, &operation);
        state.nodes[index].exchange = Exchange::Answered(reply);
    }

    fn deliver(&self, state: &mut State, index: usize) {
        let exchange = std::mem::replace(&mut state.nodes[index].exchange, Exchange::None);
        let Exchange::Answered(reply) = exchange else { return };
        self.tally.count_if(reply == Reply::Conflict, Event::Conflict);
        self.step(state, index, Input::Reply(reply));
    }

    /// A lost write may be applied later, unless another write is already adrift: one is enough.
    fn lose(state: &mut State, index: usize) {
        let exchange = std::mem::replace(&mut state.nodes[index].exchange, Exchange::None);
        if let Exchange::Sent(operation) = exchange
            && operation != Operation::Read
        {
            state.adrift.get_or_insert(operation);
        }
    }

    /// The register's answer. A replace that makes a candidate the holder is a grant.
    fn apply(&self, state: &mut State, operation: &Operation) -> Reply {
        let before = state.register.lock().map(|lock| lock.record.clone());
        let is_blind = self.mutant == Some(Mutant::BlindRegister);
        let reply = state.register.apply(operation, is_blind);
        if let Reply::Written(lock) = &reply
            && lock.record.is_held()
            && before.is_some_and(|before| {
                (before.session, before.acquired)
                    != (lock.record.session, lock.record.acquired.clone())
            })
        {
            state.token_fell |= lock.record.last_token <= state.granted;
            state.granted = lock.record.last_token;
        }
        reply
    }

    fn stop(&self, state: &mut State, index: usize) {
        let node = &mut state.nodes[index];
        if node.work != Work::Ended && node.elector.term().is_some() {
            state.luck.releases -= 1;
        }
        if self.mutant != Some(Mutant::ReleaseBeforeStop) {
            node.work = Work::None;
        }
        self.step(state, index, Input::Release);
    }

    fn crash(&self, state: &mut State, index: usize) {
        state.luck.crashes -= 1;
        let Session(session) = state.nodes[index].elector.config().session;
        self.tally.count_if(state.nodes[index].works(), Event::LeaderCrashed);
        Self::lose(state, index);
        state.nodes[index] = Node::new(index, Session(session + 1));
        self.start(state, index);
    }

    fn start(&self, state: &mut State, index: usize) {
        if index < usize::from(self.watching) {
            self.step(state, index, Input::Follow(Follow::Watch));
        }
        self.step(state, index, Input::Campaign);
    }

    /// Passes an input to a candidate, and does what the candidate asks for.
    fn step(&self, state: &mut State, index: usize, input: Input) {
        let node = &mut state.nodes[index];
        let input = self.distort(node, input);
        let output = node.elector.step(self.clock_of(index, state.now), input);
        node.wake = output.wake.map(|window| tick_of(window.earliest));
        if let Some(request) = output.request {
            node.exchange = Exchange::Sent(request.operation);
        }
        match output.change {
            Some(Change::Started(term)) => {
                node.work = Work::Runs(self.stop_by(term.stop_by, state.now));
                state.started_late |= term.token != state.granted;
                self.count_start(state, index);
            }
            Some(Change::Renewed(term)) if node.works() => {
                node.work = Work::Runs(self.stop_by(term.stop_by, state.now));
            }
            Some(Change::Released(release)) => {
                self.tally.count_release(release);
                self.step(state, index, Input::Campaign);
            }
            Some(Change::Lost(_)) => self.tally.count(Event::Lost),
            _ => {}
        }
    }

    fn count_start(&self, state: &State, index: usize) {
        self.tally.count(Event::started(index));
        let Some(before) = state.register.before().map(|before| &before.record) else { return };
        let Config { identity, session, .. } = state.nodes[index].elector.config();
        self.tally.count(match before.session {
            None if before.acquired.is_none() => return,
            None => Event::Handover,
            Some(own) if own == *session => Event::Adoption,
            Some(_) if before.holder.as_ref() == Some(identity) => Event::StartAfterRestart,
            Some(_) => Event::Takeover,
        });
    }

    /// Changes the input as an impatient candidate understands another candidate's lease.
    fn distort(&self, node: &Node, mut input: Input) -> Input {
        if let Input::Reply(Reply::Found(lock)) | Input::Observed(Observation::Present(lock)) =
            &mut input
            && self.mutant == Some(Mutant::Impatient)
            && lock.record.session != Some(node.elector.config().session)
        {
            lock.record.lease_duration = Some(Duration::from_secs(1));
        }
        input
    }

    fn clock_of(&self, index: usize, now: u64) -> Now {
        let is_fast = index == 1 && self.mutant == Some(Mutant::FastClock);
        let instant = moment(if is_fast { 2 * now } else { now });
        // The wall clock stands still, which is the hardest case and the one with the fewest
        // states.
        Now { instant, wall: WallTime::from_unix_micros(0) }
    }

    fn stop_by(&self, stop_by: Instant, now: u64) -> Instant {
        match self.mutant {
            Some(Mutant::FromTheAnswer) => moment(now) + timing().stop_deadline(),
            _ => stop_by,
        }
    }
}
