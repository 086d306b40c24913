//! Answers to strange requests, in the words of a kube-apiserver 1.36.3, to which each of these was sent.
//!
//! `interop/compare.py` plays more of them, at random, to both.

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use incumbent_apiserver::{ApiServer, Service};
use serde_json::{Value, json};
use tower_service::Service as _;

const CM: &str = "/api/v1/namespaces/default/configmaps";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// Method, path, content type and body; code, and how the message ends.
type Row<'a> = (&'a str, String, &'a str, Value, u16, &'a str);

#[tokio::test]
async fn codes_come_in_the_order_of_upstreams_checks() {
    let versioned = |version: &str| json!({"metadata": {"name": "n", "resourceVersion": version}});
    let elsewhere = json!({"metadata": {"name": "n", "namespace": "elsewhere"}});
    let elsewhere_why = "does not match the namespace sent on the request";
    let mut invalid = versioned("5");
    invalid["metadata"]["labels"] = json!({"a": "x".repeat(64)});
    let long = "must be no more than 63 bytes";
    let version_why = "resourceVersion should not be set on objects to be created";
    let no_version = "strconv.ParseUint: parsing \"x\": invalid syntax";
    say(&[
        ("POST", CM.into(), JSON, versioned("5"), 500, version_why),
        ("POST", CM.into(), JSON, invalid, 422, long),
        ("POST", CM.into(), JSON, versioned("x"), 201, ""),
        ("POST", format!("{CM}?dryRun=All"), JSON, versioned("5"), 201, ""),
        ("PUT", format!("{CM}/n"), JSON, versioned("x"), 404, "configmaps \"n\" not found"),
        ("PUT", format!("{LEASES}/n"), JSON, versioned("x"), 500, no_version),
        ("PUT", format!("{CM}/n"), JSON, elsewhere.clone(), 400, elsewhere_why),
        ("PUT", format!("{LEASES}/n"), JSON, elsewhere, 400, elsewhere_why),
        ("PUT", format!("{ROLES}/n"), JSON, json!({"metadata": {"name": "n"}}), 201, ""),
        ("PATCH", format!("{CM}/n"), MERGE, json!([]), 404, "configmaps \"n\" not found"),
        ("PATCH", format!("{CM}/a?force=true"), MERGE, json!({}), 422, "for non-apply patch"),
        ("GET", format!("{CM}/a?resourceVersion=x"), JSON, Value::Null, 500, no_version),
        ("GET", format!("{CM}?resourceVersion=x"), JSON, Value::Null, 400, no_version),
        ("GET", format!("{CM}?watch=1&limit=x"), JSON, Value::Null, 400, "invalid syntax"),
        ("HEAD", format!("{CM}/a"), JSON, Value::Null, 405, "on the requested resource"),
    ])
    .await;
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_named_by_the_decoder_that_met_it() {
    let lease = |spec: Value| json!({"metadata": {"name": "n"}, "spec": spec});
    let data = |data: Value| json!({"metadata": {"name": "n"}, "data": data});
    let time = "cannot parse \"789Z\" as \"Z07:00\"";
    say(&[
        ("POST", CM.into(), JSON, data(json!({"k": 1})), 400, "ConfigMap.data of type string"),
        ("POST", CM.into(), JSON, data(json!([])), 400, "ConfigMap.data of type map[string]string"),
        (
            "POST",
            CM.into(),
            JSON,
            json!({"metadata": {"name": "n", "labels": {"a": 1}}}),
            400,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type \
             string",
        ),
        (
            "POST",
            CM.into(),
            JSON,
            json!({"metadata": {"name": "n"}, "binaryData": {"b": "not base64!"}}),
            400,
            "cannot be handled as a ConfigMap: illegal base64 data at input byte 3",
        ),
        (
            "POST",
            LEASES.into(),
            JSON,
            lease(json!({"leaseDurationSeconds": "15"})),
            400,
            "LeaseSpec.spec.leaseDurationSeconds of type int32",
        ),
        (
            "POST",
            LEASES.into(),
            JSON,
            // The time is what it tells of, though it comes later.
            lease(json!({"holderIdentity": 5, "renewTime": "2026-01-01T00:00:00.123456789Z"})),
            400,
            time,
        ),
        ("PATCH", format!("{CM}/a"), MERGE, json!({"data": {"k": 1}}), 422, "of type string"),
        (
            "PATCH",
            format!("{CM}/a"),
            STRATEGIC,
            json!({"data": {"k": 1}}),
            422,
            "Invalid value: \"map[data:map[k:1]]\": cannot convert int64 to string",
        ),
        (
            "PATCH",
            format!("{CM}/a?fieldValidation=Strict"),
            STRATEGIC,
            json!({"metadata": {"unk": "x"}}),
            422,
            "\"map[metadata:map[unk:x]]\": strict decoding error: unknown field \"metadata.unk\"",
        ),
        ("GET", format!("{CM}?labelSelector=a+b"), JSON, Value::Null, 400, "=, ==, !=, gt, lt"),
    ])
    .await;
}

#[tokio::test]
async fn what_is_applied_is_checked_by_its_types_then_converted() {
    let lease = |spec: Value| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "a"}, "spec": spec})
    };
    let apply = |spec, code, why| {
        ("PATCH", format!("{LEASES}/a?fieldManager=m"), APPLY, lease(spec), code, why)
    };
    say(&[
        apply(
            json!({"unknown": null}),
            500,
            "failed to create typed patch object (/a; coordination.k8s.io/v1, Kind=Lease): \
             .spec.unknown: field not declared in schema",
        ),
        apply(
            json!({"holderIdentity": 5}),
            500,
            ".spec.holderIdentity: expected string, got &value.valueUnstructured{Value:5}",
        ),
        apply(
            json!({"renewTime": "2026-01-01T00:00:00Z"}),
            500,
            "to proper version: unable to convert unstructured object to coordination.k8s.io/v1, \
             Kind=Lease: parsing time \"2026-01-01T00:00:00Z\" as \
             \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"Z\" as \".000000\"",
        ),
        // Nobody reads a number as a whole one before it is known whose it is.
        apply(
            json!({"leaseTransitions": 1.5}),
            409,
            "conflict with \"incumbent-apiserver\" using coordination.k8s.io/v1: .spec.leaseTransitions",
        ),
        apply(json!({"leaseDurationSeconds": 3_000_000_000_i64}), 422, "must be greater than 0"),
        apply(json!({"leaseTransitions": null}), 409, ": .spec.leaseTransitions"),
    ])
    .await;
}

#[tokio::test]
async fn a_null_that_is_applied_owns_its_field() {
    let mut admin = server();
    let path = format!("{CM}/a?fieldManager=m&force=true");
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "a", "labels": null}, "data": {"x": null}});
    let (code, _, answer) = send(&mut admin, "PATCH", &path, APPLY, &body).await;
    assert_eq!((code, &answer["data"]), (200, &json!({"k": "v", "x": ""})));
    let own = &answer["metadata"]["managedFields"][0];
    let fields = json!({"f:data": {"f:x": {}}, "f:metadata": {"f:labels": {}}});
    assert_eq!((&own["operation"], &own["fieldsV1"]), (&json!("Apply"), &fields));
}

#[tokio::test]
async fn a_json_patch_takes_what_is_not_there_for_null_but_cannot_remove_it() {
    let patch = |op: Value, code| {
        let why = if code == 422 { "due to an error in our request" } else { "" };
        ("PATCH", format!("{CM}/a"), PATCH, json!([op]), code, why)
    };
    say(&[
        patch(json!({"op": "remove", "path": "/nope"}), 422),
        patch(json!({"op": "move", "from": "/nope", "path": "/data/x"}), 422),
        patch(json!({"op": "replace", "path": "/nope/x", "value": 1}), 422),
        patch(json!({"op": "replace", "path": "/nope", "value": 1}), 200),
        patch(json!({"op": "test", "path": "/nope", "value": null}), 200),
        patch(json!({"op": "copy", "from": "/nope", "path": "/data"}), 200),
        patch(json!({"op": "add", "path": "/data"}), 200),
        patch(json!({"op": "add", "path": "data"}), 422),
    ])
    .await;
}

#[tokio::test]
async fn a_replace_says_what_is_wrong_with_metadata_as_often_as_upstream_checks_it() {
    let mut admin = server();
    let body = json!({"metadata": {"labels": {"a": "-"}, "finalizers": ["x"]}});
    let mut fields = Vec::new();
    for path in [format!("{CM}/a"), format!("{LEASES}/a"), "/api/v1/namespaces/default".to_owned()]
    {
        let (code, _, answer) = send(&mut admin, "PATCH", &path, MERGE, &body).await;
        assert_eq!(code, 422);
        // The message says each only once.
        let message = answer["message"].as_str().unwrap();
        assert_eq!(message.matches("metadata.labels").count(), 1, "{message}");
        let causes = answer["details"]["causes"].as_array().unwrap();
        let each: Vec<&str> = causes.iter().map(|cause| cause["field"].as_str().unwrap()).collect();
        fields.push(each.join(" ").replace("metadata.", ""));
    }
    assert_eq!(
        fields,
        [
            "labels labels labels finalizers[0] labels finalizers[0]",
            "labels labels labels",
            "labels labels labels finalizers[0] labels finalizers[0]",
        ]
    );
}

#[tokio::test]
async fn who_is_refused_is_warned_too() {
    let mut admin = server();
    let unknown = |name: &str| json!({"metadata": {"name": name, "x": 1, "labels": {"a": "-"}}});
    for (method, path, code) in [
        ("POST", CM.to_owned(), 422),
        ("PUT", format!("{CM}/a"), 422),
        ("PUT", format!("{CM}/n"), 404),
        ("PUT", format!("{CM}/other"), 400),
    ] {
        let name = if path.ends_with("other") { "n" } else { path.rsplit('/').next().unwrap() };
        let name = if name == "configmaps" { "a" } else { name };
        let (found, warning, _) = send(&mut admin, method, &path, JSON, &unknown(name)).await;
        assert_eq!((found, warning.as_str()), (code, "299 - \"unknown field \\\"metadata.x\\\"\""));
    }
}

/// Read in upstream's code, for a server whose gate is on.
#[tokio::test]
async fn with_its_feature_gate_on_a_strategy_is_kept_and_checked() {
    let server = ApiServer::builder().coordinated_leader_election(true).build();
    let mut admin = server.service();
    let mut create = async |name: &str, spec: Value| {
        let body = json!({"metadata": {"name": name}, "spec": spec});
        let (code, _, answer) = send(&mut admin, "POST", LEASES, JSON, &body).await;
        (code, answer["message"].as_str().unwrap_or_default().to_owned(), answer)
    };
    let (code, _, kept) =
        create("good", json!({"strategy": "OldestEmulationVersion", "preferredHolder": "jane"}))
            .await;
    assert_eq!((code, &kept["spec"]["preferredHolder"]), (201, &json!("jane")));
    assert_eq!(create("own", json!({"strategy": "example.com/oldest"})).await.0, 201);
    for (spec, why) in [
        (json!({"strategy": "Youngest"}), "supported values: \"OldestEmulationVersion\""),
        (json!({"strategy": "example.com/"}), "name part must be non-empty"),
        (json!({"preferredHolder": "jane"}), "may only be specified if `strategy` is defined"),
    ] {
        let (code, message, _) = create("bad", spec).await;
        assert_eq!(code, 422, "{message}");
        assert!(message.contains(why), "{message}");
    }
}

#[tokio::test]
async fn an_owner_that_is_named_twice_is_kept_once_with_a_warning() {
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"});
    let owners = json!({"metadata": {"name": "n", "ownerReferences": [owner, owner]}});
    let mut admin = server();
    let (code, warning, made) = send(&mut admin, "POST", CM, JSON, &owners).await;
    assert_eq!((code, &made["metadata"]["ownerReferences"]), (201, &json!([owner])));
    assert!(warning.contains("contains duplicate entries; API server dedups"), "{warning}");
    assert!(warning.contains("duplicate UID(s) observed: u"), "{warning}");
    let path = format!("{CM}/a");
    let (code, warning, made) = send(
        &mut admin,
        "PATCH",
        &path,
        MERGE,
        &json!({
            "metadata": {"ownerReferences": [owner, owner]}
        }),
    )
    .await;
    assert_eq!((code, &made["metadata"]["ownerReferences"]), (200, &json!([owner])));
    assert!(warning.contains("duplicate entries after mutating admission happens"), "{warning}");
}

#[tokio::test]
async fn who_creates_what_is_only_stored_is_told_so_once_it_is_stored() {
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let body = json!({"metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let mut admin = server();
    let note = "299 - \"this development server only stores a Deployment: no Pods start\"";
    let dry = format!("{path}?dryRun=All");
    let (code, warning, _) = send(&mut admin, "POST", &dry, JSON, &body).await;
    assert_eq!((code, warning.as_str()), (201, ""));
    let (code, warning, _) = send(&mut admin, "POST", path, JSON, &body).await;
    assert_eq!((code, warning.as_str()), (201, note));
    let (code, warning, _) = send(&mut admin, "POST", path, JSON, &body).await;
    assert_eq!((code, warning.as_str()), (409, ""));
    let scaled = json!({"spec": {"replicas": 3}});
    let one = format!("{path}/d");
    let (code, warning, scaled) = send(&mut admin, "PATCH", &one, STRATEGIC, &scaled).await;
    assert_eq!((code, warning.as_str(), &scaled["spec"]["replicas"]), (200, note, &json!(3)));
}

/// With a ConfigMap and a Lease `a`.
fn server() -> Service {
    let server = ApiServer::new();
    for object in [
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"},
            "data": {"k": "v"}}),
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "a"}, "spec": {"leaseTransitions": 3}}),
    ] {
        server.create(object).unwrap();
    }
    server.service()
}

/// Each on a server of its own.
async fn say(rows: &[Row<'_>]) {
    for (method, path, content_type, body, code, message) in rows {
        let (found, _, answer) = send(&mut server(), method, path, content_type, body).await;
        let said = answer["message"].as_str().unwrap_or_default();
        assert_eq!(found, *code, "{method} {path} {body}: {answer}");
        assert!(said.ends_with(message) || *method == "HEAD", "{method} {path} {body}: {said}");
    }
}

async fn send(
    service: &mut Service,
    method: &str,
    path: &str,
    content_type: &str,
    body: &Value,
) -> (u16, String, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, content_type)
        .body(Full::<Bytes>::from(body))
        .unwrap();
    let (head, body) = service.call(request).await.unwrap().into_parts();
    let warning = head.headers.get(header::WARNING).map(|value| value.to_str().unwrap().to_owned());
    let bytes = body.collect().await.unwrap().to_bytes();
    let answer = serde_json::from_slice(&bytes).unwrap_or_default();
    (head.status.as_u16(), warning.unwrap_or_default(), answer)
}
