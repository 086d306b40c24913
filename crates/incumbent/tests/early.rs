//! Taking over before the lease ends: only on proof that the leader's process has ended.

mod support;

use std::time::Duration;

use http::{Method, Request};
use incumbent::{Candidate, Container, ContainerReport, ContainerStart, Mark};
use incumbent_apiserver::ApiServer;
use serde_json::{Value, json};
use support::{Line, State, builder, client, client_on, restricted_client, seconds, stored};
use tokio::time::Instant;

/// A start of the container `app` in the Pod with uid `0b2f`, so many ticks after its node's.
fn container(ticks: u64) -> Container {
    let start = ContainerStart {
        boot_id: "b-1".to_owned(),
        sandbox: 4_026_532_178,
        file: format!("file-{ticks}"),
        ticks,
    };
    let (pod_uid, name) = ("0b2f".to_owned(), "app".to_owned());
    Container { pod_uid, name, start: Some(start), report: None }
}

/// The same start, but for what `change` changes.
fn but(mut container: Container, change: impl FnOnce(&mut ContainerStart)) -> Container {
    change(container.start.as_mut().unwrap());
    container
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
async fn what_is_no_later_start_of_that_container_waits_for_the_lease() {
    let look_alikes = [
        ("another process of the same start", Some(container(100))),
        ("an earlier start", Some(container(99))),
        ("another container", Some(Container { name: "sidecar".to_owned(), ..container(250) })),
        ("another Pod", Some(Container { pod_uid: "77aa".to_owned(), ..container(250) })),
        ("a start that is not known", Some(Container { start: None, ..container(250) })),
        ("another node", Some(but(container(250), |start| start.boot_id = "b-2".to_owned()))),
        ("another sandbox", Some(but(container(250), |start| start.sandbox += 1))),
        (
            "a PID namespace inside",
            Some(but(container(250), |start| start.file = "file-100".into())),
        ),
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

const MARK: Mark = Mark(0x0f8e_2a61_c4d9_4b7e_a3b5_d2c1_908f_7e6d);

/// John's container, and where the kubelet reports of it.
fn reported(namespace: &str) -> Container {
    let (namespace, pod) = (namespace.to_owned(), "app-0".to_owned());
    Container { report: Some(ContainerReport { namespace, pod, mark: MARK }), ..container(100) }
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

/// The container has terminated; its termination message was this.
fn terminated(message: &str, reason: &str) -> Value {
    let over = json!({
        "containerID": "containerd://c1", "exitCode": 137, "message": message, "reason": reason,
    });
    json!({ "terminated": over })
}

/// As a process leaves it.
fn marked() -> String {
    format!("\n{MARK}\n")
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
    let over = || terminated(&marked(), "OOMKilled");
    let as_others = |list: &str| json!({ list: app(over(), json!({}))["containerStatuses"] });
    let proofs = [
        app(over(), json!({})),
        app(json!({ "running": {} }), over()),
        as_others("initContainerStatuses"),
        as_others("ephemeralContainerStatuses"),
    ];
    for status in proofs {
        let waited = jane_waits(Some(status.clone()), None).await;
        assert!(waited < Duration::from_millis(1_100), "{waited:?} after {status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_such_report_waits_for_the_lease() {
    let over = || terminated(&marked(), "Error");
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
            Some(app(terminated(&format!("\n{}\n", Mark(7)), "Error"), json!({}))),
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
        (
            "nobody knows",
            Some(app(terminated(&marked(), "ContainerStatusUnknown"), json!({}))),
            None,
        ),
        ("a report without a mark", Some(app(terminated("", "Error"), json!({}))), None),
        (
            "it still runs",
            Some(app(json!({ "running": { "message": marked() } }), json!({}))),
            None,
        ),
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
    report(&server, "app-0", app(terminated(&marked(), "Error"), json!({}))).await;
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
    report(&server, "app-0", app(terminated(&marked(), "Error"), json!({}))).await;
    let waited = waiting.await.unwrap();
    assert!(waited >= Duration::from_secs(14) && waited < Duration::from_secs(16), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn the_status_of_a_mirror_pod_is_no_report() {
    let server = ApiServer::new();
    let pod_uid = create_pod(&server, "app-0").await;
    let path = "/api/v1/namespaces/default/pods/app-0";
    let mirror = json!({ "kubernetes.io/config.mirror": "d41d8cd98f00b204e9800998ecf8427e" });
    let mirror = json!({ "metadata": { "annotations": mirror } });
    request(&server, Method::PATCH, path, Some(mirror)).await;
    report(&server, "app-0", app(terminated(&marked(), "Error"), json!({}))).await;
    let _john = john_crashes(&server, Container { pod_uid, ..reported("default") }).await;
    let jane = builder(client(&server), "jane").kubelet_reports(true).build().unwrap();
    let waited = time_to_lead(jane).await;
    assert!(waited >= Duration::from_secs(14), "{waited:?}");
}

/// Whether Jane, who heeds the kubelet, takes over from John within ten seconds of this.
async fn jane_takes_over(server: &ApiServer, then: impl AsyncFnOnce()) -> bool {
    let mut jane = builder(client(server), "jane").kubelet_reports(true).build().unwrap();
    let waiting = tokio::spawn(async move {
        let leadership = jane.campaign().await.unwrap();
        (jane, leadership)
    });
    seconds(1.0).await;
    then().await;
    tokio::time::timeout(Duration::from_secs(10), waiting).await.is_ok()
}

/// Process 1 is the Pod's pause process, or the node's init, and older than the container. The API server
/// still shows the start before as running when John's begins.
#[tokio::test(start_paused = true)]
async fn a_report_of_the_start_before_ends_nobody_however_old_process_1_is() {
    let of_a_shared_namespace = |container| Container { start: None, ..container };
    for john in [container(100), of_a_shared_namespace(container(100)), reported("default")] {
        let server = ApiServer::new();
        let pod_uid = create_pod(&server, "app-0").await;
        let hour_ago = json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } });
        report(&server, "app-0", app(hour_ago, json!({}))).await;
        let john = Container { pod_uid, ..john };
        let john = builder(client(&server), "john").container(Some(john)).kubelet_reports(true);
        let mut john = john.build().unwrap();
        let leadership = john.campaign().await.unwrap();
        seconds(12.0).await;
        // The wall clock was set back meanwhile: this start seems to be the older one.
        let now = json!({ "running": { "startedAt": "2025-12-31T23:00:00Z" } });
        let before = terminated(&format!("\n{}\n", Mark(7)), "Error");
        let took_over = jane_takes_over(&server, async || {
            assert!(leadership.is_valid());
            report(&server, "app-0", app(now, before)).await;
        });
        assert!(!took_over.await, "jane leads while john's process lives and works");
    }
}

#[tokio::test(start_paused = true)]
async fn who_shares_its_pid_namespace_is_not_ended_by_a_report_of_its_own_container() {
    let server = ApiServer::new();
    let pod_uid = create_pod(&server, "app-0").await;
    let shared = Container { pod_uid, start: None, ..reported("default") };
    let _john = john_crashes(&server, shared).await;
    let over = app(terminated(&marked(), "Error"), json!({}));
    let took_over = jane_takes_over(&server, async || report(&server, "app-0", over).await);
    assert!(!took_over.await);
}

#[tokio::test(start_paused = true)]
async fn two_static_pods_of_one_uid_do_not_lead_at_once() {
    let server = ApiServer::new();
    let mut john =
        builder(client(&server), "john").container(Some(container(100))).build().unwrap();
    let leadership = john.campaign().await.unwrap();
    seconds(3.0).await;
    for ticks in [50, 150] {
        let elsewhere = but(container(ticks), |start| start.boot_id = "b-2".to_owned());
        let jane = builder(client(&server), "jane").container(Some(elsewhere));
        let mut jane = jane.build().unwrap();
        let waiting = tokio::time::timeout(Duration::from_secs(10), jane.campaign()).await;
        assert!(waiting.is_err(), "jane leads while john is alive");
        assert!(leadership.is_valid());
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_that_the_process_did_not_find_out_by_itself_gets_no_mark() {
    let server = ApiServer::new();
    let john = builder(client(&server), "john").container(Some(container(100)));
    let mut john = john.kubelet_reports(true).build().unwrap();
    let leadership = john.campaign().await.unwrap();
    seconds(45.0).await;
    let said = published(&server).await;
    assert_eq!((&said["name"], &said["report"]), (&json!("app"), &Value::Null));
    drop(leadership);
}

#[tokio::test(start_paused = true)]
async fn a_record_of_an_earlier_version_proves_nothing() {
    let earlier = json!({
        "podUid": "0b2f", "name": "app", "bootId": "b-1", "startTicks": 100,
        "namespace": "default", "pod": "app-0", "id": "containerd://c1",
    });
    let server = ApiServer::new();
    let _john = john_crashes(&server, container(100)).await;
    rewrite(&server, earlier).await;
    let john_again = builder(client(&server), "john").container(Some(container(250)));
    let waited = time_to_lead(john_again.build().unwrap()).await;
    assert!(waited >= Duration::from_secs(14), "{waited:?}");
}

/// What the leader says of its container.
async fn published(server: &ApiServer) -> Value {
    let term = stored(server).await["metadata"]["annotations"]["incumbent.dev/term"].clone();
    serde_json::from_str::<Value>(term.as_str().unwrap()).unwrap()["container"].clone()
}

/// Puts this in place of what the leader says of its container.
async fn rewrite(server: &ApiServer, container: Value) {
    let term = stored(server).await["metadata"]["annotations"]["incumbent.dev/term"].clone();
    let mut term: Value = serde_json::from_str(term.as_str().unwrap()).unwrap();
    term["container"] = container;
    let annotations = json!({ "incumbent.dev/term": term.to_string() });
    let patch = json!({ "metadata": { "annotations": annotations } });
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/lock";
    request(server, Method::PATCH, path, Some(patch)).await;
}
