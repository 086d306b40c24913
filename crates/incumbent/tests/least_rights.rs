//! The Roles in `deploy/plain`, as `incumbent manifests` prints them, are enough; and each verb in them is
//! needed: without it, a behaviour that is named here is gone.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use http::{Method, Request};
use incumbent::{
    Blackboard, Builder, Candidate, Claim, Clock, Container, ContainerReport, ContainerStart,
    Leadership, Lock, Mark, Route,
};
use incumbent_apiserver::{ApiServer, Verb};
use serde_json::{Value, json};
use support::seconds;

/// The file; what it lets an account do; and which of that is gone without each verb.
struct Mode {
    file: &'static str,
    without: &'static [(&'static str, &'static [&'static str])],
}

const MODES: [Mode; 8] = [
    Mode {
        file: "lease",
        without: &[
            ("leases get", &["hands over", "leads", "makes the lock", "waits without asking"]),
            ("leases create", &["hands over", "leads", "makes the lock", "waits without asking"]),
            ("leases update", &["hands over", "leads", "waits without asking"]),
            ("leases watch", &["waits without asking"]),
        ],
    },
    Mode {
        file: "lease-made",
        without: &[
            ("leases get", &["hands over", "leads", "waits without asking"]),
            ("leases update", &["hands over", "leads", "waits without asking"]),
            ("leases watch", &["waits without asking"]),
        ],
    },
    Mode {
        file: "configmap",
        without: &[
            ("configmaps get", &["hands over", "leads", "makes the lock", "waits without asking"]),
            (
                "configmaps create",
                &["hands over", "leads", "makes the lock", "waits without asking"],
            ),
            ("configmaps update", &["hands over", "leads", "waits without asking"]),
            ("configmaps watch", &["waits without asking"]),
        ],
    },
    Mode {
        file: "configmap-made",
        without: &[
            ("configmaps get", &["claims", "hands over", "is a member", "leads"]),
            ("configmaps update", &["claims", "hands over", "is a member", "leads"]),
        ],
    },
    Mode { file: "events", without: &[("events create", &["writes Events"])] },
    Mode {
        file: "kubelet-reports",
        without: &[("pods watch", &["takes over by the kubelet's report"])],
    },
    Mode {
        file: "label",
        without: &[
            ("pods get", &["labels the leader"]),
            ("pods list", &["heals a dead leader's label"]),
            ("pods patch", &["heals a dead leader's label", "labels the leader"]),
        ],
    },
    Mode {
        file: "endpoint-slice",
        without: &[
            ("endpointslices get", &["shows its address", "takes its address back"]),
            ("endpointslices update", &["takes its address back"]),
            ("endpointslices create", &["shows its address", "takes its address back"]),
        ],
    },
];

#[tokio::test(start_paused = true)]
async fn with_the_printed_role_everything_works_and_each_verb_taken_away_costs_a_behaviour() {
    for mode in &MODES {
        let printed = printed(mode.file);
        let whole = works(&printed, mode.file, None).await;
        let mut verbs = verbs(&printed);
        // What a mode adds is in the table; that the lock's own rule is needed, its own mode shows.
        if !mode.without.iter().any(|(verb, _)| verb.starts_with("leases")) {
            verbs.retain(|(resource, _)| resource != "leases");
        }
        let named: BTreeSet<_> = verbs.iter().map(|(of, verb)| format!("{of} {verb}")).collect();
        let known: BTreeSet<_> = mode.without.iter().map(|(verb, _)| (*verb).to_owned()).collect();
        assert_eq!(named, known, "the table of {}", mode.file);
        for (verb, lost) in mode.without {
            let left = works(&printed, mode.file, Some(verb)).await;
            let gone: Vec<_> = whole.difference(&left).copied().collect();
            assert_eq!(gone, *lost, "{} without {verb}; of {whole:?}", mode.file);
            assert!(!gone.is_empty() && left.is_subset(&whole), "{left:?}");
        }
        assert!(whole.contains("leads") && whole.contains("hands over"), "{}", mode.file);
    }
}

#[test]
fn the_role_for_everything_grants_what_its_parts_grant_and_no_more() {
    let parts = ["lease", "events", "kubelet-reports", "label", "endpoint-slice"];
    let sum: BTreeSet<_> = parts.iter().flat_map(|file| verbs(&printed(file))).collect();
    let everything = verbs(&printed("everything"));
    assert_eq!(everything.len(), sum.len(), "no verb twice");
    assert_eq!(everything.into_iter().collect::<BTreeSet<_>>(), sum);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_granted_beside_the_lock() {
    for mode in &MODES {
        let printed = printed(mode.file);
        let (_, client) = server(&printed, None);
        let (leases, maps) = (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            "/api/v1/namespaces/default/configmaps",
        );
        for (method, path) in [
            (Method::GET, format!("{leases}/other")),
            (Method::PUT, format!("{leases}/other")),
            (Method::PATCH, format!("{leases}/scanner")),
            (Method::DELETE, format!("{leases}/scanner")),
            (Method::GET, leases.to_owned()),
            (Method::DELETE, leases.to_owned()),
            (Method::GET, format!("{maps}/other")),
            (Method::PUT, format!("{maps}/other")),
            (Method::PATCH, format!("{maps}/scanner")),
            (Method::DELETE, format!("{maps}/scanner")),
            (Method::GET, maps.to_owned()),
            (Method::DELETE, "/api/v1/namespaces/default/pods/a".to_owned()),
            (Method::PUT, "/api/v1/namespaces/default/pods/a".to_owned()),
            (Method::GET, "/api/v1/namespaces/default/events".to_owned()),
            (Method::GET, leases.replace("default", "kube-system") + "/scanner"),
        ] {
            let request = Request::builder().method(method.clone()).uri(&path);
            let request = request.header("Content-Type", "application/merge-patch+json");
            let answer = client.request::<Value>(request.body(b"{}".to_vec()).unwrap()).await;
            let Err(kube::Error::Api(refusal)) = answer else {
                panic!("{}: {method} {path} is allowed: {answer:?}", mode.file)
            };
            assert_eq!(refusal.code, 403, "{}: {method} {path}: {refusal:?}", mode.file);
        }
    }
}

/// The objects of a file, without those of kinds that have nothing to do with rights.
fn printed(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/plain");
    let text = std::fs::read_to_string(path.join(format!("{file}.yaml"))).unwrap();
    let documents = text.split("---\n").map(|document| serde_saphyr::from_str(document).unwrap());
    documents.collect()
}

fn role(objects: &[Value]) -> &Value {
    objects.iter().find(|object| object["kind"] == "Role").unwrap()
}

/// Resource and verb, of all rules.
fn verbs(objects: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut verbs = Vec::new();
    for rule in role(objects)["rules"].as_array().unwrap() {
        for resource in rule["resources"].as_array().unwrap() {
            let of = |verb| (text(resource), text(verb));
            verbs.extend(rule["verbs"].as_array().unwrap().iter().map(of));
        }
    }
    verbs
}

/// A server with these objects, but for one verb, and a client with the account that they are for.
fn server(objects: &[Value], without: Option<&str>) -> (ApiServer, kube::Client) {
    let server = ApiServer::new();
    for object in objects {
        let mut object = object.clone();
        if object["kind"] == "Role" {
            for rule in object["rules"].as_array_mut().unwrap() {
                let resource = rule["resources"][0].as_str().unwrap().to_owned();
                let verbs = rule["verbs"].as_array_mut().unwrap();
                let is_kept = |verb: &Value| {
                    Some(format!("{resource} {}", verb.as_str().unwrap()).as_str()) != without
                };
                verbs.retain(is_kept);
            }
            let rules = object["rules"].as_array_mut().unwrap();
            rules.retain(|rule| rule["verbs"] != json!([]));
        }
        server.create(object).unwrap();
    }
    let token = server.service_account_token("default", "scanner", A_DAY);
    let client = kube::Client::new(server.service_as(&token), "default");
    (server, client)
}

const A_DAY: Duration = Duration::from_secs(86_400);

/// Everything that this mode is for, as far as it works without this verb.
async fn works(objects: &[Value], file: &str, without: Option<&str>) -> BTreeSet<&'static str> {
    // Each on a server of its own, so that none is disturbed by what another left.
    let world = || {
        let (server, client) = server(objects, without);
        World { server, client, is_map: file.starts_with("configmap") }
    };
    let mut works = match file {
        "events" => world().events().await,
        "kubelet-reports" => world().kubelet_reports().await,
        "label" => world().label().await,
        "endpoint-slice" => world().endpoint_slice().await,
        _ => BTreeSet::new(),
    };
    works.extend(world().election().await);
    if file == "configmap-made" {
        works.extend(world().blackboard().await);
        works.remove("waits without asking");
    }
    if file.ends_with("-made") {
        works.remove("makes the lock");
    }
    works
}

struct World {
    server: ApiServer,
    /// With the rights that are on trial.
    client: kube::Client,
    is_map: bool,
}

impl World {
    fn lock(&self) -> Lock {
        match self.is_map {
            true => Lock::config_map("default", "scanner"),
            false => Lock::lease("default", "scanner"),
        }
    }

    fn builder(&self, identity: &str) -> Builder {
        let builder = Candidate::builder(self.client.clone(), self.lock());
        builder.identity(identity).clock(Clock::tokio()).on_overrun(|_| {})
    }

    /// As the administrator.
    async fn ask(&self, method: Method, path: &str, body: Value) -> Option<Value> {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(path);
        let request = request.header("Content-Type", "application/merge-patch+json");
        support::client(&self.server).request(request.body(body).unwrap()).await.ok()
    }

    async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, Value::Null).await.unwrap_or_default()
    }

    async fn stored_lock(&self) -> Value {
        let path = match self.is_map {
            true => "/api/v1/namespaces/default/configmaps/scanner",
            false => "/apis/coordination.k8s.io/v1/namespaces/default/leases/scanner",
        };
        self.get(path).await
    }

    async fn create_pod(&self, name: &str) -> String {
        let metadata = json!({ "name": name, "namespace": "default" });
        let spec = json!({ "containers": [{ "name": "app", "image": "app" }] });
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
        let pod = self.server.create(pod).unwrap();
        pod["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    async fn report(&self, pod: &str, status: Value) {
        let path = format!("/api/v1/namespaces/default/pods/{pod}/status");
        let status = json!({ "containerStatuses": [status] });
        self.ask(Method::PATCH, &path, json!({ "status": status })).await.unwrap();
    }

    /// First come, waiting, and a handover.
    async fn election(&self) -> BTreeSet<&'static str> {
        let mut works = BTreeSet::new();
        let first = lead(self.builder("john")).await;
        if !self.stored_lock().await.is_null() {
            works.insert("makes the lock");
        }
        let Some((first, _john)) = first else { return works };
        works.insert("leads");
        let waiting = tokio::spawn(lead(self.builder("jane")));
        seconds(2.0).await;
        let before = self.server.requests().of(Verb::Get);
        seconds(60.0).await;
        if self.server.requests().of(Verb::Get) == before {
            works.insert("waits without asking");
        }
        first.release().await;
        if waiting.await.unwrap().is_some() {
            works.insert("hands over");
        }
        works
    }
}

/// Leads within two minutes of paused time, or is told that it may not.
async fn lead(builder: Builder) -> Option<(Leadership, Candidate)> {
    let mut candidate = builder.build().unwrap();
    let led = tokio::time::timeout(Duration::from_secs(120), candidate.campaign()).await;
    let leadership = led.ok()?.ok()?;
    seconds(1.0).await;
    Some((leadership, candidate))
}

/// What more there is than an election. Each ends with a free lock.
impl World {
    async fn blackboard(&self) -> BTreeSet<&'static str> {
        let mut works = BTreeSet::new();
        let board = Blackboard::on(self.client.clone(), self.lock()).key("first");
        if matches!(board.claim("john").await, Ok(Claim::Yours { .. }))
            && matches!(board.claim("jane").await, Ok(Claim::Taken { .. }))
        {
            works.insert("claims");
        }
        let member = board.register("john", "10.0.0.8:80").await;
        let found = board.find("john").await;
        if let (Ok(member), Ok(Some(_))) = (member, found) {
            works.insert("is a member");
            member.leave().await;
        }
        works
    }

    async fn events(&self) -> BTreeSet<&'static str> {
        let (leadership, _john) = lead(self.builder("john").events(true)).await.unwrap();
        leadership.release().await;
        seconds(1.0).await;
        let events = self.get("/api/v1/namespaces/default/events").await;
        let is_written = events["items"].as_array().is_some_and(|events| events.len() == 2);
        is_written.then_some("writes Events").into_iter().collect()
    }

    async fn kubelet_reports(&self) -> BTreeSet<&'static str> {
        let mut works = BTreeSet::new();
        let pod_uid = self.create_pod("app-0").await;
        // Somebody whose rights are not on trial leads, says where it is reported of, and is gone.
        let [boot_id, file, name] = ["b-1", "6f1c9d02", "app"].map(str::to_owned);
        let start = ContainerStart { boot_id, sandbox: 4_026_532_178, file, ticks: 4711 };
        let [namespace, pod] = ["default", "app-0"].map(str::to_owned);
        let report = ContainerReport { namespace, pod, mark: MARK };
        let (start, report) = (Some(start), Some(report));
        let container = Container { pod_uid, name, start, report };
        let line = support::Line::to(&self.server);
        let dead = Candidate::builder(support::client_on(&self.server, &line), self.lock());
        let dead = dead.identity("dead").clock(Clock::tokio()).on_overrun(|_| {});
        let (gone, dead) = lead(dead.container(Some(container))).await.unwrap();
        line.set(support::State::Silent);
        drop(gone);
        let before = tokio::time::Instant::now();
        let waiting = tokio::spawn(lead(self.builder("jane").kubelet_reports(true)));
        seconds(1.0).await;
        let over = json!({ "exitCode": 137, "reason": "Error", "message": MARK.to_string() });
        self.report("app-0", status(json!({ "terminated": over }))).await;
        let (next, _jane) = waiting.await.unwrap().unwrap();
        if before.elapsed() < Duration::from_secs(8) {
            works.insert("takes over by the kubelet's report");
        }
        next.release().await;
        drop(dead);
        works
    }

    async fn label(&self) -> BTreeSet<&'static str> {
        let mut works = BTreeSet::new();
        for pod in ["a", "b"] {
            self.create_pod(pod).await;
        }
        const KEY: &str = "incumbent.dev/leader-of.scanner";
        let dead = json!({ "labels": { KEY: "true" }, "annotations": { KEY: "1" } });
        let path = "/api/v1/namespaces/default/pods";
        self.ask(Method::PATCH, &format!("{path}/b"), json!({ "metadata": dead })).await.unwrap();
        let john = self.builder("john").route(Route::label().pod("default", "a"));
        let (leadership, _john) = lead(john).await.unwrap();
        seconds(30.0).await;
        let label = |pod: Value| pod["metadata"]["labels"][KEY] == "true";
        if label(self.get(&format!("{path}/a")).await) {
            works.insert("labels the leader");
        }
        if !label(self.get(&format!("{path}/b")).await) {
            works.insert("heals a dead leader's label");
        }
        leadership.release().await;
        works
    }

    async fn endpoint_slice(&self) -> BTreeSet<&'static str> {
        let mut works = BTreeSet::new();
        let route = Route::endpoint_slice("web", 8080);
        let john = self.builder("john").address("10.0.0.7:8080").route(route);
        let (leadership, _john) = lead(john).await.unwrap();
        let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/web-leader";
        seconds(1.0).await;
        if self.get(path).await["endpoints"][0]["addresses"] == json!(["10.0.0.7"]) {
            works.insert("shows its address");
        }
        leadership.release().await;
        seconds(1.0).await;
        let slice = self.get(path).await;
        if slice.is_object() && slice["endpoints"][0].is_null() {
            works.insert("takes its address back");
        }
        works
    }
}

const MARK: Mark = Mark(0x0f8e_2a61_c4d9_4b7e_a3b5_d2c1_908f_7e6d);

fn status(state: Value) -> Value {
    json!({
        "name": "app", "image": "app", "imageID": "", "ready": true, "restartCount": 0,
        "containerID": "containerd://c1", "state": state,
    })
}
