//! The world: candidates, the server, and one heap of coming events.
//!
//! Read `World` and `happen` here first. Then read `driver.rs` (the code around an elector),
//! `work.rs` (what a leader does), `line.rs` (the waitlist), `kubelet.rs` (proofs of an end),
//! `network.rs` (requests and watches on their way), and `trouble.rs` (what goes wrong).

mod driver;
mod foreign;
mod kubelet;
mod line;
mod network;
mod node;
mod trouble;
mod work;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::chance::Chance;
use crate::clock::{Micros, micros};
use crate::plan::Plan;
use crate::properties::{self, Violation};
use crate::server::Server;
use crate::tally::{Fault, Outcome, Tally};
use crate::{Run, Trace};

use foreign::Foreign;
use kubelet::Cluster;
use network::{Answer, Arrival, Landed, News};
use node::Node;
use trouble::Upset;

pub(crate) struct World {
    plan: Plan,
    chance: Chance,
    now: Micros,
    agenda: BinaryHeap<Entry>,
    entries: u64,
    server: Server,
    nodes: Vec<Node>,
    foreign: Vec<Foreign>,
    cluster: Cluster,
    /// The last number given to a flight, alarm, watch or term. An event for one that is over has
    /// no effect.
    numbers: u32,
    /// Acts of people that are outside of the assumptions, and which candidates profit from them.
    upsets: Vec<Upset>,
    /// For each token and node: the life of the node that has seen this term, and since when.
    known: BTreeMap<u64, Vec<(u32, Micros)>>,
    /// The grants that became terms, in the order in which the server applied them.
    terms: Vec<Granted>,
    grants: u64,
    /// A backup was restored, so revisions alone no longer rise.
    history_went_back: bool,
    store: Store,
    /// What the server did with the write whose answer is being delivered.
    landed: Option<Landed>,
    is_healed: bool,
    /// The leader, once the election has settled after healing.
    settled: Option<usize>,
    has_settled: bool,
    /// A leader was asked to hand over and has done so, and no candidate leads yet.
    is_handing_over: bool,
    tally: Tally,
    trace: Trace,
    lines: Vec<String>,
    violation: Option<Violation>,
}

/// A store that takes writes of leaders and compares their tokens.
#[derive(Default)]
struct Store {
    token: u64,
    grant: u64,
}

#[derive(Clone, Copy)]
struct Granted {
    grant: u64,
    token: u64,
    /// The highest token that the candidate knew when its term began.
    remembered: u64,
}

/// An event at a certain time. Its recipient is checked only when the event happens.
enum Event {
    /// A node wakes up, for its elector or for the watch of its driver.
    Alarm {
        node: usize,
        number: u32,
    },
    /// A node stops waiting for an answer.
    GiveUp {
        node: usize,
        flight: u32,
    },
    Arrive(Box<Arrival>),
    Answer {
        client: usize,
        flight: u32,
        incarnation: u32,
        answer: Box<Answer>,
    },
    OpenWatch {
        node: usize,
        watch: u32,
    },
    News {
        node: usize,
        watch: u32,
        news: News,
    },
    /// The work and the watchdog check the clock.
    TermDue {
        node: usize,
        term: u32,
    },
    WorkStops {
        node: usize,
        term: u32,
    },
    WorkActs {
        node: usize,
        term: u32,
    },
    /// The leadership is dropped, because its work has stopped.
    Release {
        node: usize,
        life: u32,
    },
    StoreWrite {
        token: u64,
        grant: u64,
    },
    Campaign {
        node: usize,
        life: u32,
    },
    Start {
        node: usize,
    },
    Resume {
        node: usize,
    },
    Foreign {
        index: usize,
        number: u32,
    },
    HandOver {
        node: usize,
        term: u32,
    },
    StatusSeen {
        node: usize,
        report: usize,
    },
    Ask,
    Trouble,
    /// The lock is edited or deleted once more.
    EditedAgain,
    Heal,
    MustHaveRecovered,
}

struct Entry {
    at: Micros,
    number: u64,
    event: Event,
}

impl World {
    pub(crate) fn new(plan: Plan, trace: Trace) -> Self {
        let mut chance = Chance::new(plan.seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let nodes = plan.candidates.iter();
        let nodes = nodes.map(|c| Node::new(c, &plan, &mut chance)).collect();
        let foreign =
            (0..plan.foreign).map(|index| Foreign::new(index, &plan, &mut chance)).collect();
        Self {
            server: Server::new(plan.background, plan.lock_exists),
            nodes,
            foreign,
            cluster: Cluster::new(plan.seed, plan.candidates.len()),
            plan,
            chance,
            now: 0,
            agenda: BinaryHeap::new(),
            entries: 0,
            numbers: 0,
            upsets: Vec::new(),
            known: BTreeMap::new(),
            terms: Vec::new(),
            grants: 0,
            history_went_back: false,
            store: Store::default(),
            landed: None,
            is_healed: false,
            settled: None,
            has_settled: false,
            is_handing_over: false,
            tally: Tally::NOTHING,
            trace,
            lines: Vec::new(),
            violation: None,
        }
    }

    pub(crate) fn run(mut self) -> Run {
        let ran = catch_unwind(AssertUnwindSafe(|| self.play()));
        if let Err(panic) = ran {
            let message = panic.downcast_ref::<&str>().map(ToString::to_string);
            let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
            self.violate(Err(properties::no_panic(message.unwrap_or_default())));
        }
        if let Some(violation) = &self.violation {
            let line = format!("{}: {}", violation.property.name, violation.detail);
            self.note("sim", "VIOLATION", || line);
        }
        Run { plan: self.plan, tally: self.tally, violation: self.violation, trace: self.lines }
    }

    fn play(&mut self) {
        self.set_up();
        let bound = self.plan.recovery_bound();
        let longest = micros(self.plan.longest_lease());
        let healthy = if self.plan.heal_at == 0 { 20 * longest } else { 3 * longest };
        let end = self.plan.heal_at + bound + healthy;
        while let Some(entry) = self.agenda.pop() {
            if entry.at > end || self.violation.is_some() {
                return;
            }
            self.now = entry.at;
            self.happen(entry.event);
        }
    }

    fn set_up(&mut self) {
        for (fault, is_set_up) in [
            (Fault::ForeignCandidate, self.plan.foreign > 0),
            (Fault::PollingOnly, self.plan.candidates.iter().any(|c| !c.watches)),
            (Fault::ClockRates, self.plan.candidates.iter().any(|c| c.clock_rate != 1_000_000)),
            (Fault::WallStandsStill, self.plan.has(Fault::WallStandsStill)),
            (
                Fault::MixedTimings,
                self.plan.candidates.iter().any(|c| c.timing != self.plan.candidates[0].timing),
            ),
            (Fault::Priorities, self.plan.candidates.iter().any(|c| c.priority != 0)),
            (Fault::Namesake, self.plan.candidates.iter().enumerate().any(|(i, c)| c.name != i)),
        ] {
            if is_set_up {
                self.tally.fault(fault);
            }
        }
        for node in 0..self.nodes.len() {
            let at = self.chance.below(1_000_000);
            self.at(at, Event::Start { node });
        }
        for index in 0..self.foreign.len() {
            let at = self.chance.below(1_000_000);
            self.foreign_starts_at(index, at);
        }
        self.at(self.plan.heal_at, Event::Heal);
        self.at(self.plan.heal_at + self.plan.recovery_bound(), Event::MustHaveRecovered);
        self.schedule_trouble();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Alarm { node, number } => self.on_alarm(node, number),
            Event::GiveUp { node, flight } => self.on_give_up(node, flight),
            Event::Arrive(arrival) => self.on_arrival(*arrival),
            Event::Answer { client, flight, incarnation, answer } => {
                self.on_answer(client, flight, incarnation, answer);
            }
            Event::OpenWatch { node, watch } => self.on_open_watch(node, watch),
            Event::News { node, watch, news } => self.on_news(node, watch, news),
            Event::TermDue { node, term } => self.on_term_due(node, term),
            Event::WorkStops { node, term } => self.on_work_stops(node, term),
            Event::WorkActs { node, term } => self.on_work_acts(node, term),
            Event::Release { node, life } => self.on_release(node, life),
            Event::StoreWrite { token, grant } => self.on_store_write(token, grant),
            Event::Campaign { node, life } => self.on_campaign(node, life),
            Event::Start { node } => self.on_start(node),
            Event::Resume { node } => self.on_resume(node),
            Event::Foreign { index, number } => self.on_foreign(index, number),
            Event::HandOver { node, term } => self.on_hand_over(node, term),
            Event::StatusSeen { node, report } => self.on_status_seen(node, report),
            Event::Ask => self.on_ask(),
            Event::Trouble => self.on_trouble(),
            Event::EditedAgain => self.on_edited_again(),
            Event::Heal => self.on_heal(),
            Event::MustHaveRecovered => self.on_must_have_recovered(),
        }
    }

    fn on_must_have_recovered(&mut self) {
        self.settled = self.leader();
        self.check_that_somebody_leads(self.now - self.plan.heal_at);
        self.has_settled = true;
        if self.plan.has(Fault::HandOverAsked) || self.plan.heal_at == 0 {
            self.after(micros(self.plan.longest_lease()) / 2, Event::Ask);
        }
        self.tally.outcome(Outcome::Settled);
        let leader = self.settled;
        self.note("sim", "settled", || format!("leader {leader:?}"));
    }

    /// A leader may be missing only during a handover that was asked for.
    fn check_that_somebody_leads(&mut self, bound: Micros) {
        if !self.is_handing_over {
            self.violate(properties::recovers_after_healing(self.leader(), bound));
        }
    }

    /// The leader, one of ours or a foreign one.
    fn leader(&self) -> Option<usize> {
        let ours = self
            .nodes
            .iter()
            .position(|node| node.work.as_ref().is_some_and(|work| !work.stopping));
        let foreign = || self.foreign.iter().position(|foreign| foreign.leads);
        ours.or_else(|| foreign().map(|index| self.nodes.len() + index))
    }

    fn at(&mut self, at: Micros, event: Event) {
        self.entries += 1;
        self.agenda.push(Entry { at: at.max(self.now), number: self.entries, event });
    }

    fn after(&mut self, delay: Micros, event: Event) {
        self.at(self.now + delay, event);
    }

    fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    /// Whether `fault` affects this request, watch event or act.
    fn strikes(&mut self, fault: Fault) -> bool {
        let rate = self.plan.rate(fault);
        let strikes = !self.is_healed && self.chance.permille(rate);
        if strikes {
            self.tally.fault(fault);
        }
        strikes
    }

    fn violate(&mut self, verdict: Result<(), Violation>) {
        if let Err(violation) = verdict {
            self.violation.get_or_insert(violation);
        }
    }

    /// Writes a line of the trace: true time, the actor, its clock, the event, and details.
    fn note(&mut self, who: &str, what: &str, detail: impl FnOnce() -> String) {
        if self.trace == Trace::On {
            self.write_line(who, None, what, &detail());
        }
    }

    fn note_of(&mut self, client: usize, what: &str, detail: impl FnOnce() -> String) {
        if self.trace == Trace::On {
            let clock = self.nodes.get(client).map(|node| node.clock.instant(self.now));
            let clock = clock.map(|clock| clock.since_start().as_secs_f64());
            self.write_line(&self.who(client), clock, what, &detail());
        }
    }

    fn who(&self, client: usize) -> String {
        match client.checked_sub(self.nodes.len()) {
            None => format!("c{client}"),
            Some(foreign) => format!("f{foreign}"),
        }
    }

    fn write_line(&mut self, who: &str, clock: Option<f64>, what: &str, detail: &str) {
        let seconds = self.now as f64 / 1e6;
        let mut line = format!("{seconds:>12.6}  {who:<3}");
        let _ = match clock {
            Some(clock) => write!(line, "  {clock:>14.6}"),
            None => write!(line, "  {:>14}", "-"),
        };
        let _ = write!(line, "  {what:<10}  {detail}");
        self.lines.push(line);
    }
}

// The earliest entry comes first. At the same time, the entry that was planned first comes first.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}
