//! The adapter on any cluster, in real time: on a server in this process, or on the one that
//! `INCUMBENT_TEST_KUBECONFIG` names. What needs days, or a server that misbehaves, is in `election.rs`.

mod support;

use std::time::Duration;

use incumbent::{Candidate, Leader, Lock};
use serde_json::json;
use support::testbed::Testbed;

const CORE: &str = "/api/v1";
const COORDINATION: &str = "/apis/coordination.k8s.io/v1";

fn candidate(client: kube::Client, lock: &Lock, identity: &str) -> Candidate {
    Candidate::builder(client, lock.clone())
        .identity(identity)
        .lease_duration(Duration::from_secs(3))
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_lease_is_handed_over_with_a_higher_token_and_shown_as_client_go_shows_it() {
    let testbed = Testbed::new().await;
    let lock = Lock::lease(&testbed.namespace, "lock");
    let mut john = candidate(testbed.client(), &lock, "john");
    let mut jane = candidate(testbed.client(), &lock, "jane");
    let first = john.campaign().await.unwrap();
    let waiting = tokio::spawn(async move { (jane.campaign().await.unwrap(), jane) });
    let spec = testbed.stored(COORDINATION, "leases/lock").await["spec"].clone();
    assert_eq!((&spec["holderIdentity"], &spec["leaseTransitions"]), (&json!("john"), &json!(0)));
    let first_token = first.fencing_token();
    first.release().await;
    let (second, _jane) = waiting.await.unwrap();
    assert!(second.fencing_token() > first_token);
    let spec = testbed.stored(COORDINATION, "leases/lock").await["spec"].clone();
    assert_eq!((&spec["holderIdentity"], &spec["leaseTransitions"]), (&json!("jane"), &json!(1)));
    assert_eq!(spec["leaseDurationSeconds"], 3);
    second.release().await;
    let spec = testbed.stored(COORDINATION, "leases/lock").await["spec"].clone();
    assert_eq!(spec["holderIdentity"], "");
}

#[tokio::test]
async fn a_config_map_shows_its_leader_and_keeps_its_other_keys() {
    let testbed = Testbed::new().await;
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "blackboard" },
        "data": { "other": "kept" },
    });
    testbed.create(CORE, "configmaps", object).await;
    let lock = Lock::config_map(&testbed.namespace, "blackboard");
    let mut john = candidate(testbed.client(), &lock, "john");
    let leadership = john.campaign().await.unwrap();
    let data = || async { testbed.stored(CORE, "configmaps/blackboard").await["data"].clone() };
    assert_eq!(data().await, json!({ "leader": "john", "other": "kept" }));
    leadership.release().await;
    assert_eq!(data().await, json!({ "leader": "", "other": "kept" }));
}

#[tokio::test]
async fn a_leader_renews_keeps_what_others_write_and_stops_when_somebody_else_stands_there() {
    let testbed = Testbed::new().await;
    let lock = Lock::lease(&testbed.namespace, "lock");
    let mut john = candidate(testbed.client(), &lock, "john");
    let leadership = john.campaign().await.unwrap();
    assert!(matches!(john.observe().leader(), Leader::Known { .. }));
    let renewed =
        || async { testbed.stored(COORDINATION, "leases/lock").await["spec"]["renewTime"].clone() };
    let first = renewed().await;
    let metadata = json!({ "labels": { "team": "a" }, "annotations": { "else/where": "kept" } });
    testbed.patch(COORDINATION, "leases/lock", json!({ "metadata": metadata })).await;
    let is_renewed = async {
        while renewed().await == first {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_renewed).await.expect("it renews");
    assert!(leadership.is_valid());
    let now = testbed.stored(COORDINATION, "leases/lock").await["metadata"].clone();
    assert_eq!(
        (&now["labels"], &now["annotations"]["else/where"]),
        (&metadata["labels"], &json!("kept"))
    );

    testbed.patch(COORDINATION, "leases/lock", json!({ "spec": { "holderIdentity": "x" } })).await;
    leadership.lost().await;
    assert!(!leadership.is_valid());
}

#[tokio::test]
async fn a_deleted_lock_ends_the_term_and_the_next_token_is_higher() {
    let testbed = Testbed::new().await;
    let lock = Lock::lease(&testbed.namespace, "lock");
    let mut john = candidate(testbed.client(), &lock, "john");
    let leadership = john.campaign().await.unwrap();
    let token = leadership.fencing_token();
    testbed.delete(COORDINATION, "leases/lock").await;
    leadership.lost().await;
    drop(leadership);
    let again = john.campaign().await.unwrap();
    assert!(again.fencing_token() > token);
}

#[tokio::test]
async fn get_and_update_on_one_config_map_are_enough_to_hand_over() {
    let testbed = Testbed::new().await;
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "blackboard" },
    });
    testbed.create(CORE, "configmaps", object).await;
    let rules = json!([{
        "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["blackboard"],
        "verbs": ["get", "update"],
    }]);
    let client = testbed.restricted_client(rules).await;
    hand_over(client, &Lock::config_map(&testbed.namespace, "blackboard")).await;
}

#[tokio::test]
async fn the_role_of_the_readme_makes_watches_and_creates() {
    let testbed = Testbed::new().await;
    let group = json!(["coordination.k8s.io"]);
    let rules = json!([
        {
            "apiGroups": group, "resources": ["leases"], "resourceNames": ["lock"],
            "verbs": ["get", "update", "watch"],
        },
        { "apiGroups": group, "resources": ["leases"], "verbs": ["create"] },
    ]);
    let client = testbed.restricted_client(rules).await;
    hand_over(client, &Lock::lease(&testbed.namespace, "lock")).await;
}

/// One candidate leads, and hands over to another that waits.
async fn hand_over(client: kube::Client, lock: &Lock) {
    let mut john = candidate(client.clone(), lock, "john");
    let mut jane = candidate(client, lock, "jane");
    let first = john.campaign().await.unwrap();
    let waiting = tokio::spawn(async move { (jane.campaign().await.unwrap(), jane) });
    first.release().await;
    let (second, _jane) = waiting.await.unwrap();
    assert!(second.is_valid());
}

#[tokio::test]
async fn events_tell_whoever_describes_the_lock_when_its_leader_came_and_went() {
    let testbed = Testbed::new().await;
    let lock = Lock::lease(&testbed.namespace, "lock");
    let john = Candidate::builder(testbed.client(), lock).identity("john").events(true);
    let mut john = john.build().unwrap();
    john.campaign().await.unwrap().release().await;
    let uid = testbed.stored(COORDINATION, "leases/lock").await["metadata"]["uid"].clone();
    let selector = format!("events?fieldSelector=involvedObject.uid%3D{}", uid.as_str().unwrap());
    let told = || async {
        let list = testbed.stored(CORE, &selector).await;
        let said = |event: &serde_json::Value| {
            let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            // In microseconds, and with what the API server asks for because of that.
            assert_eq!(text("eventTime").split_once('.').map(|(_, micros)| micros.len()), Some(7));
            assert_eq!(
                (text("reportingComponent"), text("action").is_empty()),
                ("incumbent".into(), false)
            );
            (text("eventTime"), text("message"))
        };
        let mut said: Vec<_> = list["items"].as_array().unwrap().iter().map(said).collect();
        said.sort();
        said
    };
    let are_told = async {
        while told().await.len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), are_told).await.expect("both are told");
    let messages: Vec<_> = told().await.into_iter().map(|(_, message)| message).collect();
    assert_eq!(messages, ["john became leader", "john stopped leading"]);
}
