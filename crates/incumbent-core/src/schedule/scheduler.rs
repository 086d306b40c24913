//! One replica's side of a schedule.

mod plan;

use std::time::Duration;

use super::clock::TrustedClock;
use super::judge::Ended;
use super::message::{
    ScheduleEvent, ScheduleObject, ScheduleOperation, ScheduleOrders, ScheduleReply,
    ScheduleRequest, Start, StoredSchedule, Trouble,
};
use super::moment::Moment;
use super::policy::Policies;
use super::record::{Outcome, Run, ScheduleRecord, Spec};
use super::ticks::Calendar;
use crate::identity::Session;
use crate::message::Term;
use crate::time::{Instant, Now};

/// A schedule as one replica describes it.
#[derive(Clone, Debug)]
pub struct ScheduleSettings {
    /// The name of the schedule.
    pub name: String,
    /// When it is due.
    pub spec: Spec,
    /// What happens to ticks that cannot simply run.
    pub policies: Policies,
    /// Drawn at random for each start of a process.
    pub session: Session,
    /// How long one request may take before its outcome counts as unknown.
    pub request_timeout: Duration,
}

/// One replica's side of a schedule.
#[derive(Clone, Debug)]
pub struct Scheduler {
    settings: ScheduleSettings,
    clock: TrustedClock,
    term: Option<Term>,
    seen: Option<ScheduleObject>,
    seen_at: Instant,
    /// Read before writing again.
    is_outdated: bool,
    in_flight: Option<InFlight>,
    local: Local,
    /// The run that was stopped last because the next tick was due.
    replaced: Option<Run>,
    /// Runs that were written and not started, because no answer came.
    unanswered: Vec<Run>,
    /// When this replica first saw a stored spec that it has to replace.
    changes_at: Option<Moment>,
    /// The highest floor that was seen.
    remembered: Option<Moment>,
    /// Conflicts in a row.
    conflicts: u32,
    /// Nothing is sent before this, after a failure.
    pause: Instant,
    trouble: Option<Trouble>,
    latest: Instant,
}

/// The run that this process began last.
#[derive(Clone, Debug)]
enum Local {
    /// The record knows of its end.
    Idle,
    Running(Run),
    /// Its end is to be recorded.
    Ended(Ended),
}

#[derive(Clone, Debug)]
struct InFlight {
    sent_at: Instant,
    /// The run that the write begins.
    begins: Option<Run>,
    /// The record that is written.
    record: Option<Box<ScheduleRecord>>,
}

impl Scheduler {
    /// A replica that has read nothing yet, and does not lead.
    pub fn new(settings: ScheduleSettings) -> Self {
        Self {
            settings,
            clock: TrustedClock::default(),
            term: None,
            seen: None,
            seen_at: Instant::START,
            is_outdated: true,
            in_flight: None,
            local: Local::Idle,
            replaced: None,
            unanswered: Vec::new(),
            changes_at: None,
            remembered: None,
            conflicts: 0,
            pause: Instant::START,
            trouble: None,
            latest: Instant::START,
        }
    }

    /// Advances the schedule and says what to do next.
    ///
    /// It cannot fail, and calling it early or twice is harmless.
    pub fn step(
        &mut self,
        now: Now,
        event: ScheduleEvent,
        calendar: &dyn Calendar,
    ) -> ScheduleOrders {
        let now = Now { instant: now.instant.max(self.latest), ..now };
        self.latest = now.instant;
        let start = match event {
            ScheduleEvent::Wake => None,
            ScheduleEvent::Term(term) => {
                self.on_term(Some(term));
                None
            }
            ScheduleEvent::TermOver => {
                self.on_term(None);
                None
            }
            ScheduleEvent::Date(date) => {
                self.clock.learn(now.instant, date);
                None
            }
            ScheduleEvent::Observed(object) => {
                self.learn(now.instant, object);
                None
            }
            ScheduleEvent::Reply(reply) => self.on_reply(now, reply),
            ScheduleEvent::Ended(outcome) => {
                self.on_ended(now, outcome);
                None
            }
        };
        let plan = self.plan(now, calendar);
        if plan.stop
            && let Local::Running(run) = &self.local
        {
            self.replaced = Some(run.clone());
        }
        let request = plan.operation.map(|operation| {
            let record = match &operation {
                ScheduleOperation::Read => None,
                ScheduleOperation::Replace { record, .. } => Some(record.clone()),
            };
            self.in_flight = Some(InFlight { sent_at: now.instant, begins: plan.begins, record });
            let deadline = now.instant + self.settings.request_timeout;
            ScheduleRequest { operation, deadline }
        });
        ScheduleOrders {
            request,
            start,
            stop: plan.stop,
            trouble: self.trouble.clone(),
            wake: plan.wake.min(now.instant + LONGEST_SLEEP),
        }
    }

    /// The newest record that was seen.
    pub fn record(&self) -> Option<&ScheduleRecord> {
        match &self.seen.as_ref()?.schedule {
            StoredSchedule::Readable(record) => Some(record),
            StoredSchedule::Missing | StoredSchedule::Unreadable => None,
        }
    }

    /// Whether neither a run nor a record of its end is outstanding, so that the process may exit.
    pub fn is_idle(&self) -> bool {
        matches!(self.local, Local::Idle) && self.in_flight.is_none() && self.unanswered.is_empty()
    }

    /// The time by which this replica decides; `None` before the first answer of the API server.
    pub fn now(&self, now: Now) -> Option<Moment> {
        self.clock.now(now)
    }

    // What happened.

    fn on_term(&mut self, term: Option<Term>) {
        let token = |term: Option<Term>| term.map(|term| term.token);
        if token(term) != token(self.term) {
            self.is_outdated = true;
            self.changes_at = None;
            self.trouble = None;
        }
        self.term = term;
    }

    fn on_ended(&mut self, now: Now, outcome: Outcome) {
        if let Local::Running(run) = &self.local {
            // Its caller only knows that the run was to stop. A tick that made way does not run again.
            let made_way = self.replaced.as_ref() == Some(run);
            let outcome = match outcome {
                Outcome::Stopped | Outcome::Unstarted if made_way => Outcome::Replaced,
                outcome => outcome,
            };
            let at = self.clock.now(now).unwrap_or(run.began).max(run.began);
            self.local = Local::Ended(Ended { run: run.clone(), outcome, at });
        }
    }

    fn learn(&mut self, now: Instant, object: ScheduleObject) {
        let is_older = self.seen.as_ref().is_some_and(|seen| {
            seen.version.uid == object.version.uid
                && seen.version.revision > object.version.revision
        });
        // A watch may show what is known already; a backup that was restored is found by reading.
        if is_older && !self.is_outdated {
            return;
        }
        self.seen = Some(object);
        self.seen_at = now;
        self.is_outdated = false;
        self.remembered = self.remembered.max(self.record().map(|record| record.floor));
    }

    fn on_reply(&mut self, now: Now, reply: ScheduleReply) -> Option<Start> {
        let sent = self.in_flight.take()?;
        let retry_at = |pause: Duration| now.instant + pause;
        match reply {
            ScheduleReply::Found(object) => {
                self.is_outdated = true;
                self.learn(now.instant, object);
                None
            }
            ScheduleReply::Written(object) => {
                self.conflicts = 0;
                self.is_outdated = true;
                self.learn(now.instant, object);
                self.on_written(now, sent)
            }
            ScheduleReply::Missing => {
                self.seen = None;
                self.pause = retry_at(RETRY_PERIOD);
                None
            }
            ScheduleReply::Conflict => {
                self.is_outdated = true;
                self.conflicts += 1;
                if self.conflicts > 1 {
                    self.pause = retry_at(AFTER_CONFLICT * self.conflicts.min(20));
                }
                None
            }
            ScheduleReply::Refused { retry_after } => {
                let asked = retry_after.unwrap_or_default().min(MAX_PATIENCE);
                self.pause = retry_at(asked.max(RETRY_PERIOD));
                None
            }
            ScheduleReply::Unknown => {
                self.is_outdated = true;
                self.pause = retry_at(Duration::ZERO).max(sent.sent_at + RETRY_PERIOD);
                self.unanswered.extend(sent.begins);
                let outdated = self.unanswered.len().saturating_sub(MOST_UNANSWERED);
                self.unanswered.drain(..outdated);
                None
            }
        }
    }

    /// The only way to start a run: a `Written` reply to the write that begins it, processed during that term.
    fn on_written(&mut self, now: Now, sent: InFlight) -> Option<Start> {
        let stored = self.record().and_then(|record| record.run.clone());
        if self.record() != sent.record.as_deref() {
            // Otherwise it might be corrected for ever.
            self.trouble = Some(Trouble::Altered);
            self.pause = now.instant + MAX_PATIENCE;
        }
        // Of several writes over one version, one is applied.
        self.unanswered.clear();
        let Some(run) = sent.begins else {
            if let Local::Ended(ended) = &self.local
                && stored.as_ref() != Some(&ended.run)
            {
                self.local = Local::Idle;
            }
            return None;
        };
        if stored.as_ref() != Some(&run) {
            self.local = Local::Idle;
            return None;
        }
        let is_led = self.term_at(now.instant).is_some_and(|term| term.token == run.token);
        if !is_led {
            let at = run.began;
            self.local = Local::Ended(Ended { run, outcome: Outcome::Unstarted, at });
            return None;
        }
        self.local = Local::Running(run.clone());
        let late = self.clock.now(now).map(|now| now.saturating_since(run.tick.moment()));
        Some(Start { run, late: late.unwrap_or_default() })
    }

    /// The term that is running.
    fn term_at(&self, now: Instant) -> Option<Term> {
        self.term.filter(|term| now < term.valid_until)
    }
}

/// A replica wakes at least this often, because wall clocks jump. It reads the record as often, because people suspend a
/// schedule and ask for runs.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

const RETRY_PERIOD: Duration = Duration::from_secs(1);

const AFTER_CONFLICT: Duration = Duration::from_millis(50);

/// A write may be tried again as often as this until one is answered.
const MOST_UNANSWERED: usize = 16;

/// The longest Retry-After that is obeyed.
const MAX_PATIENCE: Duration = Duration::from_secs(60);
