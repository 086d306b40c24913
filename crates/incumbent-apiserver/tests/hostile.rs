//! Whatever is sent, the server answers, and a refusal is one that clients can read.

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use incumbent_apiserver::{ApiServer, Body};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use tower_service::Service;

#[derive(Clone, Debug)]
struct Sent {
    method: &'static str,
    path: String,
    content_type: &'static str,
    body: Vec<u8>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_request_makes_the_server_panic_or_answer_in_unknown_words(sent in vec(request(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let server = ApiServer::builder().history(5).build();
            for sent in sent {
                send(&server, &sent).await;
            }
        });
    }
}

#[tokio::test]
async fn a_body_that_nests_too_deep_is_refused() {
    let server = ApiServer::new();
    for body in [
        "[".repeat(1_000_000),
        format!("{{\"data\":{}", "{\"a\":".repeat(100_000)),
        format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
    ] {
        for (method, path) in [("POST", COLLECTION), ("PATCH", OBJECT), ("DELETE", OBJECT)] {
            let content_type = "application/merge-patch+json";
            let body = body.clone().into_bytes();
            let sent = Sent { method, path: path.to_owned(), content_type, body };
            assert!(send(&server, &sent).await >= 400);
        }
    }
}

#[tokio::test]
async fn a_body_that_is_no_text_or_no_number_is_refused() {
    let server = ApiServer::new();
    let broken: [&[u8]; 5] =
        [b"\xff\xfe", b"{\"a\":1e999}", b"k8s\0\n\x0c", b"{\"metadata\":\"x\"}", b"\"x\""];
    for body in broken {
        let (path, content_type) = (COLLECTION.to_owned(), "application/json");
        let sent = Sent { method: "POST", path, content_type, body: body.to_vec() };
        assert_eq!(send(&server, &sent).await, 400, "{}", String::from_utf8_lossy(body));
    }
}

#[tokio::test]
async fn a_yaml_body_cannot_grow_or_nest_without_bound() {
    let server = ApiServer::new();
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..10 {
        let inner = vec![format!("*a{}", n - 1); 9].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{inner}]\n"));
    }
    let nested = format!("a: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let blocks: String = (0..1000).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    for body in [bomb, nested, blocks, "a: [".to_owned(), "- &a [*a]".to_owned()] {
        for (method, path, content_type) in [
            ("POST", COLLECTION.to_owned(), "application/yaml"),
            ("PATCH", format!("{OBJECT}?fieldManager=m"), "application/apply-patch+yaml"),
        ] {
            let body = body.clone().into_bytes();
            assert_eq!(send(&server, &Sent { method, path, content_type, body }).await, 400);
        }
    }
}

const COLLECTION: &str = "/api/v1/namespaces/default/configmaps";
const OBJECT: &str = "/api/v1/namespaces/default/configmaps/a";

/// Sends, reads the answer unless it is endless, and checks that it can be understood.
async fn send(server: &ApiServer, sent: &Sent) -> u16 {
    let method: Method = sent.method.parse().unwrap();
    let request = Request::builder()
        .method(method)
        .uri(sent.path.as_str())
        .header(header::CONTENT_TYPE, sent.content_type)
        .body(Full::from(Bytes::from(sent.body.clone())));
    let Ok(request) = request else { return 400 };
    let response = server.service().call(request).await.unwrap();
    let code = response.status().as_u16();
    if code >= 400 {
        check_refusal(response, sent).await;
    }
    code
}

async fn check_refusal(response: Response<Body>, sent: &Sent) {
    let code = response.status().as_u16();
    let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    if content_type.starts_with("text/plain") {
        assert_eq!(&bytes[..], b"404 page not found\n", "{sent:?}");
        return;
    }
    let status: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(status["kind"], "Status", "{sent:?}");
    assert_eq!(status["status"], "Failure", "{sent:?}");
    assert_eq!(status["code"], code, "{sent:?}");
    assert!(status["message"].is_string(), "{sent:?}");
}

fn request() -> impl Strategy<Value = Sent> {
    let methods = select(vec!["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]);
    let content_types = select(vec![
        "application/json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/json-patch+json",
        "application/apply-patch+yaml",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "text/plain",
        "",
    ]);
    (methods, path(), query(), content_types, body()).prop_map(
        |(method, path, query, content_type, body)| {
            let path = if query.is_empty() { path } else { format!("{path}?{query}") };
            Sent { method, path, content_type, body }
        },
    )
}

fn path() -> impl Strategy<Value = String> {
    let groups = select(vec![
        "/api/v1",
        "/apis/coordination.k8s.io/v1",
        "/apis/events.k8s.io/v1",
        "/apis/rbac.authorization.k8s.io/v1",
        "/apis/authorization.k8s.io/v1",
        "/apis/authentication.k8s.io/v1",
        "/apis/none/v1",
        "/version",
    ]);
    let parts = select(vec![
        "namespaces",
        "default",
        "configmaps",
        "pods",
        "leases",
        "events",
        "roles",
        "rolebindings",
        "clusterroles",
        "serviceaccounts",
        "selfsubjectaccessreviews",
        "subjectaccessreviews",
        "tokenreviews",
        "a",
        "status",
        "token",
        "%2e%2e",
        "%ff",
        "",
    ]);
    // Mostly a path that leads somewhere, for otherwise all would be 404.
    let kinds = select(vec!["configmaps", "pods", "events", "serviceaccounts"]);
    let subresources = select(vec!["", "", "/status", "/token"]);
    let good = (kinds, select(vec!["", "/a"]), subresources)
        .prop_map(|(kind, name, sub)| format!("/api/v1/namespaces/default/{kind}{name}{sub}"));
    let lease = select(vec!["", "/a"])
        .prop_map(|name| format!("/apis/coordination.k8s.io/v1/namespaces/default/leases{name}"));
    let any = (groups, vec(parts, 0..5))
        .prop_map(|(group, parts)| format!("{group}/{}", parts.join("/")));
    prop_oneof![4 => good, 2 => lease, 2 => any]
}

fn query() -> impl Strategy<Value = String> {
    let names = select(vec![
        "watch",
        "resourceVersion",
        "resourceVersionMatch",
        "sendInitialEvents",
        "allowWatchBookmarks",
        "timeoutSeconds",
        "limit",
        "continue",
        "labelSelector",
        "fieldSelector",
        "dryRun",
        "fieldValidation",
        "fieldManager",
        "force",
        "gracePeriodSeconds",
    ]);
    let values = prop_oneof![
        select(vec!["1", "0", "true", "-1", "99999999999999999999", "All", "Strict", "Exact"])
            .prop_map(str::to_owned),
        select(vec!["NotOlderThan", "metadata.name%3Da", "a%20in%20(b", "!%3D", "e30", "%ff"])
            .prop_map(str::to_owned),
        "[a-z0-9=,!()%]{0,8}",
    ];
    let pairs = vec((names, values).prop_map(|(name, value)| format!("{name}={value}")), 0..3);
    pairs.prop_map(|pairs| pairs.join("&"))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => object().prop_map(|value| value.to_string().into_bytes()),
        1 => json().prop_map(|value| value.to_string().into_bytes()),
        1 => patch().prop_map(|value| value.to_string().into_bytes()),
        1 => vec(any::<u8>(), 0..40),
        1 => vec(0..64_u8, 0..60).prop_map(protobuf),
    ]
}

/// A ConfigMap in its envelope.
fn protobuf(raw: Vec<u8>) -> Vec<u8> {
    let length = u8::try_from(raw.len()).unwrap();
    [b"k8s\0\n\x0f\n\x02v1\x12\x09ConfigMap\x12", &[length][..], &raw].concat()
}

/// Something like an object: the right names with any values.
fn object() -> impl Strategy<Value = Value> {
    let metadata = prop_oneof![4 => Just(json!({"name": "a"})), 2 => fields(META), 1 => json()];
    (metadata, fields(MEMBERS)).prop_map(|(metadata, mut object)| {
        object["metadata"] = metadata;
        object
    })
}

fn fields(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    vec((select(names), json()), 0..5).prop_map(|pairs| {
        let map: Map<String, Value> =
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Value::Object(map)
    })
}

fn patch() -> impl Strategy<Value = Value> {
    let paths =
        || select(vec!["", "/data", "/data/a", "/metadata", "/spec/containers/0", "x", "/-"]);
    let verbs = select(vec!["add", "remove", "replace", "move", "copy", "test", "?"]);
    let operation = (verbs, paths(), paths(), json()).prop_map(
        |(verb, path, from, value)| json!({"op": verb, "path": path, "from": from, "value": value}),
    );
    vec(operation, 0..4).prop_map(Value::from)
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-zA-Z0-9:./ é-]{0,12}".prop_map(Value::from),
        select(vec!["2026-01-01T00:00:02.123456Z", "9999-12-31T23:59:59-23:00", "a", "v1"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec((select(MEMBERS), inner), 0..4).prop_map(|pairs| {
                let map: Map<String, Value> =
                    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                Value::Object(map)
            }),
        ]
    })
}

const META: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "deletionTimestamp",
    "generation",
    "managedFields",
];

const MEMBERS: &[&str] = &[
    "apiVersion",
    "kind",
    "data",
    "binaryData",
    "immutable",
    "spec",
    "status",
    "containers",
    "name",
    "image",
    "rules",
    "roleRef",
    "subjects",
    "eventTime",
    "series",
    "preconditions",
    "gracePeriodSeconds",
    "leaseDurationSeconds",
    "renewTime",
    "resourceAttributes",
    "expirationSeconds",
    "$patch",
    "a",
];
