use incumbent_apiserver::ApiServer;
use serde_json::json;

use super::*;
use crate::stream;

const NAMES: [&str; 2] = ["a", "b"];

fn lock(name: &str) -> Lock {
    Lock::lease("default", name)
}

/// A feed whose watch is opened by the test alone: the server never answers.
fn feed() -> Feed {
    let server = ApiServer::new();
    server.faults().add("drop=everything".parse().unwrap());
    let client = kube::Client::new(server.service(), "default");
    Feed::of_all(LockApi::new(client, lock(NAMES[0])))
}

fn subscribe(feed: &Feed, name: &str) -> Subscription {
    feed.subscribe(&lock(name), Duration::from_secs(2), Clock::tokio())
}

/// The watch shows the object of this name at this revision.
fn show(feed: &Feed, name: &str, revision: u64) {
    let metadata = json!({ "name": name, "uid": "u", "resourceVersion": revision.to_string() });
    let event = json!({ "type": "MODIFIED", "object": { "metadata": metadata, "spec": {} } });
    let Ok(Seen::Present(shown)) = stream::seen(event.to_string().as_bytes()) else {
        panic!("{event}")
    };
    feed.0.hall.audience().show(&shown, false);
}

fn is_useless(feed: &Feed) -> bool {
    feed.0.hall.audience().is_useless()
}

/// The revisions that a listener is told of, until there is nothing more to hear.
async fn heard(subscription: &mut Subscription) -> (Vec<u64>, bool) {
    let mut revisions = Vec::new();
    loop {
        match tokio::time::timeout(Duration::ZERO, subscription.next()).await {
            Ok(Some(News::Seen(seen))) => match seen.0 {
                Observation::Present(snapshot) => revisions.push(snapshot.version.revision),
                Observation::Gone { revision } => revisions.push(revision),
            },
            Ok(Some(News::Follow(_))) => {}
            Ok(None) => return (revisions, false),
            Err(_) => return (revisions, true),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_history_went_back_the_watch_of_before_is_of_no_more_use() {
    let feed = feed();
    let john = subscribe(&feed, "a");
    feed.0.hall.opened(None);
    show(&feed, "a", 10);
    for revision in [10, 12, 12] {
        john.knows(revision);
        assert!(!is_useless(&feed), "history goes on");
    }
    show(&feed, "b", 13);
    john.knows(5);
    assert!(is_useless(&feed));
    // The next continues from nowhere, and others that notice only now do not end it again.
    let jane = subscribe(&feed, "b");
    jane.knows(13);
    feed.0.hall.closed(None);
    assert!(feed.0.hall.takes_distrust());
    feed.0.hall.opened(None);
    show(&feed, "a", 5);
    jane.knows(4);
    assert!(!is_useless(&feed));
}

#[tokio::test(start_paused = true)]
async fn that_history_went_back_is_not_forgotten_while_a_watch_is_being_opened() {
    let feed = feed();
    let john = subscribe(&feed, "a");
    john.knows(10);
    // One that ended early continues from where it was, after a pause.
    feed.0.hall.opened(None);
    show(&feed, "a", 10);
    feed.0.hall.closed(Some("10"));
    assert!(!feed.0.hall.takes_distrust());
    john.knows(5);
    feed.0.hall.opened(Some("10"));
    assert!(is_useless(&feed));
}

#[tokio::test(start_paused = true)]
async fn after_history_went_back_a_listener_is_told_of_what_comes() {
    let feed = feed();
    let mut john = subscribe(&feed, "a");
    feed.0.hall.opened(None);
    show(&feed, "a", 10);
    john.knows(10);
    show(&feed, "a", 10);
    john.knows(5);
    show(&feed, "a", 5);
    show(&feed, "a", 6);
    assert_eq!(heard(&mut john).await, (vec![10, 6], true));
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_knows_a_higher_revision_is_told_of_a_lock_that_was_made_anew() {
    let feed = feed();
    let mut john = subscribe(&feed, "a");
    john.knows(72);
    // A backup that holds no lock is restored; the watch is opened from the present state.
    feed.0.hall.opened(None);
    show(&feed, "a", 34);
    assert_eq!(heard(&mut john).await, (vec![34], true));
}

#[tokio::test(start_paused = true)]
async fn a_slow_listener_holds_up_no_other_and_is_told_that_it_missed_something() {
    let feed = feed();
    let (mut slow, mut other) = (subscribe(&feed, "a"), subscribe(&feed, "b"));
    feed.0.hall.opened(None);
    for revision in 1..=40 {
        show(&feed, "a", 2 * revision);
        show(&feed, "b", 2 * revision + 1);
        assert_eq!(heard(&mut other).await, (vec![2 * revision + 1], true));
    }
    // What it had room for, and no more: not a later one after a gap.
    let (revisions, is_listening) = heard(&mut slow).await;
    let first: Vec<_> = (1..).map(|number| 2 * number).take(revisions.len()).collect();
    assert_eq!(revisions, first);
    assert!(!is_listening, "it has to subscribe again");
    slow.renew(&lock("a"), Duration::from_secs(2));
    show(&feed, "a", 82);
    assert_eq!(heard(&mut slow).await, (vec![82], true));
}

#[tokio::test(start_paused = true)]
async fn a_distrust_of_an_earlier_watch_does_not_end_this_one() {
    let feed = feed();
    let mut john = subscribe(&feed, "a");
    feed.0.hall.opened(None);
    heard(&mut john).await;
    john.distrust(10);
    assert!(is_useless(&feed));
    feed.0.hall.closed(None);
    feed.0.hall.takes_distrust();
    feed.0.hall.opened(None);
    // It was not told of the new one yet.
    john.distrust(10);
    assert!(!is_useless(&feed));
    heard(&mut john).await;
    show(&feed, "b", 10);
    john.distrust(10);
    assert!(!is_useless(&feed), "it has shown something newer");
    john.distrust(11);
    assert!(is_useless(&feed));
}
