//! The only loop that does io.
//!
//! It takes no decision: it reads the clock, hands what happened to the [`Elector`], and does what that
//! says. Its end, however it comes about, is loss of leadership.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use incumbent_core::{
    Change, Elector, FencingToken, Follow, Identity, Input, Instant, Loss, Output, Release, Reply,
    Request, Sighting, Term, Window,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::api::{Answer, Api, Outcome, Trouble, verb};
use crate::clock::Clock;
use crate::error::Error;
use crate::events::Events;
use crate::follow::{News, Subscription};
use crate::leadership::{Command, Leadership};
use crate::limiter::Wait;
use crate::lock::{Altered, Lock};
use crate::metrics::{Event, Exchange, Meter};
use crate::observer::View;
use crate::proof::Proofs;
use crate::report;
use crate::route::Routing;
use crate::stored::Stored;
use crate::term::{CurrentTerm, Ending, OnOverrun, TermState};
use crate::watchdog::Guard;

pub(crate) struct Driver {
    elector: Elector,
    api: Api,
    clock: Clock,
    on_overrun: OnOverrun,
    commands: mpsc::UnboundedReceiver<Command>,
    /// For the leaderships that this driver hands out. Weak, so that it ends with its candidate.
    sender: mpsc::WeakUnboundedSender<Command>,
    views: watch::Sender<View>,
    current: CurrentTerm,
    events: Option<Events>,
    routes: Vec<Routing>,
    meter: Meter,
    proofs: Proofs,
    news: Subscription,
    /// The lock at the version that the elector knows.
    stored: Option<Stored>,
    /// What came with the input; it is kept if the elector takes its version for the newest.
    fresh: Option<Stored>,
    in_flight: Option<InFlight>,
    campaign: Option<Campaign>,
    term: Option<Arc<TermState>>,
    /// The term whose end is still to be told.
    untold: Option<FencingToken>,
    /// Whom the log named last as the leader that is followed.
    followed: Option<(Identity, Option<FencingToken>)>,
    awaiting_release: Vec<oneshot::Sender<Release>>,
    last_release: Release,
    /// What the elector is told next, before anything else.
    follow_up: Option<Input>,
    /// Candidate and leaderships are gone.
    closed: bool,
    /// What has worked once: trouble with it passes, or is not ours to judge.
    proven: Vec<&'static str>,
    /// What was logged about each kind of request, until one of that kind succeeds.
    troubles: Vec<(&'static str, String)>,
    watch: Watch,
}

/// A request on its way: when it left, and what came of it.
type InFlight = Pin<Box<dyn Future<Output = (Instant, Answer)> + Send>>;

/// A wish to lead, and what guards the term that comes of it.
struct Campaign {
    answer: oneshot::Sender<Result<Leadership, Error>>,
    guard: Guard,
}

/// What the driver knows of its watch.
#[derive(Default)]
struct Watch {
    /// When the open watch last showed something, or a read looked into it. None where no watch is open.
    heard: Option<Instant>,
    /// A revision that is known by other ways, and since when. A watch that does not show it in time, or a
    /// newer one, is silent: a connection that hangs, a proxy that buffers.
    ahead: Option<(u64, Instant)>,
}

/// What a candidate gives its driver.
pub(crate) struct Parts {
    pub(crate) elector: Elector,
    pub(crate) api: Api,
    pub(crate) clock: Clock,
    pub(crate) on_overrun: OnOverrun,
    pub(crate) sender: mpsc::WeakUnboundedSender<Command>,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) views: watch::Sender<View>,
    pub(crate) current: CurrentTerm,
    pub(crate) events: Option<Events>,
    pub(crate) routes: Vec<Routing>,
    pub(crate) meter: Meter,
    pub(crate) proofs: Proofs,
    pub(crate) news: Subscription,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            elector: parts.elector,
            api: parts.api,
            clock: parts.clock,
            on_overrun: parts.on_overrun,
            commands: parts.commands,
            sender: parts.sender,
            views: parts.views,
            current: parts.current,
            events: parts.events,
            routes: parts.routes,
            meter: parts.meter,
            proofs: parts.proofs,
            news: parts.news,
            stored: None,
            fresh: None,
            in_flight: None,
            campaign: None,
            term: None,
            untold: None,
            followed: None,
            awaiting_release: Vec::new(),
            last_release: Release::NotHeld,
            follow_up: None,
            closed: false,
            proven: Vec::new(),
            troubles: Vec::new(),
            watch: Watch::default(),
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
        self.publish();
        self.follow_up = self.follow_up.take().or_else(|| self.proofs.look(&self.elector));
        if self.elector.has_namesake() {
            let identity = self.elector.config().identity.to_string();
            self.fail_campaign(Error::DuplicateIdentity { lock: self.lock().clone(), identity });
        }
    }

    fn keep_fresh(&mut self) {
        let known = self.elector.version();
        if let Some(version) = known {
            self.news.knows(version.revision);
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
        let lock = self.lock();
        match change {
            Change::Started(term) => self.start(term),
            Change::Renewed(term) => {
                tracing::debug!(%lock, token = %term.token, "renewed");
                if let Some(state) = &self.term {
                    state.renew(term);
                }
            }
            Change::Lost(loss) => {
                if let Some(state) = &self.term {
                    state.end(loss.clone());
                }
                drop(self.clear_routes());
                if self.tell_end(Ending::Lost(loss)) {
                    drop(self.record("stopped leading"));
                }
            }
            Change::Released(release) => {
                tracing::debug!(%lock, ?release, "released");
                if let Some(state) = self.term.take() {
                    state.revoke();
                }
                let mut told = self.clear_routes();
                if self.tell_end(Ending::Released(release)) {
                    told.extend(self.record("stopped leading"));
                }
                self.last_release = release;
                answer_after(self.clock, told, self.awaiting_release.drain(..).collect(), release);
                // Who campaigned while the work was still stopping has waited for this.
                self.follow_up = self.campaign.is_some().then_some(Input::Campaign);
            }
        }
    }

    fn start(&mut self, term: Term) {
        tracing::info!(lock = %self.lock(), token = %term.token, "leading");
        self.meter.tell(self.lock(), Event::TermBegan(term.token));
        self.meter.tell(self.lock(), Event::LeaderChanged);
        (self.untold, self.followed) = (Some(term.token), None);
        let state = TermState::new(self.lock().clone(), term, self.clock, self.on_overrun.clone());
        self.term = Some(state.clone());
        let (Some(sender), Some(campaign)) = (self.sender.upgrade(), self.campaign.take()) else {
            self.follow_up = Some(Input::Release);
            return;
        };
        campaign.guard.guard(&state);
        self.current.set(&state);
        // Where nobody takes it any more, it is dropped here, and with that released.
        let _ = campaign.answer.send(Ok(Leadership::new(state, sender)));
        drop(self.record("became leader"));
        for route in &self.routes {
            route.show(term.token);
        }
    }

    fn clear_routes(&self) -> Vec<JoinHandle<()>> {
        self.routes.iter().map(Routing::clear).collect()
    }

    /// Tells that the term has ended; not a second time where it was lost and is then given back.
    fn tell_end(&mut self, ending: Ending) -> bool {
        let Some(token) = self.untold.take() else { return false };
        tracing::info!(lock = %self.lock(), %token, ?ending, "no longer leading");
        self.meter.tell(self.lock(), Event::TermEnded(ending));
        true
    }

    /// Tells who leads instead of this candidate, once.
    fn tell_leader(&mut self) {
        match self.elector.sighting() {
            Sighting::Unknown => {}
            Sighting::Vacant | Sighting::Held { holder: None, .. } => self.followed = None,
            // Its own term is told when it begins, and one that it left to expire is no news.
            Sighting::Held { holder: Some(holder), .. }
                if holder == self.elector.config().identity => {}
            Sighting::Held { holder: Some(leader), token, .. } => {
                let told = self.followed.as_ref().map(|(leader, token)| (leader, *token));
                if told != Some((&leader, token)) {
                    let known = token.map(tracing::field::display);
                    tracing::info!(lock = %self.lock(), %leader, token = known, "following");
                    self.meter.tell(self.lock(), Event::LeaderChanged);
                    self.followed = Some((leader, token));
                }
            }
        }
    }

    fn record(&self, what: &str) -> Option<JoinHandle<()>> {
        self.events.as_ref().map(|events| events.record(what, self.stored.as_ref()))
    }

    fn publish(&mut self) {
        self.tell_leader();
        let view = View::of(&self.elector);
        self.views.send_if_modified(|published| {
            let differs = *published != view;
            *published = view;
            differs
        });
        if let Some(term) = &self.term {
            term.ask(self.elector.asked_to_hand_over());
        }
    }

    fn fail_campaign(&mut self, error: Error) {
        if let Some(campaign) = self.campaign.take() {
            let _ = campaign.answer.send(Err(error));
            self.follow_up = self.withdraw();
        }
    }

    /// Nobody wants to lead any more. That says nothing of work that is still running under an earlier
    /// campaign: its own end does.
    fn withdraw(&self) -> Option<Input> {
        self.term.is_none().then_some(Input::Release)
    }

    /// Waits for whatever comes first.
    async fn next_input(&mut self, wake: Option<Window>) -> Input {
        let wake = self.pick(wake);
        loop {
            if let Some(input) = self.follow_up.take() {
                return input;
            }
            let alarm = wake.into_iter().chain(self.watch_deadline()).min();
            let input = tokio::select! {
                biased;
                command = self.commands.recv(), if !self.closed => self.on_command(command),
                (left_at, answer) = some(&mut self.in_flight) => {
                    Some(self.on_answer(left_at, answer))
                }
                news = self.news.next() => Some(self.on_news(news)),
                found = self.proofs.next() => Some(found),
                () = withdrawn(&mut self.campaign) => {
                    self.campaign = None;
                    self.withdraw()
                }
                () = until(self.clock, alarm) => self.on_alarm(wake),
            };
            if let Some(input) = input {
                return input;
            }
        }
    }

    fn on_command(&mut self, command: Option<Command>) -> Option<Input> {
        match command {
            None => {
                self.closed = true;
                Some(Input::Wake)
            }
            Some(Command::Campaign(answer)) => match Guard::start(self.clock) {
                Ok(guard) => {
                    self.campaign = Some(Campaign { answer, guard });
                    Some(Input::Campaign)
                }
                Err(error) => {
                    let _ = answer.send(Err(error));
                    None
                }
            },
            Some(Command::Release(token)) => self.is_current(token).then_some(Input::Release),
            Some(Command::HandOver(token, to)) => {
                self.is_current(token).then_some(Input::HandOver(*to))
            }
            Some(Command::AwaitRelease(waiting)) => {
                match self.elector.is_idle() {
                    true => drop(waiting.send(self.last_release)),
                    false => self.awaiting_release.push(waiting),
                }
                None
            }
        }
    }

    fn is_current(&self, token: FencingToken) -> bool {
        self.term.as_ref().is_some_and(|term| term.token() == token)
    }

    fn on_answer(&mut self, left_at: Instant, answer: Answer) -> Input {
        self.in_flight = None;
        self.count(left_at, &answer);
        // A read that finds nothing was allowed.
        let is_nothing = matches!(answer.reply, Reply::Missing) && answer.verb == "get";
        let is_success = matches!(answer.reply, Reply::Found(_) | Reply::Written(_));
        if (is_success || is_nothing) && !self.proven.contains(&answer.verb) {
            self.proven.push(answer.verb);
        }
        if let Reply::Found(snapshot) | Reply::Written(snapshot) = &answer.reply {
            let revision = snapshot.version.revision;
            if self.watch.heard.is_some()
                && self.watch.ahead.is_none()
                && !self.news.has_shown(revision)
            {
                self.watch.ahead = Some((revision, self.clock.instant()));
            }
        }
        // A candidate can lead without a place on the waitlist, but not without the right to acquire.
        let is_hint = self.elector.is_editing_the_line();
        let what = if is_hint { JOINING } else { answer.verb };
        if is_success && answer.altered.is_none() {
            self.troubles.retain(|(told, _)| *told != what);
        }
        self.fresh = answer.object.and_then(Stored::new);
        if let Some(altered) = answer.altered {
            self.on_altered(what, &altered);
        }
        if let Some(trouble) = answer.trouble {
            self.on_trouble(answer.verb, what, trouble);
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
        let while_leading = self.untold.is_some();
        let exchange = Exchange { verb: answer.verb, code, latency, while_leading };
        self.meter.tell(self.lock(), Event::Request(exchange));
    }

    /// What never worked and will not by itself ends the campaign. Anything else is retried.
    fn on_trouble(&mut self, verb: &'static str, what: &'static str, trouble: Trouble) {
        // A place in line is a hint: only what would also refuse the acquire ends the campaign.
        let is_of_account =
            matches!(*trouble.error, Error::Forbidden { .. } | Error::Unauthorized { .. });
        let ends_it = trouble.lasts && (what != JOINING || is_of_account);
        if ends_it && !self.proven.contains(&verb) && self.campaign.is_some() {
            return self.fail_campaign(*trouble.error);
        }
        let (error, hint) = (trouble.error.to_string(), trouble.error.hint());
        if !self.is_news(what, &error) {
            return;
        }
        if self.clock.is_system() {
            report::unlogged(&format!("{}: {error}; will retry", self.lock()), &hint);
        }
        match what == JOINING && trouble.lasts {
            true => tracing::warn!(
                lock = %self.lock(), error, hint,
                "cannot join the waitlist: stays a candidate, without a place in it"
            ),
            false => tracing::warn!(lock = %self.lock(), error, hint, "will retry"),
        }
    }

    /// An acquire that is stored otherwise starts no term, and is tried again.
    fn on_altered(&mut self, what: &'static str, altered: &Altered) {
        if self.is_news(what, &altered.field) {
            let Altered { field, wrote, stored } = altered;
            let hint = "an admission webhook or a proxy changes it: incumbent doctor tries a write";
            tracing::warn!(
                lock = %self.lock(), field, wrote, stored, hint,
                "the API server stores something else than was written"
            );
        }
    }

    /// Whether this was not logged yet, for any kind of request.
    fn is_news(&mut self, what: &'static str, text: &str) -> bool {
        let is_told = self.troubles.iter().any(|(_, told)| told == text);
        self.troubles.retain(|(kind, _)| *kind != what);
        self.troubles.push((what, text.to_owned()));
        !is_told
    }

    fn on_news(&mut self, news: Option<News>) -> Input {
        match news {
            Some(News::Follow(follow)) => {
                self.watch.heard = (follow == Follow::Watch).then(|| self.clock.instant());
                self.watch.ahead = None;
                Input::Follow(follow)
            }
            Some(News::Seen(seen)) => {
                self.forgive_watch();
                self.watch.heard = self.watch.heard.map(|_| self.clock.instant());
                let (observation, stored) = *seen;
                self.fresh = stored;
                Input::Observed(observation)
            }
            None => self.listen_anew(),
        }
    }

    /// Whatever is due: the elector's moment, or the watch's. One that has shown in the meantime what it was
    /// waited for is nobody's business.
    fn on_alarm(&mut self, wake: Option<Instant>) -> Option<Input> {
        let now = self.clock.instant();
        self.forgive_watch();
        match self.watch_deadline() {
            Some(deadline) if now >= deadline => Some(match self.watch.ahead {
                Some(_) => self.distrust_watch(),
                None => self.doubt_watch(),
            }),
            _ => wake.is_some_and(|wake| now >= wake).then_some(Input::Wake),
        }
    }

    fn watch_deadline(&self) -> Option<Instant> {
        let retry_period = self.elector.config().timing.retry_period();
        let distrusts_at = self.watch.ahead.map(|(_, since)| since);
        distrusts_at.or_else(|| self.silent_since()).map(|since| since + retry_period)
    }

    /// Since when an open watch should have shown something: it was silent for a lease, and what it showed of a
    /// leader's term is over. A vacant lock stays silent, and is read once in each lease duration.
    fn silent_since(&self) -> Option<Instant> {
        let silent_at = self.watch.heard? + self.elector.config().timing.lease_duration();
        let silent_at = match self.elector.sighting() {
            Sighting::Held { expires_at, .. } => silent_at.max(expires_at),
            Sighting::Unknown | Sighting::Vacant => silent_at,
        };
        self.elector.term().is_none().then_some(silent_at)
    }

    /// Reads once. A candidate that wants to lead asks by itself when the lease is over; one that only follows, or
    /// is cordoned, would believe a silent watch for as long as the watch lives.
    fn doubt_watch(&mut self) -> Input {
        self.watch.heard = Some(self.clock.instant());
        self.follow_up = Some(Input::Follow(Follow::Watch));
        Input::Follow(Follow::Poll)
    }

    fn forgive_watch(&mut self) {
        self.watch.ahead = self.watch.ahead.filter(|(revision, _)| !self.news.has_shown(*revision));
    }

    /// The watch has not shown in time what is known by other ways.
    fn distrust_watch(&mut self) -> Input {
        tracing::debug!(lock = %self.lock(), "the watch is silent");
        if let Some((revision, _)) = self.watch.ahead {
            self.news.distrust(revision);
        }
        self.watch = Watch::default();
        Input::Follow(Follow::Poll)
    }

    fn listen_anew(&mut self) -> Input {
        let retry_period = self.elector.config().timing.retry_period();
        self.news.renew(self.api.lock(), retry_period);
        self.watch = Watch::default();
        Input::Follow(Follow::Poll)
    }

    fn lock(&self) -> &Lock {
        self.api.lock()
    }

    fn pick(&self, wake: Option<Window>) -> Option<Instant> {
        wake.map(|window| {
            let width = window.latest.saturating_since(window.earliest);
            let moment = window.earliest + width.mul_f64(fastrand::f64());
            let beat = nearest_beat(moment);
            let is_within = (window.earliest..=window.latest).contains(&beat);
            if is_within && width >= 2 * BEAT { beat } else { moment }
        })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(term) = &self.term {
            term.end(Loss::DeadlinePassed);
        }
        self.tell_end(Ending::Lost(Loss::DeadlinePassed));
    }
}

/// Waits for the future, or for ever where there is none.
async fn some<T>(future: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Waits until whoever campaigns no longer wants to.
async fn withdrawn(campaign: &mut Option<Campaign>) {
    match campaign {
        Some(campaign) => campaign.answer.closed().await,
        None => std::future::pending().await,
    }
}

async fn until(clock: Clock, moment: Option<Instant>) {
    match moment {
        Some(moment) => clock.sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Answers those who wait for a release. A process may end then, so what tells others of it goes first.
fn answer_after(
    clock: Clock,
    told: Vec<JoinHandle<()>>,
    waiting: Vec<oneshot::Sender<Release>>,
    release: Release,
) {
    let answer = move || {
        for waiting in waiting {
            let _ = waiting.send(release);
        }
    };
    if told.is_empty() {
        return answer();
    }
    tokio::spawn(async move {
        let _ = clock.timeout(PATIENCE, futures_util::future::join_all(told)).await;
        answer();
    });
}

/// The kind of a write that joins or leaves the waitlist.
const JOINING: &str = "join";

/// An Event or a route is not worth more to somebody who wants to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// What has time for it is done on a beat that all elections of a process share: who takes part in a thousand
/// wakes up for several at once.
const BEAT: Duration = Duration::from_millis(200);

fn nearest_beat(moment: Instant) -> Instant {
    let beats = (moment + BEAT / 2).since_start().as_millis() / BEAT.as_millis();
    Instant::new(BEAT * u32::try_from(beats).unwrap_or(u32::MAX))
}
