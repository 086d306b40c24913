//! Who waits stands in a line: first come, first served, and what people may ask of it.

mod support;

use std::sync::Arc;
use std::time::Duration;

use incumbent::{Candidate, Error, HandOverReason, Identity, Leader, Leadership};
use incumbent_apiserver::{ApiServer, Verb};
use serde_json::json;
use support::{Line, State, builder, candidate, client, client_on, patch, seconds, stored};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Candidates that campaign one after the other, and what comes of it.
struct Queue {
    server: ApiServer,
    leads: mpsc::UnboundedSender<(String, Leadership)>,
    leaders: mpsc::UnboundedReceiver<(String, Leadership)>,
    waiting: Vec<JoinHandle<()>>,
}

impl Queue {
    fn new() -> Self {
        let (leads, leaders) = mpsc::unbounded_channel();
        Self { server: ApiServer::new(), leads, leaders, waiting: Vec::new() }
    }

    /// Lets `name` campaign, for as long as the queue exists.
    fn join(&mut self, name: &str) -> Line {
        let line = Line::to(&self.server);
        let mut candidate = builder(client_on(&self.server, &line), name).build().unwrap();
        let (name, leads) = (name.to_owned(), self.leads.clone());
        self.waiting.push(tokio::spawn(async move {
            let leadership = candidate.campaign().await.unwrap();
            let _ = leads.send((name, leadership));
            std::future::pending::<()>().await;
        }));
        line
    }

    async fn next(&mut self) -> (String, Leadership) {
        self.leaders.recv().await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn who_came_first_leads_first() {
    let mut queue = Queue::new();
    let names = ["anna", "bert", "carl", "dora", "emil"];
    for name in names {
        queue.join(name);
        // By then it has joined: who finds four in line joins within four retry periods.
        seconds(9.0).await;
    }
    for name in names {
        let before = Instant::now();
        let (leader, leadership) = queue.next().await;
        assert_eq!(leader, name);
        assert_eq!(before.elapsed(), Duration::ZERO, "no step is held back for nobody");
        leadership.release().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_handover_costs_three_writes_though_a_hundred_wait() {
    let mut queue = Queue::new();
    for number in 0..101 {
        queue.join(&format!("c{number}"));
    }
    let (_, mut leadership) = queue.next().await;
    // Until the waitlist is as long as it gets, more than one may join it after a handover.
    let mut waiting = String::new();
    while waiting != line(&stored(&queue.server).await) {
        waiting = line(&stored(&queue.server).await);
        seconds(120.0).await;
    }
    let mut conflicts_and_writes = Vec::new();
    for _ in 0..10 {
        seconds(60.0).await;
        let before = updates(&queue.server).await;
        let handed_over_at = Instant::now();
        leadership.release().await;
        leadership = queue.next().await.1;
        assert_eq!(handed_over_at.elapsed(), Duration::ZERO);
        // Whoever wants the free place in line has asked for it by then. There is one renewal at most.
        seconds(4.4).await;
        let after = updates(&queue.server).await;
        let [from, to] = [&before.1, &after.1].map(revision);
        let sent = after.0 - before.0;
        let is_renewed = after.1["spec"]["renewTime"] != after.1["spec"]["acquireTime"];
        conflicts_and_writes.push((sent - (to - from), to - from - u64::from(is_renewed)));
    }
    // A request of these is one to release, one to acquire, and one to join.
    assert!(
        conflicts_and_writes.iter().all(|(_, writes)| *writes <= 3),
        "{conflicts_and_writes:?}"
    );
    let conflicts: u64 = conflicts_and_writes.iter().map(|(conflicts, _)| conflicts).sum();
    assert!(conflicts <= 3, "{conflicts_and_writes:?}");
}

/// How many were sent, and the lock after exactly these: a renewal may come while it is read.
async fn updates(server: &ApiServer) -> (u64, serde_json::Value) {
    loop {
        let sent = server.requests().of(Verb::Update);
        let lock = stored(server).await;
        if server.requests().of(Verb::Update) == sent {
            return (sent, lock);
        }
    }
}

fn revision(lock: &serde_json::Value) -> u64 {
    lock["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_dead_head_of_the_line_costs_one_short_step() {
    let mut queue = Queue::new();
    let mut lines = Vec::new();
    for name in ["anna", "bert", "carl"] {
        lines.push(queue.join(name));
        seconds(5.0).await;
    }
    let (_, leadership) = queue.next().await;
    lines[1].set(State::Silent);
    assert_eq!(line(&stored(&queue.server).await), "bert,carl");
    let before = Instant::now();
    leadership.release().await;
    let (leader, _leadership) = queue.next().await;
    assert_eq!(leader, "carl");
    assert!(before.elapsed() <= Duration::from_millis(101), "{:?}", before.elapsed());
    assert_eq!(line(&stored(&queue.server).await), "");
}

#[tokio::test(start_paused = true)]
async fn whoever_no_longer_wants_to_lead_leaves_the_line() {
    let server = ApiServer::new();
    let (mut john, mut jane) = (candidate(&server, "john"), candidate(&server, "jane"));
    let _leadership = john.campaign().await.unwrap();
    let mut observer = john.observe();
    // She campaigns until she stands in line: her write may meet a renewal of john's, and is tried again.
    let minute = Duration::from_secs(60);
    tokio::select! {
        _ = tokio::time::timeout(minute, jane.campaign()) => panic!("she does not stand in line"),
        line = observer.waitlist_changed() => assert_eq!(names(&line.unwrap()), ["jane"]),
    }
    jane.leave().await;
    let left =
        tokio::time::timeout(minute, observer.waitlist_changed()).await.expect("she leaves it");
    assert_eq!(names(&left.unwrap()), [""; 0]);
    assert_eq!(line(&stored(&server).await), "");
}

#[tokio::test(start_paused = true)]
async fn the_leader_hands_over_to_whom_it_names() {
    let mut queue = Queue::new();
    for name in ["anna", "bert", "carl"] {
        queue.join(name);
        seconds(5.0).await;
    }
    let (_, leadership) = queue.next().await;
    leadership.hand_over_to(Identity::new("carl").unwrap()).await;
    let (leader, leadership) = queue.next().await;
    assert_eq!(leader, "carl");
    assert_eq!(line(&stored(&queue.server).await), "bert");
    // Who does not exist has missed its turn after a step.
    leadership.hand_over_to(Identity::new("nobody").unwrap()).await;
    assert_eq!(queue.next().await.0, "bert");
}

#[tokio::test(start_paused = true)]
async fn an_annotation_asks_a_leader_to_hand_over_and_is_taken_out() {
    let server = ApiServer::new();
    let workers = ["anna", "bert", "carl"];
    let mut running = Vec::new();
    for name in workers {
        running.push(tokio::spawn(work_for_ever(candidate(&server, name))));
        seconds(5.0).await;
    }
    let olga = candidate(&server, "olga");
    let mut observer = olga.observe();
    seconds(1.0).await;
    assert_eq!(leader(&observer.leader()), "anna");
    annotate(&server, "hand-over-to", json!("carl")).await;
    while leader(&observer.changed().await.unwrap()) != "carl" {}
    assert_eq!(
        stored(&server).await["metadata"]["annotations"]["incumbent.dev/hand-over-to"],
        json!(null)
    );
    seconds(5.0).await;
    // Anna stands at the end of the line again.
    assert_eq!(line(&stored(&server).await), "bert,anna");
    annotate(&server, "hand-over-to", json!("")).await;
    while leader(&observer.changed().await.unwrap()) != "bert" {}
}

#[tokio::test(start_paused = true)]
async fn a_paused_leader_hands_over_and_does_not_lead_until_it_is_resumed() {
    let server = ApiServer::new();
    let _anna = tokio::spawn(work_for_ever(candidate(&server, "anna")));
    seconds(1.0).await;
    let _bert = tokio::spawn(work_for_ever(candidate(&server, "bert")));
    seconds(1.0).await;
    annotate(&server, "cordon", json!("anna, carl")).await;
    seconds(1.0).await;
    assert_eq!(stored(&server).await["spec"]["holderIdentity"], "bert");
    annotate(&server, "cordon", json!("*")).await;
    seconds(60.0).await;
    assert_eq!(stored(&server).await["spec"]["holderIdentity"], "");
    annotate(&server, "cordon", json!(null)).await;
    seconds(1.0).await;
    assert_ne!(stored(&server).await["spec"]["holderIdentity"], "");
}

#[tokio::test(start_paused = true)]
async fn who_is_preferred_comes_back_to_lead_once_the_term_is_a_lease_old() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let leadership = john.campaign().await.unwrap();
    seconds(1.0).await;
    let preferred = builder(client(&server), "jane").priority(10).build().unwrap();
    let _jane = tokio::spawn(work_for_ever(preferred));
    let before = Instant::now();
    let asked = leadership.asked_to_hand_over().await;
    assert_eq!(asked, HandOverReason::Priority(Identity::new("jane").unwrap()));
    assert!((14.0..20.0).contains(&before.elapsed().as_secs_f64()), "{:?}", before.elapsed());
    assert!(leadership.is_valid(), "it is a request");
    leadership.release().await;
    seconds(0.01).await;
    assert_eq!(stored(&server).await["spec"]["holderIdentity"], "jane");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_keeps_crashing_does_not_keep_the_lead() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let mut jane = candidate(&server, "jane");
    let (first, told) = tokio::sync::oneshot::channel();
    let mut first = Some(first);
    let crashing = tokio::spawn(async move {
        loop {
            let outcome: Result<(), Error> = john
                .run(|_leadership| {
                    let first = first.take();
                    async move {
                        let _ = first.map(|first| first.send(()));
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        Err("out of memory".into())
                    }
                })
                .await;
            assert!(matches!(outcome, Err(Error::Work(_))), "{outcome:?}");
        }
    });
    told.await.unwrap();
    // However quickly it campaigns again, it is behind who waited meanwhile.
    let leadership = jane.campaign().await.unwrap();
    seconds(60.0).await;
    assert!(leadership.is_valid());
    assert!(!crashing.is_finished());
}

#[tokio::test(start_paused = true)]
async fn followers_learn_where_the_leader_can_be_reached() {
    let server = ApiServer::new();
    let mut john = builder(client(&server), "john").address("10.0.0.7:8080").build().unwrap();
    let _leadership = john.campaign().await.unwrap();
    let olga = candidate(&server, "olga");
    let observer = olga.observe();
    seconds(1.0).await;
    let Leader::Known { address, .. } = observer.leader() else { panic!("nobody leads") };
    assert_eq!(address.as_deref(), Some("10.0.0.7:8080"));
    let refused = builder(client(&server), "jane").address("a\nb").build();
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
}

async fn work_for_ever(mut candidate: Candidate) {
    let work = |_leadership: Arc<Leadership>| std::future::pending::<Result<(), _>>();
    let _ = candidate.run(work).await;
}

async fn annotate(server: &ApiServer, name: &str, value: serde_json::Value) {
    let name = format!("incumbent.dev/{name}");
    patch(server, json!({ "metadata": { "annotations": { name: value } } })).await;
}

/// The names of those who wait, as the lock shows them.
fn line(lock: &serde_json::Value) -> String {
    let text = lock["metadata"]["annotations"]["incumbent.dev/waitlist"].as_str().unwrap_or("[]");
    let line: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
    let names: Vec<_> = line.iter().map(|waiter| waiter["identity"].as_str().unwrap()).collect();
    names.join(",")
}

fn names(line: &[Identity]) -> Vec<&str> {
    line.iter().map(Identity::as_str).collect()
}

fn leader(leader: &Leader) -> &str {
    leader.identity().map_or("", Identity::as_str)
}
