//! The io of a schedule during one term.

use std::future::Future;
use std::pin::{Pin, pin};

use incumbent_core::schedule::{
    Moment, Outcome, ScheduleEvent, ScheduleOperation, ScheduleOrders, ScheduleRecord,
    ScheduleReply, ScheduleSettings, Scheduler, Start, Trouble,
};
use incumbent_core::{Instant, Term};
use serde_json::Value;
use tokio::sync::watch;

use super::calendar::CronCalendar;
use super::page::{Exchanged, Page};
use super::run::ScheduledRun;
use super::trouble::explained;
use super::{Schedule, codec};
use crate::candidate::Candidate;
use crate::clock::Clock;
use crate::error::{BoxError, Error};
use crate::leadership::Leadership;
use crate::lock::version;
use crate::report;

/// Runs a schedule while its candidate leads.
pub struct ScheduleRunner {
    scheduler: Scheduler,
    calendar: CronCalendar,
    page: Page,
    clock: Clock,
    /// The version of the object that the scheduler knows. The next write is based on it.
    object: Option<Value>,
    trouble: Option<Trouble>,
    failure: Option<String>,
    /// The verb of the last request, as RBAC names it.
    verb: &'static str,
    /// Whether a term has begun here that is not over.
    is_busy: bool,
}

/// What is in progress during one term.
struct Turn<R> {
    in_flight: Option<Pin<Box<dyn Future<Output = Exchanged> + Send>>>,
    run: Option<Pin<Box<R>>>,
    stop: watch::Sender<bool>,
    orders: ScheduleOrders,
    is_leading: bool,
}

impl<R> Turn<R> {
    fn new(orders: ScheduleOrders) -> Self {
        let stop = watch::Sender::new(false);
        Self { in_flight: None, run: None, stop, orders, is_leading: true }
    }
}

impl Schedule {
    /// Campaigns, and runs the schedule while the candidate leads, until `shutdown` completes. The lock is released
    /// before this returns.
    ///
    /// A run that returns an error has failed. A run is dropped at its next `.await` when the leadership is lost, at the
    /// shutdown, and when the next tick [replaces](crate::Overlap::Replace) it. Tasks that it has spawned continue, so do
    /// not spawn work that must not overlap.
    ///
    /// # Errors
    /// Those of [`Candidate::campaign`] and of [`runner`](Self::runner).
    pub async fn run_until<W, F>(
        self,
        shutdown: impl Future,
        candidate: &mut Candidate,
        mut work: W,
    ) -> Result<(), Error>
    where
        W: FnMut(ScheduledRun) -> F,
        F: Future<Output = Result<(), BoxError>>,
    {
        let schedule = self.name.clone();
        let mut runner = self.runner(candidate)?;
        let mut shutdown = pin!(shutdown);
        loop {
            let leadership = tokio::select! {
                biased;
                _ = &mut shutdown => return Ok(()),
                leadership = candidate.campaign() => leadership?,
            };
            let mut is_over = false;
            let until = async {
                tokio::select! {
                    biased;
                    _ = &mut shutdown => is_over = true,
                    _ = leadership.asked_to_hand_over() => {}
                }
            };
            let dropped_in_time = |run: ScheduledRun| {
                let work = work(run.clone());
                let (leadership, schedule) = (&leadership, &schedule);
                async move {
                    tokio::select! {
                        biased;
                        () = run.asked_to_stop() => Outcome::Stopped,
                        ended = leadership.while_valid(work) => match ended {
                            Some(Ok(())) => Outcome::Succeeded,
                            Some(Err(error)) => {
                                let (tick, attempt) = (run.tick_millis(), run.attempt());
                                tracing::warn!(schedule, tick, attempt, %error, "the run has failed");
                                Outcome::Failed
                            }
                            None => Outcome::Stopped,
                        },
                    }
                }
            };
            runner.lead(&leadership, until, dropped_in_time).await;
            leadership.release().await;
            if is_over {
                return Ok(());
            }
        }
    }
}

impl ScheduleRunner {
    pub(super) fn new(
        settings: ScheduleSettings,
        was: Option<&str>,
        candidate: &Candidate,
    ) -> Result<Self, Error> {
        let requests = candidate.requests.clone();
        let page = Page::new(requests, candidate.lock().clone(), &settings.name, was)?;
        Ok(Self {
            scheduler: Scheduler::new(settings),
            calendar: CronCalendar::default(),
            page,
            clock: candidate.clock,
            object: None,
            trouble: None,
            failure: None,
            verb: "get",
            is_busy: false,
        })
    }

    /// The record that was last read, as one line of JSON; `None` before the first one.
    pub fn record(&self) -> Option<String> {
        self.scheduler.record().map(|record: &ScheduleRecord| codec::encode(record, None))
    }

    /// Runs the schedule during one term, until the leadership is lost or `until` completes. When this returns, no run
    /// is in progress, and the lock may be released.
    ///
    /// `work` makes the future of each run, which is polled until it returns. So it has to watch for
    /// [`asked_to_stop`](ScheduledRun::asked_to_stop), and must have stopped by the end of the lease. If your runs can be
    /// dropped, use [`Schedule::run_until`] instead.
    pub async fn lead<W, F>(&mut self, leadership: &Leadership, until: impl Future, mut work: W)
    where
        W: FnMut(ScheduledRun) -> F,
        F: Future<Output = Outcome>,
    {
        let mut until = pin!(until);
        let mut turn = Turn::new(self.begin());
        self.act(&mut turn, leadership, &mut work);
        self.tell_term(&mut turn, leadership, &mut work);
        let (mut is_lost, mut give_up_at) = (false, None::<Instant>);
        loop {
            let has_given_up = give_up_at.is_some_and(|at| self.clock.instant() >= at);
            if has_given_up && turn.in_flight.take().is_some() {
                turn.orders = self.forget_request();
            }
            let is_done = turn.run.is_none() && turn.in_flight.is_none();
            if !turn.is_leading && is_done && (self.scheduler.is_idle() || has_given_up) {
                self.is_busy = false;
                return;
            }
            let wake = give_up_at.map_or(turn.orders.wake, |at| at.min(turn.orders.wake));
            let event = tokio::select! {
                biased;
                _ = leadership.lost(), if !is_lost => {
                    is_lost = true;
                    // The caller holds the lock until this returns, and the watchdog ends who holds it too long.
                    let patience = PATIENCE.min(leadership.stop_within() / 2);
                    let at = self.clock.instant() + patience;
                    give_up_at = Some(give_up_at.map_or(at, |known| known.min(at)));
                    match turn.is_leading {
                        true => ScheduleEvent::TermOver,
                        false => ScheduleEvent::Wake,
                    }
                }
                _ = &mut until, if turn.is_leading => ScheduleEvent::TermOver,
                outcome = some(&mut turn.run) => ScheduleEvent::Ended(outcome),
                exchanged = some(&mut turn.in_flight) => self.on_answer(exchanged),
                () = self.clock.sleep_until(wake) => ScheduleEvent::Wake,
            };
            match event {
                ScheduleEvent::TermOver => {
                    turn.is_leading = false;
                    turn.stop.send_replace(true);
                    give_up_at.get_or_insert_with(|| self.clock.instant() + PATIENCE);
                }
                ScheduleEvent::Ended(_) => turn.run = None,
                ScheduleEvent::Reply(_) => turn.in_flight = None,
                _ => {}
            }
            // The term may have been extended since the last event.
            self.tell_term(&mut turn, leadership, &mut work);
            turn.orders = self.step(event);
            self.act(&mut turn, leadership, &mut work);
        }
    }

    /// If the caller has dropped an earlier call of `lead`, the run and the request of that call are over.
    fn begin(&mut self) -> ScheduleOrders {
        if !std::mem::replace(&mut self.is_busy, true) {
            return self.step(ScheduleEvent::Wake);
        }
        let _ = self.step(ScheduleEvent::TermOver);
        let _ = self.step(ScheduleEvent::Ended(Outcome::Stopped));
        self.forget_request()
    }

    /// Stops waiting for an answer. The request may have been applied, or may be applied later.
    fn forget_request(&mut self) -> ScheduleOrders {
        loop {
            let orders = self.step(ScheduleEvent::Reply(ScheduleReply::Unknown));
            // After an unknown outcome nothing is sent for a while.
            if orders.request.is_none() {
                return orders;
            }
        }
    }

    /// Tells the scheduler how long the term is.
    fn tell_term<W, F>(&mut self, turn: &mut Turn<F>, leadership: &Leadership, work: &mut W)
    where
        W: FnMut(ScheduledRun) -> F,
        F: Future<Output = Outcome>,
    {
        if turn.is_leading && leadership.is_valid() {
            let now = self.clock.instant();
            let term = Term {
                token: leadership.fencing_token(),
                valid_until: now + leadership.valid_for(),
                stop_by: now + leadership.stop_within(),
            };
            turn.orders = self.step(ScheduleEvent::Term(term));
            self.act(turn, leadership, work);
        }
    }

    /// Does what the last step has ordered.
    fn act<W, F>(&mut self, turn: &mut Turn<F>, leadership: &Leadership, work: &mut W)
    where
        W: FnMut(ScheduledRun) -> F,
        F: Future<Output = Outcome>,
    {
        if let Some(request) = turn.orders.request.take() {
            turn.in_flight = Some(self.send(request.operation));
        }
        if turn.orders.stop {
            turn.stop.send_replace(true);
        }
        if let Some(start) = turn.orders.start.take() {
            // Between the answer and this line there may be a pause of any length.
            if turn.is_leading && leadership.is_valid() {
                turn.stop = watch::Sender::new(false);
                self.tell_start(&start);
                let run = ScheduledRun::new(&start, turn.stop.subscribe());
                turn.run = Some(Box::pin(work(run)));
            } else {
                turn.orders = self.step(ScheduleEvent::Ended(Outcome::Unstarted));
                if let Some(request) = turn.orders.request.take() {
                    turn.in_flight = Some(self.send(request.operation));
                }
            }
        }
        self.tell_trouble(turn.orders.trouble.clone());
    }

    fn step(&mut self, event: ScheduleEvent) -> ScheduleOrders {
        self.scheduler.step(self.clock.now(), event, &self.calendar)
    }

    fn send(
        &mut self,
        operation: ScheduleOperation,
    ) -> Pin<Box<dyn Future<Output = Exchanged> + Send>> {
        let page = self.page.clone();
        match operation {
            ScheduleOperation::Read => {
                self.verb = "get";
                Box::pin(async move { page.read().await })
            }
            ScheduleOperation::Replace { base, record, was } => {
                self.verb = "update";
                let object = self.object.clone();
                let object = object.filter(|object| version(object).as_ref() == Ok(&base));
                Box::pin(async move {
                    let Some(object) = object else { return Exchanged::conflict() };
                    page.replace(object, &record, was.as_deref()).await
                })
            }
        }
    }

    fn on_answer(&mut self, exchanged: Exchanged) -> ScheduleEvent {
        let Exchanged { reply, date, object, failure } = exchanged;
        if object.is_some() {
            self.object = object;
        }
        // A test's clock is the only time that a test has.
        let date = match self.clock.is_system() {
            true => date,
            false => Some(Moment::from(self.clock.now().wall)),
        };
        if let Some(date) = date {
            // The request is still in flight for the scheduler, so it orders nothing.
            let _ = self.step(ScheduleEvent::Date(date));
        }
        let failure = failure.filter(|_| reply != ScheduleReply::Conflict);
        let lock = self.page.lock();
        let error = failure.map(|failure| failure.into_error(lock, self.verb));
        let told = error.as_ref().map(Error::to_string);
        if let Some(error) = error.filter(|_| self.failure != told) {
            let (schedule, hint) = (self.page.name(), error.hint());
            tracing::warn!(%lock, schedule, %error, hint, "cannot read or write the record: will retry");
            self.tell_unlogged(&format!("{error}; will retry"), &hint);
        }
        self.failure = told;
        ScheduleEvent::Reply(reply)
    }

    fn tell_start(&self, start: &Start) {
        let (tick, late) = (start.run.tick.moment().unix_micros() / 1000, start.late.as_millis());
        let attempt = start.run.attempt;
        let (lock, schedule) = (self.page.lock(), self.page.name());
        tracing::info!(%lock, schedule, tick, attempt, late, "a run begins");
    }

    fn tell_trouble(&mut self, trouble: Option<Trouble>) {
        if self.trouble != trouble {
            if let Some(trouble) = &trouble {
                let (lock, schedule) = (self.page.lock(), self.page.name());
                let (what, hint) = explained(trouble, &self.page);
                let reason = trouble.reason();
                tracing::warn!(%lock, schedule, reason, hint, "the schedule is in trouble: {what}");
                self.tell_unlogged(&what, &hint);
            }
            self.trouble = trouble;
        }
    }

    /// Says it on stderr if the program has no log.
    fn tell_unlogged(&self, what: &str, hint: &str) {
        if self.clock.is_system() {
            let (lock, schedule) = (self.page.lock(), self.page.name());
            report::unlogged(&format!("schedule {schedule} of {lock}: {what}"), hint);
        }
    }
}

impl std::fmt::Debug for ScheduleRunner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScheduleRunner").field("page", &self.page).finish_non_exhaustive()
    }
}

/// Waits for the future; for ever if there is none.
async fn some<F: Future + ?Sized>(future: &mut Option<Pin<Box<F>>>) -> F::Output {
    match future {
        Some(future) => future.as_mut().await,
        None => std::future::pending().await,
    }
}

/// How long a replica tries to record the end of a run after its term; less if the leadership was lost. After that, the
/// run is in doubt for the next leader.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
