//! Looking at elections from outside, and asking their candidates for something.

mod support;

use std::time::Duration;

use incumbent::survey::{Change, ObservedLock, Registration, Scope, State, Survey};
use incumbent::{Blackboard, Candidate, Clock, ElectionControl, Error, HandOver, Identity, Lock};
use incumbent_apiserver::{ApiServer, Verb};
use serde_json::json;
use support::{
    Line, builder, candidate, client, client_on, delete, lease, patch, restricted_client, seconds,
};

async fn survey(client: kube::Client, scope: &Scope) -> Survey {
    Survey::start_with(client, scope, Clock::tokio()).await.unwrap()
}

fn one(survey: &Survey) -> ObservedLock {
    survey.get(&lease()).expect("the lock is known")
}

/// Follows for so long, and returns what happened.
async fn follow(survey: &mut Survey, span: f64) -> Vec<Change> {
    let mut changes = Vec::new();
    let span = tokio::time::sleep(Duration::from_secs_f64(span));
    tokio::pin!(span);
    loop {
        tokio::select! {
            biased;
            change = survey.next() => changes.push(change),
            () = &mut span => return changes,
        }
    }
}

/// Follows until it has happened so often, which is within a minute, and returns all that happened.
async fn until(survey: &mut Survey, wanted: &Change, times: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    let span = tokio::time::Instant::now() + Duration::from_secs(60);
    while changes.iter().filter(|change| *change == wanted).count() < times {
        let change = tokio::time::timeout_at(span, survey.next()).await;
        changes.push(change.unwrap_or_else(|_| panic!("{wanted:?} x {times}, not {changes:?}")));
    }
    changes
}

#[tokio::test(start_paused = true)]
async fn a_first_look_is_a_hint_and_a_renewal_a_proof() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let leadership = john.campaign().await.unwrap();
    let mut survey = survey(client(&server), &Scope::lock(lease())).await;
    let first = one(&survey);
    assert_eq!((first.state, first.is_certain, first.beat_age), (State::Held, false, None));

    // The first renewal comes within an interval, at a moment drawn by lot.
    let changes = follow(&mut survey, 6.0).await;
    assert!(
        !changes.is_empty() && changes.iter().all(|change| *change == Change::Renewed(lease()))
    );
    let seen = one(&survey);
    assert_eq!((seen.state, seen.is_certain), (State::Held, true));
    assert!(seen.expires_in.unwrap() > Duration::from_secs(9), "{seen:?}");
    assert_eq!(seen.view.token, Some(leadership.fencing_token()));
    assert_eq!(seen.view.written_by.as_deref(), Some("incumbent"));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_falls_silent_is_late_and_then_expired_once_a_read_confirms_it() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let mut john = builder(client_on(&server, &line), "john").build().unwrap();
    let leadership = john.campaign().await.unwrap();
    let mut survey = survey(client(&server), &Scope::lock(lease())).await;
    follow(&mut survey, 6.0).await;
    line.set(support::State::Silent);
    drop(leadership); // It cannot give the lock back.
    while one(&survey).state == State::Held {
        follow(&mut survey, 0.5).await;
    }
    assert_eq!(one(&survey).state, State::Late);

    let reads = server.requests().of(Verb::Get);
    let changes = until(&mut survey, &Change::Expired(lease()), 1).await;
    assert_eq!(changes, [Change::Expired(lease())]);
    let reads = server.requests().of(Verb::Get) - reads;
    assert!(
        (1..=2).contains(&reads),
        "one read confirms it, one looks after a quiet watch: {reads}"
    );
    assert_eq!(follow(&mut survey, 60.0).await, [], "it is told once");
    assert_eq!((one(&survey).state, one(&survey).is_certain), (State::Expired, true));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_shows_nothing_makes_no_living_leader_expired() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let leadership = john.campaign().await.unwrap();
    let line = Line::to(&server);
    let mut survey = survey(client_on(&server, &line), &Scope::lock(lease())).await;
    follow(&mut survey, 6.0).await;
    line.set(support::State::WatchesSilent);
    let changes = follow(&mut survey, 120.0).await;
    assert!(!changes.contains(&Change::Expired(lease())), "{changes:?}");
    assert!(leadership.is_valid());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_seen_is_unknown_until_it_can_be_seen_again() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let leadership = john.campaign().await.unwrap();
    let line = Line::to(&server);
    let mut survey = survey(client_on(&server, &line), &Scope::lock(lease())).await;
    follow(&mut survey, 6.0).await;
    line.set(support::State::Silent);
    let changes = follow(&mut survey, 60.0).await;
    assert_eq!(changes.last(), Some(&Change::Visibility));
    assert_eq!((one(&survey).state, survey.blind().len()), (State::Unknown, 1));

    line.set(support::State::Whole);
    let changes = follow(&mut survey, 20.0).await;
    assert!(changes.contains(&Change::Visibility), "{changes:?}");
    assert_eq!((one(&survey).state, survey.blind().len()), (State::Held, 0));
    drop(leadership);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_leader_a_deletion_and_a_lock_that_comes_are_told() {
    let server = ApiServer::new();
    let mut survey = survey(client(&server), &Scope::namespace("default")).await;
    assert_eq!(survey.locks().count(), 0);
    let (mut john, mut jane) = (candidate(&server, "john"), candidate(&server, "jane"));
    let leadership = john.campaign().await.unwrap();
    until(&mut survey, &Change::Leader(lease()), 1).await;

    let waiting = tokio::spawn(async move { (jane.campaign().await.unwrap(), jane) });
    // Jane stands in line, if not at once: her write may meet a renewal of john's, and is tried again.
    until(&mut survey, &Change::Edited(lease()), 1).await;
    assert_eq!(one(&survey).view.waitlist[0].identity.as_str(), "jane");

    leadership.release().await;
    until(&mut survey, &Change::Leader(lease()), 2).await; // nobody, then jane
    assert_eq!(one(&survey).view.holder.as_deref(), Some("jane"));
    let jane = waiting.await.unwrap();
    drop(jane);
    drop(john);
    until(&mut survey, &Change::Leader(lease()), 1).await; // nobody

    delete(&server).await;
    assert_eq!(until(&mut survey, &Change::Gone(lease()), 1).await, [Change::Gone(lease())]);
    assert_eq!(survey.locks().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn all_locks_of_all_namespaces_are_shown_in_order_or_those_that_labels_select() {
    let server = ApiServer::new();
    for namespace in ["default", "prod"] {
        let _ = server.create(json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace },
        }));
        server
            .create(json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": { "name": "b", "namespace": namespace, "labels": { "app": namespace } },
            }))
            .unwrap();
    }
    server
        .create(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "a", "namespace": "prod" }, "data": { "leader": "jane" },
        }))
        .unwrap();
    server
        .create(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "settings", "namespace": "prod" }, "data": { "x": "y" },
        }))
        .unwrap();
    let names = |survey: &Survey| -> Vec<_> {
        let locks = survey.locks().map(|sighted| sighted.view.lock.clone());
        locks.map(|lock| format!("{}/{lock}", lock.namespace())).collect()
    };
    let all = survey(client(&server), &Scope::everywhere()).await;
    assert_eq!(names(&all), ["default/lease/b", "prod/lease/b", "prod/configmap/a"]);
    let claim = all.get(&Lock::config_map("prod", "a")).unwrap();
    assert_eq!((claim.state, claim.view.registration), (State::Claimed, Registration::Claim));
    let some = survey(client(&server), &Scope::everywhere().selector("app in (prod)")).await;
    assert_eq!(names(&some), ["prod/lease/b"]);
}

#[tokio::test(start_paused = true)]
async fn one_kind_that_may_not_be_listed_hides_itself_alone() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let _leadership = john.campaign().await.unwrap();
    let rules = json!([{
        "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list", "watch"],
    }]);
    let of_leases = restricted_client(&server, "leases", rules);
    let survey = survey(of_leases.clone(), &Scope::namespace("default")).await;
    assert_eq!((survey.locks().count(), survey.blind().len()), (1, 1));
    assert!(survey.blind()[0].1.contains("configmaps"), "{:?}", survey.blind());

    let error = Survey::start(of_leases, &Scope::everywhere()).await.unwrap_err();
    assert!(matches!(error, Error::Forbidden { .. }));
    assert!(error.to_string().contains("in all namespaces"), "{error}");
    assert!(error.hint().contains("ClusterRole"), "{}", error.hint());
}

#[tokio::test(start_paused = true)]
async fn where_watching_is_not_allowed_it_polls() {
    let server = ApiServer::new();
    let rules = json!([{
        "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get"],
        "resourceNames": ["lock"],
    }]);
    let mut survey =
        survey(restricted_client(&server, "getter", rules), &Scope::lock(lease())).await;
    let mut john = candidate(&server, "john");
    let _leadership = john.campaign().await.unwrap();
    let changes = follow(&mut survey, 5.0).await;
    assert_eq!(changes.first(), Some(&Change::Leader(lease())), "{changes:?}");
    follow(&mut survey, 10.0).await;
    assert_eq!((one(&survey).state, one(&survey).is_certain), (State::Held, true));
}

fn named(name: &str) -> Identity {
    Identity::new(name).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_request_to_hand_over_moves_the_leader_and_a_dry_run_nothing() {
    let server = ApiServer::new();
    let (mut john, mut jane) = (candidate(&server, "john"), candidate(&server, "jane"));
    let leadership = john.campaign().await.unwrap();
    let waiting = tokio::spawn(async move { (jane.campaign().await.unwrap(), jane) });
    seconds(1.0).await;
    let control = ElectionControl::new(client(&server), lease()).unwrap();

    let would =
        control.clone().dry_run(true).hand_over(&HandOver::To(named("jane"))).await.unwrap();
    assert_eq!(would.hand_over, Some(HandOver::To(named("jane"))));
    seconds(30.0).await;
    assert!(leadership.is_valid() && !waiting.is_finished());

    control.hand_over(&HandOver::ToNext).await.unwrap();
    leadership.asked_to_hand_over().await;
    leadership.release().await;
    let (second, _jane) = waiting.await.unwrap();
    assert!(second.is_valid());
}

#[tokio::test(start_paused = true)]
async fn names_are_added_to_a_pause_and_removed_from_it() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let leadership = john.campaign().await.unwrap();
    let control = ElectionControl::new(client(&server), lease()).unwrap();
    control.pause(&[named("jack")]).await.unwrap();
    let view = control.pause(&[named("jane"), named("jack")]).await.unwrap();
    assert_eq!(view.paused, [named("jack"), named("jane")]);
    assert!(leadership.is_valid(), "john is not among them");
    let view = control.resume(&[named("jack"), named("jane")]).await.unwrap();
    assert!(view.paused.is_empty());
    assert!(view.object["metadata"]["annotations"].get("incumbent.dev/cordon").is_none());
    assert_eq!(view.holder.as_deref(), Some("john"));
}

#[tokio::test(start_paused = true)]
async fn a_request_about_nothing_is_an_error_and_creates_nothing() {
    let server = ApiServer::new();
    let control = ElectionControl::new(client(&server), lease()).unwrap();
    let error = control.hand_over(&HandOver::ToNext).await.unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    assert!(support::leases(&server).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_does_not_touch_what_was_written_since_it_read() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let mut john = candidate(&server, "john");
    let _leadership = john.campaign().await.unwrap();
    let control = ElectionControl::new(client_on(&server, &line), lease()).unwrap();
    line.set(support::State::WritesConflict);
    let error = control.cancel_hand_over().await.unwrap_err();
    assert!(matches!(error, Error::Rejected { code: 409, .. }), "{error}");
    line.set(support::State::Whole);
    patch(&server, json!({ "metadata": { "annotations": { "mine": "too" } } })).await;
    let view = control.pause(&[named("*")]).await.unwrap();
    assert_eq!(view.object["metadata"]["annotations"]["mine"], "too");
}

#[tokio::test(start_paused = true)]
async fn of_two_requests_at_a_time_both_count() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let _leadership = john.campaign().await.unwrap();
    let control = ElectionControl::new(client(&server), lease()).unwrap();
    // Both have read before either writes.
    server.faults().add("verb=patch,latency=1s..1s".parse().unwrap());
    let names = [[named("jane")], [named("jack")]];
    let (one, other) = tokio::join!(control.pause(&names[0]), control.pause(&names[1]));
    let longest = [one.unwrap().paused, other.unwrap().paused].map(|names| names.len());
    assert_eq!(longest.into_iter().max(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn another_key_of_a_config_map_has_requests_of_its_own() {
    let server = ApiServer::new();
    let lock = Lock::config_map("default", "board").with_key("backup");
    let client = client(&server);
    let mut john = Candidate::builder(client.clone(), lock.clone())
        .identity("john")
        .clock(Clock::tokio())
        .build()
        .unwrap();
    let leadership = john.campaign().await.unwrap();
    let control = ElectionControl::new(client, lock).unwrap();
    let view = control.hand_over(&HandOver::ToNext).await.unwrap();
    assert_eq!(view.object["metadata"]["annotations"]["incumbent.dev/hand-over-to.backup"], "*");
    leadership.asked_to_hand_over().await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_unknown_soon_after_the_api_server_has_fallen_silent() {
    let server = ApiServer::new();
    let board = Lock::config_map("default", "board");
    Blackboard::on(client(&server), board.clone()).claim("jane").await.unwrap();
    for scope in [Scope::lock(board.clone()), Scope::namespace("default")] {
        let line = Line::to(&server);
        let mut survey = survey(client_on(&server, &line), &scope).await;
        follow(&mut survey, 60.0).await;
        let seen = survey.get(&board).unwrap();
        assert_eq!((seen.state, seen.is_certain), (State::Claimed, true));
        assert!(seen.heard_age <= Duration::from_secs(10), "{:?}", seen.heard_age);
        line.set(support::State::Silent);
        follow(&mut survey, 30.0).await;
        let seen = survey.get(&board).unwrap();
        assert_eq!((seen.state, seen.is_certain), (State::Unknown, false));
        assert!(seen.heard_age >= Duration::from_secs(30), "{:?}", seen.heard_age);
        line.set(support::State::Whole);
        follow(&mut survey, 20.0).await;
        assert_eq!(survey.get(&board).unwrap().state, State::Claimed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_config_map_that_is_named_is_a_vacant_board_also_while_it_is_empty() {
    let server = ApiServer::new();
    server
        .create(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "board", "namespace": "default" },
        }))
        .unwrap();
    let board = Lock::config_map("default", "board");
    let named = survey(client(&server), &Scope::lock(board.clone())).await;
    assert_eq!(named.get(&board).map(|seen| seen.state), Some(State::Vacant));
    let all = survey(client(&server), &Scope::namespace("default")).await;
    assert_eq!(all.locks().count(), 0, "of all ConfigMaps, few are blackboards");
    let none = Lock::config_map("default", "none");
    assert!(survey(client(&server), &Scope::lock(none.clone())).await.get(&none).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_first_look_finds_a_holder_late_by_the_wall_clocks() {
    let server = ApiServer::new();
    for (ago, state) in [(9, State::Held), (11, State::Late), (16, State::Expired)] {
        let renewed = jiff::Timestamp::now() - Duration::from_secs(ago);
        let name = format!("silent-for-{ago}");
        server
            .create(json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": { "name": name, "namespace": "default" },
                "spec": { "holderIdentity": "john", "leaseDurationSeconds": 15,
                    "renewTime": format!("{renewed:.6}") },
            }))
            .unwrap();
        let scope = Scope::namespace("default");
        let survey = Survey::start(client(&server), &scope).await.unwrap();
        let seen = survey.get(&Lock::lease("default", &name)).unwrap();
        assert_eq!((seen.state, seen.is_certain), (state, false), "{name}");
    }
}
