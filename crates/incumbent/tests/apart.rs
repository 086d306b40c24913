//! Election traffic stays apart from what else a process asks of the API server.

use std::time::Duration;

use http::Request;
use incumbent::{Candidate, Connect, Lock};
use incumbent_apiserver::{ApiServer, Transport, Verb};
use tokio::time::{sleep, timeout};

/// The class of faults that mutants call `requests-wait-in-a-queue`, in what `connect` makes: over sockets, for
/// queues are in connections and pools.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_others_that_hang_by_the_hundred_keep_no_renewal_waiting() {
    let server = ApiServer::new();
    let address = "127.0.0.1:0".parse().unwrap();
    let listening = server.listen(address, Transport::Https).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    std::fs::write(&file, listening.kubeconfig()).unwrap();
    let connect = || Connect::default().kubeconfig(&file).client();
    let lock = Lock::lease("default", "scanner");
    let mut candidate = Candidate::builder(connect().await.unwrap(), lock)
        .lease_duration(Duration::from_secs(3))
        .build()
        .unwrap();
    let leadership = candidate.campaign().await.unwrap();

    let hanging = server.faults().add("resource=configmaps,drop=request".parse().unwrap());
    let others = connect().await.unwrap();
    let flood: Vec<_> = (0..FLOOD)
        .map(|_| {
            let others = others.clone();
            tokio::spawn(async move {
                let request = Request::get("/api/v1/namespaces/default/configmaps");
                others.request_text(request.body(Vec::new()).unwrap()).await
            })
        })
        .collect();
    until(|| hanging.hits() == FLOOD).await;
    let before = server.requests().of(Verb::Update);
    until(|| server.requests().of(Verb::Update) >= before + 4).await;

    assert!(flood.iter().all(|request| !request.is_finished()), "they hung all the while");
    assert!(leadership.is_valid(), "and nothing was lost meanwhile");
    flood.iter().for_each(|request| request.abort());
}

const FLOOD: u64 = 200;

async fn until(mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), wait).await.expect("it happens");
}
