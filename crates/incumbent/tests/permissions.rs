//! What an account may and may not do, and what a candidate then says.

mod support;

use std::time::Duration;

use incumbent::{Candidate, Clock, Error, Lock};
use incumbent_apiserver::{ApiServer, Verb};
use serde_json::json;
use support::testbed::Testbed;
use support::{builder, client, restricted_client, seconds};

#[tokio::test(start_paused = true)]
async fn get_and_update_on_one_config_map_are_enough_to_take_part() {
    let server = ApiServer::new();
    let metadata = json!({ "name": "blackboard", "namespace": "default" });
    server
        .create(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata }))
        .unwrap();
    let rules = json!([{
        "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["blackboard"],
        "verbs": ["get", "update"],
    }]);
    let client = restricted_client(&server, "scanner", rules);
    let lock = Lock::config_map("default", "blackboard");
    let new = |identity: &str| {
        Candidate::builder(client.clone(), lock.clone())
            .identity(identity)
            .clock(Clock::tokio())
            .build()
            .unwrap()
    };
    let (mut john, mut jane) = (new("john"), new("jane"));
    let leadership = john.campaign().await.unwrap();
    let waiting = tokio::spawn(async move { (jane.campaign().await.unwrap(), jane) });
    seconds(60.0).await;
    assert!(leadership.is_valid());
    let before = tokio::time::Instant::now();
    leadership.release().await;
    let (second, _jane) = waiting.await.unwrap();
    assert!(second.is_valid());
    assert!(before.elapsed() <= Duration::from_millis(2_401), "one poll: {:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn with_the_role_of_the_readme_waiting_costs_no_requests() {
    let server = ApiServer::new();
    let group = json!(["coordination.k8s.io"]);
    let rules = json!([
        {
            "apiGroups": group, "resources": ["leases"], "resourceNames": ["lock"],
            "verbs": ["get", "update", "watch"],
        },
        { "apiGroups": group, "resources": ["leases"], "verbs": ["create"] },
    ]);
    let client = restricted_client(&server, "scanner", rules);
    let mut john = builder(client.clone(), "john").build().unwrap();
    let mut jane = builder(client, "jane").build().unwrap();
    let leadership = john.campaign().await.unwrap();
    let waiting = tokio::spawn(async move { (jane.campaign().await.unwrap(), jane) });
    seconds(1.0).await;
    let before = server.requests().of(Verb::Get);
    seconds(60.0).await;
    assert_eq!(server.requests().of(Verb::Get), before);
    leadership.release().await;
    let _second = waiting.await.unwrap();
}

async fn refused(rules: serde_json::Value, lock: impl Fn(&str) -> Lock) -> (Error, String) {
    let testbed = Testbed::new().await;
    let metadata = json!({ "name": "made" });
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata });
    testbed.create("/api/v1", "configmaps", object).await;
    let client = testbed.restricted_client(rules).await;
    let builder = Candidate::builder(client, lock(&testbed.namespace)).identity("john");
    let error = builder.build().unwrap().campaign().await.unwrap_err();
    (error, testbed.namespace.clone())
}

#[tokio::test]
async fn a_missing_permission_is_named_as_the_rule_to_add() {
    let lease = |namespace: &str| Lock::lease(namespace, "lock");
    let rule = |verbs: &[&str]| json!([{ "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs }]);
    let (error, namespace) = refused(json!([]), lease).await;
    let what = format!("not allowed to get lease/lock in namespace {namespace}: leases");
    assert!(error.to_string().starts_with(&what), "{error}");
    assert_eq!(
        error.hint(),
        format!(
            "the account needs this rule in a Role of namespace {namespace}:\n\
             - apiGroups: [\"coordination.k8s.io\"]\n  resources: [\"leases\"]\n  \
             resourceNames: [\"lock\"]\n  verbs: [\"get\"]"
        )
    );

    let (error, _) = refused(rule(&["get"]), lease).await;
    assert!(matches!(error, Error::Forbidden { verb: "create", .. }), "{error}");
    assert!(error.hint().starts_with("make the object beforehand, or "), "{}", error.hint());
    assert!(!error.hint().contains("resourceNames"), "create cannot be restricted to a name");

    let (error, _) = refused(rule(&["get", "create"]), lease).await;
    assert!(matches!(error, Error::Forbidden { verb: "update", .. }), "{error}");

    let of_config_maps =
        json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"] }]);
    let made = |namespace: &str| Lock::config_map(namespace, "made");
    let (error, _) = refused(of_config_maps, made).await;
    assert!(error.hint().contains("- apiGroups: [\"\"]\n  resources: [\"configmaps\"]"), "{error}");
}

#[tokio::test]
async fn a_namespace_that_does_not_exist_is_said_to_be_missing() {
    let testbed = Testbed::new().await;
    let builder = Candidate::builder(testbed.client(), Lock::lease("incumbent-nowhere", "lock"));
    let error = builder.build().unwrap().campaign().await.unwrap_err();
    assert_eq!(error.to_string(), "namespace incumbent-nowhere does not exist");
    assert_eq!(error.hint(), "kubectl create namespace incumbent-nowhere");
}

#[tokio::test]
async fn a_token_that_nobody_knows_is_said_to_be_refused() {
    let testbed = Testbed::new().await;
    let client = testbed.client_with("stale").await;
    let lock = Lock::lease(&testbed.namespace, "lock");
    let error = Candidate::builder(client, lock).build().unwrap().campaign().await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_permission_that_is_taken_away_costs_the_leadership_and_no_more() {
    let server = ApiServer::new();
    let rules = json!([{
        "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
        "verbs": ["get", "create", "update", "list", "watch"],
    }]);
    let client = restricted_client(&server, "scanner", rules);
    let mut john = builder(client, "john").build().unwrap();
    let leadership = john.campaign().await.unwrap();
    let role = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles/scanner";
    let rules = |rules| {
        let body = json!({ "rules": rules }).to_string().into_bytes();
        http::Request::patch(role)
            .header("Content-Type", "application/merge-patch+json")
            .body(body)
            .unwrap()
    };
    let admin = support::client(&server);
    let before: serde_json::Value =
        admin.request(http::Request::get(role).body(Vec::new()).unwrap()).await.unwrap();
    let _: serde_json::Value = admin.request(rules(json!([]))).await.unwrap();
    leadership.lost().await;
    drop(leadership);
    let back = async {
        seconds(60.0).await;
        let _: serde_json::Value = admin.request(rules(before["rules"].clone())).await.unwrap();
    };
    // He keeps trying: what has worked once may work again.
    let (leadership, ()) = tokio::join!(john.campaign(), back);
    assert!(leadership.unwrap().is_valid());
}

#[test]
fn names_that_kubernetes_would_refuse_are_refused_before_any_request() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = ApiServer::new();
        for (lock, identity) in [
            (Lock::lease("default", "No_Such"), "john"),
            (Lock::lease("", "lock"), "john"),
            (Lock::config_map("default", "b").with_key("a/b"), "john"),
            (Lock::lease("default", "lock"), ""),
            (Lock::lease("default", "lock"), "john\n"),
        ] {
            let built =
                Candidate::builder(client(&server), lock.clone()).identity(identity).build();
            assert!(matches!(built, Err(Error::Invalid { .. })), "{lock} {identity:?}");
        }
        let timing = Candidate::builder(client(&server), Lock::lease("default", "lock"))
            .lease_duration(Duration::from_millis(1500));
        assert!(matches!(timing.build(), Err(Error::Invalid { .. })));
        assert_eq!(server.requests().total(), 0);
    });
}
