//! Schedules: one run per tick, in the replica that leads.

mod calendar;
mod codec;
mod driver;
mod page;
mod run;
mod trouble;
mod view;

use std::time::Duration;

pub use incumbent_core::schedule::{CatchUp, OnDeath, Outcome, Overlap};
use incumbent_core::schedule::{Moment, Policies, ScheduleSettings, Spec, When};
use jiff::Timestamp;

use self::calendar::{Pattern, Unreadable};
pub use self::driver::ScheduleRunner;
pub use self::page::ScheduleControl;
pub use self::run::ScheduledRun;
pub use self::view::{ScheduleView, time};
use crate::candidate::Candidate;
use crate::error::Error;
use crate::invalid::InvalidSetting;

/// When work runs, and what happens to ticks that cannot simply run.
///
/// Every replica describes the same schedule, and the leader runs it. There is at most one start per tick and attempt,
/// never two runs at once, and none while no replica leads. The record of the schedule is in the ConfigMap of the
/// election, under the key `NAME.schedule`.
///
/// ```
/// # use incumbent::{Candidate, Clock, Lock, Schedule};
/// # use incumbent_apiserver::ApiServer;
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), incumbent::Error> {
/// # let server = ApiServer::new();
/// # let client = kube::Client::new(server.service(), "default");
/// let lock = Lock::config_map("default", "jobs");
/// let mut candidate = Candidate::builder(client, lock).clock(Clock::tokio()).build()?;
///
/// let schedule = Schedule::cron("report", "0 7 * * MON-FRI").time_zone("Europe/Berlin");
/// # let schedule = Schedule::every("report", std::time::Duration::from_secs(60));
/// # let shutdown = tokio::time::sleep(std::time::Duration::from_secs(300));
/// # let runs = std::cell::Cell::new(0);
/// # let runs = &runs;
/// # let send_report = |_: i64| async move { runs.set(runs.get() + 1); Ok::<(), incumbent::BoxError>(()) };
/// schedule
///     .run_until(shutdown, &mut candidate, |run| async move {
///         send_report(run.tick_millis()).await
///     })
///     .await?;
/// # assert!((4..=5).contains(&runs.get()), "{}", runs.get());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Schedule {
    name: String,
    was: Option<String>,
    rule: Rule,
    revision: u64,
    policies: Policies,
}

#[derive(Clone, Debug)]
enum Rule {
    Cron { pattern: String, zone: String },
    Every { period: Duration, anchor: Moment },
}

impl Schedule {
    /// Runs at the times of this cron pattern: five fields, or six with seconds first. They are in UTC unless you set a
    /// [time zone](Self::time_zone).
    pub fn cron(name: impl Into<String>, pattern: impl Into<String>) -> Self {
        let rule = Rule::Cron { pattern: pattern.into(), zone: "UTC".to_owned() };
        Self::new(name.into(), rule)
    }

    /// Runs each `period`, counted from the start of 1970: whole milliseconds, from a second to a hundred years.
    pub fn every(name: impl Into<String>, period: Duration) -> Self {
        Self::new(name.into(), Rule::Every { period, anchor: Moment::default() })
    }

    fn new(name: String, rule: Rule) -> Self {
        Self { name, was: None, rule, revision: 0, policies: Policies::default() }
    }

    /// Sets the time zone of a cron pattern, by its name in the tz database. Has no effect on [`every`](Self::every).
    ///
    /// Each time that a pattern names by hour and minute comes once a day, also when clocks change: a time in the gap
    /// comes right after it, and a time in the doubled hour comes in the first pass. A pattern with a wildcard or a step
    /// in hour or minute follows real time.
    pub fn time_zone(mut self, name: impl Into<String>) -> Self {
        if let Rule::Cron { zone, .. } = &mut self.rule {
            *zone = name.into();
        }
        self
    }

    /// Counts the periods of [`every`](Self::every) from this time, in milliseconds since 1970, in both directions. Has
    /// no effect on a cron pattern.
    pub fn anchor_millis(mut self, millis: i64) -> Self {
        if let Rule::Every { anchor, .. } = &mut self.rule {
            *anchor = Moment::from_unix_micros(millis.saturating_mul(1000));
        }
        self
    }

    /// Sets what happens to ticks past their [deadline](Self::deadline). Default: [`CatchUp::Last`].
    pub fn catch_up(mut self, catch_up: CatchUp) -> Self {
        self.policies.catch_up = catch_up;
        self
    }

    /// Sets how long after its instant a tick may begin without being late. Default: a minute. If this is less than the
    /// lease duration plus five seconds, ticks are missed whenever a leader crashes, and a warning is logged.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.policies.deadline = deadline;
        self
    }

    /// Sets what happens to a tick that is due during a run. Default: [`Overlap::Forbid`].
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.policies.overlap = overlap;
        self
    }

    /// Sets what happens to the tick of a run whose process died, or that was stopped. Default: [`OnDeath::InDoubt`], at
    /// most once.
    pub fn on_death(mut self, on_death: OnDeath) -> Self {
        self.policies.on_death = on_death;
        self
    }

    /// Sets how often a failed run is tried again, until the next tick or the deadline. Default: 0.
    pub fn retries(mut self, retries: u32) -> Self {
        self.policies.retries = retries;
        self
    }

    /// Delays each tick by up to this much. The delay of a tick is the same in each replica. Default: none.
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.policies.jitter = jitter;
        self
    }

    /// Sets the revision of the pattern, period and time zone. Raise it with each change of them. During a rollout, the
    /// higher revision counts; with equal ones, the leader's pattern counts. Default: 0.
    pub fn revision(mut self, revision: u64) -> Self {
        self.revision = revision;
        self
    }

    /// Names the schedule's former name, so that no tick runs under both names.
    pub fn renamed_from(mut self, name: impl Into<String>) -> Self {
        self.was = Some(name.into());
        self
    }

    /// Connects the schedule to the election of a candidate, whose lock has to be a ConfigMap.
    ///
    /// # Errors
    /// If the lock is a Lease, the name cannot be part of a key of a ConfigMap, the pattern, the time zone or the period
    /// cannot be used, or the pattern names a time that never comes.
    pub fn runner(self, candidate: &Candidate) -> Result<ScheduleRunner, Error> {
        let spec = self.spec(candidate.clock.timestamp())?;
        self.warn_of_deadline(candidate);
        let settings = ScheduleSettings {
            name: self.name,
            spec,
            policies: self.policies,
            session: candidate.session,
            request_timeout: REQUEST_TIMEOUT,
        };
        ScheduleRunner::new(settings, self.was.as_deref(), candidate)
    }

    /// Warns if a deadline passes before a leader that crashed is replaced.
    fn warn_of_deadline(&self, candidate: &Candidate) {
        let Policies { catch_up, deadline, on_death, .. } = self.policies;
        let shortest = candidate.lease_duration + CLOCKS_DIFFER;
        let no_tick_is_lost = matches!(catch_up, CatchUp::All(_)) && on_death == OnDeath::InDoubt;
        if deadline < shortest && !no_tick_is_lost {
            let (lock, schedule) = (candidate.lock(), &self.name);
            let deadline = format!("{deadline:?}");
            let hint = format!("set a deadline of {shortest:?} or more, or a shorter lease");
            tracing::warn!(
                %lock, schedule, deadline, hint,
                "the deadline passes before another replica takes over from a leader that crashed: its ticks are missed"
            );
        }
    }

    /// Checks the pattern, the time zone and the period without a candidate.
    ///
    /// # Errors
    /// If they cannot be used, or name a time that never comes.
    pub fn check(&self) -> Result<(), Error> {
        self.spec(Timestamp::now()).map(|_| ())
    }

    fn spec(&self, now: Timestamp) -> Result<Spec, Error> {
        let when = match &self.rule {
            // A record stores whole milliseconds.
            Rule::Every { period, .. }
                if !(SHORTEST_PERIOD..=LONGEST_PERIOD).contains(period)
                    || period.subsec_nanos() % 1_000_000 != 0 =>
            {
                return Err(invalid(
                    format!("a schedule cannot run every {period:?}"),
                    "use whole milliseconds, from one second to a hundred years",
                ));
            }
            Rule::Every { anchor, .. }
                if Timestamp::from_microsecond(anchor.unix_micros()).is_err() =>
            {
                return Err(invalid(
                    format!("{} ms since 1970 is no date", anchor.unix_micros() / 1000),
                    "use an anchor between the years -9999 and 9999",
                ));
            }
            Rule::Every { period, anchor } => When::Every { period: *period, anchor: *anchor },
            Rule::Cron { pattern, zone } => {
                let read = Pattern::read(pattern, zone).map_err(|why| match why {
                    Unreadable::Pattern(why) => invalid(
                        format!("{pattern:?} is not a cron pattern: {why}"),
                        "write five fields: minute, hour, day of month, month, day of week",
                    ),
                    Unreadable::Zone(zone) => invalid(
                        format!("there is no time zone {zone:?}"),
                        "use a name of the tz database, such as Europe/Berlin",
                    ),
                })?;
                if read.next(now).is_none() {
                    return Err(invalid(
                        format!("{pattern:?} never comes"),
                        "no month has such a day: check the day of month and the month",
                    ));
                }
                When::Cron { pattern: pattern.clone(), zone: zone.clone() }
            }
        };
        Ok(Spec { when, revision: self.revision })
    }
}

fn invalid(what: String, hint: &str) -> Error {
    Error::Invalid(InvalidSetting::Program { what, hint: hint.to_owned() })
}

/// Clocks differ by more than a shorter one.
const SHORTEST_PERIOD: Duration = Duration::from_secs(1);

/// A longer one is a mistake, and its next tick may be no date.
const LONGEST_PERIOD: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// How far the clock of a replica may be from that of the API server.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5);

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
