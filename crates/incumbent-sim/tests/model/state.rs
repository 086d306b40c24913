//! One moment of a world: what each candidate knows and does, and which messages are on their way.

use std::time::Duration;

use incumbent_core::{
    Config, Elector, FencingToken, HolderInfo, Identity, Instant, Operation, Reply, Session, Timing,
};

use crate::register::Register;
use crate::world::Luck;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) now: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) register: Register,
    /// A write whose caller no longer waits for it. It may be applied for as long as its base is
    /// current.
    pub(crate) adrift: Option<Operation>,
    pub(crate) luck: Luck,
    /// The token of the last grant.
    pub(crate) granted: FencingToken,
    pub(crate) token_fell: bool,
    /// A candidate began to lead although its grant was not the last one.
    pub(crate) started_late: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) elector: Elector,
    pub(crate) exchange: Exchange,
    pub(crate) work: Work,
    /// The tick at which it wants to wake.
    pub(crate) wake: Option<u64>,
}

/// The only request of a candidate at this moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Exchange {
    None,
    Sent(Operation),
    /// The server has served it, and the answer is on its way.
    Answered(Reply),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    None,
    /// It runs. It will be ended by force at this moment.
    Runs(Instant),
    /// It was ended by force, and the candidate does not know that yet.
    Ended,
}

impl State {
    /// How many candidates have running work.
    pub(crate) fn working(&self) -> usize {
        self.nodes.iter().filter(|node| node.works()).count()
    }

    /// Whether the register names every candidate that may act now as the holder.
    pub(crate) fn leaders_hold_the_lock(&self) -> bool {
        let holder = self.register.lock().and_then(|lock| lock.record.session);
        self.nodes.iter().all(|node| {
            let valid = node.elector.term().is_some_and(|term| moment(self.now) < term.valid_until);
            !valid || !node.works() || holder == Some(node.elector.config().session)
        })
    }

    /// How many candidates are late if time advances now.
    pub(crate) fn late(&self) -> u8 {
        let is_late = |node: &&Node| {
            node.exchange != Exchange::None || node.wake.is_some_and(|wake| wake <= self.now)
        };
        self.nodes.iter().filter(is_late).count() as u8
    }

    pub(crate) fn forget_what_cannot_land(&mut self) {
        let current = self.register.lock().map(|lock| &lock.version);
        self.adrift.take_if(|operation| match operation {
            Operation::Replace { base, .. } => Some(&*base) != current,
            Operation::Create(_) => current.is_some(),
            Operation::Read => true,
        });
    }
}

impl Node {
    pub(crate) fn new(index: usize, session: Session) -> Self {
        let config = Config {
            timing: timing(),
            identity: Identity::new(["john", "jane", "jack"][index]).expect("it is not empty"),
            session,
            token_floor: FencingToken(0),
            priority: 0,
            holder_info: HolderInfo::default(),
        };
        Self {
            elector: Elector::new(config),
            exchange: Exchange::None,
            work: Work::None,
            wake: None,
        }
    }

    pub(crate) fn works(&self) -> bool {
        matches!(self.work, Work::Runs(_))
    }
}

/// The timing with the fewest ticks that satisfies all inequalities: a lease of three, a renew
/// deadline of two, and one each for a renewal, a retry, and a request.
pub(crate) fn timing() -> Timing {
    let [lease, deadline, one] = [3, 2, 1].map(Duration::from_secs);
    let timing =
        Timing::new(lease, deadline, one).and_then(|timing| timing.with_request_timeout(one));
    timing.expect("they fit")
}

pub(crate) fn moment(tick: u64) -> Instant {
    Instant::new(Duration::from_secs(tick))
}

/// The first tick at or after `moment`.
pub(crate) fn tick_of(moment: Instant) -> u64 {
    moment.since_start().as_nanos().div_ceil(1_000_000_000) as u64
}
