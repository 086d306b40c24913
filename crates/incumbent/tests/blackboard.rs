//! The blackboard: the idea in its first form.

mod support;

use incumbent::{Blackboard, Claim, Error, Lock};
use incumbent_apiserver::ApiServer;
use serde_json::{Value, json};
use support::client;
use support::testbed::Testbed;

async fn with_blackboard(data: Value) -> Testbed {
    let testbed = Testbed::new().await;
    let metadata = json!({ "name": "blackboard" });
    let mut object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata });
    if !data.is_null() {
        object["data"] = data;
    }
    testbed.create("/api/v1", "configmaps", object).await;
    testbed
}

fn blackboard(testbed: &Testbed) -> Blackboard {
    Blackboard::new(testbed.client(), &testbed.namespace, "blackboard")
}

async fn stored(testbed: &Testbed) -> Value {
    testbed.stored("/api/v1", "configmaps/blackboard").await
}

fn version(claim: Claim) -> String {
    match claim {
        Claim::Yours { resource_version } | Claim::Stale { resource_version } => resource_version,
        Claim::Taken { resource_version, .. } => resource_version,
    }
}

#[tokio::test]
async fn jane_comes_first_and_johns_stale_replace_is_refused() {
    let testbed = with_blackboard(json!({ "leader": "", "other": "kept" })).await;
    let board = blackboard(&testbed);
    let both_read = stored(&testbed).await["metadata"]["resourceVersion"].clone();
    let both_read = both_read.as_str().unwrap();
    assert_eq!(board.holder().await.unwrap(), None);

    let jane = board.claim_version("jane", both_read).await.unwrap();
    assert!(matches!(jane, Claim::Yours { .. }), "{jane:?}");
    let john = board.claim_version("john", both_read).await.unwrap();
    let Claim::Taken { by, .. } = john else { panic!("{john:?}") };
    assert_eq!(by, "jane");
    assert_eq!(stored(&testbed).await["data"], json!({ "leader": "jane", "other": "kept" }));
}

#[tokio::test]
async fn nobody_is_overwritten_not_even_with_the_latest_version() {
    let testbed = with_blackboard(Value::Null).await;
    let board = blackboard(&testbed);
    let latest = version(board.claim("jane").await.unwrap());
    for claim in [
        board.claim("john").await.unwrap(),
        board.claim_version("john", &latest).await.unwrap(),
        board.claim_version("john", "1").await.unwrap(),
    ] {
        assert!(matches!(claim, Claim::Taken { ref by, .. } if by == "jane"), "{claim:?}");
    }
    // Her own claim she may repeat.
    assert!(matches!(board.claim("jane").await.unwrap(), Claim::Yours { .. }));
    assert_eq!(board.release("john").await.unwrap(), Some("jane".to_owned()));
    assert_eq!(board.release("jane").await.unwrap(), None);
    assert!(matches!(board.claim("john").await.unwrap(), Claim::Yours { .. }));
}

#[tokio::test]
async fn what_is_no_version_is_refused_and_overwrites_nobody() {
    let testbed = with_blackboard(json!({ "leader": "jane" })).await;
    let board = blackboard(&testbed);
    for version in ["", "0", "00", "+5", "banana", "-1"] {
        let claim = board.claim_version("john", version).await;
        assert!(matches!(claim, Err(Error::Invalid { .. })), "{version:?}: {claim:?}");
    }
    assert_eq!(board.holder().await.unwrap(), Some("jane".to_owned()));
}

#[tokio::test]
async fn a_version_that_somebody_else_replaced_is_stale_also_where_nobody_leads() {
    let testbed = with_blackboard(json!({ "leader": "" })).await;
    let board = blackboard(&testbed);
    let claim = board.claim_version("john", "1").await.unwrap();
    assert!(matches!(claim, Claim::Stale { .. }), "{claim:?}");
    assert_eq!(board.holder().await.unwrap(), None);
}

#[tokio::test]
async fn keys_are_blackboards_of_their_own() {
    let testbed = with_blackboard(json!({ "leader": "jane" })).await;
    let east = blackboard(&testbed).key("east");
    assert!(matches!(east.claim("john").await.unwrap(), Claim::Yours { .. }));
    assert_eq!(stored(&testbed).await["data"], json!({ "leader": "jane", "east": "john" }));
}

#[tokio::test]
async fn a_hundred_claim_at_once_and_one_wins() {
    let testbed = with_blackboard(json!({ "leader": "" })).await;
    let claims: Vec<_> = (0..100)
        .map(|number| {
            let board = blackboard(&testbed);
            tokio::spawn(async move { board.claim(&format!("c{number}")).await.unwrap() })
        })
        .collect();
    let mut won = 0;
    for claim in claims {
        won += u32::from(matches!(claim.await.unwrap(), Claim::Yours { .. }));
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn what_came_of_a_write_without_an_answer_is_learnt_by_reading() {
    let server = ApiServer::new();
    let board = Blackboard::new(kube::Client::new(server.service(), "default"), "default", "board");
    board.claim("jane").await.unwrap();
    board.release("jane").await.unwrap();
    let lost = |what: &str| {
        server.faults().add(format!("verb=update,drop={what},by=close").parse().unwrap())
    };
    let request = lost("request");
    board.claim("john").await.unwrap_err();
    server.faults().remove(&request);
    assert_eq!(board.holder().await.unwrap(), None);
    let answer = lost("answer");
    assert!(matches!(board.claim("john").await.unwrap(), Claim::Yours { .. }));
    server.faults().remove(&answer);
    assert_eq!(board.holder().await.unwrap().as_deref(), Some("john"));
}

#[tokio::test]
async fn a_missing_config_map_is_made_where_that_is_allowed_and_named_where_not() {
    let testbed = Testbed::new().await;
    assert!(matches!(blackboard(&testbed).claim("john").await.unwrap(), Claim::Yours { .. }));

    let testbed = Testbed::new().await;
    let rules = json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"] }]);
    let client = testbed.restricted_client(rules).await;
    let board = Blackboard::new(client, &testbed.namespace, "blackboard");
    let error = board.claim("john").await.unwrap_err();
    let namespace = &testbed.namespace;
    assert_eq!(
        error.to_string(),
        format!("configmap/blackboard in namespace {namespace} does not exist")
    );
    assert_eq!(
        error.hint(),
        format!("make it beforehand: kubectl create configmap blackboard --namespace {namespace}")
    );
}

#[tokio::test]
async fn a_lease_is_no_blackboard() {
    let testbed = Testbed::new().await;
    let board = Blackboard::on(testbed.client(), Lock::lease(&testbed.namespace, "l"));
    assert!(matches!(board.claim("john").await, Err(Error::Invalid { .. })));
}

#[tokio::test]
async fn an_observer_hears_of_each_change() {
    let testbed = with_blackboard(json!({ "leader": "" })).await;
    let board = blackboard(&testbed);
    let mut observer = board.observe();
    assert_eq!(observer.changed().await.unwrap(), None);
    let next = tokio::spawn(async move { (observer.changed().await.unwrap(), observer) });
    board.key("other").claim("x").await.unwrap(); // No change of this key.
    blackboard(&testbed).claim("jane").await.unwrap();
    let (seen, mut observer) = next.await.unwrap();
    assert_eq!(seen, Some("jane".to_owned()));
    blackboard(&testbed).release("jane").await.unwrap();
    assert_eq!(observer.changed().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn an_election_never_takes_over_a_claim() {
    // A day, which no cluster waits for.
    let server = ApiServer::new();
    let metadata = json!({ "name": "blackboard", "namespace": "default" });
    let data = json!({ "leader": "jane" });
    let object =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data });
    server.create(object).unwrap();
    let lock = Lock::config_map("default", "blackboard");
    let mut john = incumbent::Candidate::builder(client(&server), lock)
        .identity("john")
        .clock(incumbent::Clock::tokio())
        .build()
        .unwrap();
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    assert!(tokio::time::timeout(day, john.campaign()).await.is_err());
    Blackboard::new(client(&server), "default", "blackboard").release("jane").await.unwrap();
    assert!(john.campaign().await.unwrap().is_valid());
}
