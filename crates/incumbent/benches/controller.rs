//! How long after an election a controller begins to reconcile, and how long until it has reconciled everything.
//!
//! Two replicas take turns. `warm` is `incumbent::controller`, whose caches are kept while it follows; `cold` is a controller
//! of kube-rs that is made for each term, so that it lists everything first.
//!
//! ```text
//! cargo bench -p incumbent --features controller --bench controller
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use incumbent::controller::{Action, Controller, watcher};
use incumbent::{BoxError, Candidate, LeadershipStatus, Lock};
use incumbent_apiserver::{ApiServer, Listening, Transport};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

const TERMS: usize = 20;

#[tokio::main]
async fn main() {
    println!("controller  objects  first reconcile (median, most)  all reconciled (median, most)");
    for objects in [10, 1_000, 5_000] {
        for is_warm in [true, false] {
            let (mut first, mut all) = (Vec::new(), Vec::new());
            let cluster = Cluster::new(objects).await;
            let mut leader = Replica::start(&cluster, objects, is_warm, "0").await;
            leader.measure().await;
            for number in 1..=TERMS {
                let mut next =
                    Replica::start(&cluster, objects, is_warm, &number.to_string()).await;
                // Its cache is complete by then.
                tokio::time::sleep(Duration::from_millis(300)).await;
                leader.stop().await;
                let (began, done) = next.measure().await;
                first.push(began);
                all.push(done);
                leader = next;
            }
            leader.stop().await;
            let name = if is_warm { "warm" } else { "cold" };
            println!("{name:<10}  {objects:>7}  {:>30}  {:>28}", shown(first), shown(all));
        }
    }
}

fn shown(mut times: Vec<Duration>) -> String {
    times.sort();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    format!("{:.1} ms, {:.1} ms", milliseconds(median), milliseconds(most))
}

struct Cluster {
    _server: ApiServer,
    listening: Listening,
}

impl Cluster {
    async fn new(objects: usize) -> Self {
        let server = ApiServer::new();
        for number in 0..objects {
            let metadata = json!({
                "name": format!("o{number}"), "namespace": "default", "labels": { "greet": "yes" },
            });
            let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata });
            server.create(object).unwrap();
        }
        let address = "127.0.0.1:0".parse().unwrap();
        let listening = server.listen(address, Transport::Http).await.unwrap();
        Self { _server: server, listening }
    }

    async fn client(&self) -> kube::Client {
        let kubeconfig = kube::config::Kubeconfig::from_yaml(&self.listening.kubeconfig()).unwrap();
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        kube::Client::try_from(config).unwrap()
    }
}

/// A replica, which says when it has begun and ended to reconcile everything.
struct Replica {
    elected: JoinHandle<Instant>,
    marks: mpsc::UnboundedReceiver<Instant>,
    shutdown: oneshot::Sender<()>,
    run: JoinHandle<()>,
}

impl Replica {
    async fn start(cluster: &Cluster, objects: usize, is_warm: bool, name: &str) -> Self {
        let (elections, work) = (cluster.client().await, cluster.client().await);
        let lock = Lock::lease("default", "bench");
        let candidate = Candidate::builder(elections, lock).identity(name).build().unwrap();
        let elected = notice(candidate.leadership_status());
        let (marker, marks) = mpsc::unbounded_channel();
        let reconciled = AtomicUsize::new(0);
        let mark = move || {
            let number = reconciled.fetch_add(1, Ordering::Relaxed) + 1;
            if number == 1 || number == objects {
                let _ = marker.send(Instant::now());
            }
        };
        let (shutdown, end) = oneshot::channel::<()>();
        let run = match is_warm {
            true => tokio::spawn(warm(candidate, work, end, mark)),
            false => tokio::spawn(cold(candidate, work, end, Arc::new(mark))),
        };
        Self { elected, marks, shutdown, run }
    }

    async fn measure(&mut self) -> (Duration, Duration) {
        let elected = (&mut self.elected).await.unwrap();
        let first = self.marks.recv().await.unwrap();
        let last = self.marks.recv().await.unwrap();
        (first.saturating_duration_since(elected), last.saturating_duration_since(elected))
    }

    async fn stop(self) {
        let _ = self.shutdown.send(());
        self.run.await.unwrap();
    }
}

/// When the candidate begins to lead, to a tenth of a millisecond.
fn notice(status: LeadershipStatus) -> JoinHandle<Instant> {
    tokio::task::spawn_blocking(move || {
        while !status.is_leading() {
            std::thread::sleep(Duration::from_micros(100));
        }
        Instant::now()
    })
}

fn labelled() -> watcher::Config {
    watcher::Config::default().labels("greet")
}

async fn warm(
    mut candidate: Candidate,
    client: kube::Client,
    end: oneshot::Receiver<()>,
    mark: impl Fn() + Send + Sync,
) {
    let controller = Controller::<ConfigMap>::new(Api::default_namespaced(client), labelled());
    let reconcile = |_, _| {
        mark();
        async { Ok(Action::await_change()) }
    };
    controller.run_until(&mut candidate, end, reconcile).await.unwrap();
}

async fn cold(
    mut candidate: Candidate,
    client: kube::Client,
    end: oneshot::Receiver<()>,
    mark: Arc<impl Fn() + Send + Sync + 'static>,
) {
    let work = |_leadership| {
        let (client, mark) = (client.clone(), Arc::clone(&mark));
        async move {
            let api = Api::<ConfigMap>::default_namespaced(client);
            let config = kube::runtime::controller::Config::default().concurrency(16);
            kube::runtime::Controller::new(api, labelled())
                .with_config(config)
                .run(
                    move |_, _| {
                        mark();
                        async { Ok::<_, kube::Error>(Action::await_change()) }
                    },
                    |_, _, _| Action::await_change(),
                    Arc::new(()),
                )
                .for_each(|_| async {})
                .await;
            Err::<(), BoxError>("it has ended".into())
        }
    };
    candidate.run_until(end, work).await.unwrap();
}
