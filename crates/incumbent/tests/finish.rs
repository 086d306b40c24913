//! Work that a hand-over must not cut.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use incumbent::{BoxError, ElectionControl, HandOver, Leader, Leadership, Observer};
use incumbent_apiserver::ApiServer;
use support::{Line, State, builder, candidate, client, client_on, lease, seconds};
use tokio::time::{Instant, sleep};

/// Counts the pieces of work that were begun, and those that came to their end.
#[derive(Clone, Default)]
struct Pieces(Arc<(AtomicU32, AtomicU32)>);

impl Pieces {
    /// Does pieces of so many seconds, for as long as the leadership lets it.
    async fn work(self, leadership: Arc<Leadership>, each: f64) -> Result<(), BoxError> {
        let piece = || async {
            self.0.0.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_secs_f64(each)).await;
            self.0.1.fetch_add(1, Ordering::Relaxed);
        };
        while let Some(()) = leadership.finish(piece()).await {}
        Ok(())
    }

    fn begun_and_ended(&self) -> (u32, u32) {
        (self.0.0.load(Ordering::Relaxed), self.0.1.load(Ordering::Relaxed))
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_the_piece_that_runs_and_begins_no_other() {
    let server = ApiServer::new();
    let (mut john, pieces) = (candidate(&server, "john"), Pieces::default());
    let began = Instant::now();
    let outcome =
        john.run_until(seconds(25.0), |leadership| pieces.clone().work(leadership, 10.0)).await;
    assert!(outcome.unwrap().is_none());
    assert_eq!(pieces.begun_and_ended(), (3, 3));
    assert_eq!(began.elapsed().as_secs(), 30, "the third is finished");
    let mut jane = candidate(&server, "jane");
    let asked = Instant::now();
    let _leadership = jane.campaign().await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1), "the lock was given back");
}

#[tokio::test(start_paused = true)]
async fn a_request_to_hand_over_waits_for_the_piece_that_runs() {
    let server = ApiServer::new();
    let (mut john, pieces) = (candidate(&server, "john"), Pieces::default());
    let mut jane = candidate(&server, "jane");
    let spare = pieces.clone();
    let john =
        tokio::spawn(
            async move { john.run(|leadership| spare.clone().work(leadership, 8.0)).await },
        );
    seconds(1.0).await;
    let waits = tokio::spawn(async move {
        let leadership = jane.campaign().await.unwrap();
        (jane, leadership)
    });
    seconds(1.0).await;
    ElectionControl::new(client(&server), lease())
        .unwrap()
        .hand_over(&HandOver::ToNext)
        .await
        .unwrap();
    let asked = Instant::now();
    let (_jane, _leadership) = waits.await.unwrap();
    let waited = asked.elapsed().as_secs_f64();
    assert!((5.5..7.0).contains(&waited), "{waited}");
    assert_eq!(pieces.begun_and_ended(), (1, 1));
    assert!(!john.is_finished(), "work that was refused a piece has not ended: he campaigns again");
    john.abort();
}

#[tokio::test(start_paused = true)]
async fn a_piece_that_takes_longer_than_the_lease_is_dropped_after_all() {
    let server = ApiServer::new();
    let (mut john, pieces) = (candidate(&server, "john"), Pieces::default());
    let began = Instant::now();
    let work = |leadership| pieces.clone().work(leadership, 1000.0);
    assert!(john.run_until(seconds(100.0), work).await.unwrap().is_none());
    assert_eq!(pieces.begun_and_ended(), (1, 0));
    let waited = began.elapsed().as_secs_f64() - 100.0;
    assert!((9.0..15.0).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_for_a_piece_when_leadership_is_lost() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let mut john = builder(client_on(&server, &line), "john").build().unwrap();
    let leadership = john.campaign().await.unwrap();
    line.set(State::Silent);
    let began = Instant::now();
    assert_eq!(leadership.finish(seconds(1000.0)).await, None);
    assert!(began.elapsed() <= Duration::from_secs(10), "the renew deadline");
    assert!(!leadership.is_valid());
    let mut begun = false;
    assert_eq!(leadership.finish(async { begun = true }).await, None);
    assert!(!begun);
}

#[tokio::test(start_paused = true)]
async fn work_that_comes_to_its_end_in_the_last_piece_is_done() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let outcome = john
        .run_until(seconds(5.0), |leadership| async move {
            leadership.finish(seconds(8.0)).await;
            Ok(7)
        })
        .await;
    assert_eq!(outcome.unwrap(), Some(7));
    let failed = john
        .run_until(seconds(5.0), |leadership| async move {
            leadership.finish(seconds(8.0)).await;
            Err::<(), _>("the disk is full".into())
        })
        .await;
    assert!(failed.unwrap_err().to_string().contains("the disk is full"));
}

#[tokio::test(start_paused = true)]
async fn an_observer_follows_without_a_candidate_and_takes_nothing() {
    let server = ApiServer::new();
    let mut observer =
        Observer::with_clock(client(&server), lease(), incumbent::Clock::tokio()).unwrap();
    let mut again = observer.clone();
    assert_eq!(observer.changed().await, Some(Leader::Nobody));
    assert_eq!(server.requests().of(incumbent_apiserver::Verb::Create), 0, "it makes no lock");
    let mut john = candidate(&server, "john");
    let leadership = john.campaign().await.unwrap();
    let known = observer.changed().await.unwrap();
    assert_eq!(known.identity().map(|name| name.as_str().to_owned()).as_deref(), Some("john"));
    drop(observer);
    leadership.release().await;
    while again.changed().await != Some(Leader::Nobody) {}
    assert!(again.waitlist().is_empty());
    drop(again);
    while server.open_watches() > 1 {
        seconds(1.0).await;
    }
}
