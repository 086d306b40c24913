//! Rubbish over the wire: requests that are half valid, to a server that has to stay whole.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use incumbent_apiserver::{ApiServer, Transport};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower_service::Service;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn whatever_comes_over_the_wire_is_answered_in_http_or_not_at_all() {
    count_panics();
    let usual = ProptestConfig::default();
    // What fails is printed, and becomes a test of its own.
    let config = ProptestConfig { cases: cases(), failure_persistence: None, ..usual };
    let mut runner = TestRunner::new(config);
    let (done, refused) = (Cell::new(0), Cell::new(0));
    let outcome = runner.run(&vec(sent(), 1..8), |sent| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for code in runtime.block_on(send_all(&sent)) {
            let counter = if code < 400 { &done } else { &refused };
            counter.set(counter.get() + 1);
        }
        prop_assert_eq!(PANICS.load(Ordering::Relaxed), 0);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    // Otherwise it would have shown nothing.
    let (done, refused) = (done.get(), refused.get());
    assert!(done > cases() / 4 && refused > cases() / 4, "{done} done, {refused} refused");
}

/// Sends each over a connection of its own to one server, and returns the codes of the answers.
async fn send_all(sent: &[Vec<u8>]) -> Vec<u16> {
    let server = ApiServer::builder().history(5).admin_token(TOKEN).build();
    let address = "127.0.0.1:0".parse().unwrap();
    let listening = server.listen(address, Transport::Http).await.unwrap();
    let (mut newest, mut codes) = (0, Vec::new());
    for bytes in sent {
        let mut stream = TcpStream::connect(listening.address()).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        // A watch may be open still: the two halves of a connection close apart.
        if tokio::time::timeout(Duration::from_millis(500), read).await.is_ok() {
            codes.extend(check(&String::from_utf8_lossy(&answer), bytes));
        }
        newest = check_store(&server, newest).await;
    }
    listening.stop().await;
    codes
}

const TOKEN: &str = "t";

/// `PROPTEST_CASES` for a longer look.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(150)
}

/// A panic in a connection's task would look like a closed connection.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let file = info.location().map(|location| location.file().to_owned());
            if file.is_some_and(|file| !file.contains("tests/")) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            usual(info);
        }));
    });
}

/// The bytes of a request, mostly a valid one to which something happened.
fn sent() -> impl Strategy<Value = Vec<u8>> {
    let accepts = select(vec![
        "*/*",
        "application/yaml",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        "application/vnd.kubernetes.protobuf, */*",
        "image/png",
    ]);
    let tokens = prop_oneof![19 => Just(TOKEN), 1 => select(vec!["", "x", "\u{7f}"])];
    let asked = prop_oneof![3 => sensible(), 1 => any_request()];
    let mutations = prop_oneof![Just(Vec::new()), vec(mutation(), 0..3)];
    (asked, accepts, tokens, mutations).prop_map(|(asked, accept, token, mutations)| {
        let Asked { method, path, content_type, body } = asked;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             content-type: {content_type}\r\naccept: {accept}\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n"
        );
        let mut bytes = head.into_bytes();
        bytes.extend(body);
        mutations.iter().for_each(|mutation| mutation.apply(&mut bytes));
        bytes
    })
}

#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    path: String,
    content_type: &'static str,
    body: Vec<u8>,
}

/// What a client would send.
fn sensible() -> impl Strategy<Value = Asked> {
    const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases/a";
    const MAP: &str = "/api/v1/namespaces/default/configmaps/a";
    const SPEC: &str = r#"{"spec":{"holderIdentity":"x","leaseDurationSeconds":15}}"#;
    const DATA: &str = r#"{"metadata":{"name":"a"},"data":{"k":"v"}}"#;
    const NAMED: &str = r#"{"metadata":{"name":"a"},"spec":{"holderIdentity":"y"}}"#;
    const ADD: &str = r#"[{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]"#;
    let merge = "application/merge-patch+json";
    let all = select(vec![
        ("POST", MAPS, "application/json", DATA),
        ("PUT", LEASE, "application/json", NAMED),
        ("PUT", MAP, "application/json", DATA),
        ("PATCH", LEASE, merge, SPEC),
        ("PATCH", MAP, "application/json-patch+json", ADD),
        ("GET", LEASE, "", ""),
        ("GET", MAPS, "", ""),
        ("GET", "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1", "", ""),
        ("DELETE", MAP, "", ""),
        ("POST", "/incumbent/faults", "", "freeze=continue,for=1ms"),
    ]);
    all.prop_map(|(method, path, content_type, body)| {
        let (path, body) = (path.to_owned(), body.as_bytes().to_vec());
        Asked { method, path, content_type, body }
    })
}

/// Anything of everything.
fn any_request() -> impl Strategy<Value = Asked> {
    let methods =
        select(vec!["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "FOO", ""]);
    let types = select(vec![
        "application/json",
        "application/merge-patch+json",
        "application/json-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "\u{fffd}",
    ]);
    let parts = (methods, path(), types, body());
    parts.prop_map(|(method, path, content_type, body)| Asked { method, path, content_type, body })
}

fn path() -> impl Strategy<Value = String> {
    let fragments = select(vec![
        "/api/v1/namespaces/default/configmaps",
        "/api/v1/namespaces/default/configmaps/a",
        "/api/v1/namespaces/default/pods/a/status",
        "/apis/coordination.k8s.io/v1/namespaces/default/leases",
        "/apis/coordination.k8s.io/v1/namespaces/default/leases/a",
        "/api/v1/namespaces/n",
        "/api/v1/configmaps",
        "/incumbent/faults",
        "/incumbent/faults/1",
        "/incumbent/compact",
        "/openapi/v3",
        "/apis",
        "//",
        "/%00",
        "/é",
    ]);
    let queries = select(vec![
        "",
        "?watch=1&timeoutSeconds=1",
        "?watch=1&resourceVersion=1&timeoutSeconds=1",
        "?limit=1&continue=e30",
        "?resourceVersion=3&resourceVersionMatch=Exact",
        "?fieldSelector=metadata.name%3Da",
        "?labelSelector=a%20in%20(b,c)",
        "?dryRun=All&fieldManager=x&fieldValidation=Strict",
        "?fieldManager=x&force=true",
        "?%zz=%&&=",
    ]);
    (fragments, queries).prop_map(|(path, query)| format!("{path}{query}"))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let texts = select(vec![
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"v"}}"#,
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"a-"}}"#,
        r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"a","resourceVersion":"70"},"spec":{"holderIdentity":"x","leaseDurationSeconds":15}}"#,
        r#"{"metadata":{"annotations":{"a":null,"b":"1"}},"spec":{"leaseDurationSeconds":-1}}"#,
        r#"[{"op":"add","path":"/data/x","value":"1"},{"op":"test","path":"/data","value":{}}]"#,
        r#"{"kind":"DeleteOptions","preconditions":{"uid":"x"},"gracePeriodSeconds":-1}"#,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: &d {k: v}\n",
        "k8s\u{0}\n\u{c}\n\u{2}v1\u{12}\u{9}ConfigMap",
        "freeze=continue,for=1ms",
        "verb=get,latency=1ms..2ms,rate=50%,for=1s",
        "",
    ]);
    prop_oneof![
        8 => texts.prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..60),
        1 => (1..20_000_usize, select(vec!["[", "{\"a\":", "- ", "\u{a0}"]))
            .prop_map(|(times, text)| text.repeat(times).into_bytes()),
    ]
}

/// What happens to bytes.
#[derive(Clone, Debug)]
enum Mutation {
    Cut(Index),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Repeat(Index, Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let piece = prop_oneof![
        vec(any::<u8>(), 1..8),
        select(vec!["\r\n", "transfer-encoding: chunked\r\n", "5\r\n", "\u{0}", "{}", "\"", "%"])
            .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop_oneof![
        any::<Index>().prop_map(Mutation::Cut),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (any::<Index>(), piece).prop_map(|(at, piece)| Mutation::Insert(at, piece)),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Mutation::Repeat(a, b)),
    ]
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        match self {
            Self::Cut(at) => bytes.truncate(at.index(length)),
            Self::Set(at, byte) => bytes[at.index(length)] = *byte,
            Self::Insert(at, piece) => {
                let at = at.index(length);
                bytes.splice(at..at, piece.iter().copied());
            }
            Self::Repeat(a, b) => {
                let (a, b) = (a.index(length), b.index(length));
                let piece = bytes[a.min(b)..a.max(b)].to_vec();
                bytes.splice(a..a, piece);
            }
        }
    }
}

/// Every answer is one of HTTP, and a refusal is a `Status`, or was made before the request was one.
fn check(answer: &str, sent: &[u8]) -> Option<u16> {
    let sent = || String::from_utf8_lossy(sent).into_owned();
    if answer.is_empty() {
        return None;
    }
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{}", sent()));
    let code = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    let code: u16 = code.and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{head}"));
    let head = head.to_ascii_lowercase();
    // An answer to HEAD has no body, and what follows it is the next answer.
    if code < 400 || body.is_empty() || body.starts_with("HTTP/1.") {
        return Some(code);
    }
    if head.contains("content-type: application/json") {
        // Of several requests in one piece only the first is looked at.
        let mut all = serde_json::Deserializer::from_str(body).into_iter::<Value>();
        let status = all.next().unwrap().unwrap_or_else(|error| panic!("{error}: {}", sent()));
        assert_eq!(
            (&status["kind"], &status["code"]),
            (&json!("Status"), &json!(code)),
            "{}",
            sent()
        );
        let is_raw = matches!(status["message"].as_str(), Some(message) if !message.is_empty());
        assert!(is_raw, "{status}");
    } else {
        let is_text = head.contains("content-type: text/plain");
        assert!(is_text || head.contains("content-type: application/yaml"), "{head}\n{}", sent());
    }
    Some(code)
}

/// Versions only rise, none is given twice, and every object has a name and a uid.
async fn check_store(server: &ApiServer, newest: u64) -> u64 {
    server.faults().clear();
    let mut versions = BTreeSet::new();
    let mut latest = newest;
    for path in [
        "/api/v1/namespaces",
        "/api/v1/configmaps",
        "/api/v1/pods",
        "/api/v1/serviceaccounts",
        "/apis/coordination.k8s.io/v1/leases",
    ] {
        let request = Request::get(path).body(Full::<Bytes>::default()).unwrap();
        let response = server.service().call(request).await.unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let list: Value = serde_json::from_slice(&bytes).unwrap();
        let version = |object: &Value| -> u64 {
            object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
        };
        let current = version(&list);
        assert!(current >= latest, "{current} after {latest}");
        latest = current;
        for object in list["items"].as_array().unwrap() {
            assert!(version(object) <= current && versions.insert(version(object)), "{object}");
            let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
            assert!(!text("name").is_empty() && text("uid").len() == 36, "{object}");
        }
    }
    latest
}
