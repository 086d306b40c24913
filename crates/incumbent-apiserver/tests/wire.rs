//! What comes over the wire: faults as a socket shows them, and clients that are slow or vanish.

use std::time::Duration;

use incumbent_apiserver::{ApiServer, Listening, Transport};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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
async fn a_write_is_applied_whose_caller_hears_nothing_or_is_gone() {
    let (server, listening) = start().await;
    let map = async |name: &str| {
        let path = format!("{MAPS}/{name}");
        ask(&server, &listening, "GET", &path, "").await.contains("200 OK")
    };
    for (name, fault) in [("a", "drop=answer"), ("b", "late=20ms"), ("c", "error=504,late=20ms")] {
        let fault = server.faults().add(format!("verb=create,{fault}").parse().unwrap());
        let mut caller = TcpStream::connect(listening.address()).await.unwrap();
        let body = config_map(name).to_string();
        let request = head(&server, "POST", MAPS, &body) + &body;
        caller.write_all(request.as_bytes()).await.unwrap();
        while fault.hits() == 0 {
            tokio::task::yield_now().await;
        }
        if name == "c" {
            assert!(rest(&mut caller).await.starts_with("HTTP/1.1 504"));
        }
        drop(caller);
        while !map(name).await {
            tokio::task::yield_now().await;
        }
        server.faults().clear();
    }
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
