//! The only loop that does io.
//!
//! It takes no decision: it reads the clock, hands what happened to the [`Elector`], and does what that
//! says. Its end, however it comes about, is loss of leadership.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use incumbent_core::{
    Change, Elector, Follow, HolderInfo, Input, Instant, Loss, Output, Reply, Request, Term, Window,
};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::error::Error;
use crate::follow::News;
use crate::leadership::Command;
use crate::limiter::Wait;
use crate::lock::Lock;
use crate::lock_api::{Answer, LockApi, Outcome, Trouble, verb};
use crate::metrics::Exchange;
use crate::proof::Proofs;
use crate::stored::Stored;
use crate::term::Ending;

mod announcer;
mod terms;
mod troubles;
mod watch_health;

pub(crate) use announcer::Announcer;
pub(crate) use terms::Terms;
pub(crate) use watch_health::WatchHealth;

use troubles::{JOINING, Troubles};
use watch_health::Silence;

pub(crate) struct Driver {
    elector: Elector,
    api: LockApi,
    clock: Clock,
    commands: mpsc::UnboundedReceiver<Command>,
    terms: Terms,
    announcer: Announcer,
    watch: WatchHealth,
    proofs: Proofs,
    troubles: Troubles,
    /// The lock at the version that the elector knows.
    stored: Option<Stored>,
    /// What came with the input; it is kept if the elector takes its version for the newest.
    fresh: Option<Stored>,
    in_flight: Option<InFlight>,
    /// What the elector is told next, before anything else.
    follow_up: Option<Input>,
    /// Candidate and leaderships are gone.
    closed: bool,
}

/// A request on its way: when it left, and what came of it.
type InFlight = Pin<Box<dyn Future<Output = (Instant, Answer)> + Send>>;

impl Driver {
    pub(crate) fn new(
        elector: Elector,
        api: LockApi,
        commands: mpsc::UnboundedReceiver<Command>,
        terms: Terms,
        announcer: Announcer,
        watch: WatchHealth,
        proofs: Proofs,
    ) -> Self {
        Self {
            elector,
            clock: api.clock(),
            api,
            commands,
            terms,
            announcer,
            watch,
            proofs,
            troubles: Troubles::default(),
            stored: None,
            fresh: None,
            in_flight: None,
            follow_up: None,
            closed: false,
        }
    }

    /// Runs until the candidate and its leadership are gone, and what they held is released.
    /// Boxed, because a future keeps what it is given beside what it makes of it.
    pub(crate) async fn run(mut self: Box<Self>) {
        let mut input = Input::Wake;
        loop {
            let output = self.elector.step(self.clock.now(), input);
            let wake = output.wake;
            self.act(output);
            if self.closed && self.elector.is_idle() {
                return;
            }
            input = self.next_input(wake).await;
        }
    }

    fn act(&mut self, output: Output) {
        self.keep_fresh();
        if let Some(request) = output.request {
            self.send(request);
        }
        if let Some(change) = output.change {
            self.tell(change);
        }
        self.announcer.publish(self.api.lock(), &self.elector);
        self.terms.ask(self.elector.asked_to_hand_over());
        self.follow_up = self.follow_up.take().or_else(|| self.proofs.look(&self.elector));
        if self.elector.has_namesake() {
            let identity = self.elector.config().identity.to_string();
            self.fail_campaign(Error::DuplicateIdentity { lock: self.lock().clone(), identity });
        }
    }

    fn keep_fresh(&mut self) {
        let known = self.elector.version();
        if let Some(version) = known {
            self.watch.knows(version.revision);
        }
        if let Some(stored) = self.fresh.take().filter(|fresh| known == Some(fresh.version())) {
            self.stored = Some(stored);
        }
    }

    fn send(&mut self, request: Request) {
        let (api, clock, current) = (self.api.clone(), self.clock, self.stored.clone());
        let made_at = clock.instant();
        let (wait, valid_until) = match self.elector.term() {
            Some(term) => (Wait::LeaveAt(self.renewal_is_due(&term)), term.valid_until),
            None => (Wait::GiveUpAt(request.deadline), Instant::new(Duration::MAX)),
        };
        self.in_flight = Some(Box::pin(async move {
            let verb = verb(&request.operation);
            let turn = api.turn(wait).await;
            let left_at = clock.instant();
            // Time may have stood still for this process: what is too late does not leave.
            let Some(turn) = turn.filter(|_| left_at < valid_until) else {
                return (left_at, Answer::not_sent(verb));
            };
            // The server has as much time as it would have without the wait.
            let waited = left_at.saturating_since(made_at);
            let deadline = (request.deadline + waited).min(valid_until);
            let answer = tokio::select! {
                biased;
                // Boxed, because a request that waits for its turn needs no room for it yet.
                answer = Box::pin(turn.take(api.send(request.operation, current))) => answer,
                () = clock.sleep_until(deadline) => Answer::timed_out(verb),
            };
            (left_at, answer)
        }));
    }

    /// By when the renewal of `term` has to leave, and so whatever must be answered before it.
    fn renewal_is_due(&self, term: &Term) -> Instant {
        let timing = &self.elector.config().timing;
        let slack = timing.renew_deadline().saturating_sub(timing.renew_interval());
        Instant::new(term.valid_until.since_start().saturating_sub(slack))
    }

    fn tell(&mut self, change: Change) {
        let lock = self.api.lock();
        match change {
            Change::Started(term) => self.start(term),
            Change::Renewed(term) => {
                tracing::debug!(%lock, token = %term.token, "renewed");
                self.terms.renew(term);
            }
            Change::Lost(loss) => {
                self.terms.end(loss.clone());
                let ending = Ending::Lost(loss);
                drop(self.announcer.term_ended(lock, ending, self.stored.as_ref()));
            }
            Change::Released(release) => {
                tracing::debug!(%lock, reason = %release.reason(), "released");
                self.terms.revoke();
                let ending = Ending::Released(release);
                let told = self.announcer.term_ended(lock, ending, self.stored.as_ref());
                self.terms.released(release, told, self.clock);
                // Who campaigned while the work was still stopping has waited for this.
                self.follow_up = self.terms.is_campaigning().then_some(Input::Campaign);
            }
        }
    }

    fn start(&mut self, term: Term) {
        let lock = self.api.lock();
        self.announcer.term_began(lock, term.token);
        match self.terms.begin(lock, term, self.clock) {
            true => self.announcer.show(term.token, self.stored.as_ref()),
            false => self.follow_up = Some(Input::Release),
        }
    }

    fn fail_campaign(&mut self, error: Error) {
        if self.terms.fail(error) {
            self.follow_up = self.withdraw();
        }
    }

    /// Nobody wants to lead any more. That says nothing of work that is still running under an earlier
    /// campaign: its own end does.
    fn withdraw(&self) -> Option<Input> {
        (!self.terms.has_term()).then_some(Input::Release)
    }

    /// Waits for whatever comes first.
    async fn next_input(&mut self, wake: Option<Window>) -> Input {
        let wake = wake.map(pick);
        loop {
            if let Some(input) = self.follow_up.take() {
                return input;
            }
            let alarm = wake.into_iter().chain(self.watch.deadline(&self.elector)).min();
            let input = tokio::select! {
                biased;
                command = self.commands.recv(), if !self.closed => self.on_command(command),
                (left_at, answer) = some(&mut self.in_flight) => {
                    Some(self.on_answer(left_at, answer))
                }
                news = self.watch.next() => Some(self.on_news(news)),
                found = self.proofs.next() => Some(self.with_seat(found)),
                () = self.terms.withdrawn() => self.withdraw(),
                () = until(self.clock, alarm) => self.on_alarm(wake),
            };
            if let Some(input) = input {
                return input;
            }
        }
    }

    /// What a member says in its seat stays as it is when its container becomes known.
    fn with_seat(&self, found: Input) -> Input {
        match found {
            Input::Introduce(info) => {
                let seat = self.elector.config().holder_info.seat.clone();
                Input::Introduce(HolderInfo { seat, ..info })
            }
            other => other,
        }
    }

    fn on_command(&mut self, command: Option<Command>) -> Option<Input> {
        match command {
            None => {
                self.closed = true;
                Some(Input::Wake)
            }
            Some(Command::Campaign(answer)) => {
                self.terms.campaign(answer, self.clock).then_some(Input::Campaign)
            }
            Some(Command::Release(token)) => self.terms.is_current(token).then_some(Input::Release),
            Some(Command::HandOver(token, to)) => {
                self.terms.is_current(token).then_some(Input::HandOver(*to))
            }
            Some(Command::Publish(info)) => {
                let known = self.elector.config().holder_info.clone();
                Some(Input::Publish(HolderInfo { seat: Some(*info), ..known }))
            }
            Some(Command::Name(table)) => Some(Input::Name(table)),
            Some(Command::AwaitRelease(waiting)) => {
                self.terms.await_release(waiting, self.elector.is_idle());
                None
            }
        }
    }

    fn on_answer(&mut self, left_at: Instant, answer: Answer) -> Input {
        self.in_flight = None;
        self.count(left_at, &answer);
        // A read that finds nothing was allowed.
        let is_nothing = matches!(answer.reply, Reply::Missing) && answer.verb == "get";
        let is_success = matches!(answer.reply, Reply::Found(_) | Reply::Written(_));
        if is_success || is_nothing {
            self.troubles.prove(answer.verb);
        }
        if let Reply::Found(snapshot) | Reply::Written(snapshot) = &answer.reply {
            self.watch.learn(snapshot.version.revision, self.clock.instant());
        }
        // A candidate can lead without a place on the waitlist, but not without the right to acquire.
        let is_hint = self.elector.is_editing_the_waitlist();
        let kind = if is_hint { JOINING } else { answer.verb };
        if is_success && answer.altered.is_none() {
            self.troubles.forget(kind);
        }
        self.fresh = answer.object.and_then(Stored::new);
        if let Some(altered) = answer.altered {
            self.troubles.tell_altered(self.api.lock(), kind, &altered);
        }
        if let Some(trouble) = answer.trouble {
            self.on_trouble(answer.verb, kind, trouble);
        }
        Input::Reply(answer.reply)
    }

    fn count(&self, left_at: Instant, answer: &Answer) {
        let code = match answer.outcome {
            Outcome::NotSent => return,
            Outcome::NoAnswer => None,
            Outcome::Status(code) => Some(code),
        };
        let latency = self.clock.instant().saturating_since(left_at);
        let while_leading = self.announcer.is_in_term();
        let exchange = Exchange { verb: answer.verb, code, latency, while_leading };
        self.announcer.count(self.lock(), exchange);
    }

    /// What never worked and will not by itself ends the campaign. Anything else is retried.
    fn on_trouble(&mut self, verb: &'static str, kind: &'static str, trouble: Trouble) {
        // A place on the waitlist is a hint: only what would also refuse the acquire ends the campaign.
        let is_of_account =
            matches!(*trouble.error, Error::Forbidden { .. } | Error::Unauthorized { .. });
        let ends_it = trouble.lasts && (kind != JOINING || is_of_account);
        // Other writes may have worked, while the object was its own.
        let is_foreign = matches!(*trouble.error, Error::Foreign { .. });
        let never_worked = is_foreign || !self.troubles.is_proven(verb);
        if ends_it && never_worked && self.terms.is_campaigning() {
            return self.fail_campaign(*trouble.error);
        }
        self.troubles.tell(self.api.lock(), self.clock, kind, &trouble);
    }

    fn on_news(&mut self, news: Option<News>) -> Input {
        match news {
            Some(News::Follow(follow)) => {
                self.watch.follow(follow, self.clock.instant());
                Input::Follow(follow)
            }
            Some(News::Seen(seen)) => {
                self.watch.show(self.clock.instant());
                let (observation, stored) = *seen;
                self.fresh = stored;
                Input::Observed(observation)
            }
            None => {
                let retry_period = self.elector.config().timing.retry_period();
                self.watch.renew(self.api.lock(), retry_period);
                Input::Follow(Follow::Poll)
            }
        }
    }

    /// Whatever is due: the elector's moment, or the watch's.
    fn on_alarm(&mut self, wake: Option<Instant>) -> Option<Input> {
        let now = self.clock.instant();
        match self.watch.check(&self.elector, now) {
            Some(Silence::Distrusted) => {
                tracing::debug!(lock = %self.lock(), "the watch is silent");
                self.watch.distrust();
                Some(Input::Follow(Follow::Poll))
            }
            // Reads once. A candidate that wants to lead asks by itself when the lease is over; one that only
            // follows, or is paused, would believe a silent watch for as long as the watch lives.
            Some(Silence::Doubted) => {
                self.watch.doubt(now);
                self.follow_up = Some(Input::Follow(Follow::Watch));
                Some(Input::Follow(Follow::Poll))
            }
            None => wake.is_some_and(|wake| now >= wake).then_some(Input::Wake),
        }
    }

    fn lock(&self) -> &Lock {
        self.api.lock()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.terms.end(Loss::DeadlinePassed);
        self.announcer.tell_end(self.api.lock(), Ending::Lost(Loss::DeadlinePassed));
    }
}

/// Waits for the future, or for ever where there is none.
async fn some<T>(future: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn until(clock: Clock, moment: Option<Instant>) {
    match moment {
        Some(moment) => clock.sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// A moment within the window.
fn pick(window: Window) -> Instant {
    let width = window.latest.saturating_since(window.earliest);
    let moment = window.earliest + width.mul_f64(fastrand::f64());
    let beat = nearest_beat(moment);
    let is_within = (window.earliest..=window.latest).contains(&beat);
    if is_within && width >= 2 * BEAT { beat } else { moment }
}

/// What has time for it is done on a beat that all elections of a process share: who takes part in a thousand
/// wakes up for several at once.
const BEAT: Duration = Duration::from_millis(200);

fn nearest_beat(moment: Instant) -> Instant {
    let beats = (moment + BEAT / 2).since_start().as_millis() / BEAT.as_millis();
    Instant::new(BEAT * u32::try_from(beats).unwrap_or(u32::MAX))
}
