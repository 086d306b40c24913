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
    let status = john.leadership_status();
    assert_eq!(status.active_term(), None);
    let leadership = john.campaign().await.unwrap();
    let active_term = status.active_term().expect("he leads");
    assert_eq!(active_term.fencing_token, leadership.fencing_token());
    assert_eq!(active_term.valid_for, Duration::from_secs(10), "the renew deadline");
    seconds(3600.0).await;
    assert!(status.is_leading(), "it is renewed");

    line.set(State::Silent);
    let last = status.active_term().unwrap().valid_for.as_secs_f64();
    assert!((5.0..=10.0).contains(&last), "{last}");
    seconds(last - 0.01).await;
    assert!(status.is_leading());
    seconds(0.02).await;
    assert!(!status.is_leading(), "by the clock alone");
    drop((leadership, john));
    assert!(!status.is_leading(), "it outlives the candidate");
}

#[tokio::test(start_paused = true)]
async fn it_follows_its_candidate_from_term_to_term_but_not_into_a_release() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let (status, another) = (john.leadership_status(), john.leadership_status());
    let first = john.campaign().await.unwrap();
    let token = first.fencing_token();
    drop(first); // The release has still to be written.
    assert!(!status.is_leading());
    let _second = john.campaign().await.unwrap();
    let active_term = tokio::task::spawn_blocking(move || status.active_term().is_some());
    assert!(another.active_term().unwrap().fencing_token > token);
    // Tokio's clock is that of its runtime, also on a thread that blocks.
    assert!(active_term.await.unwrap());
}
