//! What goes wrong, and when: drawn from a seed, and readable.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

use super::network::{Effect, Fault, Verbs};

/// Something that goes wrong at a moment.
#[derive(Clone, Debug)]
pub(super) struct Mishap {
    pub(super) at: Duration,
    pub(super) kind: &'static str,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Fault(Fault, Target),
    Restart(Duration),
    Compact,
    /// Watches end as they should, and are opened again.
    WatchesEnd(Target),
    /// A process stands still, and its clock continues.
    Stop(Target, Duration),
    /// All of them do.
    StopAll(Duration),
    /// The runtime of a process is blocked; its watchdog is not.
    Block(Target, Duration),
    /// A machine stands still, and its clock with it.
    Freeze(Target, Duration),
    /// The wall clock of a running process jumps, by seconds.
    WallJumps(Target, i64),
    /// The server is brought back to where it was a while ago.
    RestoreBackup,
    /// Somebody deletes the lock,
    Delete,
    /// or edits the record,
    ByHand(Hand),
    /// or writes what is none of ours.
    Edit(u32),
    /// or asks the leader to hand over, to the next in the waitlist,
    AskForAnother,
    /// or to one that must not lead until all is well.
    PauseElection(Target),
    /// A candidate says that it is not well, for a while.
    Unwell(Target, Duration),
    /// Another process starts under the identity of this one, until all is well.
    Namesake(Target),
    /// A process is gone from one moment to the next, and another starts a little later.
    Crash(Target, Duration),
}

/// What somebody makes of the record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hand {
    ReplacesHolder,
    ClearsHolder,
    /// With all that says whose term it was: as good as a release.
    MakesVacant,
    ShortensLease,
    /// With what a tool has read a while ago.
    WritesOldCopy,
}

/// Whom it befalls.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    All,
    One(usize),
    /// Who works at that moment; where nobody does, as if it were the first.
    Leader,
}

/// All kinds of mishaps; a test that has not seen each is no test.
pub(super) const KINDS: &[&str] = &[
    "latency",
    "409",
    "410",
    "429",
    "500",
    "503",
    "504",
    "error, applied",
    "slow answer",
    "lost request",
    "lost answer",
    "late write",
    "frozen watch",
    "frozen watch, expired",
    "partition",
    "partition, closed",
    "stale read",
    "restart",
    "compaction",
    "watches end",
    "suspend",
    "process stopped",
    "runtime blocked",
    "clock stood still",
    "wall clock jumps",
    "backup restored",
    "deletion",
    "holder replaced",
    "holder cleared",
    "made vacant",
    "lease shortened",
    "old copy written back",
    "edit",
    "hand-over asked",
    "election paused",
    "unwell",
    "namesake",
    "crash",
];

/// What is done to the lock; two or three of these in a row is what electors forget about.
const BY_HAND: &[&str] = &[
    "deletion",
    "deletion",
    "holder replaced",
    "holder replaced",
    "holder cleared",
    "made vacant",
    "lease shortened",
    "old copy written back",
    "backup restored",
];

/// Draws what goes wrong in a trial. All spans are told in leases.
pub(super) struct Draw {
    pub(super) rng: Rng,
    pub(super) candidates: usize,
    pub(super) lease: Duration,
    pub(super) faulty: Duration,
}

impl Draw {
    /// A dozen mishaps, more or less, in the order of time.
    pub(super) fn mishaps(&mut self) -> Vec<Mishap> {
        let mut mishaps = Vec::new();
        for _ in 0..self.rng.usize(4..13) {
            let at = self.faulty.mul_f64(self.rng.f64());
            // What is rare has the length of the list against it.
            let kind = KINDS[self.rng.usize(..KINDS.len())];
            mishaps.push(self.mishap(kind, at));
        }
        if self.rng.u8(..4) > 0 {
            let mut at = self.faulty.mul_f64(self.rng.f64());
            for _ in 0..self.rng.usize(2..4) {
                let kind = BY_HAND[self.rng.usize(..BY_HAND.len())];
                mishaps.push(self.mishap(kind, at));
                at += self.a_little();
            }
        }
        mishaps.retain(|mishap| mishap.at < self.faulty);
        mishaps.sort_by_key(|mishap| mishap.at);
        mishaps
    }

    /// How soon the next of several in a row comes.
    pub(super) fn a_little(&mut self) -> Duration {
        match self.rng.u8(..3) {
            0 => Duration::from_millis(self.rng.u64(1..20)),
            1 => self.leases(0.0..0.3),
            _ => self.leases(0.3..1.2),
        }
    }

    pub(super) fn mishap(&mut self, kind: &'static str, at: Duration) -> Mishap {
        let left = self.faulty.saturating_sub(at);
        let span = |draw: &mut Self, range| draw.leases(range).min(left);
        let what = match kind {
            "restart" => What::Restart(self.leases(0.0..0.8)),
            "compaction" => What::Compact,
            "watches end" => What::WatchesEnd(self.anybody()),
            "suspend" => What::StopAll(span(self, 0.07..2.0)),
            "process stopped" => What::Stop(self.somebody(), span(self, 0.05..2.0)),
            "runtime blocked" => What::Block(self.somebody(), span(self, 0.05..2.0)),
            "clock stood still" => What::Freeze(self.somebody(), span(self, 0.05..1.5)),
            "wall clock jumps" => What::WallJumps(self.somebody(), self.rng.i64(-90_000..90_000)),
            "backup restored" => What::RestoreBackup,
            "deletion" => What::Delete,
            "holder replaced" => What::ByHand(Hand::ReplacesHolder),
            "holder cleared" => What::ByHand(Hand::ClearsHolder),
            "made vacant" => What::ByHand(Hand::MakesVacant),
            "lease shortened" => What::ByHand(Hand::ShortensLease),
            "old copy written back" => What::ByHand(Hand::WritesOldCopy),
            "edit" => What::Edit(self.rng.u32(..)),
            "hand-over asked" => What::AskForAnother,
            "election paused" => What::PauseElection(self.somebody()),
            "unwell" => What::Unwell(self.somebody(), span(self, 0.07..2.0)),
            "namesake" => What::Namesake(self.somebody()),
            "crash" => What::Crash(self.somebody(), self.leases(0.0..1.3)),
            _ => self.fault(kind, left),
        };
        Mishap { at, kind, what }
    }

    fn fault(&mut self, kind: &'static str, left: Duration) -> What {
        let (effect, verbs) = self.effect(kind);
        let is_whole = matches!(
            effect,
            Effect::Cut { .. }
                | Effect::Freeze { .. }
                | Effect::SlowAnswers(_)
                | Effect::StaleReads(_)
        );
        let rate = match self.rng.u8(..3) {
            0 if !is_whole => self.rng.u32(20..90),
            _ => 100,
        };
        let lasts = self.leases(0.07..2.0).min(left).max(Duration::from_millis(50));
        What::Fault(Fault { kind, effect, verbs, whom: None, rate, lasts }, self.anybody())
    }

    fn effect(&mut self, kind: &str) -> (Effect, Verbs) {
        let verbs = [Verbs::Writes, Verbs::Reads, Verbs::All][self.rng.usize(..3)];
        let closes = self.rng.bool();
        let error = |code, retry_after| Effect::Error { code, retry_after, applied: None };
        match kind {
            "latency" => (Effect::Latency(self.leases(0.0..0.3)), verbs),
            "409" => (error(409, 0), Verbs::Writes),
            "410" => (error(410, 0), Verbs::Watches),
            "429" => (error(429, self.rng.u32(1..4)), verbs),
            "500" => (error(500, 0), verbs),
            "503" => (error(503, 0), verbs),
            "504" => (error(504, 0), verbs),
            "error, applied" => {
                let code = [500, 503, 504][self.rng.usize(..3)];
                let applied = Some(self.leases(0.0..0.4));
                (Effect::Error { code, retry_after: 0, applied }, Verbs::Writes)
            }
            "slow answer" => (Effect::SlowAnswers(self.leases(0.0..0.2)), Verbs::All),
            "stale read" => (Effect::StaleReads(self.leases(0.07..1.4)), Verbs::Reads),
            "lost request" => (Effect::LoseRequest { closes }, verbs),
            "lost answer" => (Effect::LoseAnswer { closes }, Verbs::Writes),
            "late write" => (Effect::Late(self.lease.mul_f64(0.8)), Verbs::Writes),
            "frozen watch" => (Effect::Freeze { expires: false }, Verbs::Watches),
            "frozen watch, expired" => (Effect::Freeze { expires: true }, Verbs::Watches),
            "partition" => (Effect::Cut { closes: false }, Verbs::All),
            "partition, closed" => (Effect::Cut { closes: true }, Verbs::All),
            other => unreachable!("{other} is no fault of the network"),
        }
    }

    fn anybody(&mut self) -> Target {
        match self.rng.u8(..3) {
            0 => Target::All,
            _ => self.somebody(),
        }
    }

    fn somebody(&mut self) -> Target {
        match self.rng.bool() {
            true => Target::Leader,
            false => Target::One(self.rng.usize(..self.candidates)),
        }
    }

    fn leases(&mut self, range: std::ops::Range<f64>) -> Duration {
        self.lease.mul_f64(range.start + (range.end - range.start) * self.rng.f64())
    }
}

impl fmt::Display for Mishap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8.3} s  {}: {:?}", self.at.as_secs_f64(), self.kind, self.what)
    }
}
