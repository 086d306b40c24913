//! What becomes of what is on its way between the processes and the server.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

/// A fault of the network or of the server, for a while.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: &'static str,
    pub(super) effect: Effect,
    pub(super) verbs: Verbs,
    /// Whom it befalls; all, where this is empty.
    pub(super) whom: Option<usize>,
    /// How many of a hundred requests it hits.
    pub(super) rate: u32,
    pub(super) lasts: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Effect {
    /// Requests take up to so much longer.
    Latency(Duration),
    /// They are refused; writes may be applied all the same, so much later.
    Error {
        code: u16,
        retry_after: u32,
        applied: Option<Duration>,
    },
    LoseRequest {
        closes: bool,
    },
    LoseAnswer {
        closes: bool,
    },
    /// Writes are applied, and answered, up to so much later.
    Late(Duration),
    /// Watches show nothing; afterwards they continue, or have expired.
    Freeze {
        expires: bool,
    },
    /// Nothing comes through in either direction.
    Cut {
        closes: bool,
    },
    /// Answers take so much longer.
    SlowAnswers(Duration),
    /// Reads are answered as they would have been so long ago.
    StaleReads(Duration),
}

/// Which requests a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verbs {
    All,
    Reads,
    Writes,
    Watches,
}

/// What is asked, as far as faults go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Read,
    Write,
    Watch,
}

impl Verbs {
    fn contain(self, verb: Verb) -> bool {
        match self {
            Self::All => true,
            Self::Reads => verb != Verb::Write,
            Self::Writes => verb == Verb::Write,
            Self::Watches => verb == Verb::Watch,
        }
    }
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fate {
    /// After how long it reaches the server,
    pub(super) there: Duration,
    /// and the answer comes back.
    pub(super) back: Duration,
    /// It is answered from the past.
    pub(super) stale: Option<Duration>,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Outcome {
    #[default]
    Answer,
    Error {
        code: u16,
        retry_after: u32,
    },
    /// Refused at once, applied so much later.
    ErrorApplied {
        code: u16,
        later: Duration,
    },
    /// The request is lost.
    Lost {
        closes: bool,
    },
    /// The answer is.
    Unanswered {
        closes: bool,
    },
}

pub(super) struct Network {
    rng: Rng,
    /// How long a way takes at least, and how much longer at most.
    usual: (Duration, Duration),
    faults: Vec<(Duration, Fault)>,
    /// How often each kind of fault has hit.
    pub(super) hits: BTreeMap<&'static str, u64>,
}

impl Network {
    pub(super) fn new(mut rng: Rng) -> Self {
        let usual = [(300, 700), (1_000, 4_000), (5_000, 20_000)][rng.usize(..3)];
        let usual = (Duration::from_micros(usual.0), Duration::from_micros(usual.1));
        Self { rng, usual, faults: Vec::new(), hits: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, now: Duration, fault: Fault) {
        self.faults.push((now + fault.lasts, fault));
    }

    pub(super) fn heal(&mut self) {
        self.faults.clear();
    }

    /// How long a way takes.
    pub(super) fn way(&mut self) -> Duration {
        self.usual.0 + self.usual.1.mul_f64(self.rng.f64())
    }

    /// Whether nothing comes through to and from `whom`, and whether it is told so.
    pub(super) fn is_cut(&mut self, now: Duration, whom: Option<usize>) -> Option<bool> {
        let (rng, hits) = (&mut self.rng, &mut self.hits);
        let cut = active(&self.faults, now, whom).find_map(|fault| match fault.effect {
            Effect::Cut { closes } if rng.u32(..100) < fault.rate => Some((fault.kind, closes)),
            _ => None,
        });
        let (kind, closes) = cut?;
        *hits.entry(kind).or_insert(0) += 1;
        Some(closes)
    }

    /// Until when watches of `whom` show nothing, and whether they have expired then.
    pub(super) fn is_frozen(
        &mut self,
        now: Duration,
        whom: Option<usize>,
    ) -> Option<(Duration, bool)> {
        let faults =
            self.faults.iter().filter(|(until, fault)| now < *until && fault.befalls(whom));
        let frozen = faults.filter_map(|(until, fault)| match fault.effect {
            Effect::Freeze { expires } => Some((*until, expires, fault.kind)),
            _ => None,
        });
        let (until, expires, kind) = frozen.max_by_key(|(until, ..)| *until)?;
        *self.hits.entry(kind).or_insert(0) += 1;
        Some((until, expires))
    }

    /// What becomes of a request that leaves now.
    pub(super) fn fate(&mut self, now: Duration, whom: Option<usize>, verb: Verb) -> Fate {
        let mut fate = Fate { there: self.way(), back: self.way(), ..Fate::default() };
        let (rng, hits) = (&mut self.rng, &mut self.hits);
        for fault in active(&self.faults, now, whom) {
            if fault.verbs.contain(verb)
                && rng.u32(..100) < fault.rate
                && fate.suffer(fault.effect, verb, rng)
            {
                *hits.entry(fault.kind).or_insert(0) += 1;
            }
        }
        fate
    }
}

fn active(
    faults: &[(Duration, Fault)],
    now: Duration,
    whom: Option<usize>,
) -> impl Iterator<Item = &Fault> {
    faults
        .iter()
        .filter(move |(until, fault)| now < *until && fault.befalls(whom))
        .map(|(_, fault)| fault)
}

impl Fault {
    fn befalls(&self, whom: Option<usize>) -> bool {
        self.whom.is_none() || self.whom == whom
    }
}

impl Fate {
    /// Whether the fault made a difference. Only one decides on the outcome.
    fn suffer(&mut self, effect: Effect, verb: Verb, rng: &mut Rng) -> bool {
        let is_open = self.outcome == Outcome::Answer;
        match effect {
            Effect::Latency(most) => self.there += most.mul_f64(rng.f64()),
            Effect::SlowAnswers(by) if verb != Verb::Watch => self.back += by,
            Effect::StaleReads(by) if verb == Verb::Read => self.stale = Some(by),
            Effect::Late(most) => {
                let late = most.mul_f64(rng.f64());
                self.there += late;
            }
            Effect::Error { code, applied: Some(later), .. } if is_open => {
                self.outcome = Outcome::ErrorApplied { code, later };
            }
            Effect::Error { code, retry_after, applied: None } if is_open => {
                self.outcome = Outcome::Error { code, retry_after };
            }
            Effect::LoseRequest { closes } if is_open => self.outcome = Outcome::Lost { closes },
            Effect::LoseAnswer { closes } if is_open => {
                self.outcome = Outcome::Unanswered { closes }
            }
            _ => return false,
        }
        true
    }
}
