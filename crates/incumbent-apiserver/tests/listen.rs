//! The server over TCP: outages, slow watchers, what a client cannot be trusted with.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use incumbent_apiserver::{ApiServer, ListenError, Listening, Transport};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower_service::Service;

#[tokio::test]
async fn stop_closes_open_watches_at_once_and_the_same_port_can_be_listened_on_again() {
    let server = ApiServer::new();
    let listening = listen(&server, 0).await;
    let address = listening.address();
    let mut watch = open_watch(&server, &listening).await;
    assert_eq!(server.open_watches(), 1);
    listening.stop().await;
    assert_eq!(rest(&mut watch).await, "");
    assert_eq!(server.open_watches(), 0);
    assert!(TcpStream::connect(address).await.is_err());

    server.create(config_map("kept")).unwrap();
    let listening = listen(&server, address.port()).await;
    assert_eq!(listening.address(), address);
    let mut watch = open_watch(&server, &listening).await;
    assert!(line_with(&mut watch, "\"kept\"").await, "the state outlives the outage");
}

#[tokio::test]
async fn a_dropped_listener_stops_too() {
    let server = ApiServer::new();
    let listening = listen(&server, 0).await;
    let mut watch = open_watch(&server, &listening).await;
    drop(listening);
    assert_eq!(rest(&mut watch).await, "");
}

#[tokio::test]
async fn the_certificate_authority_stays_the_same_over_an_outage() {
    let server = ApiServer::new();
    let address = "127.0.0.1:0".parse().unwrap();
    let first = server.listen(address, Transport::Https).await.unwrap();
    let authority = first.ca_pem().unwrap().to_owned();
    first.stop().await;
    let second = server.listen(address, Transport::Https).await.unwrap();
    assert_eq!(second.ca_pem(), Some(authority.as_str()));
    assert!(second.url().starts_with("https://127.0.0.1:"));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let server = ApiServer::new();
    let listening = listen(&server, 0).await;
    let again = server.listen(listening.address(), Transport::Http).await;
    let Err(error @ ListenError::InUse { .. }) = again else { panic!("{again:?}") };
    assert!(error.to_string().contains(&listening.address().to_string()));
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_let_go_and_blocks_no_writer() {
    let server = ApiServer::new();
    // In-process nothing is read ahead: whoever does not poll does not read.
    let mut slow = server.service();
    let request = Request::get("/api/v1/namespaces/default/configmaps?watch=1");
    let response = slow.call(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    let before = server.open_watches();
    for n in 0..2000 {
        server.create(config_map(&format!("c{n}"))).unwrap();
    }
    assert_eq!((before, server.open_watches()), (1, 0));
    // What was queued is still told, in order; then the stream ends and the client lists anew.
    let told = response.into_body().collect().await.unwrap().to_bytes();
    let lines = told.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    assert!((1..2000).contains(&lines), "{lines}");
}

#[tokio::test]
async fn a_watcher_that_leaves_megabytes_unread_is_let_go_too() {
    let server = ApiServer::new();
    let mut slow = server.service();
    let request = Request::get("/api/v1/namespaces/default/configmaps?watch=1");
    let response = slow.call(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    let mut written = 0;
    while server.open_watches() > 0 {
        let mut object = config_map(&format!("c{written}"));
        object["data"] = json!({"text": "x".repeat(1024 * 1024)});
        server.create(object).unwrap();
        written += 1;
        assert!(written < 20, "20 MiB are kept for a watcher that does not read");
    }
    let told = response.into_body().collect().await.unwrap().to_bytes();
    assert!(told.len() > 1024 * 1024, "what was queued is still told");
}

#[tokio::test]
async fn a_watcher_on_a_socket_that_does_not_read_is_let_go_too() {
    let server = ApiServer::new();
    let listening = listen(&server, 0).await;
    let watch = open_watch(&server, &listening).await;
    let text = "x".repeat(64 * 1024);
    let mut written = 0;
    while server.open_watches() > 0 {
        let mut object = config_map(&format!("c{written}"));
        object["data"] = json!({"text": text});
        server.create(object).unwrap();
        written += 1;
        assert!(written < 20_000, "the watcher is kept for ever");
        tokio::task::yield_now().await;
    }
    drop(watch);
}

#[tokio::test]
async fn a_body_over_three_mebibytes_is_refused() {
    let mut service = ApiServer::new().service();
    let body = Full::new(Bytes::from(vec![b' '; 3 * 1024 * 1024 + 1]));
    let request = Request::post("/api/v1/namespaces/default/configmaps").body(body).unwrap();
    let response = service.call(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let status: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status["message"], "Request entity too large: limit is 3145728");
}

#[tokio::test]
async fn a_pod_finds_its_files() -> io::Result<()> {
    let server = ApiServer::new();
    let listening = server.listen("127.0.0.1:0".parse().unwrap(), Transport::Https).await.unwrap();
    let token = server.service_account_token("prod", "candidate", Duration::from_secs(600));
    let directory = tempfile::tempdir()?;
    listening.write_service_account(directory.path(), "prod", &token)?;
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name));
    assert_eq!(read("token")?, token);
    assert_eq!(read("namespace")?, "prod");
    assert_eq!(Some(read("ca.crt")?.as_str()), listening.ca_pem());
    Ok(())
}

async fn listen(server: &ApiServer, port: u16) -> Listening {
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    server.listen(address, Transport::Http).await.unwrap()
}

/// Opens a watch by hand and reads until its headers are there.
async fn open_watch(server: &ApiServer, listening: &Listening) -> TcpStream {
    let mut stream = TcpStream::connect(listening.address()).await.unwrap();
    let path = "/api/v1/namespaces/default/configmaps?watch=1";
    let (auth, token) = (header::AUTHORIZATION, server.admin_token());
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{auth}: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("headers come before any event"));
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    stream
}

async fn line_with(stream: &mut TcpStream, wanted: &str) -> bool {
    let mut text = String::new();
    while !text.contains(wanted) {
        match stream.read_u8().await {
            Ok(byte) => text.push(char::from(byte)),
            Err(_) => return false,
        }
    }
    true
}

/// What comes until the connection ends, well or badly.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}
