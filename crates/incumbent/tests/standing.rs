//! Whether a candidate leads, as others than its work see it.

mod support;

use std::time::Duration;

use incumbent_apiserver::ApiServer;
use support::{Line, State, builder, candidate, client_on, seconds};

#[tokio::test(start_paused = true)]
async fn it_says_from_any_thread_whether_the_candidate_leads_and_for_how_long() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let mut john = builder(client_on(&server, &line), "john").build().unwrap();
    let standing = john.standing();
    assert_eq!(standing.reign(), None);
    let leadership = john.campaign().await.unwrap();
    let reign = standing.reign().expect("he leads");
    assert_eq!(reign.fencing_token, leadership.fencing_token());
    assert_eq!(reign.valid_for, Duration::from_secs(10), "the renew deadline");
    seconds(3600.0).await;
    assert!(standing.is_leading(), "it is renewed");

    line.set(State::Silent);
    let last = standing.reign().unwrap().valid_for.as_secs_f64();
    assert!((5.0..=10.0).contains(&last), "{last}");
    seconds(last - 0.01).await;
    assert!(standing.is_leading());
    seconds(0.02).await;
    assert!(!standing.is_leading(), "by the clock alone");
    drop((leadership, john));
    assert!(!standing.is_leading(), "it outlives the candidate");
}

#[tokio::test(start_paused = true)]
async fn it_follows_its_candidate_from_term_to_term_but_not_into_a_release() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let (standing, another) = (john.standing(), john.standing());
    let first = john.campaign().await.unwrap();
    let token = first.fencing_token();
    drop(first); // The release has still to be written.
    assert!(!standing.is_leading());
    let _second = john.campaign().await.unwrap();
    let reign = tokio::task::spawn_blocking(move || standing.reign().is_some());
    assert!(another.reign().unwrap().fencing_token > token);
    // Tokio's clock is that of its runtime, also on a thread that blocks.
    assert!(reign.await.unwrap());
}
