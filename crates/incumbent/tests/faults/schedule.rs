//! What goes wrong, and when: drawn from a seed, and readable.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

/// Something that goes wrong at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Mishap {
    pub(crate) at: Duration,
    pub(crate) kind: &'static str,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A fault of the server.
    Fault {
        text: String,
        whom: Target,
    },
    /// Answers that are slow, on the line of one candidate or of all.
    SlowAnswers {
        by: Duration,
        lasts: Duration,
        whom: Target,
    },
    /// Reads that show the lock as it was so long ago.
    StaleReads {
        by: Duration,
        lasts: Duration,
        whom: Target,
    },
    Restart(Duration),
    Compact,
    /// Everything stands still, and all clocks go on.
    Suspend(Duration),
    /// The server is brought back to where it was half a minute ago or earlier.
    RestoreBackup,
    /// Somebody deletes the lock,
    Delete,
    /// or edits the record,
    ByHand(Hand),
    /// or writes what is none of ours.
    Edit(u32),
    /// or asks the leader to hand over, to whoever is next,
    AskForAnother,
    /// or to one that shall not lead until all is well.
    Cordon(Target),
    /// A candidate says that it is not well, for a while.
    Unwell {
        whom: Target,
        lasts: Duration,
    },
    /// Another process starts under the identity of this one, until all is well.
    Namesake(Target),
    /// A process is gone from one moment to the next, and another starts a little later.
    Crash {
        whom: Target,
        pause: Duration,
    },
}

/// What somebody makes of the record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hand {
    ReplacesHolder,
    ClearsHolder,
    /// With all that says whose term it was: as good as a release.
    MakesVacant,
    ShortensLease,
}

/// Whom it befalls.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    All,
    One(usize),
    /// Who works at that moment; where nobody does, as if it were the first.
    Leader,
}

/// All kinds of mishaps; a test that has not seen each is no test.
pub(crate) const KINDS: &[&str] = &[
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
    "suspend",
    "backup restored",
    "deletion",
    "holder replaced",
    "holder cleared",
    "made vacant",
    "lease shortened",
    "edit",
    "hand-over asked",
    "cordon",
    "unwell",
    "namesake",
    "crash",
];

/// The longest that a late write takes to land.
pub(crate) const LATEST: Duration = Duration::from_secs(12);

/// How long faults go on for.
pub(crate) const FAULTY: Duration = Duration::from_secs(150);

/// A dozen mishaps, more or less, in the order of time.
pub(crate) fn draw(rng: &mut Rng, candidates: usize) -> Vec<Mishap> {
    let mut mishaps: Vec<_> = (0..rng.usize(6..18)).map(|_| mishap(rng, candidates)).collect();
    mishaps.sort_by_key(|mishap| mishap.at);
    mishaps
}

fn mishap(rng: &mut Rng, candidates: usize) -> Mishap {
    let at = FAULTY.mul_f64(rng.f64());
    // What is rare has the length of the list against it.
    let kind = KINDS[rng.usize(..KINDS.len())];
    let what = match kind {
        "slow answer" => What::SlowAnswers {
            by: seconds(rng, 0..3),
            lasts: seconds(rng, 1..30).min(FAULTY - at),
            whom: anybody(rng, candidates),
        },
        "stale read" => What::StaleReads {
            by: seconds(rng, 1..20),
            lasts: seconds(rng, 5..60).min(FAULTY - at),
            whom: anybody(rng, candidates),
        },
        "restart" => What::Restart(seconds(rng, 0..12)),
        "compaction" => What::Compact,
        "suspend" => What::Suspend(seconds(rng, 1..30)),
        "backup restored" => What::RestoreBackup,
        "deletion" => What::Delete,
        "holder replaced" => What::ByHand(Hand::ReplacesHolder),
        "holder cleared" => What::ByHand(Hand::ClearsHolder),
        "made vacant" => What::ByHand(Hand::MakesVacant),
        "lease shortened" => What::ByHand(Hand::ShortensLease),
        "edit" => What::Edit(rng.u32(..)),
        "hand-over asked" => What::AskForAnother,
        "cordon" => What::Cordon(somebody(rng, candidates)),
        "unwell" => What::Unwell {
            whom: somebody(rng, candidates),
            lasts: seconds(rng, 1..30).min(FAULTY - at),
        },
        "namesake" => What::Namesake(somebody(rng, candidates)),
        "crash" => What::Crash { whom: somebody(rng, candidates), pause: seconds(rng, 0..20) },
        _ => fault(kind, at, rng, candidates),
    };
    Mishap { at, kind, what }
}

fn fault(kind: &'static str, at: Duration, rng: &mut Rng, candidates: usize) -> What {
    let verb = ["verb=write,", "verb=read,", ""][rng.usize(..3)];
    let closes = if rng.bool() { "by=close," } else { "" };
    let effect = match kind {
        "latency" => format!("{verb}latency=10ms..{}ms", rng.u32(20..4_000)),
        "409" => "verb=write,error=409".to_owned(),
        "410" => "verb=watch,error=410".to_owned(),
        "429" => format!("{verb}error=429,retry-after={}", rng.u32(1..6)),
        "500" | "503" | "504" => format!("{verb}error={kind}"),
        "error, applied" => {
            let code = ["500", "503", "504"][rng.usize(..3)];
            format!("verb=write,error={code},late={}ms", rng.u32(0..6_000))
        }
        "lost request" => format!("{verb}{closes}drop=request"),
        "lost answer" => format!("verb=write,{closes}drop=answer"),
        "late write" => format!("verb=write,late=10ms..{}ms", LATEST.as_millis()),
        "frozen watch" => "freeze=continue".to_owned(),
        "frozen watch, expired" => "freeze=expire".to_owned(),
        "partition" => "drop=everything".to_owned(),
        "partition, closed" => "by=close,drop=everything".to_owned(),
        other => unreachable!("{other} is no fault of the server"),
    };
    let is_whole = kind.starts_with("partition") || kind.starts_with("frozen");
    let rate = match rng.u8(..3) {
        0 if !is_whole => format!(",rate={}%", rng.u32(20..90)),
        _ => String::new(),
    };
    let lasts = seconds(rng, 1..30).min(FAULTY - at).max(Duration::from_millis(100));
    let text = format!("{effect}{rate},for={}ms", lasts.as_millis());
    What::Fault { text, whom: anybody(rng, candidates) }
}

fn anybody(rng: &mut Rng, candidates: usize) -> Target {
    match rng.u8(..3) {
        0 => Target::All,
        _ => somebody(rng, candidates),
    }
}

fn somebody(rng: &mut Rng, candidates: usize) -> Target {
    match rng.bool() {
        true => Target::Leader,
        false => Target::One(rng.usize(..candidates)),
    }
}

fn seconds(rng: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(range.start * 1000..range.end * 1000))
}

impl fmt::Display for Mishap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8.3} s  {}: ", self.at.as_secs_f64(), self.kind)?;
        match &self.what {
            What::Fault { text, whom } => write!(f, "{whom:?} {text}"),
            other => write!(f, "{other:?}"),
        }
    }
}
