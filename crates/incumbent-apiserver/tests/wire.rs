//! What comes over the wire: faults as a socket shows them, clients that are slow or send rubbish.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use incumbent_apiserver::{ApiServer, Listening, Transport};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower_service::Service;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_connection_is_closed_without_an_answer() {
    let (server, listening) = start().await;
    let fault = server.faults().add("verb=create,drop=answer,by=close".parse().unwrap());
    let body = config_map("a").to_string();
    assert_eq!(ask(&server, &listening, "POST", MAPS, &body).await, "");
    assert_eq!(fault.hits(), 1);
    server.faults().clear();
    assert!(ask(&server, &listening, "GET", &format!("{MAPS}/a"), "").await.contains("200 OK"));
}

#[tokio::test]
async fn a_request_hangs_while_others_are_answered_until_the_server_is_restarted() {
    let (server, listening) = start().await;
    let fault = server.faults().add("verb=get,client=slow,drop=request".parse().unwrap());
    let mut hung = TcpStream::connect(listening.address()).await.unwrap();
    let head = head(&server, "GET", "/version", "").replace("user-agent: test", "user-agent: slow");
    hung.write_all(head.as_bytes()).await.unwrap();
    while fault.hits() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(ask(&server, &listening, "GET", "/version", "").await.contains("200 OK"));
    server.restart(Duration::ZERO);
    assert_eq!(rest(&mut hung).await, "", "it was never answered");
}

#[tokio::test]
async fn a_restart_closes_the_port_and_opens_it_again() {
    let (server, listening) = start().await;
    server.create(config_map("kept")).unwrap();
    let mut watch = open_watch(&server, &listening).await;
    let answer = ask(&server, &listening, "POST", "/incumbent/restart?for=2s", "").await;
    assert!(answer.contains("202 Accepted"), "{answer}");
    let told = rest(&mut watch).await;
    assert!(!told.ends_with("0\r\n\r\n"), "the watch broke, it did not end");
    assert_eq!(server.open_watches(), 0);
    assert!(TcpStream::connect(listening.address()).await.is_err(), "nobody listens");
    while TcpStream::connect(listening.address()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(ask(&server, &listening, "GET", &format!("{MAPS}/kept"), "").await.contains("200 OK"));
    // Stopping works during an outage, too.
    server.restart(Duration::from_secs(3600));
    listening.stop().await;
}

#[tokio::test]
async fn a_frozen_watch_tells_afterwards_what_happened_and_a_cut_one_breaks() {
    let (server, listening) = start().await;
    let mut watch = open_watch(&server, &listening).await;
    let body = r#"{"freeze": "continue", "resource": "configmaps"}"#;
    let answer = ask(&server, &listening, "POST", "/incumbent/faults", body).await;
    assert!(answer.contains(r#""fault":"resource=configmaps,freeze=continue""#), "{answer}");
    server.create(config_map("a")).unwrap();
    while server.faults().list()[0].hits() == 0 {
        tokio::task::yield_now().await;
    }
    let answer = ask(&server, &listening, "DELETE", "/incumbent/faults", "").await;
    assert!(answer.contains(r#"{"removed":1}"#), "{answer}");
    assert!(until(&mut watch, "}\n").await.contains("\"a\""));
    server.faults().add("user=admin,drop=everything,by=close".parse().unwrap());
    assert!(!rest(&mut watch).await.ends_with("0\r\n\r\n"));
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_is_not_waited_for() {
    let (server, listening) = start().await;
    for said in ["", "P", "PRI", "GET", "GET / HTTP/1.1\r\nhost: x\r\n"] {
        let mut silent = TcpStream::connect(listening.address()).await.unwrap();
        silent.write_all(said.as_bytes()).await.unwrap();
        // Time runs on as soon as everybody waits.
        let answer = rest(&mut silent).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{said:?}: {answer}");
    }
    let mut stuck = TcpStream::connect(listening.address()).await.unwrap();
    let body = config_map("a").to_string();
    let whole = head(&server, "POST", MAPS, &body) + &body;
    stuck.write_all(&whole.as_bytes()[..whole.len() - 1]).await.unwrap();
    let answer = rest(&mut stuck).await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(ask(&server, &listening, "GET", &format!("{MAPS}/a"), "").await.contains("404"));
}

#[tokio::test]
async fn heads_that_are_too_long_are_refused_and_others_are_served() {
    let (server, listening) = start().await;
    let long = "x".repeat(1_000_000);
    let many: String = (0..1000).map(|n| format!("h{n}: x\r\n")).collect();
    for head in [
        format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{many}\r\n"),
        format!("{long} / HTTP/1.1\r\n\r\n"),
        long.clone(),
    ] {
        let mut stream = TcpStream::connect(listening.address()).await.unwrap();
        // The server may close before all of it is written.
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.shutdown().await;
        let answer = rest(&mut stream).await;
        let begin: String = head.chars().take(20).collect();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{begin}: {answer}");
    }
    assert!(ask(&server, &listening, "GET", "/version", "").await.contains("200 OK"));
}

#[tokio::test]
async fn a_writer_who_vanishes_in_the_midst_of_a_body_changes_nothing() {
    let (server, listening) = start().await;
    let body = config_map("a").to_string();
    let whole = head(&server, "POST", MAPS, &body) + &body;
    for length in [whole.len() - 1, whole.len() - body.len(), whole.len() - body.len() + 1, 10] {
        let mut stream = TcpStream::connect(listening.address()).await.unwrap();
        stream.write_all(&whole.as_bytes()[..length]).await.unwrap();
        drop(stream);
    }
    assert!(ask(&server, &listening, "GET", &format!("{MAPS}/a"), "").await.contains("404"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_over_the_wire_is_answered_in_http_or_not_at_all(sent in vec(sent(), 1..8)) {
        count_panics();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = ApiServer::builder().history(5).admin_token(TOKEN).build();
            let listening = listen(&server).await;
            let mut newest = 0;
            for bytes in sent {
                let mut stream = TcpStream::connect(listening.address()).await.unwrap();
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                let read = tokio::time::timeout(Duration::from_millis(500), rest(&mut stream));
                // A watch may be open still: the two halves of a connection close apart.
                if let Ok(answer) = read.await {
                    check(&answer, &bytes);
                }
                newest = check_store(&server, newest).await;
            }
            listening.stop().await;
        });
        prop_assert_eq!(PANICS.load(Ordering::Relaxed), 0);
    }
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
    let accepts = select(vec![
        "*/*",
        "application/yaml",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        "application/vnd.kubernetes.protobuf",
        "image/png",
    ]);
    let tokens = prop_oneof![9 => Just(TOKEN), 1 => select(vec!["", "x", "\u{7f}"])];
    (methods, path(), types, accepts, tokens, body(), vec(mutation(), 0..3)).prop_map(
        |(method, path, content_type, accept, token, body, mutations)| {
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
        },
    )
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
fn check(answer: &str, sent: &[u8]) {
    let sent = || String::from_utf8_lossy(sent).into_owned();
    if answer.is_empty() {
        return;
    }
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{}", sent()));
    let code = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    let code: u16 = code.and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{head}"));
    let head = head.to_ascii_lowercase();
    // An answer to HEAD has no body, and what follows it is the next answer.
    if code < 400 || body.is_empty() || body.starts_with("HTTP/1.") {
        return;
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

async fn start() -> (ApiServer, Listening) {
    let server = ApiServer::new();
    let listening = listen(&server).await;
    (server, listening)
}

async fn listen(server: &ApiServer) -> Listening {
    server.listen("127.0.0.1:0".parse().unwrap(), Transport::Http).await.unwrap()
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

fn head(server: &ApiServer, method: &str, path: &str, body: &str) -> String {
    let (token, length) = (server.admin_token(), body.len());
    format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nuser-agent: test\r\nconnection: close\r\n\
         authorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// Sends a request of its own connection, and returns all that comes back.
async fn ask(
    server: &ApiServer,
    listening: &Listening,
    method: &str,
    path: &str,
    body: &str,
) -> String {
    let mut stream = TcpStream::connect(listening.address()).await.unwrap();
    let request = head(server, method, path, body) + body;
    stream.write_all(request.as_bytes()).await.unwrap();
    rest(&mut stream).await
}

async fn open_watch(server: &ApiServer, listening: &Listening) -> TcpStream {
    let mut stream = TcpStream::connect(listening.address()).await.unwrap();
    // Without anything that is there already.
    let path = format!("{MAPS}?watch=1&resourceVersionMatch=NotOlderThan&sendInitialEvents=false");
    stream.write_all(head(server, "GET", &path, "").as_bytes()).await.unwrap();
    let head = until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    stream
}

async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        text.push(char::from(stream.read_u8().await.expect("the connection is open")));
    }
    text
}

/// What comes until the connection ends, well or badly.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}
