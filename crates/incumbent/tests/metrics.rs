//! What is told to whoever counts, and that counting cannot hurt an election.
//!
//! Elections run in paused time; what counts is a thread, and lives in real time.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use incumbent::{Ending, Exchange, FencingToken, Lock, Loss, Metrics, Release};
use incumbent_apiserver::ApiServer;
use support::{Line, State, builder, client, client_on, patch, seconds};

/// All metrics of a process share one thread, and one test hangs it.
static THREAD: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[derive(Debug, PartialEq)]
enum Event {
    Request(&'static str, Option<u16>, Duration, bool),
    Began(FencingToken),
    Ended(Ending),
    LeaderChanged,
}

/// Passes on what it is told.
struct Recorder(Mutex<Sender<Event>>);

/// What a recorder was told.
struct Recorded(Receiver<Event>);

impl Recorder {
    fn new() -> (Self, Recorded) {
        let (sender, events) = channel();
        (Self(Mutex::new(sender)), Recorded(events))
    }

    fn note(&self, event: Event) {
        let _ = self.0.lock().unwrap().send(event);
    }
}

impl Recorded {
    fn next(&self) -> Event {
        self.0.recv_timeout(Duration::from_secs(60)).expect("it is told")
    }

    /// The next event that is no request.
    fn next_change(&self) -> Event {
        loop {
            match self.next() {
                Event::Request(..) => {}
                change => return change,
            }
        }
    }
}

impl Metrics for Recorder {
    fn request(&self, lock: &Lock, exchange: &Exchange) {
        assert_eq!(lock.name(), "lock");
        let Exchange { verb, code, latency, while_leading, .. } = *exchange;
        self.note(Event::Request(verb, code, latency, while_leading));
    }

    fn term_began(&self, _lock: &Lock, token: FencingToken) {
        self.note(Event::Began(token));
    }

    fn term_ended(&self, _lock: &Lock, ending: &Ending) {
        self.note(Event::Ended(ending.clone()));
    }

    fn leader_changed(&self, _lock: &Lock) {
        self.note(Event::LeaderChanged);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_told_with_verb_code_and_latency() {
    let _alone = THREAD.lock().await;
    let server = ApiServer::new();
    let (recorder, recorded) = Recorder::new();
    let line = Line::to(&server);
    let mut john = builder(client_on(&server, &line), "john").metrics(recorder).build().unwrap();
    let leadership = john.campaign().await.unwrap();
    let at_once = Duration::ZERO;
    assert_eq!(recorded.next(), Event::Request("get", Some(404), at_once, false));
    assert_eq!(recorded.next(), Event::Request("create", Some(201), at_once, false));
    assert_eq!(recorded.next(), Event::Request("update", Some(200), at_once, false));
    assert_eq!(recorded.next(), Event::Began(leadership.fencing_token()));
    assert_eq!(recorded.next(), Event::LeaderChanged);

    seconds(6.0).await;
    let renewal = |code| Event::Request("update", Some(code), at_once, true);
    assert_eq!(recorded.next(), renewal(200));
    line.set(State::WritesConflict);
    seconds(6.0).await;
    // The first renewal comes after half a second to five, so a second one may have come before the conflicts.
    let next = Some(recorded.next()).filter(|next| *next != renewal(200));
    assert_eq!(next.unwrap_or_else(|| recorded.next()), renewal(409));
    assert_eq!(recorded.next(), Event::Request("get", Some(200), at_once, true), "the slow path");
    line.set(State::Silent);
    leadership.lost().await;
    drop(leadership);
    seconds(30.0).await; // A thread that waits for events below holds up the runtime.
    // The end of the term cuts the first of them short, at a moment drawn by lot; those that follow take their time.
    let second = Duration::from_secs(1);
    while !matches!(recorded.next(), Event::Request(_, None, latency, _) if latency >= second) {}
}

#[tokio::test(start_paused = true)]
async fn terms_and_leaders_are_told_once_with_the_reason_of_the_end() {
    let _alone = THREAD.lock().await;
    let server = ApiServer::new();
    let (recorder, recorded) = Recorder::new();
    let mut john = builder(client(&server), "john").metrics(recorder).build().unwrap();
    let mut jane = builder(client(&server), "jane").build().unwrap();
    let first = john.campaign().await.unwrap();
    assert_eq!(recorded.next_change(), Event::Began(first.fencing_token()));
    assert_eq!(recorded.next_change(), Event::LeaderChanged);
    first.release().await;
    assert_eq!(recorded.next_change(), Event::Ended(Ending::Released(Release::Done)));

    let second = jane.campaign().await.unwrap();
    seconds(3600.0).await;
    assert_eq!(recorded.next_change(), Event::LeaderChanged, "he follows jane");
    second.release().await;

    let third = john.campaign().await.unwrap();
    assert_eq!(recorded.next_change(), Event::Began(third.fencing_token()));
    assert_eq!(recorded.next_change(), Event::LeaderChanged);
    patch(&server, serde_json::json!({ "spec": { "holderIdentity": "mallory" } })).await;
    third.lost().await;
    drop(third);
    seconds(1.0).await;
    let Event::Ended(Ending::Lost(Loss::RecordChanged { holder: Some(holder) })) =
        recorded.next_change()
    else {
        panic!("it was lost to somebody");
    };
    assert_eq!(holder.as_str(), "mallory");
    assert_eq!(recorded.next_change(), Event::LeaderChanged);
    drop(john);
    seconds(60.0).await;
    let rest: Vec<_> = recorded.0.iter().collect(); // until the recorder is gone
    assert!(rest.iter().all(|event| matches!(event, Event::Request(..))), "{rest:?}");
}

/// Waits at its first event until it is let go, and counts those that come after.
struct Stuck {
    release: Mutex<Receiver<()>>,
    told: Arc<AtomicUsize>,
}

impl Metrics for Stuck {
    fn request(&self, _lock: &Lock, _exchange: &Exchange) {
        let _ = self.release.lock().unwrap().recv();
        self.told.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn an_implementation_that_hangs_holds_nothing_up_and_fills_no_memory() {
    let _alone = THREAD.lock().await;
    let server = ApiServer::new();
    let (let_go, release) = channel();
    let told = Arc::new(AtomicUsize::new(0));
    let stuck = Stuck { release: Mutex::new(release), told: told.clone() };
    let mut john = builder(client(&server), "john").metrics(stuck).build().unwrap();
    let leadership = john.campaign().await.unwrap();
    // Renewed every five seconds, and more often than there is room for.
    let renewals = 2_000;
    seconds(5.0 * f64::from(renewals)).await;
    assert!(leadership.is_valid());
    assert_eq!(told.load(Ordering::Relaxed), 0);
    drop(let_go);
    let patience = std::time::Instant::now() + Duration::from_secs(60);
    while told.load(Ordering::Relaxed) < 1_000 {
        assert!(std::time::Instant::now() < patience, "what had waited is told now");
        std::thread::yield_now();
    }
    // What jane's are told comes after all that waited.
    let (recorder, recorded) = Recorder::new();
    let mut jane = builder(client(&server), "jane").metrics(recorder).build().unwrap();
    let before = tokio::time::Instant::now();
    let (second, _) = tokio::join!(jane.campaign(), leadership.release());
    assert!(second.unwrap().is_valid());
    assert!(before.elapsed() < Duration::from_secs(1), "a handover goes as ever");
    assert!(matches!(recorded.next(), Event::Request(..)));
    let told = told.load(Ordering::Relaxed);
    assert!((1_000..=1_030).contains(&told), "the rest was left out: {told}");
}

/// Panics whenever it is told anything.
struct Broken(Arc<AtomicUsize>);

impl Metrics for Broken {
    fn request(&self, _lock: &Lock, _exchange: &Exchange) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("this is part of the test");
    }
}

#[tokio::test(start_paused = true)]
async fn an_implementation_that_panics_is_left_alone_and_the_others_are_told_on() {
    let _alone = THREAD.lock().await;
    let server = ApiServer::new();
    let (calls, (recorder, recorded)) = (Arc::new(AtomicUsize::new(0)), Recorder::new());
    let broken = Broken(calls.clone());
    let mut john = builder(client(&server), "john").metrics(broken).build().unwrap();
    let leadership = john.campaign().await.unwrap();
    seconds(60.0).await;
    assert!(leadership.is_valid(), "it is renewed");
    leadership.release().await;
    let mut jane = builder(client(&server), "jane").metrics(recorder).build().unwrap();
    let leadership = jane.campaign().await.unwrap();
    assert_eq!(recorded.next_change(), Event::Began(leadership.fencing_token()));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}
