//! `notify`, killed between every two of its steps: read | mark | send | mark | next.

use std::time::Duration;

use incumbent_apiserver::ActiveFault;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;

use crate::stage::{Stage, within};

const NOTIFY: &str = env!("CARGO_BIN_EXE_notify");

/// Where the first sender is killed.
#[derive(Clone, Copy, Debug)]
enum Crash {
    BeforeItIsMarked,
    BeforeItIsSent,
    BeforeItIsMarkedAsSent,
    AfterItIsMarkedAsSent,
}

/// How often the notification left in all, and what its record says in the end.
async fn times_sent(crash: Crash, arguments: &[&str]) -> (usize, String) {
    let stage = Stage::new().await;
    let metadata = json!({ "name": "outbox", "namespace": "default" });
    let data = json!({ "1-reminder": "", "2-later": "" });
    stage
        .server
        .create(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data,
        }))
        .unwrap();
    let fault = |fault: &str| {
        stage.server.faults().add(format!("verb=update,name=outbox,{fault}").parse().unwrap())
    };

    let hung = match crash {
        Crash::BeforeItIsMarked => fault("drop=request"),
        Crash::BeforeItIsSent => fault("drop=answer"),
        // Long enough for the next fault to be there before the next write.
        Crash::BeforeItIsMarkedAsSent | Crash::AfterItIsMarkedAsSent => fault("latency=1s"),
    };
    let mut first = stage.start(NOTIFY, arguments);
    hit(&hung).await;
    let second_mark = match crash {
        Crash::BeforeItIsMarked | Crash::BeforeItIsSent => None,
        Crash::BeforeItIsMarkedAsSent => Some(fault("drop=request")),
        Crash::AfterItIsMarkedAsSent => Some(fault("drop=answer")),
    };
    if let Some(second_mark) = second_mark {
        // The first mark was only slow, and goes through.
        stage.server.faults().remove(&hung);
        hit(&second_mark).await;
    }
    // A request is counted when it arrives, and takes effect a moment after that.
    let outbox: Api<ConfigMap> = Api::default_namespaced(stage.client());
    let state = async |key: &str| outbox.get("outbox").await.unwrap().data.unwrap()[key].clone();
    let mark = match crash {
        Crash::BeforeItIsMarked => "",
        Crash::BeforeItIsSent | Crash::BeforeItIsMarkedAsSent => "sending under token ",
        Crash::AfterItIsMarkedAsSent => "sent under token ",
    };
    within(async {
        while !state("1-reminder").await.starts_with(mark) {
            pause().await;
        }
    })
    .await;
    first.kill();
    stage.server.faults().clear();

    let mut second = stage.start(NOTIFY, arguments);
    within(async {
        while !state("2-later").await.starts_with("sent") {
            pause().await;
        }
    })
    .await;
    second.interrupt();
    let mut sent = first.rest().await;
    sent.extend(second.rest().await);
    assert_eq!(sent.iter().filter(|key| *key == "2-later").count(), 1, "{crash:?}: {sent:?}");
    let times = sent.iter().filter(|key| *key == "1-reminder").count();
    let state = state("1-reminder").await;
    (times, state.split(" under").next().unwrap().to_owned())
}

async fn hit(fault: &ActiveFault) {
    within(async {
        while fault.hits() == 0 {
            pause().await;
        }
    })
    .await;
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

fn outcome(times: usize, state: &str) -> (usize, String) {
    (times, state.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whenever_its_sender_is_killed_no_notification_is_sent_twice() {
    let found = tokio::join!(
        times_sent(Crash::BeforeItIsMarked, &[]),
        times_sent(Crash::BeforeItIsSent, &[]),
        times_sent(Crash::BeforeItIsMarkedAsSent, &[]),
        times_sent(Crash::AfterItIsMarkedAsSent, &[]),
    );
    // A crash may lose one, and where it may have, the record says so.
    let expected =
        (outcome(1, "sent"), outcome(0, IN_DOUBT), outcome(1, IN_DOUBT), outcome(1, "sent"));
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn with_again_none_is_lost_and_a_crash_may_send_one_twice() {
    let again = &["--again"];
    let found = tokio::join!(
        times_sent(Crash::BeforeItIsMarked, again),
        times_sent(Crash::BeforeItIsSent, again),
        times_sent(Crash::BeforeItIsMarkedAsSent, again),
        times_sent(Crash::AfterItIsMarkedAsSent, again),
    );
    assert_eq!(
        found,
        (outcome(1, "sent"), outcome(1, "sent"), outcome(2, "sent"), outcome(1, "sent"))
    );
}

const IN_DOUBT: &str = "in doubt, was sending";
