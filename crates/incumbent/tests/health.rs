//! Candidates that know that they are not well.

mod support;

use std::time::Duration;

use incumbent_apiserver::ApiServer;
use support::{builder, candidate, client, seconds};
use tokio::sync::watch;

#[tokio::test(start_paused = true)]
async fn what_is_unhealthy_does_not_campaign_until_it_is_well() {
    let server = ApiServer::new();
    let (health, is_well) = watch::channel(false);
    let mut john = builder(client(&server), "john").health(is_well).build().unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    assert!(tokio::time::timeout(day, john.campaign()).await.is_err());
    let well = async {
        seconds(1.0).await;
        health.send_replace(true);
    };
    let (leadership, ()) = tokio::join!(john.campaign(), well);
    assert!(leadership.unwrap().is_valid());
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_falls_ill_withdraws_and_comes_back() {
    let server = ApiServer::new();
    let mut jane = candidate(&server, "jane");
    let first = jane.campaign().await.unwrap();
    let (health, is_well) = watch::channel(true);
    let mut john = builder(client(&server), "john").health(is_well).build().unwrap();
    let waiting = tokio::spawn(async move { (john.campaign().await.unwrap(), john) });
    seconds(1.0).await;
    health.send_replace(false);
    seconds(1.0).await;
    first.release().await;
    seconds(60.0).await;
    assert!(!waiting.is_finished(), "it leads, and is not well");
    health.send_replace(true);
    let (second, _john) = waiting.await.unwrap();
    assert!(second.is_valid());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_falls_ill_hands_over_at_once() {
    let server = ApiServer::new();
    let (health, is_well) = watch::channel(true);
    let mut john = builder(client(&server), "john").health(is_well).build().unwrap();
    let ill = tokio::spawn(async move {
        john.run(|_leadership| async { std::future::pending::<Result<(), _>>().await }).await
    });
    seconds(1.0).await;
    let mut jane = candidate(&server, "jane");
    let waiting = tokio::spawn(async move { (jane.campaign().await.unwrap(), jane) });
    seconds(1.0).await;
    let before = tokio::time::Instant::now();
    health.send_replace(false);
    let (second, _jane) = waiting.await.unwrap();
    assert!(second.is_valid());
    assert!(before.elapsed() < Duration::from_millis(100), "{:?}", before.elapsed());
    assert!(!ill.is_finished(), "it waits to be well again");
}
