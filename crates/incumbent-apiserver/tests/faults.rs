//! Each fault does what it says, to those it means, as often as it counts, and then no more.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use incumbent_apiserver::{ActiveFault, ApiServer, Body, Disconnected, Service};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tower_service::Service as _;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases/lock";
const WATCH: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases?watch=1\
                     &allowWatchBookmarks=true&timeoutSeconds=1000";

#[tokio::test(start_paused = true)]
async fn latency_is_drawn_between_its_bounds() {
    let server = seeded();
    let fault = add(&server, "verb=get,latency=50ms..200ms");
    let mut waits = Vec::new();
    for _ in 0..100 {
        let start = Instant::now();
        assert_eq!(get(&server, LEASE).await.0, 200);
        waits.push(start.elapsed());
    }
    let bounds = Duration::from_millis(50)..=Duration::from_millis(201);
    assert!(waits.iter().all(|wait| bounds.contains(wait)), "{waits:?}");
    let spread = *waits.iter().max().unwrap() - *waits.iter().min().unwrap();
    assert!(spread > Duration::from_millis(100), "{spread:?}");
    assert_eq!(fault.hits(), 100);
    let start = Instant::now();
    create(&server, "quick").await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO, "only gets are slow");
}

#[tokio::test(start_paused = true)]
async fn errors_are_worded_as_upstream_words_them_and_nothing_is_done() {
    let server = seeded();
    for (code, said) in [
        (401, "Unauthorized"),
        (403, "leases.coordination.k8s.io is forbidden: a fault was injected"),
        (409, "Operation cannot be fulfilled on leases.coordination.k8s.io: the object has been"),
        (410, "The resourceVersion for the provided list is too old."),
        (429, "Too many requests, please try again later.\n"),
        (500, "etcdserver: request timed out"),
        (503, "the server is currently unable to handle the request"),
        (504, "Timeout: request did not complete within the allotted timeout"),
    ] {
        let fault = add(&server, &format!("verb=write,error={code}"));
        let response = call(server.service(), Method::POST, LEASES, &lease("new")).await.unwrap();
        assert_eq!(response.status().as_u16(), code);
        let retry_after = response.headers().get(header::RETRY_AFTER).cloned();
        assert_eq!(retry_after.is_some(), code == 429, "{code}: {retry_after:?}");
        let text = text(response.into_body()).await;
        assert!(text.contains(&said.replace('"', "\\\"")), "{code}: {text}");
        match serde_json::from_str::<Value>(&text) {
            Ok(status) => assert_eq!(status["code"], code),
            Err(_) => assert_eq!(code, 429),
        }
        assert_eq!(fault.hits(), 1);
        server.faults().remove(&fault);
    }
    assert_eq!(get(&server, &format!("{LEASES}/new")).await.0, 404);
    let fault = add(&server, "error=503,retry-after=7");
    let response = call(server.service(), Method::GET, LEASE, "").await.unwrap();
    assert_eq!(response.headers()[header::RETRY_AFTER], "7");
    assert_eq!(fault.hits(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rate_hits_its_share_and_a_seed_repeats_it() {
    let pattern = async |seed| {
        let server = ApiServer::builder().seed(seed).build();
        let fault = add(&server, "error=500,rate=10%");
        let mut pattern = Vec::new();
        for _ in 0..1000 {
            pattern.push(get(&server, "/version").await.0 == 500);
        }
        let hits = pattern.iter().filter(|hit| **hit).count();
        assert_eq!(fault.hits(), hits as u64);
        assert!((50..150).contains(&hits), "{hits}");
        pattern
    };
    let first = pattern(7).await;
    assert_eq!(first, pattern(7).await);
    assert_ne!(first, pattern(8).await);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_request_is_neither_applied_nor_answered() {
    let server = seeded();
    let fault = add(&server, "verb=create,drop=request");
    let answer = timeout(Duration::from_secs(3600), create(&server, "a")).await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(fault.hits(), 1);
    server.faults().clear();
    add(&server, "verb=create,drop=request,by=close");
    assert_eq!(create(&server, "a").await, Err(Disconnected));
    server.faults().clear();
    assert_eq!(get(&server, &format!("{LEASES}/a")).await.0, 404);
    assert_eq!(create(&server, "a").await, Ok(201));
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_answer_is_dropped_is_applied() {
    let server = seeded();
    let hangs = add(&server, "name=lock,drop=answer");
    let closes = add(&server, "verb=create,drop=answer,by=close");
    assert_eq!(create(&server, "a").await, Err(Disconnected));
    let gone = call(server.service(), Method::DELETE, LEASE, "");
    assert!(timeout(Duration::from_secs(3600), gone).await.is_err());
    assert_eq!((hangs.hits(), closes.hits()), (1, 1));
    server.faults().clear();
    assert_eq!(get(&server, LEASE).await.0, 404);
    assert_eq!(get(&server, &format!("{LEASES}/a")).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_late_write_is_applied_after_its_caller_gave_up() {
    let server = seeded();
    let fault = add(&server, "verb=create,late=5s");
    assert!(timeout(Duration::from_secs(1), create(&server, "a")).await.is_err());
    assert_eq!(get(&server, &format!("{LEASES}/a")).await.0, 404);
    sleep(Duration::from_millis(4001)).await;
    assert_eq!(get(&server, &format!("{LEASES}/a")).await.0, 200);
    assert_eq!(create(&server, "b").await, Ok(201), "whoever waits gets the answer");
    assert_eq!(fault.hits(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_time_out_may_be_answered_before_the_write_is_applied() {
    let server = seeded();
    for (fault, error) in
        [("error=504,late=2s", Ok(504)), ("drop=answer,by=close,late=2s", Err(Disconnected))]
    {
        let fault = add(&server, &format!("verb=delete,{fault}"));
        let start = Instant::now();
        let answer = call(server.service(), Method::DELETE, LEASE, "").await;
        assert_eq!(answer.map(|answer| answer.status().as_u16()), error);
        assert_eq!((start.elapsed(), fault.hits()), (Duration::ZERO, 1));
        assert_eq!(get(&server, LEASE).await.0, 200);
        sleep(Duration::from_millis(2001)).await;
        assert_eq!(get(&server, LEASE).await.0, 404);
        create(&server, "lock").await.unwrap();
        server.faults().clear();
    }
    add(&server, "verb=create,error=500,late=0s");
    assert_eq!(create(&server, "a").await, Ok(500));
    assert_eq!(get(&server, &format!("{LEASES}/a")).await.0, 200, "applied at once all the same");
}

#[tokio::test(start_paused = true)]
async fn frozen_watches_show_nothing_and_then_go_on_or_expire() {
    let server = seeded();
    let mut open = watch(server.service()).await;
    assert_eq!(next(&mut open).await["type"], "ADDED");
    let fault = add(&server, "freeze=continue,for=90s");
    let mut new = watch(server.service()).await;
    create(&server, "a").await.unwrap();
    // More than the interval of bookmarks.
    let silent = async {
        tokio::select! {
            event = next(&mut open) => panic!("{event}"),
            event = next(&mut new) => panic!("{event}"),
        }
    };
    assert!(timeout(Duration::from_secs(89), silent).await.is_err());
    assert_eq!(fault.hits(), 2, "two watches were frozen");
    assert_eq!(next(&mut open).await["object"]["metadata"]["name"], "a");
    assert_eq!(next(&mut new).await["object"]["metadata"]["name"], "lock");
    assert_eq!(next(&mut new).await["object"]["metadata"]["name"], "a");

    let fault = add(&server, "freeze=expire");
    create(&server, "b").await.unwrap();
    assert!(timeout(Duration::from_secs(10), next(&mut open)).await.is_err());
    assert!(server.faults().remove(&fault));
    let event = next(&mut open).await;
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert!(open.frame().await.is_none());
    assert_eq!(server.open_watches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_partition_is_one_clients_and_heals() {
    let server = seeded();
    let (jane, john) = (|| server.service().named("jane"), || server.service().named("john"));
    let mut of_jane = watch(jane()).await;
    let mut of_john = watch(john()).await;
    for watch in [&mut of_jane, &mut of_john] {
        next(watch).await;
    }
    let fault = add(&server, "client=jane,drop=everything,for=60s");
    let lost = call(jane(), Method::GET, LEASE, "");
    assert!(timeout(Duration::from_secs(5), lost).await.is_err());
    let made = call(john(), Method::POST, LEASES, &lease("a")).await.unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    assert_eq!(next(&mut of_john).await["object"]["metadata"]["name"], "a");
    assert!(timeout(Duration::from_secs(30), next(&mut of_jane)).await.is_err());
    // It heals by itself, and what was queued arrives.
    assert_eq!(next(&mut of_jane).await["object"]["metadata"]["name"], "a");
    assert_eq!(call(jane(), Method::GET, LEASE, "").await.unwrap().status(), StatusCode::OK);
    assert_eq!(fault.hits(), 2, "a request and a watch");
    assert!(server.faults().list().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_cut_off_loses_its_watches_at_once() {
    let server = seeded();
    let mut of_jane = watch(server.service().named("jane")).await;
    let mut of_john = watch(server.service().named("john")).await;
    next(&mut of_jane).await;
    next(&mut of_john).await;
    add(&server, "client=jane,drop=everything,by=close");
    assert_eq!(of_jane.frame().await.unwrap().unwrap_err(), Disconnected);
    assert!(of_jane.frame().await.is_none());
    let refused = call(server.service().named("jane"), Method::GET, LEASE, "").await;
    assert_eq!(refused.unwrap_err(), Disconnected);
    create(&server, "a").await.unwrap();
    assert_eq!(next(&mut of_john).await["object"]["metadata"]["name"], "a");
}

#[tokio::test(start_paused = true)]
async fn a_restart_breaks_watches_refuses_for_a_while_and_forgets_the_past() {
    let server = seeded();
    let (_, first) = get(&server, LEASE).await;
    let version = first["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut open = watch(server.service()).await;
    next(&mut open).await;
    create(&server, "a").await.unwrap();
    server.restart(Duration::from_secs(2));
    assert_eq!(open.frame().await.unwrap().unwrap_err(), Disconnected);
    assert_eq!(create(&server, "b").await, Err(Disconnected));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(get(&server, &format!("{LEASES}/a")).await.0, 200, "objects stay");
    let old = format!("{WATCH}&resourceVersion={version}");
    let mut body = call(server.service(), Method::GET, &old, "").await.unwrap().into_body();
    assert_eq!(next(&mut body).await["object"]["code"], 410);
    create(&server, "b").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_backup_brings_back_objects_and_gives_versions_a_second_time() {
    let server = seeded();
    let backup = server.backup();
    let mut open = watch(server.service()).await;
    next(&mut open).await;
    create(&server, "a").await.unwrap();
    let (_, a) = get(&server, &format!("{LEASES}/a")).await;
    server.restore(&backup);
    assert_eq!(open.frame().await.unwrap().unwrap_err(), Disconnected);
    assert_eq!(get(&server, &format!("{LEASES}/a")).await.0, 404, "it was made later");
    create(&server, "b").await.unwrap();
    let (_, b) = get(&server, &format!("{LEASES}/b")).await;
    assert_eq!(a["metadata"]["resourceVersion"], b["metadata"]["resourceVersion"]);
    let mut fresh = call(server.service(), Method::GET, WATCH, "").await.unwrap().into_body();
    assert_eq!(next(&mut fresh).await["type"], "ADDED", "a new watch shows what there is");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_on_its_way_during_a_restart_is_lost() {
    let server = seeded();
    add(&server, "verb=create,latency=5s");
    let restart = async {
        sleep(Duration::from_secs(1)).await;
        server.restart(Duration::ZERO);
    };
    let (answer, ()) = tokio::join!(create(&server, "a"), restart);
    assert_eq!(answer, Err(Disconnected));
    assert_eq!(get(&server, &format!("{LEASES}/a")).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn compaction_forgets_the_past_and_breaks_nothing() {
    let server = seeded();
    let mut open = watch(server.service()).await;
    let version = next(&mut open).await["object"]["metadata"]["resourceVersion"].clone();
    create(&server, "a").await.unwrap();
    server.compact();
    let old = format!("{WATCH}&resourceVersion={}", version.as_str().unwrap());
    let mut body = call(server.service(), Method::GET, &old, "").await.unwrap().into_body();
    assert_eq!(next(&mut body).await["object"]["reason"], "Expired");
    create(&server, "b").await.unwrap();
    for name in ["a", "b"] {
        assert_eq!(next(&mut open).await["object"]["metadata"]["name"], name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_means_those_that_it_names() {
    let server = seeded();
    let token = server.service_account_token("default", "jane", Duration::from_secs(3600));
    let user = "user=system:serviceaccount:default:jane";
    let hits = async |fault: &str| {
        let fault = add(&server, &format!("{fault},error=503"));
        for path in [
            LEASE,
            LEASES,
            &format!("{LEASES}?fieldSelector=metadata.name%3Dlock"),
            "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/lock",
            "/api/v1/namespaces/default/configmaps/lock",
            "/version",
        ] {
            call(server.service().named("a/1"), Method::GET, path, "").await.unwrap();
        }
        call(server.service_as(&token), Method::GET, LEASE, "").await.unwrap();
        call(server.service_as(&token), Method::PUT, LEASE, "").await.unwrap();
        server.faults().clear();
        fault.hits()
    };
    for (fault, expected) in [
        ("", 8),
        ("verb=get", 5),
        ("verb=list", 2),
        ("verb=read", 7),
        ("verb=write", 1),
        ("verb=list,verb=update", 3),
        ("resource=leases", 6),
        ("resource=leases,namespace=default", 5),
        ("name=lock", 6),
        ("name=loc", 0),
        ("client=a/", 6),
        ("user=admin", 6),
        (user, 2),
    ] {
        assert_eq!(hits(fault).await, expected, "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn several_faults_apply_together_and_the_first_decides() {
    let server = seeded();
    let slow = add(&server, "latency=1s");
    let (first, second) = (add(&server, "error=500"), add(&server, "error=503"));
    let last = add(&server, "latency=2s");
    let start = Instant::now();
    assert_eq!(get(&server, LEASE).await.0, 500);
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    assert_eq!([&slow, &first, &second, &last].map(ActiveFault::hits), [1, 1, 0, 1]);
    assert_eq!(server.faults().clear(), 4);
    assert_eq!(get(&server, LEASE).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_fault_ends_by_itself_and_keeps_its_count() {
    let server = seeded();
    let fault = add(&server, "error=500,for=10s");
    sleep(Duration::from_millis(9_999)).await;
    assert_eq!(get(&server, LEASE).await.0, 500);
    assert_eq!(server.faults().list().len(), 1);
    sleep(Duration::from_millis(2)).await;
    assert_eq!(get(&server, LEASE).await.0, 200);
    assert!(server.faults().list().is_empty());
    assert_eq!(fault.hits(), 1);
    assert!(!server.faults().remove(&fault));
}

#[tokio::test(start_paused = true)]
async fn administrators_read_over_http_how_often_who_was_answered_how() {
    let server = seeded();
    create(&server, "twice").await.unwrap();
    assert_eq!(create(&server, "twice").await, Ok(409));
    add(&server, "verb=get,error=500");
    assert_eq!(get(&server, LEASE).await.0, 500);
    let (code, counts) = get(&server, "/incumbent/requests").await;
    let counted = |verb, code, count| {
        let line = json!({"user": "admin", "verb": verb, "code": code, "count": count});
        counts["requests"].as_array().unwrap().contains(&line)
    };
    assert_eq!(code, 200);
    assert!(counted("create", 409, 1) && counted("get", 500, 1), "{counts}");
    assert_eq!(server.requests().answered(409), 1);
    let again = get(&server, "/incumbent/requests").await.1;
    assert_eq!(again, counts, "asking is not counted");
}

#[tokio::test(start_paused = true)]
async fn administrators_steer_faults_over_http_and_no_fault_keeps_them_out() {
    let server = seeded();
    let post = async |path: &str, body: &str| {
        let response = call(server.service(), Method::POST, path, body).await.unwrap();
        (response.status().as_u16(), text(response.into_body()).await)
    };
    add(&server, "drop=everything,by=close");
    let (code, text) = post("/incumbent/faults", "verb=update,error=500\nlatency=5s\n").await;
    assert_eq!(code, 201, "{text}");
    let json =
        r#"[{"verb": ["get", "list"], "error": 504, "rate": "50%", "for": "30s"}, "late=1s"]"#;
    assert_eq!(post("/incumbent/faults", json).await.0, 201);
    let (code, list) = get(&server, "/incumbent/faults").await;
    let faults: Vec<_> = list["faults"].as_array().unwrap().iter().collect();
    assert_eq!((code, faults.len()), (200, 5));
    assert_eq!(faults[1], &json!({"id": 2, "fault": "verb=update,error=500", "hits": 0}));
    assert_eq!(faults[3]["fault"], "verb=get,verb=list,error=504,rate=50%,for=30s");
    assert_eq!(faults[3]["secondsLeft"], 30.0);
    assert_eq!(get(&server, "/incumbent/faults/2").await.1["hits"], 0);
    let removed = call(server.service(), Method::DELETE, "/incumbent/faults/2", "").await.unwrap();
    assert_eq!(removed.status(), StatusCode::OK);
    assert_eq!(get(&server, "/incumbent/faults/2").await.0, 404);
    let removed = call(server.service(), Method::DELETE, "/incumbent/faults", "").await.unwrap();
    assert_eq!(text_of(removed).await, r#"{"removed":4}"#);
    assert_eq!(get(&server, LEASE).await.0, 200);

    assert_eq!(post("/incumbent/compact", "").await.0, 200);
    assert_eq!(post("/incumbent/restart?for=5s", "").await.0, 202);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(create(&server, "a").await, Err(Disconnected));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(create(&server, "a").await, Ok(201));

    for wrong in ["", "error=200", "{", "[1]", "\u{0}", "verb=update", r#"{"error": [500]"#] {
        let (code, text) = post("/incumbent/faults", wrong).await;
        assert_eq!((code, text.contains("\"Status\"")), (400, true), "{wrong:?} {text}");
    }
    assert_eq!(post("/incumbent/restart?for=long", "").await.0, 400);
    assert_eq!(post("/incumbent/", "").await.0, 404);
    let put = call(server.service(), Method::PUT, "/incumbent/faults", "").await.unwrap();
    assert_eq!(put.status(), StatusCode::METHOD_NOT_ALLOWED);
    let token = server.service_account_token("default", "jane", Duration::from_secs(3600));
    for (service, code) in [
        (server.service_as(&token), 403),
        (server.service_as(""), 403),
        (server.service_as("x"), 401),
    ] {
        let path = "/incumbent/faults";
        let refused = call(service, Method::POST, path, "error=500").await.unwrap();
        assert_eq!(refused.status().as_u16(), code);
    }
    assert!(server.faults().list().is_empty());
    allow_jane(&server);
    let seen = call(server.service_as(&token), Method::GET, "/incumbent/faults", "").await.unwrap();
    assert_eq!(seen.status(), StatusCode::OK);
    let refused = call(server.service_as(&token), Method::POST, "/incumbent/compact", "").await;
    assert_eq!(refused.unwrap().status(), StatusCode::FORBIDDEN);
}

/// To look at faults, and no more.
fn allow_jane(server: &ApiServer) {
    let (api_version, metadata) = ("rbac.authorization.k8s.io/v1", json!({"name": "looker"}));
    let rule = json!({"nonResourceURLs": ["/incumbent/*"], "verbs": ["get"]});
    let role = json!({
        "apiVersion": api_version, "kind": "ClusterRole", "metadata": metadata, "rules": [rule],
    });
    let binding = json!({
        "apiVersion": api_version, "kind": "ClusterRoleBinding", "metadata": metadata,
        "subjects": [{"kind": "ServiceAccount", "name": "jane", "namespace": "default"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "looker"},
    });
    for object in [role, binding] {
        server.create(object).unwrap();
    }
}

/// With one Lease, and always the same luck.
fn seeded() -> ApiServer {
    let server = ApiServer::builder().seed(1).build();
    server.create(serde_json::from_str(&lease("lock")).unwrap()).unwrap();
    server
}

fn lease(name: &str) -> String {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
    })
    .to_string()
}

fn add(server: &ApiServer, fault: &str) -> ActiveFault {
    server.faults().add(fault.parse().unwrap())
}

async fn call(
    mut service: Service,
    method: Method,
    path: &str,
    body: &str,
) -> Result<http::Response<Body>, Disconnected> {
    let body = Full::<Bytes>::new(body.to_owned().into()).map_err(|error: Infallible| error);
    service.call(Request::builder().method(method).uri(path).body(body).unwrap()).await
}

async fn get(server: &ApiServer, path: &str) -> (u16, Value) {
    let response = call(server.service(), Method::GET, path, "").await.unwrap();
    let code = response.status().as_u16();
    (code, serde_json::from_str(&text(response.into_body()).await).unwrap_or_default())
}

async fn create(server: &ApiServer, name: &str) -> Result<u16, Disconnected> {
    let response = call(server.service(), Method::POST, LEASES, &lease(name)).await?;
    Ok(response.status().as_u16())
}

async fn watch(service: Service) -> Body {
    call(service, Method::GET, WATCH, "").await.unwrap().into_body()
}

/// The next event of a watch.
async fn next(body: &mut Body) -> Value {
    let frame = body.frame().await.expect("the watch goes on").expect("the watch is not broken");
    serde_json::from_slice(&frame.into_data().unwrap()).unwrap()
}

async fn text_of(response: http::Response<Body>) -> String {
    text(response.into_body()).await
}

async fn text(body: Body) -> String {
    let bytes = body.collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}
