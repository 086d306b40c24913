//! The examples, run as their readers would run them.

#![cfg(unix)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use incumbent_apiserver::{ApiServer, Listening, Transport};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Processes of one example against a server of their own, and what they print.
struct Stage {
    server: ApiServer,
    _listening: Listening,
    folder: TempDir,
    processes: Vec<Child>,
    print: Option<mpsc::UnboundedSender<(usize, String)>>,
    printed: mpsc::UnboundedReceiver<(usize, String)>,
}

impl Stage {
    async fn new() -> Self {
        let server = ApiServer::new();
        let address = "127.0.0.1:0".parse().unwrap();
        let listening = server.listen(address, Transport::Https).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kubeconfig"), listening.kubeconfig()).unwrap();
        let (print, printed) = mpsc::unbounded_channel();
        Self {
            server,
            _listening: listening,
            folder,
            processes: Vec::new(),
            print: Some(print),
            printed,
        }
    }

    fn start(&mut self, example: &str) -> usize {
        // `cargo test` builds the examples beside the tests.
        let test = std::env::current_exe().unwrap();
        let program: PathBuf = test.ancestors().nth(2).unwrap().join("examples").join(example);
        let mut child = Command::new(program)
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("cargo test builds the examples; with --test, cargo build -p incumbent --examples does");
        let (number, print) = (self.processes.len(), self.print.clone().unwrap());
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = print.send((number, line));
            }
        });
        self.processes.push(child);
        number
    }

    async fn line(&mut self) -> (usize, String) {
        self.printed.recv().await.unwrap()
    }

    /// Ends all that run, and returns what they had printed by then.
    async fn rest(&mut self) -> Vec<String> {
        for process in &mut self.processes {
            let _ = (process.kill(), process.wait());
        }
        self.print = None;
        let mut rest = Vec::new();
        while let Some((_, line)) = self.printed.recv().await {
            rest.push(line);
        }
        rest
    }

    fn kill(&mut self, number: usize) {
        self.processes[number].kill().unwrap();
        self.processes[number].wait().unwrap();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = (process.kill(), process.wait());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_notification_is_sent_twice_though_its_senders_are_killed() {
    const ALL: usize = 60;
    let mut stage = Stage::new().await;
    let to_do: BTreeMap<_, _> = (0..ALL).map(|number| (format!("todo-{number}"), "")).collect();
    let metadata = json!({ "name": "outbox", "namespace": "default" });
    let outbox =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": to_do });
    stage.server.create(outbox).unwrap();
    for _ in 0..3 {
        stage.start("notify");
    }
    let (mut sent, mut kills) = (BTreeSet::new(), 0);
    let outbox: Api<ConfigMap> =
        Api::default_namespaced(kube::Client::new(stage.server.service(), "default"));
    let is_open = async |outbox: &Api<ConfigMap>| {
        let data = outbox.get("outbox").await.unwrap().data.unwrap();
        data.values().any(String::is_empty)
    };
    while is_open(&outbox).await {
        let (who, notification) = stage.line().await;
        assert!(sent.insert(notification.clone()), "{notification} was sent twice");
        if kills < 2 && sent.len() == 10 * (kills + 1) {
            stage.kill(who);
            kills += 1;
        }
    }
    assert_eq!(kills, 2);
    for notification in stage.rest().await {
        assert!(sent.insert(notification.clone()), "{notification} was sent twice");
    }
    // Each crash may lose the one that was just about to leave.
    assert!(sent.len() >= ALL - kills, "{} of {ALL}", sent.len());
}
