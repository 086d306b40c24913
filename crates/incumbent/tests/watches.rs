//! Watches that end, fall silent, expire, or belong to a history that was taken back.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use incumbent::{Candidate, Clock, Elections, Leadership, Lock};
use incumbent_apiserver::{ApiServer, Verb};
use serde_json::json;
use support::between::{self, Fate, Passing};
use support::{Line, Recorder, builder, candidate, client, client_on, patch, seconds};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Lets as many revisions pass as a restored backup takes back.
fn write_a_lot(server: &ApiServer) {
    for number in 0..300 {
        let metadata = json!({ "name": format!("c{number}"), "namespace": "default" });
        let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata });
        server.create(object).unwrap();
    }
}

async fn handover_after(restore: bool) -> Duration {
    let server = ApiServer::new();
    let (mut john, mut jane) = (candidate(&server, "john"), candidate(&server, "jane"));
    let leadership = john.campaign().await.unwrap();
    seconds(1.0).await;
    let backup = server.backup();
    write_a_lot(&server);
    seconds(12.0).await;
    if restore {
        server.restore(&backup);
    }
    seconds(6.0).await;
    drop(leadership);
    seconds(60.0).await;
    // Both are well again: one leads, and the other waits in line behind it.
    let first = jane.campaign().await.unwrap();
    let waiting = tokio::spawn(async move {
        let leadership = john.campaign().await.unwrap();
        (Instant::now(), john, leadership)
    });
    seconds(7.0).await;
    let before = Instant::now();
    first.release().await;
    let (led_at, _john, _leadership) = waiting.await.unwrap();
    led_at - before
}

#[tokio::test(start_paused = true)]
async fn after_a_restored_backup_a_release_hands_over_at_once() {
    assert_eq!(handover_after(false).await, Duration::ZERO);
    assert_eq!(handover_after(true).await, Duration::ZERO);
}

type Led = Vec<(Candidate, Leadership)>;

async fn campaign_for_all(
    elections: &Elections,
    identity: &str,
    many: usize,
) -> JoinSet<(Candidate, Leadership)> {
    let mut campaigns = JoinSet::new();
    for number in 0..many {
        let lock = Lock::lease("default", format!("lock-{number}"));
        let builder = elections.candidate(lock).identity(identity);
        let mut candidate = builder.clock(Clock::tokio()).build().unwrap();
        campaigns.spawn(async move {
            let leadership = candidate.campaign().await.unwrap();
            (candidate, leadership)
        });
    }
    campaigns
}

#[tokio::test(start_paused = true)]
async fn on_one_watch_all_notice_that_a_backup_was_restored_and_it_is_opened_again_once() {
    let (server, many) = (ApiServer::new(), 20);
    let (of_johns, of_janes) = (Recorder::default(), Recorder::default());
    let johns = Elections::new(of_johns.client(&server));
    let led: Led = campaign_for_all(&johns, "john", many).await.join_all().await;
    let janes = Elections::new(of_janes.client(&server));
    let waiting = campaign_for_all(&janes, "jane", many).await;
    seconds(1.0).await;
    let backup = server.backup();
    write_a_lot(&server);
    seconds(12.0).await;
    server.restore(&backup);
    // The johns notice at their renewal, and stop; the terms that the backup speaks of are waited out.
    let mut idle = Vec::new();
    for (candidate, leadership) in led {
        leadership.lost().await;
        idle.push(candidate);
    }
    let led = waiting.join_all().await;
    assert!(led.iter().all(|(_, leadership)| leadership.is_valid()));
    for watches in [of_johns.watches(), of_janes.watches()] {
        assert!((2..=3).contains(&watches.len()), "{watches:#?}");
    }
    // None is deaf: with all that was said, each hands over at once.
    let mut back = campaign_for_all(&johns, "john", many).await;
    seconds(5.0).await;
    for (_candidate, leadership) in led {
        let before = Instant::now();
        leadership.release().await;
        let next = back.join_next().await.unwrap().unwrap();
        assert_eq!(before.elapsed(), Duration::ZERO);
        idle.push(next.0);
        // He leads what she has just given back, until the test ends.
        drop(tokio::spawn(async move {
            let _kept = (next.1, std::future::pending::<()>().await);
        }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_shows_nothing_is_given_up_for_another() {
    let (server, recorder) = (ApiServer::new(), Recorder::default());
    let mut john = builder(recorder.client(&server), "john").build().unwrap();
    let leadership = john.campaign().await.unwrap();
    seconds(1.0).await;
    assert_eq!(recorder.watches().len(), 1);
    server.faults().add("freeze=continue".parse().unwrap());
    // A renewal that it does not show, and a retry period.
    seconds(8.0).await;
    let watches = recorder.watches();
    assert!(watches.len() > 1, "{watches:?}");
    assert!(!watches[1].contains("resourceVersion"), "from the present state: {watches:?}");
    // None of them shows anything either: another is opened once in a retry period at most.
    seconds(50.0).await;
    assert!(recorder.watches().len() <= 30, "{:#?}", recorder.watches());
    assert!(leadership.is_valid());
}

#[tokio::test(start_paused = true)]
async fn after_410_a_watch_begins_with_the_present_state() {
    let (server, recorder) = (ApiServer::new(), Recorder::default());
    let mut john = builder(recorder.client(&server), "john").build().unwrap();
    let _leadership = john.campaign().await.unwrap();
    // As an event, on a watch that was open.
    server.faults().add("freeze=expire,for=1s".parse().unwrap());
    patch(&server, json!({ "metadata": { "labels": { "team": "a" } } })).await;
    seconds(30.0).await;
    let watches = recorder.watches();
    assert_eq!(watches.len(), 2, "{watches:?}");
    assert!(watches.iter().all(|uri| !uri.contains("resourceVersion")), "{watches:?}");
    // As an answer, to a watch that goes on where one ended as it should.
    server.faults().add("verb=watch,error=410".parse().unwrap());
    seconds(1_000.0).await;
    server.faults().clear();
    let refused = recorder.watches().split_off(2);
    assert!(refused[0].contains("resourceVersion"), "{refused:?}");
    assert!(refused[1..].iter().all(|uri| !uri.contains("resourceVersion")), "{refused:?}");
    assert!(refused.len() < 60, "one in a retry period");
    seconds(5.0).await;
    assert_eq!(server.open_watches(), 1);
}

#[tokio::test(start_paused = true)]
async fn that_a_watch_has_closed_is_told_so_that_a_release_is_seen_by_a_poll() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let mut john = candidate(&server, "john");
    let leadership = john.campaign().await.unwrap();
    let mut jane = builder(client_on(&server, &line), "jane").build().unwrap();
    let waiting = tokio::spawn(async move { (jane.campaign().await.unwrap(), jane) });
    seconds(10.0).await;
    // Her watch is closed, and no other is to be had.
    let fault = format!("client={},verb=watch,drop=everything,by=close", line.client());
    server.faults().add(fault.parse().unwrap());
    seconds(3.0).await;
    let before = Instant::now();
    leadership.release().await;
    let _jane = waiting.await.unwrap();
    assert!(before.elapsed() <= Duration::from_secs_f64(2.5), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_breaks_under_hundreds_costs_none_of_them_its_leadership() {
    let (server, recorder) = (ApiServer::new(), Recorder::default());
    let elections = Elections::new(recorder.client(&server));
    let led: Led = campaign_for_all(&elections, "john", 200).await.join_all().await;
    for trouble in ["verb=watch,drop=everything,by=close,for=3s", "freeze=expire,for=1s"] {
        server.faults().add(trouble.parse().unwrap());
        seconds(20.0).await;
        assert_eq!(server.open_watches(), 1);
    }
    server.restart(Duration::from_secs(1));
    seconds(20.0).await;
    assert_eq!(server.open_watches(), 1);
    assert!(led.iter().all(|(_, leadership)| leadership.is_valid()));
    let before = server.requests();
    seconds(10.0).await;
    assert_eq!(server.requests().of(Verb::Get), before.of(Verb::Get), "none polls any more");
    assert!(recorder.watches().len() < 12, "{:#?}", recorder.watches());
}

/// The answer is lost in a 500, and the write is applied a second later.
#[tokio::test(start_paused = true)]
async fn a_write_that_failed_with_500_may_still_land_and_is_cleared_up() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    john.campaign().await.unwrap().release().await;
    let fault = server.faults().add("verb=update,error=500,late=1s".parse().unwrap());
    assert!(timeout(Duration::from_millis(500), john.campaign()).await.is_err());
    server.faults().remove(&fault);
    john.leave().await;
    seconds(2.0).await;
    let mut jane = candidate(&server, "jane");
    let before = Instant::now();
    jane.campaign().await.unwrap().release().await;
    assert_eq!(before.elapsed(), Duration::ZERO, "nothing of john's is left in the lock");
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_without_end_costs_a_leader_no_renewal_and_a_candidate_a_minute() {
    let (server, recorder) = (ApiServer::new(), Recorder::default());
    let mut john = builder(recorder.client(&server), "john").build().unwrap();
    let leadership = john.campaign().await.unwrap();
    let endless = "verb=update,error=429,retry-after=999999999";
    let fault = server.faults().add(endless.parse().unwrap());
    seconds(7.0).await;
    server.faults().remove(&fault);
    seconds(30.0).await;
    assert!(leadership.is_valid(), "a leader tries again after a retry period");

    // Without an end it loses in time, and asks no more often than once a retry period.
    server.faults().add(endless.parse().unwrap());
    leadership.lost().await;
    drop(leadership);
    let known = recorder.sent().len();
    let campaign = tokio::spawn(async move { (john.campaign().await.unwrap(), john) });
    seconds(300.0).await;
    let asked = recorder.sent().len() - known;
    assert!((4..=25).contains(&asked), "{asked} requests in five minutes");
    server.faults().clear();
    let before = Instant::now();
    let _john = campaign.await.unwrap();
    assert!(before.elapsed() <= Duration::from_secs(61), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_starts_while_the_server_is_overloaded_waits_for_it() {
    let server = ApiServer::new();
    for verb in ["get", "create", "update"] {
        let overloaded = format!("verb={verb},error=429,retry-after=1");
        let fault = server.faults().add(overloaded.parse().unwrap());
        let mut john = candidate(&server, verb);
        let campaign = tokio::spawn(async move { john.campaign().await.map(drop) });
        seconds(10.0).await;
        assert!(!campaign.is_finished(), "{verb}");
        server.faults().remove(&fault);
        seconds(5.0).await;
        campaign.await.unwrap().unwrap();
        // Each of them needs a lock to make.
        support::delete(&server).await;
    }
}

/// A proxy has no `Status` to send.
fn too_large(code: u16) -> String {
    match code {
        413 => "<html>413 Request Entity Too Large</html>".to_owned(),
        _ => json!({
            "kind": "Status", "code": code, "reason": "Invalid",
            "message": "Lease \"lock\" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes",
        })
        .to_string(),
    }
}

/// A lock with as much of others' data as fits: 413 by a proxy, 422 by the API server.
#[tokio::test(start_paused = true)]
async fn a_leader_whose_renewals_are_refused_as_too_large_stops_in_time_and_does_not_spin() {
    for code in [413, 422] {
        let server = ApiServer::new();
        let (sent, is_full) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, refuses) = (sent.clone(), is_full.clone());
        let rule = move |passing: &Passing| {
            counted.fetch_add(1, Ordering::Relaxed);
            match passing.method == Method::PUT && refuses.load(Ordering::Relaxed) {
                true => Fate::Answer(code, too_large(code)),
                false => Fate::Forward(passing.body.clone()),
            }
        };
        let mut john = builder(between::client(&server, rule), "john").build().unwrap();
        let leadership = john.campaign().await.unwrap();
        seconds(1.0).await;
        is_full.store(true, Ordering::Relaxed);
        let known = sent.load(Ordering::Relaxed);
        let before = Instant::now();
        leadership.lost().await;
        assert!(before.elapsed() <= Duration::from_secs(10), "{code}: {:?}", before.elapsed());
        drop(leadership);
        let campaign = tokio::spawn(async move { (john.campaign().await.unwrap(), john) });
        seconds(60.0).await;
        assert!(!campaign.is_finished());
        let asked = sent.load(Ordering::Relaxed) - known;
        assert!((10..=40).contains(&asked), "{code}: {asked} requests in a minute");
        // There is room again.
        is_full.store(false, Ordering::Relaxed);
        seconds(20.0).await;
        assert!(campaign.is_finished(), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_without_room_for_another_name_says_so_to_its_candidate() {
    let server = ApiServer::new();
    candidate(&server, "john").campaign().await.unwrap().release().await;
    let filled = "x".repeat(256 * 1024 - 200);
    patch(&server, json!({ "metadata": { "annotations": { "other.dev/x": filled } } })).await;
    let mut jane = builder(client(&server), &"jane".repeat(60)).build().unwrap();
    let error = jane.campaign().await.unwrap_err();
    assert!(error.to_string().contains("annotations"), "{error}");
}
