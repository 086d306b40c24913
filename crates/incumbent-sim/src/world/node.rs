//! One of our candidates: a process on a machine, and its parts.

use incumbent_core::{
    Config, Elector, FencingToken, HolderInfo, Identity, Instant, Session, Timing, Version,
};

use crate::chance::Chance;
use crate::clock::{Clock, Micros};
use crate::plan::{Candidate, Plan};
use crate::tally::Fault;

pub(super) struct Node {
    pub(super) clock: Clock,
    pub(super) elector: Elector,
    pub(super) timing: Timing,
    pub(super) name: usize,
    priority: i32,
    pub(super) may_watch: bool,
    /// Identifies this start of the process; zero while it does not run.
    pub(super) life: u32,
    /// Until then, no part of the process runs.
    pub(super) paused_until: Micros,
    /// Until then, its driver does not run, but its work and its watchdog do.
    pub(super) stalled_until: Micros,
    /// Until then, no request and no watch event of this machine gets through.
    pub(super) cut_until: Micros,
    /// Until then, its requests are refused.
    pub(super) forbidden_until: Micros,
    /// The end of the last pause of the machine that its clock did not notice.
    pub(super) machine_paused_at: Micros,
    pub(super) flight: Option<Flight>,
    pub(super) alarm: Alarm,
    pub(super) watch: Watch,
    /// A caller waits in `campaign()`.
    pub(super) campaigns: bool,
    pub(super) work: Option<Work>,
    /// The highest token that this process has learned of.
    pub(super) remembered: u64,
    /// The last process that this one was told has ended.
    pub(super) told_ended: Option<Session>,
    /// The revision that the elector knows, and which edit of the content of other programs came
    /// with it.
    pub(super) others: (u64, u32),
    /// The last write may have been applied, or may still be applied later.
    pub(super) last_is_unknown: bool,
    /// Requests since the window began.
    pub(super) sent: u32,
    pub(super) window_began: Micros,
}

/// The request in flight.
pub(super) struct Flight {
    pub(super) number: u32,
    pub(super) sent_at: Instant,
    pub(super) sent_at_truly: Micros,
    pub(super) deadline: Instant,
    pub(super) is_write: bool,
    /// The highest token that the process had learned of when it sent this.
    pub(super) remembered: u64,
}

#[derive(Default)]
pub(super) struct Alarm {
    pub(super) number: u32,
    pub(super) wake: Option<Instant>,
}

/// The watch, as the driver, its watching task and the server see it.
#[derive(Default)]
pub(super) struct Watch {
    pub(super) number: u32,
    /// The driver knows that it is open.
    pub(super) is_open: bool,
    pub(super) shown: u64,
    pub(super) ahead: Option<(u64, Instant)>,
    /// Where the next watch continues.
    pub(super) resume_after: Option<u64>,
    /// The server sends events into it.
    pub(super) streams: bool,
    /// The events do not arrive.
    pub(super) is_silent: bool,
    /// When the last sent event arrives. Events keep their order.
    pub(super) last_arrival: Micros,
    pub(super) opened_at: Micros,
}

/// The work of one term, from its start until it has stopped.
pub(super) struct Work {
    pub(super) number: u32,
    pub(super) token: u64,
    pub(super) grant: u64,
    pub(super) valid_until: Instant,
    pub(super) stop_by: Instant,
    pub(super) stopping: bool,
    /// It will never stop by itself.
    pub(super) stubborn: bool,
    /// When the acquiring write was sent.
    pub(super) sent_at: Micros,
    /// When the last known write of this term was applied.
    pub(super) landed_at: Micros,
    /// It was asked to hand over, and will do so soon.
    pub(super) asked: bool,
    /// The machine has stood still, unnoticed, since its last renewal was sent.
    pub(super) lost_time: bool,
    /// Another candidate has acquired while this work ran, with an excuse.
    pub(super) void: bool,
}

impl Node {
    pub(super) fn new(candidate: &Candidate, plan: &Plan, chance: &mut Chance) -> Self {
        let wall_step = if plan.has(Fault::WallStandsStill) { 7_000_000 } else { 1 };
        let wall_offset = chance.between(0, 200_000_000).cast_signed() - 100_000_000;
        let offset = chance.between(0, 1_000_000_000_000);
        Self {
            clock: Clock::new(offset, candidate.clock_rate, wall_offset, wall_step),
            elector: elector(candidate.timing, candidate.name, candidate.priority, 0),
            timing: candidate.timing,
            name: candidate.name,
            priority: candidate.priority,
            may_watch: candidate.watches,
            life: 0,
            paused_until: 0,
            stalled_until: 0,
            cut_until: 0,
            forbidden_until: 0,
            machine_paused_at: 0,
            flight: None,
            alarm: Alarm::default(),
            watch: Watch::default(),
            campaigns: false,
            work: None,
            remembered: 0,
            told_ended: None,
            others: (0, 0),
            last_is_unknown: false,
            sent: 0,
            window_began: 0,
        }
    }

    /// Starts a new process. The machine, its clock and its name stay the same.
    pub(super) fn start(&mut self, life: u32) {
        self.elector = elector(self.timing, self.name, self.priority, life);
        self.life = life;
        self.remembered = 0;
        self.told_ended = None;
        self.last_is_unknown = false;
    }

    /// Ends the process, which loses everything that it knew.
    pub(super) fn end(&mut self) {
        self.life = 0;
        self.flight = None;
        self.alarm = Alarm::default();
        self.watch = Watch::default();
        self.campaigns = false;
        self.work = None;
    }

    pub(super) fn is_running(&self, now: Micros) -> bool {
        self.life != 0 && self.paused_until <= now
    }

    /// Whether its work runs. The work of a paused process does not run.
    pub(super) fn acts(&self, now: Micros) -> bool {
        self.work.is_some() && self.is_running(now)
    }

    /// The content of other programs in the driver's copy of the object, if that is a copy of
    /// `base`.
    pub(super) fn copy_of(&self, base: &Version) -> Option<u32> {
        (self.others.0 == base.revision).then_some(self.others.1)
    }
}

fn elector(timing: Timing, name: usize, priority: i32, life: u32) -> Elector {
    let session = Session(u128::from(life));
    let token_floor = FencingToken(0);
    let holder_info = HolderInfo::default();
    Elector::new(Config {
        timing,
        identity: identity(name),
        session,
        token_floor,
        priority,
        holder_info,
    })
}

pub(super) fn identity(name: usize) -> Identity {
    Identity::new(format!("candidate-{name}")).expect("a name is not empty")
}
