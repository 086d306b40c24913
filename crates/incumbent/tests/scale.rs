//! Thousands of elections in one process, over lines that take their time.

mod support;

use std::collections::HashMap;
use std::time::Duration;

use http::Method;
use incumbent::{Candidate, Clock, Elections, Leadership, Lock, Timing};
use incumbent_apiserver::ApiServer;
use support::{Recorder, Sent, seconds};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// One process with many elections.
struct Many {
    server: ApiServer,
    recorder: Recorder,
    led: Vec<(Candidate, Leadership)>,
    all_led_after: Duration,
    _elections: Elections,
}

impl Many {
    /// Lets one process lead `many`, over a line of this latency.
    async fn lead(many: usize, latency: Duration, timing: Timing) -> Self {
        let (server, recorder) = (ApiServer::new(), Recorder::default());
        slow_down(&server, latency);
        let elections = Elections::new(recorder.client(&server));
        let mut campaigns = JoinSet::new();
        let start = Instant::now();
        for number in 0..many {
            let lock = Lock::lease("default", format!("lock-{number}"));
            let builder = elections.candidate(lock).identity("john").timing(timing);
            let mut candidate = builder.clock(Clock::tokio()).build().unwrap();
            campaigns.spawn(async move {
                let leadership = candidate.campaign().await.unwrap();
                (candidate, leadership)
            });
        }
        let led = timeout(Duration::from_secs(20), campaigns.join_all()).await;
        let led = led.expect("all lead in time");
        Self { server, recorder, led, all_led_after: start.elapsed(), _elections: elections }
    }

    /// Lets time pass, and says how many are still led. What was lost is given up at once.
    async fn still_led_after(&mut self, span: u64) -> usize {
        for _ in 0..span {
            seconds(1.0).await;
            self.led.retain(|(_, leadership)| leadership.is_valid());
        }
        self.led.len()
    }

    /// The longest time between two writes of one lock, as they left.
    fn longest_gap(&self) -> Duration {
        let mut latest = HashMap::new();
        let mut longest = Duration::ZERO;
        for Sent { at, uri, .. } in self.recorder.of(&Method::PUT) {
            if let Some(before) = latest.insert(uri, at) {
                longest = longest.max(at - before);
            }
        }
        longest
    }
}

fn slow_down(server: &ApiServer, latency: Duration) {
    let millis = latency.as_millis();
    server.faults().add(format!("latency={millis}ms..{millis}ms").parse().unwrap());
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The most that left in one millisecond.
fn most_at_once(sent: &[Sent]) -> usize {
    let mut count: HashMap<u128, usize> = HashMap::new();
    let Some(start) = sent.first().map(|sent| sent.at) else { return 0 };
    for sent in sent {
        *count.entry((sent.at - start).as_millis()).or_default() += 1;
    }
    count.into_values().max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn no_renewal_waits_for_others_however_slow_the_line_is() {
    let timing = Timing::fast();
    // They need 210 renewals a second. Eight at a time over this line would be 40.
    let mut many = Many::lead(300, millis(200), timing).await;
    // Three requests each, at the rate of one in a retry period, and three answers.
    let bound = (timing.retry_period() + millis(250)) * 3;
    assert!(many.all_led_after <= bound, "{:?}", many.all_led_after);
    assert_eq!(many.still_led_after(6).await, 300);
    let gap = many.longest_gap();
    assert!(gap <= timing.renew_interval() + millis(10), "{gap:?} without a renewal");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_turn_is_neither_unknown_nor_late() {
    // Most wait for longer than a request may take, and an answer takes nearly as long as it may.
    let timing = Timing::fast().with_request_timeout(millis(30)).unwrap();
    let many = Many::lead(300, millis(25), timing).await;
    assert_eq!(many.led.len(), 300);
    // One for the first look, and one where that came before the watch was open: nothing is looked up
    // because of a wait.
    let reads = many.recorder.of(&Method::GET).len() - many.recorder.watches().len();
    assert!(reads <= 360, "{reads} reads");
    assert_eq!(many.recorder.of(&Method::POST).len(), 300, "no create left twice");
    assert_eq!(many.server.requests().answered(409), 0);
}

#[tokio::test(start_paused = true)]
async fn requests_that_can_wait_leave_a_few_at_a_time() {
    let mut many = Many::lead(200, millis(20), Timing::standard()).await;
    let at_start = most_at_once(&many.recorder.sent());
    assert!(at_start <= 9, "{at_start} left at once at the start");
    let known = many.recorder.sent().len();
    // The watch breaks, and all leaders have to look whether they missed something.
    many.server.restart(Duration::ZERO);
    assert_eq!(many.still_led_after(4).await, 200);
    let reads = many.recorder.sent().split_off(known);
    let reads: Vec<_> = reads.into_iter().filter(|sent| sent.method == Method::GET).collect();
    assert!(reads.len() >= 200, "{} reads", reads.len());
    let at_once = most_at_once(&reads);
    assert!(at_once <= 9, "{at_once} reads left at once");
}

/// Prints the table in bench/README.md.
#[tokio::test(start_paused = true)]
#[ignore = "takes minutes in a release build: cargo test --release -p incumbent --test scale -- --ignored --nocapture"]
async fn none_is_lost_that_had_time_to_renew() {
    println!("| elections | latency, ms | all lead after, s | longest gap, s | lost |");
    println!("|---|---|---|---|---|");
    let mut lost = 0;
    for count in [1_000, 3_000, 10_000] {
        for latency in [5, 40, 80, 200] {
            let mut many = Many::lead(count, millis(latency), Timing::standard()).await;
            let left = many.still_led_after(30).await;
            let (led, gap) = (many.all_led_after.as_secs_f64(), many.longest_gap().as_secs_f64());
            println!("| {count} | {latency} | {led:.2} | {gap:.2} | {} |", count - left);
            lost += count - left;
        }
    }
    assert_eq!(lost, 0);
}
