//! Many elections in one process: one watch, and none in the way of another.

mod support;

use std::collections::HashMap;
use std::time::Duration;

use incumbent::{Builder, Candidate, Clock, Elections, Leadership, Lock};
use incumbent_apiserver::{ApiServer, Verb};
use serde_json::Value;
use support::{client, leases, seconds};
use tokio::task::JoinSet;
use tokio::time::Instant;

const MANY: usize = 200;

fn named(builder: Builder, identity: &str) -> Candidate {
    builder.identity(identity).clock(Clock::tokio()).build().unwrap()
}

fn lease(number: usize) -> Lock {
    Lock::lease("default", format!("lock-{number}"))
}

/// Lets `identity` lead all of them, in one process.
async fn lead_all(server: &ApiServer, identity: &str) -> (Elections, Vec<(Candidate, Leadership)>) {
    lead(server, identity, MANY).await
}

async fn lead(
    server: &ApiServer,
    identity: &str,
    many: usize,
) -> (Elections, Vec<(Candidate, Leadership)>) {
    let elections = Elections::new(client(server));
    let mut campaigns = JoinSet::new();
    for number in 0..many {
        let mut candidate = named(elections.candidate(lease(number)), identity);
        campaigns.spawn(async move {
            let leadership = candidate.campaign().await.unwrap();
            (candidate, leadership)
        });
    }
    (elections, campaigns.join_all().await)
}

#[tokio::test(start_paused = true)]
async fn one_watch_per_kind_and_namespace_serves_them_all() {
    let server = ApiServer::new();
    let (elections, led) = lead_all(&server, "john").await;
    assert_eq!(server.open_watches(), 1);

    let on_config_map = Lock::config_map("default", "board");
    let other_kind = named(elections.candidate(on_config_map), "john");
    seconds(1.0).await;
    assert_eq!(server.open_watches(), 2);
    drop((other_kind, led));
    seconds(10.0).await;
    assert_eq!(server.open_watches(), 0, "nobody is left who listens");
}

#[tokio::test(start_paused = true)]
async fn each_is_handed_over_as_fast_as_if_it_were_alone() {
    let server = ApiServer::new();
    let (_johns, led) = lead_all(&server, "john").await;
    let janes = Elections::new(client(&server));
    let mut waiting = JoinSet::new();
    for number in 0..MANY {
        let mut candidate = named(janes.candidate(lease(number)), "jane");
        waiting.spawn(async move {
            let leadership = candidate.campaign().await.unwrap();
            (candidate, leadership)
        });
    }
    seconds(5.0).await;
    for (_john, leadership) in led {
        let before = Instant::now();
        leadership.release().await;
        let next = waiting.join_next().await.unwrap().unwrap();
        assert_eq!(before.elapsed(), Duration::ZERO);
        // She leads what he has just given back, until the test ends.
        drop(tokio::spawn(async move {
            let _kept = (next, std::future::pending::<()>().await);
        }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_slow_or_fails_delays_no_other() {
    let server = ApiServer::new();
    let (_elections, mut led) = lead_all(&server, "john").await;
    let in_trouble = |(candidate, _): &(Candidate, Leadership)| {
        ["lock-0", "lock-1", "lock-2"].contains(&candidate.lock().name())
    };
    for (candidate, leadership) in led.extract_if(.., |it| in_trouble(it)) {
        // Their work ends when they lose.
        tokio::spawn(async move {
            leadership.lost().await;
            drop((leadership, candidate));
        });
    }
    for trouble in ["name=lock-0,latency=2s", "name=lock-1,error=500", "name=lock-2,drop=answer"] {
        server.faults().add(trouble.parse().unwrap());
    }
    let mut beats: HashMap<String, (Value, Instant)> = HashMap::new();
    for _ in 0..120 {
        seconds(0.5).await;
        for lease in leases(&server).await {
            let (name, renewed) = (&lease["metadata"]["name"], &lease["spec"]["renewTime"]);
            let (name, now) = (name.as_str().unwrap().to_owned(), Instant::now());
            if ["lock-0", "lock-1", "lock-2"].contains(&name.as_str()) {
                continue;
            }
            let (known, since) = beats.entry(name).or_insert_with(|| (renewed.clone(), now));
            if known != renewed {
                (*known, *since) = (renewed.clone(), now);
            }
            // The renew interval is 5 s.
            assert!(since.elapsed() <= Duration::from_secs(6), "{lease} is renewed too late");
        }
    }
    assert_eq!(beats.len(), MANY - 3);
    assert!(led.iter().all(|(_, leadership)| leadership.is_valid()));
}

#[tokio::test(start_paused = true)]
async fn renewals_are_spread_over_the_interval() {
    let server = ApiServer::new();
    let (_elections, _led) = lead_all(&server, "john").await;
    seconds(30.0).await;
    let mut busiest = 0;
    for _ in 0..50 {
        let before = server.requests().of(Verb::Update);
        seconds(0.1).await;
        busiest = busiest.max(server.requests().of(Verb::Update) - before);
    }
    // Two hundred in 5 s are 8 to 10 at each fifth of a second, where they are spread evenly. Chance makes that more
    // than 20 in one run of thirty, and more than 30 in one of a million. If all were renewed together, it would be
    // more than 40.
    assert!(busiest <= 30, "{busiest} renewals in a tenth of a second");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_falls_silent_is_opened_anew_for_all_of_them() {
    let server = ApiServer::new();
    let (_elections, led) = lead_all(&server, "john").await;
    server.faults().add("freeze=expire,for=3s".parse().unwrap());
    seconds(30.0).await;
    assert_eq!(server.open_watches(), 1);
    let before = server.requests();
    seconds(10.0).await;
    let (reads, watches) = (Verb::Get, Verb::Watch);
    let since = server.requests();
    assert_eq!(since.of(reads) - before.of(reads), 0, "nobody polls any more");
    assert_eq!(since.of(watches) - before.of(watches), 0);
    assert!(led.iter().all(|(_, leadership)| leadership.is_valid()));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_as_it_should_goes_on_without_a_read() {
    let server = ApiServer::new();
    let (_elections, led) = lead(&server, "john", 5).await;
    let before = server.requests();
    // The server ends a watch after a quarter of an hour.
    seconds(2_000.0).await;
    let since = server.requests();
    assert_eq!(since.of(Verb::Watch) - before.of(Verb::Watch), 2);
    assert_eq!(since.of(Verb::Get) - before.of(Verb::Get), 0);
    assert!(led.iter().all(|(_, leadership)| leadership.is_valid()));
}
