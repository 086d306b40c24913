//! Something between the candidate and the API server: a webhook that changes or refuses what is written, or a proxy
//! that answers in the server's place.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use incumbent::survey::{LockView, dry_run_write};
use incumbent::{Blackboard, ElectionControl, Error, FenceError, HandOver, Lock, Timing};
use incumbent_apiserver::{ApiServer, Verb};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use support::between::{Fate, Passing, client, replacing};
use support::log::Log;
use support::{builder, candidate, lease, seconds, stored};
use tracing_subscriber::filter::LevelFilter;

/// What a candidate does in a minute behind `rule`: how often it writes, and what it warns of.
async fn a_minute(rule: impl FnMut(&Passing) -> Fate + Send + 'static) -> (u64, Vec<String>) {
    let server = ApiServer::new();
    let (log, _guard) = Log::start(LevelFilter::WARN);
    let mut john = builder(client(&server, rule), "john").build().unwrap();
    let leads = tokio::time::timeout(Duration::from_secs(60), john.campaign()).await;
    let warnings = log.take();
    assert!(leads.is_err(), "a write that is stored otherwise starts a term: {warnings:#?}");
    (server.requests().of(Verb::Update), warnings)
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_stored_otherwise_starts_no_term_and_is_repeated_no_more_than_once_a_retry_period()
 {
    for (before, after, field) in [
        ("\"leaseDurationSeconds\":15", "\"leaseDurationSeconds\":60", "spec.leaseDurationSeconds"),
        ("\"leaseDurationSeconds\":15", "\"leaseDurationSeconds\":1", "spec.leaseDurationSeconds"),
        ("\"holderIdentity\":\"john\"", "\"holderIdentity\":\"\"", "spec.holderIdentity"),
        ("\"holderIdentity\":\"john\"", "\"holderIdentity\":\"x-john\"", "spec.holderIdentity"),
        (
            "\\\"identity\\\":\\\"john\\\"",
            "\\\"identity\\\":\\\"jane\\\"",
            "metadata.annotations[incumbent.dev/term]",
        ),
    ] {
        let (writes, warnings) = a_minute(replacing(before, after)).await;
        assert!(writes <= 31, "{after}: {writes} writes in a minute");
        let [warning] = &warnings[..] else { panic!("{after}: {warnings:#?}") };
        assert!(warning.contains(&format!("field=\"{field}\"")), "{warning}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_whose_token_leaves_no_room_is_warned_of_and_no_loop() {
    let server = ApiServer::new();
    let annotations = json!({ "incumbent.dev/term": "{\"token\":4611686018427387904}" });
    let metadata = json!({ "name": "lock", "namespace": "default", "annotations": annotations });
    let api_version = "coordination.k8s.io/v1";
    server
        .create(json!({ "apiVersion": api_version, "kind": "Lease", "metadata": metadata }))
        .unwrap();
    let (log, _guard) = Log::start(LevelFilter::WARN);
    let mut john = candidate(&server, "john");
    let leads = tokio::time::timeout(Duration::from_secs(60), john.campaign()).await;
    assert!(leads.is_err());
    let writes = server.requests().of(Verb::Update);
    assert!(writes <= 31, "{writes} writes in a minute");
    let warnings = log.take();
    assert!(warnings.len() == 1 && warnings[0].contains("incumbent.dev/term"), "{warnings:#?}");
    let tried = dry_run_write(support::client(&server), lease(), Timing::standard()).await;
    assert!(matches!(tried, Ok(()) | Err(Error::Altered { .. })), "{tried:?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_floor_that_leaves_no_room_is_refused() {
    let server = ApiServer::new();
    let floor = |floor| builder(support::client(&server), "john").token_floor(floor).build();
    assert!(matches!(floor(u64::MAX), Err(Error::Invalid { .. })));
    assert!(matches!(floor((1 << 61) + 1), Err(Error::Invalid { .. })));
    let mut john = floor(1 << 61).unwrap();
    assert_eq!(john.campaign().await.unwrap().fencing_token().0, 1 << 61);
}

fn status(code: u16, reason: &str, message: &str) -> String {
    json!({ "kind": "Status", "code": code, "reason": reason, "message": message }).to_string()
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_may_not_join_the_line_waits_without_a_place_and_leads_in_time() {
    for code in [400, 403, 422] {
        let server = ApiServer::new();
        let mut boss = candidate(&server, "boss");
        let leadership = boss.campaign().await.unwrap();
        let (log, _guard) = Log::start(LevelFilter::WARN);
        let refused = Arc::new(AtomicUsize::new(0));
        let count = refused.clone();
        let message = "admission webhook \"guard.example\" denied the request: only the holder may";
        let rule = move |passing: &Passing| {
            let is_join = passing.method == Method::PUT
                && passing.body.contains("\"holderIdentity\":\"boss\"");
            match is_join {
                true => {
                    count.fetch_add(1, Ordering::Relaxed);
                    Fate::Answer(code, status(code, "Forbidden", message))
                }
                false => Fate::Forward(passing.body.clone()),
            }
        };
        let mut jane = builder(client(&server, rule), "jane").build().unwrap();
        let waiting = tokio::spawn(async move { (jane.campaign().await.map(drop), jane) });
        seconds(60.0).await;
        assert!((1..=5).contains(&refused.load(Ordering::Relaxed)), "{code}: {refused:?}");
        let warnings = log.take();
        let [warning] = &warnings[..] else { panic!("{code}: {warnings:#?}") };
        assert!(warning.contains("stays a candidate"), "{warning}");
        leadership.release().await;
        let (outcome, _jane) = waiting.await.unwrap();
        outcome.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_says_404_is_no_proof_that_the_lock_is_gone() {
    let server = ApiServer::new();
    let is_broken = Arc::new(AtomicBool::new(false));
    let seen = is_broken.clone();
    let rule = move |passing: &Passing| match seen.load(Ordering::Relaxed) {
        true if !passing.uri.contains("watch=1") => {
            Fate::Answer(404, "<html>default backend - 404</html>".to_owned())
        }
        _ => Fate::Forward(passing.body.clone()),
    };
    let mut john = builder(client(&server, rule), "john").build().unwrap();
    let leadership = john.campaign().await.unwrap();
    let token = leadership.fencing_token();
    is_broken.store(true, Ordering::Relaxed);
    seconds(6.0).await;
    is_broken.store(false, Ordering::Relaxed);
    seconds(30.0).await;
    assert!(leadership.is_valid(), "a proxy's page ended the term");
    assert_eq!(leadership.fencing_token(), token);
}

#[tokio::test(start_paused = true)]
async fn a_page_in_the_servers_place_is_no_lock_that_does_not_exist() {
    let server = ApiServer::new();
    for (code, body) in [(404, "<html>404</html>"), (200, "<html>hello</html>"), (200, "{}")] {
        let rule = move |_: &Passing| Fate::Answer(code, body.to_owned());
        let error = LockView::read(client(&server, rule), lease()).await.unwrap_err();
        assert!(matches!(error, Error::NotKubernetes { .. }), "{code} {body}: {error}");
        assert!(error.is_passing());
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_shows_an_older_version_starts_no_term() {
    let server = ApiServer::new();
    let is_first = Arc::new(AtomicBool::new(true));
    let rule = move |passing: &Passing| match passing.method {
        // The answer of a cache: a version from before the write, which never reaches the server.
        Method::PUT if is_first.swap(false, Ordering::Relaxed) => {
            let old = passing.body.replace("\"resourceVersion\":\"", "\"resourceVersion\":\"0");
            Fate::Answer(
                200,
                old.replace("\"resourceVersion\":\"0", "\"resourceVersion\":\"1\",\"x\":\""),
            )
        }
        _ => Fate::Forward(passing.body.clone()),
    };
    let mut john = builder(client(&server, rule), "john").build().unwrap();
    let leadership = john.campaign().await.unwrap();
    // What it leads by is in the store.
    assert_eq!(stored(&server).await["spec"]["holderIdentity"], "john");
    assert!(leadership.is_valid());
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_stored_otherwise_is_no_claim() {
    let server = ApiServer::new();
    let rule = replacing("\"leader\":\"john\"", "\"leader\":\"\"");
    let board = Blackboard::new(client(&server, rule), "default", "board");
    let error = board.claim("john").await.unwrap_err();
    assert!(matches!(error, Error::Altered { .. }), "{error}");
    assert!(error.to_string().contains("data.leader was john"), "{error}");

    let rule = replacing("\"member.john\":\"10.0.0.1\"", "\"member.john\":\"10.0.0.2\"");
    let board = Blackboard::new(client(&server, rule), "default", "board");
    let error = board.register("john", "10.0.0.1").await.unwrap_err();
    assert!(matches!(error, Error::Altered { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_request_to_hand_over_that_is_not_stored_is_an_error() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let _leadership = john.campaign().await.unwrap();
    let rule = replacing("incumbent.dev/hand-over-to", "example.com/hand-over-to");
    let control = ElectionControl::new(client(&server, rule), lease()).unwrap();
    let error = control.hand_over(&HandOver::ToNext).await.unwrap_err();
    assert!(matches!(error, Error::Altered { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_fenced_write_whose_token_is_not_stored_is_an_error() {
    let server = ApiServer::new();
    let metadata = json!({ "name": "work", "namespace": "default" });
    server
        .create(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata }))
        .unwrap();
    let mut john = candidate(&server, "john");
    let leadership = john.campaign().await.unwrap();
    let rule = replacing("incumbent.dev/fencing-token", "example.com/fencing-token");
    let api = kube::Api::<ConfigMap>::namespaced(client(&server, rule), "default");
    let error = leadership.fenced(&api).replace("work", |_| {}).await.unwrap_err();
    assert!(matches!(error, FenceError::Stripped { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_rehearsal_stores_nothing_and_names_what_would_be_stored_otherwise() {
    let server = ApiServer::new();
    let config_map = Lock::config_map("default", "lock");
    for lock in [lease(), config_map] {
        for is_held in [false, true] {
            let holder = support::client(&server);
            let mut boss = incumbent::Candidate::builder(holder, lock.clone())
                .identity("boss")
                .clock(incumbent::Clock::tokio())
                .build()
                .unwrap();
            let leadership = match is_held {
                true => Some(boss.campaign().await.unwrap()),
                false => None,
            };
            let rule = |passing: &Passing| Fate::Forward(passing.body.clone());
            let tried =
                dry_run_write(client(&server, rule), lock.clone(), Timing::standard()).await;
            assert!(tried.is_ok(), "{lock} {is_held}: {tried:?}");
            let rule = replacing("incumbent.dev/term", "example.com/term");
            let tried =
                dry_run_write(client(&server, rule), lock.clone(), Timing::standard()).await;
            assert!(matches!(tried, Err(Error::Altered { .. })), "{lock} {is_held}: {tried:?}");
            if let Some(leadership) = leadership {
                assert!(leadership.is_valid());
                leadership.release().await;
            }
        }
    }
}
