//! Who owns which field, told as stories; `transcripts/apply.json` holds the exact words.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use incumbent_apiserver::{ApiServer, Service};
use jiff::Timestamp;
use serde_json::{Value, json};
use tower_service::Service as _;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn a_create_and_an_update_say_who_set_what() {
    let mut admin = ApiServer::new().service();
    let spec = json!({"holderIdentity": "a", "leaseDurationSeconds": 15});
    let lease = json!({"metadata": {"name": "l", "labels": {"app": "x"}}, "spec": spec});
    let (_, mut lease) = send(&mut admin, "POST", LEASES, "", lease).await;
    assert_eq!(
        fields_of(&lease, "client"),
        json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:holderIdentity": {}, "f:leaseDurationSeconds": {}}})
    );
    lease["spec"]["holderIdentity"] = json!("b");
    let path = format!("{LEASES}/l?fieldManager=other");
    let (code, lease) = send(&mut admin, "PUT", &path, "", lease).await;
    assert_eq!(code, 200);
    assert_eq!(fields_of(&lease, "other"), json!({"f:spec": {"f:holderIdentity": {}}}));
    assert_eq!(fields_of(&lease, "client")["f:spec"], json!({"f:leaseDurationSeconds": {}}));
}

#[tokio::test]
async fn a_write_that_changes_nothing_is_none_however_late_it_comes() {
    let now = Arc::new(AtomicI64::new(1_767_225_600));
    let seconds = now.clone();
    let clock = move || Timestamp::from_second(seconds.load(Ordering::Relaxed)).unwrap();
    let mut admin = ApiServer::builder().clock(clock).build().service();
    let applied = config_map(json!({"x": "1"}));
    let path = format!("{CONFIG_MAPS}/c?fieldManager=one");
    let (code, first) = send(&mut admin, "PATCH", &path, APPLY, applied.clone()).await;
    assert_eq!(code, 201);
    now.fetch_add(60, Ordering::Relaxed);
    let (_, again) = send(&mut admin, "PATCH", &path, APPLY, applied).await;
    assert_eq!(again, first);
    let (_, put) = send(&mut admin, "PUT", &path, "", first.clone()).await;
    assert_eq!(put, first);
    let (_, changed) = send(&mut admin, "PATCH", &path, APPLY, config_map(json!({"x": "2"}))).await;
    assert_eq!(changed["metadata"]["managedFields"][0]["time"], "2026-01-01T00:01:00Z");
}

#[tokio::test]
async fn a_renewal_changes_the_time_of_its_writer_and_nobodys_fields() {
    let now = Arc::new(AtomicI64::new(1_767_225_600));
    let seconds = now.clone();
    let clock = move || Timestamp::from_second(seconds.load(Ordering::Relaxed)).unwrap();
    let mut admin = ApiServer::builder().clock(clock).build().service();
    let lease =
        json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "leaseTransitions": 0}});
    send(&mut admin, "POST", LEASES, "", lease).await;
    let other = json!({"metadata": {"labels": {"app": "x"}}});
    let path = format!("{LEASES}/l?fieldManager=other");
    let merge = "application/merge-patch+json";
    let (_, mut lease) = send(&mut admin, "PATCH", &path, merge, other).await;
    let before = [fields_of(&lease, "client"), fields_of(&lease, "other")];
    now.fetch_add(5, Ordering::Relaxed);
    lease["spec"]["leaseTransitions"] = json!(1);
    let (_, lease) = send(&mut admin, "PUT", &format!("{LEASES}/l"), "", lease).await;
    assert_eq!([fields_of(&lease, "client"), fields_of(&lease, "other")], before);
    let times: Vec<_> = lease["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["manager"].as_str().unwrap(), entry["time"].as_str().unwrap()))
        .collect();
    let expected = [("other", "2026-01-01T00:00:00Z"), ("client", "2026-01-01T00:00:05Z")];
    assert_eq!(times, expected);
}

#[tokio::test]
async fn a_field_that_another_set_is_a_conflict_unless_it_gets_the_same_value() {
    let mut admin = ApiServer::new().service();
    send(&mut admin, "POST", CONFIG_MAPS, "", config_map(json!({"x": "1", "y": "1"}))).await;
    let path = format!("{CONFIG_MAPS}/c?fieldManager=one");
    let (code, _) = send(&mut admin, "PATCH", &path, APPLY, config_map(json!({"x": "1"}))).await;
    assert_eq!(code, 200);
    let both = config_map(json!({"x": "2", "y": "2"}));
    let (code, refused) = send(&mut admin, "PATCH", &path, APPLY, both.clone()).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")));
    assert_eq!(
        refused["message"],
        "Apply failed with 2 conflicts: conflicts with \"client\" using v1:\n- .data.x\n- .data.y"
    );
    assert_eq!(refused["details"]["causes"].as_array().map(Vec::len), Some(2));
    let path = format!("{path}&force=true");
    let (code, forced) = send(&mut admin, "PATCH", &path, APPLY, both).await;
    assert_eq!((code, &forced["data"]), (200, &json!({"x": "2", "y": "2"})));
    assert_eq!(fields_of(&forced, "client"), json!({"f:data": {}}));
}

#[tokio::test]
async fn a_patch_without_a_name_applies_to_what_is_there_and_creates_nothing() {
    let mut admin = ApiServer::new().service();
    let path = format!("{CONFIG_MAPS}/c?fieldManager=one");
    let nameless =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"x": "1"}});
    let (code, refused) = send(&mut admin, "PATCH", &path, APPLY, nameless.clone()).await;
    let why = "the name of the object (c based on URL) was undeterminable: name must be provided";
    assert_eq!((code, &refused["message"]), (400, &json!(why)));
    send(&mut admin, "POST", CONFIG_MAPS, "", config_map(json!({}))).await;
    let (code, applied) = send(&mut admin, "PATCH", &path, APPLY, nameless).await;
    assert_eq!((code, &applied["metadata"]["name"]), (200, &json!("c")));
    assert_eq!(applied["data"], json!({"x": "1"}));
}

#[tokio::test]
async fn what_is_no_longer_applied_goes_unless_somebody_else_owns_it_too() {
    let mut admin = ApiServer::new().service();
    let path = |manager: &str| format!("{CONFIG_MAPS}/c?fieldManager={manager}");
    let all = json!({"x": "1", "y": "1", "z": "1"});
    send(&mut admin, "PATCH", &path("one"), APPLY, config_map(all)).await;
    send(&mut admin, "PATCH", &path("two"), APPLY, config_map(json!({"y": "1"}))).await;
    let (_, left) =
        send(&mut admin, "PATCH", &path("one"), APPLY, config_map(json!({"x": "1"}))).await;
    assert_eq!(left["data"], json!({"x": "1", "y": "1"}));
}

#[tokio::test]
async fn containers_are_owned_one_by_one() {
    let mut admin = ApiServer::new().service();
    let pod = |name: &str, image: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": [{"name": name, "image": image}]}})
    };
    let path = |manager: &str| format!("{PODS}/p?fieldManager={manager}");
    let (code, _) = send(&mut admin, "PATCH", &path("one"), APPLY, pod("a", "1")).await;
    assert_eq!(code, 201);
    let (_, refused) = send(&mut admin, "PATCH", &path("two"), APPLY, pod("a", "2")).await;
    assert_eq!(
        refused["message"],
        "Apply failed with 1 conflict: conflict with \"one\": .spec.containers[name=\"a\"].image"
    );
    let (code, changed) = send(&mut admin, "PATCH", &path("one"), APPLY, pod("a", "2")).await;
    assert_eq!(code, 200, "{changed}");
    let status = json!({"status": {"phase": "Running"}});
    let merge = "application/merge-patch+json";
    let (_, running) = send(&mut admin, "PATCH", &format!("{PODS}/p/status"), merge, status).await;
    let entries = running["metadata"]["managedFields"].as_array().unwrap();
    let kubelet = entries.iter().find(|entry| entry["subresource"] == "status").unwrap();
    assert_eq!(kubelet["fieldsV1"], json!({"f:status": {"f:phase": {}}}));
}

#[tokio::test]
async fn a_body_may_be_yaml_and_an_unknown_field_is_an_error() {
    let mut admin = ApiServer::new().service();
    let path = format!("{CONFIG_MAPS}/c?fieldManager=one");
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  leader: jane\n";
    let (code, made) = send_text(&mut admin, "PATCH", &path, APPLY, yaml).await;
    assert_eq!((code, &made["data"]), (201, &json!({"leader": "jane"})));
    let yaml = yaml.replace("\ndata:", "\ndta:");
    let (code, refused) = send_text(&mut admin, "PATCH", &path, APPLY, &yaml).await;
    assert_eq!(code, 500);
    assert_eq!(
        refused["message"],
        "failed to create typed patch object (/c; /v1, Kind=ConfigMap): .dta: field not \
         declared in schema"
    );
    let cbor = "application/apply-patch+cbor";
    assert_eq!(send_text(&mut admin, "PATCH", &path, cbor, "").await.0, 415);
    let second = yaml.replace("name: c", "name: d").replace("dta:", "data:");
    let (code, _) = send_text(&mut admin, "POST", CONFIG_MAPS, "application/yaml", &second).await;
    assert_eq!(code, 201);
}

#[tokio::test]
async fn an_object_that_is_meant_by_its_uid_is_not_made_anew() {
    let mut admin = ApiServer::new().service();
    let path = format!("{CONFIG_MAPS}/c?fieldManager=one");
    let mut applied = config_map(json!({"x": "1"}));
    applied["metadata"]["uid"] = json!("5a2c");
    for expected in ["no existing object was found", "Precondition failed"] {
        let (code, refused) = send(&mut admin, "PATCH", &path, APPLY, applied.clone()).await;
        assert_eq!(code, 409);
        assert!(refused["message"].as_str().unwrap().contains(expected), "{refused}");
        send(&mut admin, "POST", CONFIG_MAPS, "", config_map(json!({}))).await;
    }
}

#[tokio::test]
async fn the_owners_can_be_rewritten_and_reset() {
    let mut admin = ApiServer::new().service();
    let (_, mut object) =
        send(&mut admin, "POST", CONFIG_MAPS, "", config_map(json!({"x": "1"}))).await;
    let path = format!("{CONFIG_MAPS}/c?fieldManager=one");
    object["metadata"]["managedFields"][0]["manager"] = json!("one");
    object["metadata"]["managedFields"][0]["operation"] = json!("Apply");
    let (_, rewritten) = send(&mut admin, "PUT", &path, "", object).await;
    assert!(!fields_of(&rewritten, "one").is_null());
    let (_, left) = send(&mut admin, "PATCH", &path, APPLY, config_map(json!({"y": "1"}))).await;
    assert_eq!(left["data"], json!({"y": "1"}));
    let reset = json!({"metadata": {"managedFields": [{}]}});
    let merge = "application/merge-patch+json";
    let (_, left) = send(&mut admin, "PATCH", &path, merge, reset).await;
    assert_eq!(left["metadata"]["managedFields"], Value::Null);
    let (_, refused) = send(&mut admin, "PATCH", &path, APPLY, config_map(json!({"y": "2"}))).await;
    assert!(refused["message"].as_str().unwrap().contains("before-first-apply"), "{refused}");
}

const APPLY: &str = "application/apply-patch+yaml";

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
}

fn fields_of(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let mut own = entries.filter(|entry| entry["manager"] == manager);
    own.next().map(|entry| entry["fieldsV1"].clone()).unwrap_or_default()
}

async fn send(
    service: &mut Service,
    method: &str,
    path: &str,
    content_type: &str,
    body: Value,
) -> (u16, Value) {
    send_text(service, method, path, content_type, &body.to_string()).await
}

async fn send_text(
    service: &mut Service,
    method: &str,
    path: &str,
    content_type: &str,
    body: &str,
) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::USER_AGENT, "client/1.0 (linux)")
        .body(Full::<Bytes>::from(body.to_owned()))
        .unwrap();
    let response = service.call(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), serde_json::from_slice(&bytes).unwrap_or_default())
}
