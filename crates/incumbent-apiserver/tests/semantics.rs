//! What elections rest on, told as stories; the transcripts hold the exact words.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Full};
use incumbent_apiserver::{ApiServer, Service, Verb};
use jiff::Timestamp;
use serde_json::{Value, json};
use tower_service::Service as _;

const RBAC: &str = "rbac.authorization.k8s.io";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

struct Reply {
    code: u16,
    headers: HeaderMap,
    body: Value,
}

#[tokio::test]
async fn a_lease_that_is_gone_is_not_made_again_by_a_replace_that_names_its_uid() {
    let mut admin = ApiServer::new().service();
    let lease = lease("l", json!({"uid": "5a2c"}));
    let reply = send(&mut admin, "PUT", &format!("{LEASES}/l"), lease).await;
    assert_eq!((reply.code, reply.reason()), (409, "Conflict"));
    assert!(reply.message().contains("Precondition failed: UID in precondition: 5a2c"));
    assert_eq!(get(&mut admin, &format!("{LEASES}/l")).await.code, 404);
}

#[tokio::test]
async fn an_eviction_deletes_the_pod_that_it_means_and_no_other() {
    let mut admin = ApiServer::new().service();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let pod = send(&mut admin, "POST", PODS, pod).await.body;
    let path = format!("{PODS}/p/eviction");
    let eviction = |kind: &str, uid: &Value| {
        json!({
            "apiVersion": "policy/v1", "kind": kind, "metadata": {"name": "p"},
            "deleteOptions": {"preconditions": {"uid": uid}},
        })
    };
    let uid = &pod["metadata"]["uid"];
    for (kind, uid, code) in [
        ("Eviction", &json!("another"), 409),
        ("Pod", uid, 400),
        ("Eviction", uid, 201),
        ("Eviction", uid, 404),
    ] {
        assert_eq!(
            send(&mut admin, "POST", &path, eviction(kind, uid)).await.code,
            code,
            "{kind} {uid}"
        );
    }
    assert_eq!(send(&mut admin, "GET", &path, Value::Null).await.code, 405);
}

#[tokio::test]
async fn a_replace_that_would_create_needs_the_right_to_create() {
    let server = ApiServer::new();
    let token = allow(&server, json!(["get", "update"]));
    let mut candidate = server.service_as(&token);
    let reply = send(&mut candidate, "PUT", &format!("{LEASES}/l"), lease("l", json!({}))).await;
    assert_eq!((reply.code, reply.reason()), (403, "Forbidden"));
    assert!(reply.message().contains("cannot create resource \"leases\""));
}

#[tokio::test]
async fn a_successor_of_the_same_name_is_not_replaced_by_who_means_the_old_one() {
    let mut admin = ApiServer::new().service();
    let old = send(&mut admin, "POST", CONFIG_MAPS, config_map("c")).await.body;
    let path = format!("{CONFIG_MAPS}/c");
    send(&mut admin, "DELETE", &path, Value::Null).await;
    send(&mut admin, "POST", CONFIG_MAPS, config_map("c")).await;
    let mut means_the_old = config_map("c");
    means_the_old["metadata"]["uid"] = old["metadata"]["uid"].clone();
    assert_eq!(send(&mut admin, "PUT", &path, means_the_old).await.code, 409);
    let options = json!({"preconditions": {"uid": old["metadata"]["uid"]}});
    let reply = send(&mut admin, "DELETE", &path, options).await;
    assert_eq!((reply.code, reply.reason()), (409, "Conflict"));
    assert!(reply.message().contains("deleted and then recreated"));
}

#[tokio::test]
async fn a_watch_from_a_forgotten_version_gets_one_error_event_and_ends() {
    let server = ApiServer::builder().history(2).build();
    let first = server.create(config_map("c0")).unwrap();
    for n in 1..5 {
        server.create(config_map(&format!("c{n}"))).unwrap();
    }
    let version = first["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("{CONFIG_MAPS}?watch=1&resourceVersion={version}");
    let reply = get(&mut server.service(), &path).await;
    assert_eq!(reply.code, 200);
    assert_eq!(reply.body["type"], "ERROR");
    assert_eq!(reply.body["object"]["code"], 410);
    assert_eq!(reply.body["object"]["reason"], "Expired");
    let path = format!("{CONFIG_MAPS}?resourceVersion={version}&resourceVersionMatch=Exact");
    let reply = get(&mut server.service(), &path).await;
    assert_eq!((reply.code, reply.reason()), (410, "Expired"));
}

#[tokio::test]
async fn a_page_shows_the_collection_as_it_was_when_the_first_page_was_read() {
    let server = ApiServer::new();
    for n in 0..3 {
        server.create(config_map(&format!("c{n}"))).unwrap();
    }
    let mut admin = server.service();
    let first = get(&mut admin, &format!("{CONFIG_MAPS}?limit=1")).await.body;
    send(&mut admin, "DELETE", &format!("{CONFIG_MAPS}/c1"), Value::Null).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let rest = get(&mut admin, &format!("{CONFIG_MAPS}?continue={token}")).await.body;
    assert_eq!(names(&rest), ["c1", "c2"]);
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_page_of_a_forgotten_version_is_refused_with_a_way_on() {
    let server = ApiServer::builder().history(1).build();
    for n in 0..3 {
        server.create(config_map(&format!("c{n}"))).unwrap();
    }
    let mut admin = server.service();
    let page = |token: &Value| format!("{CONFIG_MAPS}?continue={}", token.as_str().unwrap());
    let first = get(&mut admin, &format!("{CONFIG_MAPS}?limit=1")).await.body;
    for name in ["c3", "c4"] {
        server.create(config_map(name)).unwrap();
    }
    let refused = get(&mut admin, &page(&first["metadata"]["continue"])).await;
    assert_eq!((refused.code, refused.reason()), (410, "Expired"));
    let rest = get(&mut admin, &page(&refused.body["metadata"]["continue"])).await.body;
    assert_eq!(names(&rest), ["c1", "c2", "c3", "c4"]);
}

#[tokio::test]
async fn nobody_gives_away_rights_that_he_does_not_have() {
    let server = ApiServer::new();
    let all = json!({"apiGroups": [RBAC], "resources": ["*"], "verbs": ["create", "update"]});
    let token = allow_rules(&server, json!([all, lease_rule(json!(["get"]))]));
    let mut author = server.service_as(&token);
    let role = |name: &str, verbs: Value| {
        let metadata = json!({"name": name});
        json!({"metadata": metadata, "rules": [lease_rule(verbs)]})
    };
    let path = format!("/apis/{RBAC}/v1/namespaces/default/roles");
    assert_eq!(send(&mut author, "POST", &path, role("less", json!(["get"]))).await.code, 201);
    let refused = send(&mut author, "POST", &path, role("more", json!(["get", "delete"]))).await;
    assert_eq!((refused.code, refused.reason()), (403, "Forbidden"));
    let why = "is attempting to grant RBAC permissions not currently held";
    assert!(refused.message().contains(why), "{}", refused.message());
    let binding = |kind: &str, name: &str| {
        let role = json!({"apiGroup": RBAC, "kind": kind, "name": name});
        json!({"metadata": {"name": name}, "roleRef": role})
    };
    let path = format!("/apis/{RBAC}/v1/namespaces/default/rolebindings");
    assert_eq!(send(&mut author, "POST", &path, binding("Role", "less")).await.code, 201);
    let too_much = binding("ClusterRole", "cluster-admin");
    assert_eq!(send(&mut author, "POST", &path, too_much).await.code, 403);
}

#[tokio::test]
async fn one_asks_as_somebody_else_only_where_a_rule_allows_it() {
    let server = ApiServer::new();
    let rule = json!({"apiGroups": [""], "resources": ["serviceaccounts"],
        "verbs": ["impersonate"]});
    let mut caller = server.service_as(&allow_rules(&server, json!([rule])));
    let other = "system:serviceaccount:default:other";
    let granted = who_am_i(&mut caller, &[("Impersonate-User", other)]).await;
    assert_eq!(granted.code, 201);
    assert_eq!(granted.body["status"]["userInfo"]["username"], other);
    let refused = who_am_i(&mut caller, &[("Impersonate-User", "jane")]).await;
    assert_eq!(refused.code, 403);
    let why = "cannot impersonate resource \"users\"";
    assert!(refused.message().contains(why), "{}", refused.message());
    let masters = ("Impersonate-Group", "system:masters");
    assert_eq!(who_am_i(&mut caller, &[("Impersonate-User", other), masters]).await.code, 403);
    assert_eq!(who_am_i(&mut caller, &[masters]).await.code, 500);
}

#[tokio::test]
async fn a_write_of_which_all_is_dropped_changes_no_version_however_late_it_comes() {
    let seconds = Arc::new(AtomicI64::new(1_800_000_000));
    let clock = seconds.clone();
    let now = move || Timestamp::from_second(clock.load(Ordering::Relaxed)).unwrap();
    let mut admin = ApiServer::builder().clock(now).build().service();
    let mut held = lease("l", json!({}));
    held["spec"] = json!({"holderIdentity": "john"});
    send(&mut admin, "POST", LEASES, held.clone()).await;
    let path = format!("{LEASES}/l");
    held["spec"]["strategy"] = json!("OldestEmulationVersion");
    let mut versions = Vec::new();
    for _ in 0..3 {
        let mut body = held.clone();
        let known = get(&mut admin, &path).await.body["metadata"]["resourceVersion"].clone();
        body["metadata"]["resourceVersion"] = known;
        let written = send(&mut admin, "PUT", &path, body).await;
        assert_eq!(written.body["spec"].get("strategy"), None);
        versions.push(written.body["metadata"]["resourceVersion"].clone());
        seconds.fetch_add(5, Ordering::Relaxed);
    }
    assert_eq!(versions[1], versions[2], "only the first one says who sent the field");
}

#[tokio::test]
async fn an_object_with_a_finalizer_goes_when_its_last_finalizer_does() {
    let mut admin = ApiServer::new().service();
    let mut object = config_map("c");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    send(&mut admin, "POST", CONFIG_MAPS, object).await;
    let path = format!("{CONFIG_MAPS}/c");
    let held = send(&mut admin, "DELETE", &path, Value::Null).await.body;
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(get(&mut admin, &path).await.code, 200);
    let patch = json!({"metadata": {"finalizers": null}});
    assert_eq!(send(&mut admin, "PATCH", &path, patch).await.code, 200);
    assert_eq!(get(&mut admin, &path).await.code, 404);
}

#[tokio::test]
async fn a_running_pod_is_given_its_grace_and_goes_when_somebody_ends_it() {
    let mut admin = ApiServer::new().service();
    let spec = json!({"nodeName": "n", "containers": [{"name": "c", "image": "i"}]});
    let pod = json!({"metadata": {"name": "p"}, "spec": spec});
    assert_eq!(send(&mut admin, "POST", PODS, pod).await.code, 201);
    let path = format!("{PODS}/p");
    let dying = send(&mut admin, "DELETE", &path, Value::Null).await.body;
    assert_eq!(dying["metadata"]["deletionGracePeriodSeconds"], 30);
    let longer = send(&mut admin, "DELETE", &path, json!({"gracePeriodSeconds": 60})).await.body;
    assert_eq!(
        longer["metadata"]["deletionGracePeriodSeconds"], 30,
        "only shortened, never longer"
    );
    send(&mut admin, "DELETE", &path, json!({"gracePeriodSeconds": 0})).await;
    assert_eq!(get(&mut admin, &path).await.code, 404);
}

#[tokio::test]
async fn a_namespace_takes_with_it_what_is_in_it() {
    let server = ApiServer::new();
    let metadata = json!({"name": "n"});
    server.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})).unwrap();
    let mut object = config_map("c");
    object["metadata"]["namespace"] = json!("n");
    server.create(object).unwrap();
    let mut admin = server.service();
    send(&mut admin, "DELETE", "/api/v1/namespaces/n", Value::Null).await;
    assert_eq!(get(&mut admin, "/api/v1/namespaces/n").await.code, 404);
    assert_eq!(get(&mut admin, "/api/v1/namespaces/n/configmaps/c").await.code, 404);
    let reply = send(&mut admin, "DELETE", "/api/v1/namespaces/default", Value::Null).await;
    assert_eq!((reply.code, reply.reason()), (403, "Forbidden"));
}

#[tokio::test]
async fn a_token_ends_with_its_time_and_with_its_account() {
    let seconds = Arc::new(AtomicI64::new(1_700_000_000));
    let clock = seconds.clone();
    let server = ApiServer::builder()
        .clock(move || Timestamp::from_second(clock.load(Ordering::Relaxed)).unwrap())
        .build();
    let token = |name| server.service_account_token("default", name, Duration::from_secs(60));
    let (first, second) = (token("one"), token("two"));
    let review = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let ask = async |token: &str| {
        send(&mut server.service_as(token), "POST", review, json!({})).await.code
    };
    assert_eq!((ask(&first).await, ask(&second).await), (201, 201));
    let account = "/api/v1/namespaces/default/serviceaccounts/two";
    send(&mut server.service(), "DELETE", account, Value::Null).await;
    let renewed = token("two");
    assert_eq!((ask(&second).await, ask(&renewed).await), (401, 201));
    seconds.fetch_add(60, Ordering::Relaxed);
    assert_eq!(ask(&first).await, 401);
}

#[tokio::test]
async fn a_dry_run_is_checked_and_shown_and_not_stored() {
    let server = ApiServer::new();
    let mut admin = server.service();
    server.create(config_map("c")).unwrap();
    let path = format!("{CONFIG_MAPS}/c?dryRun=All");
    let shown = send(&mut admin, "PATCH", &path, json!({"data": {"k": "v"}})).await.body;
    assert_eq!(shown["data"], json!({"k": "v"}));
    send(&mut admin, "DELETE", &path, Value::Null).await;
    let stored = get(&mut admin, &format!("{CONFIG_MAPS}/c")).await.body;
    assert_eq!(stored.get("data"), None);
    let reply =
        send(&mut admin, "POST", &format!("{CONFIG_MAPS}?dryRun=All"), config_map("c")).await;
    assert_eq!(reply.code, 409);
}

#[tokio::test]
async fn an_unknown_field_is_warned_of() {
    let mut admin = ApiServer::new().service();
    let mut object = config_map("c");
    object["dta"] = json!({});
    let reply = send(&mut admin, "POST", CONFIG_MAPS, object).await;
    assert_eq!(reply.headers[header::WARNING], r#"299 - "unknown field \"dta\"""#);
}

#[tokio::test]
async fn generated_names_differ() {
    let server = ApiServer::new();
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "c-"}});
    let name = |object: Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    let (first, second) =
        (name(server.create(object.clone()).unwrap()), name(server.create(object).unwrap()));
    assert_ne!(first, second);
    assert!(first.starts_with("c-") && first.len() == 7);
}

#[tokio::test(start_paused = true)]
async fn an_event_is_one_event_under_both_groups_also_to_who_watches() {
    let server = ApiServer::new();
    let path = "/apis/events.k8s.io/v1/namespaces/default/events?watch=1&timeoutSeconds=5";
    let mut admin = server.service();
    let request = Request::get(path).body(Full::<Bytes>::default()).unwrap();
    let watch = admin.call(request).await.unwrap();
    server
        .create(json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "message": "led",
            "involvedObject": {"kind": "Lease", "name": "l", "namespace": "default"},
        }))
        .unwrap();
    let told = watch.into_body().collect().await.unwrap().to_bytes();
    let told: Value = serde_json::from_slice(&told).unwrap();
    assert_eq!(told["object"]["apiVersion"], "events.k8s.io/v1");
    assert_eq!(told["object"]["note"], "led");
    assert_eq!(told["object"]["regarding"]["name"], "l");
    assert_eq!(server.requests().of(Verb::Watch), 1);
}

#[tokio::test]
async fn who_may_only_read_one_object_may_watch_it_by_its_name() {
    let server = ApiServer::new();
    let token = allow(&server, json!(["get", "list", "watch"]));
    let mut candidate = server.service_as(&token);
    let by_name = "fieldSelector=metadata.name%3Dl";
    assert_eq!(get(&mut candidate, &format!("{LEASES}?{by_name}")).await.code, 200);
    let path = format!("{LEASES}?fieldSelector=metadata.name%3Dother");
    assert_eq!(get(&mut candidate, &path).await.code, 403);
    assert_eq!(get(&mut candidate, LEASES).await.code, 403);
}

/// A token that allows these verbs on the lease `l`.
fn allow(server: &ApiServer, verbs: Value) -> String {
    allow_rules(server, json!([lease_rule(verbs)]))
}

fn lease_rule(verbs: Value) -> Value {
    json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
        "resourceNames": ["l"], "verbs": verbs})
}

fn allow_rules(server: &ApiServer, rules: Value) -> String {
    let (api_version, metadata) = (format!("{RBAC}/v1"), json!({"name": "c"}));
    let role = json!({"apiVersion": api_version, "kind": "Role", "metadata": metadata,
        "rules": rules});
    let binding = json!({"apiVersion": api_version, "kind": "RoleBinding", "metadata": metadata,
        "subjects": [{"kind": "Group", "apiGroup": RBAC, "name": "system:serviceaccounts"}],
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "c"}});
    server.create(role).unwrap();
    server.create(binding).unwrap();
    server.service_account_token("default", "c", Duration::from_secs(600))
}

async fn who_am_i(service: &mut Service, headers: &[(&str, &str)]) -> Reply {
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let mut request = Request::builder().method("POST").uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    reply(service, request.body(Full::from("{}")).unwrap()).await
}

async fn get(service: &mut Service, path: &str) -> Reply {
    send(service, "GET", path, Value::Null).await
}

async fn send(service: &mut Service, method: &str, path: &str, body: Value) -> Reply {
    let content_type = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, content_type)
        .body(Full::<Bytes>::from(body))
        .unwrap();
    reply(service, request).await
}

async fn reply(service: &mut Service, request: Request<Full<Bytes>>) -> Reply {
    let response = service.call(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or_default();
    Reply { code: head.status.as_u16(), headers: head.headers, body }
}

impl Reply {
    fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }

    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

fn lease(name: &str, mut metadata: Value) -> Value {
    metadata["name"] = json!(name);
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata})
}

#[tokio::test]
async fn an_endpoint_slice_has_addresses_of_its_one_type_and_counts_what_changes_routing() {
    const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let mut admin = ApiServer::new().service();
    let slice = |addresses: Value, ports: Value| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "s"}, "endpoints": [{"addresses": addresses}], "ports": ports,
        })
    };
    for (object, why) in [
        (slice(json!(["fd00::7"]), json!([])), "must be an IPv4 address"),
        (slice(json!(["10.0.0.1"]), json!([{"port": 0}])), "must be between 1 and 65535"),
        (slice(json!(["10.0.0.1"]), json!([{"port": 1}, {"port": 2}])), "Duplicate value: \"\""),
        (slice(json!([]), json!([])), "must contain at least 1 address"),
    ] {
        let reply = send(&mut admin, "POST", SLICES, object).await;
        assert_eq!((reply.code, reply.reason()), (422, "Invalid"));
        assert!(reply.message().contains(why), "{}", reply.message());
    }
    let good = slice(json!(["10.0.0.1"]), json!([{"port": 80}]));
    let mut made = send(&mut admin, "POST", SLICES, good).await.body;
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["ports"], json!([{"name": "", "port": 80, "protocol": "TCP"}]));

    let path = format!("{SLICES}/s");
    made["metadata"]["annotations"] = json!({"a": "b"});
    let made = send(&mut admin, "PUT", &path, made).await.body;
    assert_eq!(made["metadata"]["generation"], 1);
    let mut emptied = made.clone();
    emptied["endpoints"] = json!([]);
    let emptied = send(&mut admin, "PUT", &path, emptied).await.body;
    assert_eq!(
        (&emptied["endpoints"], &emptied["metadata"]["generation"]),
        (&json!([]), &json!(2))
    );

    assert_eq!(send(&mut admin, "PUT", &path, made).await.code, 409);
    let mut other = emptied;
    other["addressType"] = json!("IPv6");
    let reply = send(&mut admin, "PUT", &path, other).await;
    assert!(reply.message().contains("field is immutable"), "{}", reply.message());
}
