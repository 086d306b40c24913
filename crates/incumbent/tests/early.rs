//! Taking over before the lease ends: only on proof that the leader's process has ended.

mod support;

use std::time::Duration;

use http::{Method, Request};
use incumbent::{Candidate, Container, ContainerReport, ContainerStart};
use incumbent_apiserver::ApiServer;
use serde_json::{Value, json};
use support::{Line, State, builder, client, client_on, restricted_client, seconds, stored};
use tokio::time::Instant;

const A_DAY: Duration = Duration::from_secs(86_400);

/// A start of the container `app` in the Pod with uid `0b2f`, so many ticks after its node's.
fn container(ticks: u64) -> Container {
    let start = Some(ContainerStart { boot_id: "b-1".to_owned(), ticks });
    Container { pod_uid: "0b2f".to_owned(), name: "app".to_owned(), start, report: None }
}

/// John leads from `container`, and is gone without a word.
async fn john_crashes(server: &ApiServer, container: Container) -> Candidate {
    let line = Line::to(server);
    let john = builder(client_on(server, &line), "john").container(Some(container));
    let mut john = john.build().unwrap();
    let leadership = john.campaign().await.unwrap();
    // What he sends from now on, nobody hears.
    line.set(State::Silent);
    drop(leadership);
    john
}

async fn time_to_lead(mut candidate: Candidate) -> Duration {
    let before = Instant::now();
    let _leadership = candidate.campaign().await.unwrap();
    before.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_later_start_of_the_same_container_takes_over_at_once() {
    let server = ApiServer::new();
    let _john = john_crashes(&server, container(100)).await;
    let again = builder(client(&server), "john").container(Some(container(250))).build().unwrap();
    assert_eq!(time_to_lead(again).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_start_on_a_node_that_was_started_again_is_a_later_one() {
    let server = ApiServer::new();
    let _john = john_crashes(&server, container(100)).await;
    let mut later = container(50);
    later.start.as_mut().unwrap().boot_id = "b-2".to_owned();
    let again = builder(client(&server), "john").container(Some(later)).build().unwrap();
    assert_eq!(time_to_lead(again).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_later_start_of_that_container_waits_for_the_lease() {
    let look_alikes = [
        ("another process of the same start", Some(container(100))),
        ("an earlier start", Some(container(99))),
        ("another container", Some(Container { name: "sidecar".to_owned(), ..container(250) })),
        ("another Pod", Some(Container { pod_uid: "77aa".to_owned(), ..container(250) })),
        ("a start that is not known", Some(Container { start: None, ..container(250) })),
        ("no container", None),
    ];
    for (what, container_of_jane) in look_alikes {
        let server = ApiServer::new();
        let _john = john_crashes(&server, container(100)).await;
        let jane = builder(client(&server), "jane").container(container_of_jane);
        let waited = time_to_lead(jane.build().unwrap()).await;
        assert!(waited >= Duration::from_secs(14), "{what} takes over after {waited:?}");
    }
}

const ID: &str = "containerd://c1";

/// John's container, and where the kubelet reports of it.
fn reported(namespace: &str) -> Container {
    let (namespace, pod) = (namespace.to_owned(), "app-0".to_owned());
    let report = Some(ContainerReport { namespace, pod, id: ID.to_owned() });
    Container { report, ..container(100) }
}

async fn request(server: &ApiServer, method: Method, path: &str, body: Option<Value>) -> Value {
    let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
    let request = Request::builder().method(method).uri(path);
    let request = request.header("Content-Type", "application/merge-patch+json").body(body);
    client(server).request(request.unwrap()).await.unwrap()
}

/// Creates a Pod, and returns the uid that it got.
async fn create_pod(server: &ApiServer, name: &str) -> String {
    let pod = server.create(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "containers": [{ "name": "app", "image": "app" }] },
    }));
    pod.unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
}

async fn report(server: &ApiServer, name: &str, status: Value) {
    let path = format!("/api/v1/namespaces/default/pods/{name}/status");
    request(server, Method::PATCH, &path, Some(json!({ "status": status }))).await;
}

fn terminated(id: &str, reason: &str) -> Value {
    json!({ "terminated": { "containerID": id, "exitCode": 137, "reason": reason } })
}

fn app(state: Value, last_state: Value) -> Value {
    json!({ "containerStatuses": [{
        "name": "app", "image": "app", "imageID": "", "ready": false, "restartCount": 1,
        "state": state, "lastState": last_state,
    }] })
}

/// How long Jane waits for the lead when John has crashed and this is in the status of his Pod.
async fn jane_waits(status: Option<Value>, uid: Option<&str>) -> Duration {
    let server = ApiServer::new();
    let pod_uid = create_pod(&server, "app-0").await;
    let pod_uid = uid.map_or(pod_uid, str::to_owned);
    let john = john_crashes(&server, Container { pod_uid, ..reported("default") }).await;
    let jane = builder(client(&server), "jane").kubelet_reports(true).build().unwrap();
    let waiting = tokio::spawn(time_to_lead(jane));
    // She stands in line by now, and watches his Pod.
    seconds(1.0).await;
    match status {
        Some(status) => report(&server, "app-0", status).await,
        None => {
            let path = "/api/v1/namespaces/default/pods/app-0?gracePeriodSeconds=0";
            request(&server, Method::DELETE, path, None).await;
        }
    }
    let waited = waiting.await.unwrap();
    drop(john);
    waited
}

#[tokio::test(start_paused = true)]
async fn the_kubelets_report_that_the_container_has_terminated_ends_the_wait() {
    let over = || terminated(ID, "OOMKilled");
    let proofs = [
        app(over(), json!({})),
        app(json!({ "running": {} }), over()),
        json!({ "initContainerStatuses": app(over(), json!({}))["containerStatuses"] }),
    ];
    for status in proofs {
        let waited = jane_waits(Some(status.clone()), None).await;
        assert!(waited < Duration::from_millis(1_100), "{waited:?} after {status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_such_report_waits_for_the_lease() {
    let over = || terminated(ID, "Error");
    let look_alikes = [
        ("the Pod is gone", None, None),
        ("the Pod has failed", Some(json!({ "phase": "Failed", "reason": "NodeLost" })), None),
        (
            "the Pod is unready",
            Some(json!({ "conditions": [{ "type": "Ready", "status": "False" }] })),
            None,
        ),
        (
            "another start has terminated",
            Some(app(terminated("containerd://c0", "Error"), json!({}))),
            None,
        ),
        (
            "another start is running",
            Some(json!({ "containerStatuses": [{
                "name": "app", "image": "app", "imageID": "", "ready": true, "restartCount": 1,
                "containerID": "containerd://c2", "state": { "running": {} },
            }] })),
            None,
        ),
        ("nobody knows", Some(app(terminated(ID, "ContainerStatusUnknown"), json!({}))), None),
        ("a report without an id", Some(app(terminated("", "Error"), json!({}))), None),
        ("it is another Pod of that name", Some(app(over(), json!({}))), Some("77aa")),
    ];
    for (what, status, uid) in look_alikes {
        let waited = jane_waits(status, uid).await;
        assert!(waited >= Duration::from_secs(14), "{what}: takes over after {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_heed_the_kubelet_asks_nothing_of_pods() {
    let server = ApiServer::new();
    let pod_uid = create_pod(&server, "app-0").await;
    let _john = john_crashes(&server, Container { pod_uid, ..reported("default") }).await;
    report(&server, "app-0", app(terminated(ID, "Error"), json!({}))).await;
    let waited = time_to_lead(builder(client(&server), "jane").build().unwrap()).await;
    assert!(waited >= Duration::from_secs(14), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn without_permission_to_watch_pods_the_lease_is_waited_for() {
    let server = ApiServer::new();
    let pod_uid = create_pod(&server, "app-0").await;
    let _john = john_crashes(&server, Container { pod_uid, ..reported("default") }).await;
    let leases = json!([{
        "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
        "verbs": ["get", "update", "watch"],
    }]);
    let jane = builder(restricted_client(&server, "jane", leases), "jane").kubelet_reports(true);
    let waiting = tokio::spawn(time_to_lead(jane.build().unwrap()));
    seconds(1.0).await;
    report(&server, "app-0", app(terminated(ID, "Error"), json!({}))).await;
    let waited = waiting.await.unwrap();
    assert!(waited >= Duration::from_secs(14) && waited < Duration::from_secs(16), "{waited:?}");
}

/// As the library finds it out.
fn own_host() -> String {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let file = || std::fs::read_to_string("/etc/hostname").map(|name| name.trim().to_owned());
    set("POD_NAME").or_else(|| set("HOSTNAME")).or_else(|| file().ok()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_leader_says_where_the_kubelet_reports_of_it_once_that_is_certain() {
    let server = ApiServer::new();
    let pod = own_host();
    let pod_uid = create_pod(&server, &pod).await;
    // The test's clock begins a day after the start of its node.
    let ticks = A_DAY.as_secs() * 100;
    let own = Container { pod_uid, ..container(ticks) };
    let john = builder(client(&server), "john").container(Some(own)).kubelet_reports(true);
    let mut john = john.build().unwrap();
    let leadership = john.campaign().await.unwrap();

    let running = |id: &str, since: jiff::Timestamp| {
        json!({ "containerStatuses": [{
            "name": "app", "image": "app", "imageID": "", "ready": true, "restartCount": 1,
            "containerID": id, "state": { "running": { "startedAt": format!("{since:.0}") } },
        }] })
    };
    let now = jiff::Timestamp::now();
    let before = now - Duration::from_secs(3600);
    report(&server, &pod, running("containerd://before", before)).await;
    seconds(45.0).await;
    assert_eq!(published_id(&server).await, Value::Null, "what runs started before this process");
    report(&server, &pod, running(ID, now)).await;
    seconds(45.0).await;
    assert_eq!(published_id(&server).await, ID);
    drop(leadership);
}

async fn published_id(server: &ApiServer) -> Value {
    let lock = stored(server).await;
    let term = lock["metadata"]["annotations"]["incumbent.dev/term"].as_str().unwrap();
    let term: Value = serde_json::from_str(term).unwrap();
    assert_eq!(term["container"]["name"], "app");
    term["container"]["id"].clone()
}
