//! Members on a blackboard: registered with their addresses, and taken off when they are gone.

mod support;

use std::path::Path;
use std::time::Duration;

use incumbent::{Blackboard, Error, Member, MembersObserver, Membership};
use incumbent_apiserver::{ApiServer, Verb};
use serde_json::{Value, json};
use support::{Line, State, client, client_on, restricted_client, seconds};
use tokio::time::{Instant, timeout};

const PATH: &str = "/api/v1/namespaces/default/configmaps/blackboard";

fn server(data: Value) -> ApiServer {
    let server = ApiServer::new();
    let metadata = json!({ "name": "blackboard", "namespace": "default" });
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data,
    });
    server.create(object).unwrap();
    server
}

fn blackboard(server: &ApiServer) -> Blackboard {
    Blackboard::new(client(server), "default", "blackboard")
}

fn blackboard_on(server: &ApiServer, line: &Line) -> Blackboard {
    Blackboard::new(client_on(server, line), "default", "blackboard")
}

async fn stored(server: &ApiServer) -> Value {
    let request = http::Request::get(PATH).body(Vec::new()).unwrap();
    client(server).request(request).await.unwrap()
}

async fn data(server: &ApiServer) -> Value {
    stored(server).await["data"].clone()
}

async fn annotate(server: &ApiServer, annotation: &str, value: Value) {
    let patch = json!({ "metadata": { "annotations": { annotation: value } } });
    let request = http::Request::patch(PATH)
        .header("Content-Type", "application/merge-patch+json")
        .body(patch.to_string().into_bytes())
        .unwrap();
    client(server).request::<Value>(request).await.unwrap();
}

fn names(members: &[Member]) -> Vec<&str> {
    members.iter().map(|member| member.name.as_str()).collect()
}

/// The members once they are these, which the observer has to see in time.
async fn until_they_are(observer: &mut MembersObserver, wanted: &[&str]) {
    let seen = async { while names(&observer.changed().await.unwrap()) != wanted {} };
    timeout(Duration::from_secs(60), seen).await.unwrap();
}

/// A process that is gone without a word: nothing of it arrives any more.
fn kill(line: &Line, membership: Membership) {
    line.set(State::Silent);
    drop(membership);
}

#[tokio::test(start_paused = true)]
async fn a_member_stands_there_with_its_address_as_the_page_shows_it_until_it_leaves() {
    let server = server(json!({ "leader": "", "other": "kept" }));
    annotate(&server, "team", json!("kept")).await;
    let board = blackboard(&server);
    board.claim("jane").await.unwrap();
    let jane = board.register("jane", "10.0.0.7:8080").await.unwrap();
    let john = board.register("john", "10.0.0.8:8080").await.unwrap();

    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/blackboard.md");
    let page = std::fs::read_to_string(page).unwrap();
    for (key, value) in data(&server).await.as_object().unwrap() {
        let line = format!("  {key}: {}\n", value.as_str().unwrap());
        assert!(key == "other" || page.contains(&line), "{line}");
    }
    let found = board.find("john").await.unwrap().unwrap();
    assert_eq!((found.address.as_str(), found.lasts), ("10.0.0.8:8080", Some(secs(15))));
    assert_eq!(board.find("joe").await.unwrap(), None);

    seconds(3600.0).await;
    assert_eq!(names(&board.members().await.unwrap()), ["jane", "john"]);
    assert!(jane.is_registered() && john.is_registered());
    john.leave().await;
    jane.leave().await;
    assert_eq!(data(&server).await, json!({ "leader": "jane", "other": "kept" }));
    assert_eq!(stored(&server).await["metadata"]["annotations"]["team"], "kept");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_membership_is_taken_off_in_the_background() {
    let server = server(json!({}));
    let board = blackboard(&server);
    drop(board.register("jane", "a:1").await.unwrap());
    seconds(1.0).await;
    assert_eq!(data(&server).await, Value::Null);
}

#[tokio::test(start_paused = true)]
async fn who_died_is_seen_to_be_dead_and_taken_off_and_comes_back_when_it_was_only_cut_off() {
    let server = server(json!({}));
    let line = Line::to(&server);
    let john = blackboard_on(&server, &line).register("john", "b:1").await.unwrap();
    let _jane = blackboard(&server).register("jane", "a:1").await.unwrap();
    let mut observer = blackboard(&server).observe_members();
    assert_eq!(names(&observer.changed().await.unwrap()), ["jane", "john"]);

    line.set(State::Silent);
    let cut_off = Instant::now();
    until_they_are(&mut observer, &["jane"]).await;
    let seen_after = cut_off.elapsed();
    assert!((secs(10)..secs(18)).contains(&seen_after), "{seen_after:?}");
    seconds(10.0).await;
    assert_eq!(data(&server).await, json!({ "member.jane": "a:1" }));

    line.set(State::Whole);
    until_they_are(&mut observer, &["jane", "john"]).await;
    assert!(john.is_registered());
}

#[tokio::test(start_paused = true)]
async fn a_living_member_keeps_its_name_and_a_restarted_one_gets_it_back() {
    let server = server(json!({}));
    let line = Line::to(&server);
    let first = blackboard_on(&server, &line).register("web-0", "a:1").await.unwrap();
    let second = blackboard(&server).register("web-0", "b:1").await;
    assert!(matches!(second, Err(Error::DuplicateIdentity { .. })), "{second:?}");
    assert_eq!(data(&server).await, json!({ "member.web-0": "a:1" }));

    kill(&line, first);
    let killed = Instant::now();
    let _third = blackboard(&server).register("web-0", "c:1").await.unwrap();
    assert!((secs(15)..secs(20)).contains(&killed.elapsed()), "{:?}", killed.elapsed());
    assert_eq!(data(&server).await, json!({ "member.web-0": "c:1" }));
}

#[tokio::test(start_paused = true)]
async fn who_was_taken_for_dead_learns_it_and_does_not_overwrite_its_successor() {
    let server = server(json!({}));
    let line = Line::to(&server);
    let mut old = blackboard_on(&server, &line).register("web-0", "a:1").await.unwrap();
    line.set(State::Silent);
    let new = blackboard(&server).register("web-0", "b:1").await.unwrap();
    line.set(State::Whole);
    timeout(secs(60), old.lost()).await.unwrap();
    assert!(!old.is_registered() && new.is_registered());
    old.leave().await;
    seconds(60.0).await;
    assert_eq!(data(&server).await, json!({ "member.web-0": "b:1" }));
}

#[tokio::test(start_paused = true)]
async fn what_was_written_by_hand_stays_and_is_no_bodys() {
    let server = server(json!({ "member.printer": "10.0.0.99:631" }));
    let board = blackboard(&server);
    let _jane = board.register("jane", "a:1").await.unwrap();
    let taken = board.register("printer", "b:1").await;
    assert!(matches!(taken, Err(Error::DuplicateIdentity { .. })), "{taken:?}");
    // Hundreds of times as long as a sign of life counts.
    seconds(2.0 * 3600.0).await;
    let printer = board.find("printer").await.unwrap().unwrap();
    assert_eq!((printer.address.as_str(), printer.lasts), ("10.0.0.99:631", None));
}

#[tokio::test(start_paused = true)]
async fn an_annotation_that_somebody_spoilt_is_mended() {
    for spoilt in [Value::Null, json!("banana"), json!("{\"jane\":{\"beat\":-1}}"), json!("[]")] {
        let server = server(json!({}));
        let board = blackboard(&server);
        let jane = board.register("jane", "a:1").await.unwrap();
        annotate(&server, "incumbent.dev/members", spoilt.clone()).await;
        seconds(6.0).await;
        assert!(jane.is_registered(), "{spoilt}");
        let found = board.find("jane").await.unwrap().unwrap();
        assert_eq!(found.lasts, Some(secs(15)), "{spoilt}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_came_is_resolved_by_reading() {
    let server = server(json!({}));
    let line = Line::to(&server);
    line.set(State::WritesUnanswered);
    let jane = blackboard_on(&server, &line);
    let jane = tokio::spawn(async move { jane.register("jane", "a:1").await.unwrap() });
    seconds(15.0).await;
    assert_eq!(data(&server).await, json!({ "member.jane": "a:1" }));
    line.set(State::Whole);
    jane.await.unwrap().leave().await;
    assert_eq!(data(&server).await, Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_that_start_at_once_are_all_registered_and_write_twice_a_second() {
    let server = server(json!({}));
    let members: Vec<_> = (0..100)
        .map(|number| {
            let board = blackboard(&server);
            tokio::spawn(async move {
                let name = format!("m{number:03}");
                board.register(&name, "10.0.0.1:80").await.unwrap()
            })
        })
        .collect();
    let mut memberships = Vec::new();
    let started = Instant::now();
    for member in members {
        memberships.push(member.await.unwrap());
    }
    assert!(started.elapsed() < secs(60), "{:?}", started.elapsed());
    let requests = server.requests();
    assert!(requests.total() < 100 * 2 * 20, "{requests:?}");

    seconds(100.0).await; // Until each knows how many they are.
    let before = server.requests();
    seconds(200.0).await;
    let after = server.requests();
    let writes = after.of(Verb::Update) - before.of(Verb::Update);
    assert!((360..500).contains(&writes), "{writes}");
    assert!(after.total() - before.total() < 1000);
    let members = blackboard(&server).members().await.unwrap();
    assert_eq!(members.len(), 100);
    assert!(memberships.iter().all(Membership::is_registered));
}

#[tokio::test(start_paused = true)]
async fn a_full_object_says_so_and_what_to_do() {
    let many: serde_json::Map<_, _> =
        (0..500).map(|number| (format!("member.m{number}"), json!("a:1"))).collect();
    let server = server(Value::Object(many));
    let board = blackboard(&server);
    let error = board.register("jane", "a:1").await.unwrap_err();
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    assert_eq!(error.to_string(), "configmap/blackboard has no room for another member");
    assert!(error.hint().starts_with("it holds 500 members at most"), "{}", error.hint());
    assert_eq!(board.find("jane").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_name_or_an_address_that_cannot_be_is_refused_before_anything_is_written() {
    let server = server(json!({}));
    let board = blackboard(&server);
    let long = "n".repeat(201);
    for name in ["", "a b", "ä", "a/b", &long] {
        let refused = board.register(name, "a:1").await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{name:?}");
    }
    let refused = board.register("jane", "a\n").await;
    assert!(matches!(refused, Err(Error::Invalid { .. })));
    assert_eq!(server.requests().of(Verb::Update), 0);
}

#[tokio::test(start_paused = true)]
async fn get_and_update_on_the_one_object_are_enough() {
    let server = server(json!({}));
    let rules = json!([{
        "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["blackboard"],
        "verbs": ["get", "update"],
    }]);
    let client = restricted_client(&server, "blackboard", rules);
    let board = Blackboard::new(client, "default", "blackboard");
    let jane = board.register("jane", "a:1").await.unwrap();
    let mut observer = board.observe_members();
    assert_eq!(names(&observer.changed().await.unwrap()), ["jane"]);
    seconds(60.0).await;
    jane.leave().await;
    until_they_are(&mut observer, &[]).await;
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
