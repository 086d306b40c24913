//! Showing the rest of the cluster who leads.

mod support;

use std::time::Duration;

use http::{Method, Request};
use incumbent::{Builder, Error, Leadership, Lock, Route};
use incumbent_apiserver::ApiServer;
use serde_json::{Value, json};
use support::{Line, State, builder, client, client_on, restricted_client, seconds};
use tokio::time::Instant;

const KEY: &str = "incumbent.dev/leader-of.lock";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn server(pods: &[&str]) -> ApiServer {
    let server = ApiServer::new();
    for pod in pods {
        create_pod(&server, pod, json!({ "app": "web" }));
    }
    server
}

fn create_pod(server: &ApiServer, name: &str, labels: Value) {
    let metadata = json!({ "name": name, "namespace": "default", "labels": labels });
    let spec = json!({ "containers": [{ "name": "main", "image": "web" }] });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
    server.create(pod).unwrap();
}

fn on_pod(client: kube::Client, name: &str) -> Builder {
    let route = Route::label().pod("default", name);
    builder(client, name).on_overrun(|_| {}).route(route)
}

async fn lead(builder: Builder) -> Leadership {
    let leadership = builder.build().unwrap().campaign().await.unwrap();
    seconds(0.5).await;
    leadership
}

async fn send(server: &ApiServer, method: Method, path: &str, body: Value) -> Value {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let kind = match method {
        Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    let request = Request::builder().method(method).uri(path).header("Content-Type", kind);
    client(server).request(request.body(body).unwrap()).await.unwrap()
}

/// The Pods that a Service would select.
async fn selected(server: &ApiServer) -> Vec<String> {
    let path = format!("{PODS}?labelSelector={}%3Dtrue", KEY.replace('/', "%2F"));
    let list = send(server, Method::GET, &path, Value::Null).await;
    let pods = list["items"].as_array().unwrap();
    pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

async fn pod(server: &ApiServer, name: &str) -> Value {
    send(server, Method::GET, &format!("{PODS}/{name}"), Value::Null).await
}

async fn set_label(server: &ApiServer, name: &str, token: Option<u64>) {
    let mut metadata = json!({ "labels": { KEY: "true" } });
    if let Some(token) = token {
        metadata["annotations"] = json!({ KEY: token.to_string() });
    }
    let patch = json!({ "metadata": metadata });
    send(server, Method::PATCH, &format!("{PODS}/{name}"), patch).await;
}

#[tokio::test(start_paused = true)]
async fn the_label_is_where_the_leader_is_and_other_labels_stay() {
    let server = server(&["a", "b"]);
    let first = lead(on_pod(client(&server), "a")).await;
    assert_eq!(selected(&server).await, ["a"]);
    let shown = pod(&server, "a").await["metadata"].clone();
    assert_eq!(shown["labels"]["app"], "web");
    assert_eq!(shown["annotations"][KEY], first.fencing_token().to_string());

    first.release().await;
    assert_eq!(selected(&server).await, Vec::<String>::new(), "whoever waits sees it removed");
    assert_eq!(pod(&server, "a").await["metadata"]["labels"], json!({ "app": "web" }));
    let _second = lead(on_pod(client(&server), "b")).await;
    assert_eq!(selected(&server).await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_leaders_label_is_removed_by_the_next() {
    let server = server(&["a", "b"]);
    let line = Line::to(&server);
    let dead = lead(on_pod(client_on(&server, &line), "a")).await;
    line.set(State::Silent);
    let next = lead(on_pod(client(&server), "b")).await;
    assert!(!dead.is_valid() && next.is_valid());
    assert_eq!(selected(&server).await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn who_was_cut_off_takes_its_label_off_by_itself_when_nobody_follows() {
    let server = server(&["a"]);
    let line = Line::to(&server);
    let leadership = lead(on_pod(client_on(&server, &line), "a")).await;
    line.set(State::Silent);
    leadership.lost().await;
    assert_eq!(selected(&server).await, ["a"]);
    line.set(State::Whole);
    seconds(12.0).await;
    assert_eq!(selected(&server).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_older_term_leaves_the_label_of_a_newer_one_in_the_same_pod() {
    let server = server(&["a"]);
    let line = Line::to(&server);
    let builder = |client, identity| on_pod(client, "a").identity(identity);
    let older = lead(builder(client_on(&server, &line), "john")).await;
    line.set(State::Silent);
    let newer = lead(builder(client(&server), "jane")).await;
    assert_eq!(selected(&server).await, ["a"]);
    line.set(State::Whole);
    drop(older);
    for _ in 0..120 {
        assert_eq!(selected(&server).await, ["a"]);
        seconds(0.5).await;
    }
    let shown = pod(&server, "a").await["metadata"]["annotations"][KEY].clone();
    assert_eq!(shown, newer.fencing_token().to_string());
}

#[tokio::test(start_paused = true)]
async fn a_late_label_of_an_older_term_does_not_last() {
    let server = server(&["a", "b", "c"]);
    let leadership = lead(on_pod(client(&server), "b")).await;
    let token = leadership.fencing_token().0;
    set_label(&server, "a", Some(token - 1)).await;
    assert_eq!(selected(&server).await, ["a", "b"]);
    seconds(11.0).await;
    assert_eq!(selected(&server).await, ["b"]);

    // What a newer leader has set is not for an older one to remove.
    set_label(&server, "c", Some(token + 1)).await;
    seconds(30.0).await;
    assert_eq!(selected(&server).await, ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_arrives_after_its_term_was_cleared_is_refused() {
    let server = server(&["a"]);
    // Read by a leader whose write then stays on its way while its term begins and ends.
    let before = pod(&server, "a").await["metadata"]["resourceVersion"].clone();
    let leadership = lead(on_pod(client(&server), "a")).await;
    leadership.release().await;
    let late = json!({ "metadata": { "resourceVersion": before, "labels": { KEY: "true" } } });
    let request = Request::patch(format!("{PODS}/a"))
        .header("Content-Type", "application/merge-patch+json")
        .body(late.to_string().into_bytes())
        .unwrap();
    let error = client(&server).request::<Value>(request).await.unwrap_err();
    assert!(matches!(&error, kube::Error::Api(status) if status.code == 409), "{error:?}");
    assert_eq!(selected(&server).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_write_on_its_way_when_the_term_ends_is_overtaken_by_the_one_that_clears() {
    let server = server(&["a"]);
    // The label's write is applied after five seconds; by then the term is over.
    let late = server.faults().add("verb=patch,resource=pods,late=5s".parse().unwrap());
    let leadership = lead(on_pod(client(&server), "a")).await;
    assert!(server.faults().remove(&late));
    assert_eq!(selected(&server).await, Vec::<String>::new());
    leadership.release().await;
    seconds(60.0).await;
    assert_eq!(selected(&server).await, Vec::<String>::new());
    let _again = lead(on_pod(client(&server), "a")).await;
    assert_eq!(selected(&server).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_label_without_a_token_is_somebody_elses_and_is_left_alone() {
    let server = server(&["b"]);
    create_pod(&server, "a", json!({ KEY: "true" })); // from the Pod template
    let leadership = lead(on_pod(client(&server), "b")).await;
    seconds(30.0).await;
    assert_eq!(selected(&server).await, ["a", "b"]);
    leadership.release().await;
    let leadership = lead(on_pod(client(&server), "a")).await;
    leadership.release().await;
    assert_eq!(selected(&server).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_label_that_somebody_took_off_is_set_again() {
    let server = server(&["a"]);
    let _leadership = lead(on_pod(client(&server), "a")).await;
    let patch = json!({ "metadata": { "labels": { KEY: null } } });
    send(&server, Method::PATCH, &format!("{PODS}/a"), patch).await;
    seconds(11.0).await;
    assert_eq!(selected(&server).await, ["a"]);
}

/// The rules of `docs/routing.md` that begin after this line, as JSON.
fn rules(of: &str) -> Value {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/routing.md");
    let page = std::fs::read_to_string(page).unwrap();
    let yaml = page.split(&format!("# {of}\n")).nth(1).unwrap().split("```").next().unwrap();
    let field = |line: &str, name: &str| {
        let text = line.trim_start_matches("- ").trim().strip_prefix(name)?.to_owned();
        serde_json::from_str::<Value>(&text).ok()
    };
    let mut rules: Vec<Value> = Vec::new();
    for line in yaml.lines().filter(|line| !line.trim().is_empty()) {
        if line.starts_with("- ") {
            rules.push(json!({}));
        }
        for name in ["apiGroups", "resources", "resourceNames", "verbs"] {
            if let Some(value) = field(line, &format!("{name}:")) {
                rules.last_mut().unwrap()[name] = value;
            }
        }
    }
    assert!(!rules.is_empty());
    Value::Array(rules)
}

fn with_lock(mut rules: Value) -> Value {
    rules.as_array_mut().unwrap().push(json!({
        "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
        "verbs": ["get", "create", "update"],
    }));
    rules
}

#[tokio::test(start_paused = true)]
async fn the_rules_on_the_page_are_enough_for_a_label_and_none_is_too_many() {
    let all = rules("label");
    let verbs = all[0]["verbs"].as_array().unwrap().clone();
    for missing in std::iter::once(None).chain(verbs.iter().map(Some)) {
        let server = server(&["a", "b"]);
        set_label(&server, "a", Some(1)).await;
        let mut rules = all.clone();
        rules[0]["verbs"].as_array_mut().unwrap().retain(|verb| Some(verb) != missing);
        let client = restricted_client(&server, "web", with_lock(rules));
        let leadership = lead(on_pod(client, "b")).await;
        seconds(60.0).await;
        let is_routed = selected(&server).await == ["b"];
        assert_eq!(is_routed, missing.is_none(), "{missing:?}");
        assert!(leadership.is_valid(), "a route that fails costs no leadership: {missing:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_that_hangs_delays_no_renewal_and_a_release_by_a_second() {
    let server = server(&["a"]);
    server.faults().add("resource=pods,drop=request".parse().unwrap());
    let mut candidate = on_pod(client(&server), "a").build().unwrap();
    let leadership = candidate.campaign().await.unwrap();
    seconds(60.0).await;
    assert!(leadership.is_valid());
    let asked = Instant::now();
    leadership.release().await;
    assert!(asked.elapsed() <= Duration::from_millis(1100), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_name_that_is_no_label_is_refused_with_a_way_out() {
    let server = ApiServer::new();
    let lock = Lock::lease("default", "l".repeat(54));
    let refused =
        |route| incumbent::Candidate::builder(client(&server), lock.clone()).route(route).build();
    let route = || Route::label().pod("default", "a");
    let error = refused(route()).unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }) && error.hint().contains("Route::key"));
    assert!(refused(route().key("example.com/leads")).is_ok());
    assert!(refused(route().key("a/b/c")).is_err());
    assert!(refused(Route::label().key("x").pod("default", "a/b")).is_err());
}

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

fn on_address(client: kube::Client, address: &str) -> Builder {
    let route = Route::endpoint_slice("web", 8080);
    builder(client, address).address(address).on_overrun(|_| {}).route(route)
}

async fn slice(server: &ApiServer) -> Value {
    send(server, Method::GET, &format!("{SLICES}/web-leader"), Value::Null).await
}

/// Where the Service's connections go.
async fn endpoints(server: &ApiServer) -> Vec<Value> {
    let slice = slice(server).await;
    let endpoints = slice["endpoints"].as_array().unwrap().iter();
    endpoints.map(|endpoint| endpoint["addresses"][0].clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_slice_holds_the_leaders_address_alone() {
    let server = ApiServer::new();
    let first = lead(on_address(client(&server), "10.0.0.1:8080")).await;
    assert_eq!(endpoints(&server).await, ["10.0.0.1"]);
    let made = slice(&server).await;
    assert_eq!(made["metadata"]["labels"]["kubernetes.io/service-name"], "web");
    assert_eq!(made["addressType"], "IPv4");
    assert_eq!(made["ports"], json!([{ "name": "", "port": 8080, "protocol": "TCP" }]));
    assert_eq!(made["metadata"]["annotations"][KEY], first.fencing_token().to_string());

    first.release().await;
    assert_eq!(endpoints(&server).await, Vec::<Value>::new());
    let second = lead(on_address(client(&server), "10.0.0.2")).await;
    assert_eq!(endpoints(&server).await, ["10.0.0.2"]);
    let token = second.fencing_token().to_string();
    assert_eq!(slice(&server).await["metadata"]["annotations"][KEY], token);
}

#[tokio::test(start_paused = true)]
async fn a_dead_leaders_address_gives_way_to_the_next_ones_and_does_not_come_back() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let dead = lead(on_address(client_on(&server, &line), "10.0.0.1")).await;
    line.set(State::Silent);
    let _next = lead(on_address(client(&server), "10.0.0.2")).await;
    assert!(!dead.is_valid());
    line.set(State::Whole);
    drop(dead);
    for _ in 0..60 {
        assert_eq!(endpoints(&server).await, ["10.0.0.2"]);
        seconds(1.0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_slice_that_is_made_late_is_refused_when_its_term_is_over() {
    let server = ApiServer::new();
    let late = "verb=create,resource=endpointslices,late=5s";
    let late = server.faults().add(late.parse().unwrap());
    let leadership = lead(on_address(client(&server), "10.0.0.1")).await;
    assert!(server.faults().remove(&late));
    leadership.release().await;
    seconds(60.0).await;
    assert_eq!(endpoints(&server).await, Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn an_older_leader_never_overwrites_a_newer_ones_slice_nor_a_stranger_s() {
    let slice_of = |manager: &str, token: u64| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": "web-leader", "namespace": "default",
                "labels": { "endpointslice.kubernetes.io/managed-by": manager },
                "annotations": { KEY: token.to_string() },
            },
            "endpoints": [{ "addresses": ["10.0.0.9"] }], "ports": [],
        })
    };
    for (manager, token) in [("incumbent.dev", u64::MAX), ("somebody", 1)] {
        let server = ApiServer::new();
        server.create(slice_of(manager, token)).unwrap();
        let leadership = lead(on_address(client(&server), "10.0.0.1")).await;
        seconds(30.0).await;
        assert!(leadership.is_valid());
        leadership.release().await;
        assert_eq!(endpoints(&server).await, ["10.0.0.9"], "{manager}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_rules_on_the_page_are_enough_for_a_slice() {
    let server = ApiServer::new();
    let client = restricted_client(&server, "web", with_lock(rules("endpoint slice")));
    let first = lead(on_address(client.clone(), "10.0.0.1")).await;
    assert_eq!(endpoints(&server).await, ["10.0.0.1"]);
    first.release().await;
    let _second = lead(on_address(client, "10.0.0.2")).await;
    assert_eq!(endpoints(&server).await, ["10.0.0.2"]);
}

#[tokio::test]
async fn a_slice_needs_an_ip_address() {
    let server = ApiServer::new();
    let error = on_address(client(&server), "web.example.com:80").build().unwrap_err();
    assert!(error.hint().contains("Builder::address"), "{error}");
    assert!(on_address(client(&server), "[fd00::7]:8080").build().is_ok());
}
