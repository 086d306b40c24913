//! `web`: any replica answers, the leader writes.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stage::{Process, Stage, within};

const WEB: &str = env!("CARGO_BIN_EXE_web");

struct Replica {
    process: Process,
    address: String,
}

impl Replica {
    async fn start(stage: &Stage) -> Self {
        let mut process = stage.start(WEB, &[]);
        let address = process.says("http://").await;
        Self { process, address }
    }

    /// One request, and its answer's head and body.
    async fn ask(&self, method: &str, path: &str, body: &str) -> (String, String) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let answer = async {
            let mut stream = TcpStream::connect(&self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = within(answer).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    }

    async fn get(&self, path: &str) -> String {
        let (head, body) = self.ask("GET", path, "").await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        body
    }

    /// Asks for a write until it is known who leads.
    async fn put(&self, path: &str, body: &str) -> String {
        within(async {
            loop {
                let (head, _) = self.ask("PUT", path, body).await;
                if !head.starts_with("http/1.1 503 ") {
                    return head;
                }
                assert!(head.contains("retry-after: 1"), "{head}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    fn location(&self, path: &str) -> String {
        format!("location: http://{}{path}", self.address)
    }
}

fn is_written(head: &str) -> bool {
    head.starts_with("http/1.1 204 ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn any_replica_answers_a_read_and_sends_a_write_to_the_leader() {
    const PATH: &str = "/notes/shopping";
    let stage = Stage::new().await;
    let mut leader = Replica::start(&stage).await;
    let head = leader.put(PATH, "milk").await;
    assert!(is_written(&head), "{head}");

    let follower = Replica::start(&stage).await;
    assert_eq!(follower.get("/healthz").await, "ok");
    assert_eq!(follower.get(PATH).await, "milk");
    let head = follower.put(PATH, "bread").await;
    assert!(head.starts_with("http/1.1 307 "), "{head}");
    assert!(head.contains(&leader.location(PATH)), "{head}");
    assert_eq!(follower.get(PATH).await, "milk", "it did not write itself");

    leader.process.interrupt();
    let head = within(async {
        loop {
            let head = follower.put(PATH, "bread").await;
            if !head.starts_with("http/1.1 307 ") {
                return head;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(is_written(&head), "{head}");
    assert_eq!(follower.get(PATH).await, "bread");
    assert!(follower.ask("GET", "/notes/none", "").await.0.starts_with("http/1.1 404 "));
}
