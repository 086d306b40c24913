//! Elections of real candidates over a real API server, in no time: the server is in this process and
//! the time is paused.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use incumbent::{Clock, Error, Leader, Loss, Release};
use incumbent_apiserver::{ApiServer, Verb};
use serde_json::json;
use support::{
    Line, State, builder, candidate, client, client_on, delete, lease, patch, seconds, stored,
};
use tokio::time::timeout;

#[tokio::test(start_paused = true)]
async fn the_first_leads_and_a_release_hands_over_at_once() {
    let server = ApiServer::new();
    let (mut john, mut jane) = (candidate(&server, "john"), candidate(&server, "jane"));

    let leadership = john.campaign().await.unwrap();
    assert!(leadership.is_valid());
    let waiting = tokio::spawn(async move { (jane.campaign().await.unwrap(), jane) });
    seconds(60.0).await;
    assert!(leadership.is_valid(), "renewals keep it valid");
    assert!(!waiting.is_finished());

    let before = tokio::time::Instant::now();
    let first_token = leadership.fencing_token();
    assert_eq!(leadership.release().await, Release::Done);
    let (second, _jane) = waiting.await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO, "no timer is waited for");
    assert!(second.fencing_token() > first_token);
    assert_eq!(stored(&server).await["spec"]["holderIdentity"], "jane");
}

#[tokio::test(start_paused = true)]
async fn a_partitioned_leader_stops_before_another_leads() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let mut john = builder(client_on(&server, &line), "john").build().unwrap();
    let mut jane = candidate(&server, "jane");
    let clock = Clock::tokio();
    let leadership = john.campaign().await.unwrap();
    let waiting = tokio::spawn(async move {
        let leadership = jane.campaign().await.unwrap();
        (clock.instant(), leadership, jane)
    });
    seconds(12.0).await;

    line.set(State::Silent);
    assert_eq!(leadership.lost().await, Loss::DeadlinePassed);
    let lost_at = clock.instant();
    assert!(!leadership.is_valid());
    assert!(leadership.valid_for().is_zero());
    drop(leadership);

    let (led_at, second, _jane) = waiting.await.unwrap();
    assert!(second.is_valid());
    let margin = led_at.saturating_since(lost_at);
    assert!((4.9..5.1).contains(&margin.as_secs_f64()), "{margin:?}");
}

#[tokio::test(start_paused = true)]
async fn waiting_costs_no_requests_and_leading_one_put_per_renew_interval() {
    let server = ApiServer::new();
    let mut candidates: Vec<_> =
        (0..10).map(|number| candidate(&server, &format!("c{number}"))).collect();
    let leadership = candidates[0].campaign().await.unwrap();
    let waiting: Vec<_> = candidates
        .into_iter()
        .skip(1)
        .map(|mut waiting| tokio::spawn(async move { waiting.campaign().await.map(drop) }))
        .collect();
    // By then all stand in line.
    seconds(60.0).await;

    let before = server.requests();
    seconds(600.0).await;
    let after = server.requests();
    assert!(leadership.is_valid());
    assert_eq!(after.of(Verb::Get), before.of(Verb::Get));
    assert_eq!(after.of(Verb::List), before.of(Verb::List));
    assert_eq!(after.of(Verb::Watch), before.of(Verb::Watch));
    let renewals = after.of(Verb::Update) - before.of(Verb::Update);
    assert!((120..=134).contains(&renewals), "{renewals} in 600 s");
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_starts_no_second_term_by_itself() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let mut john = builder(client_on(&server, &line), "john").build().unwrap();
    seconds(1.0).await; // The lock is read by now; it does not exist.
    line.set(State::WritesUnanswered);
    assert!(timeout(Duration::from_secs(9), john.campaign()).await.is_err());
    // The writes were applied: the record names john. He does not lead by that.
    assert_eq!(stored(&server).await["spec"]["holderIdentity"], "john");
    line.set(State::Whole);
    let leadership = john.campaign().await.unwrap();
    assert!(leadership.is_valid());
    assert_eq!(stored(&server).await["spec"]["holderIdentity"], "john");
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_costs_one_lease_at_most_and_is_opened_anew() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let line = Line::to(&server);
    line.set(State::WatchesSilent);
    let mut jane = builder(client_on(&server, &line), "jane").build().unwrap();
    let leadership = john.campaign().await.unwrap();
    let waiting = tokio::spawn(async move { (jane.campaign().await.unwrap(), jane) });
    // She sees no renewal, and tries to take over: the compare-and-swap refuses her.
    seconds(20.0).await;
    assert!(leadership.is_valid());
    assert!(!waiting.is_finished());
    line.set(State::Whole);
    seconds(60.0).await;
    assert!(leadership.is_valid());
    // By now another watch is open, and the release reaches her at once.
    let before = tokio::time::Instant::now();
    leadership.release().await;
    let _leadership = waiting.await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_only_follows_notices_a_silent_watch_within_a_lease() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let line = Line::to(&server);
    let _leadership = john.campaign().await.unwrap();
    let jane = builder(client_on(&server, &line), "jane").build().unwrap();
    let observer = jane.observe();
    seconds(20.0).await;
    // From now on no watch shows her anything. What she saw last is good for a lease.
    line.set(State::WatchesSilent);
    seconds(20.0).await;
    let mut known = 0;
    for _ in 0..40 {
        seconds(1.0).await;
        known += u32::from(observer.leader().identity().is_some());
    }
    assert!(known > 20, "she knew the leader in {known} of 40 seconds");
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_only_follows_notices_a_watch_that_falls_silent_while_nobody_leads() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    drop(john.campaign().await.unwrap());
    let line = Line::to(&server);
    let jane = builder(client_on(&server, &line), "jane").build().unwrap();
    let observer = jane.observe();
    // Long enough for her to look once whether the watch is silent: it is not yet.
    seconds(40.0).await;
    assert!(matches!(observer.leader(), Leader::Nobody), "{:?}", observer.leader());
    line.set(State::WatchesSilent);
    let _leadership = john.campaign().await.unwrap();
    seconds(20.0).await;
    assert_eq!(observer.leader().identity().map(|leader| leader.as_str()), Some("john"));
}

#[tokio::test(start_paused = true)]
async fn another_holder_or_a_deleted_lock_ends_the_term_at_once() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let leadership = john.campaign().await.unwrap();
    let before = tokio::time::Instant::now();
    patch(&server, json!({ "spec": { "holderIdentity": "jane" } })).await;
    let loss = leadership.lost().await;
    assert!(matches!(loss, Loss::RecordChanged { holder: Some(_) }), "{loss:?}");
    assert_eq!(before.elapsed(), Duration::ZERO);
    drop(leadership);

    // The foreign holder shows no sign of life: after her lease john leads again.
    let leadership = john.campaign().await.unwrap();
    assert!((14.9..15.1).contains(&before.elapsed().as_secs_f64()), "{:?}", before.elapsed());
    let token = leadership.fencing_token();
    delete(&server).await;
    assert_eq!(leadership.lost().await, Loss::LockGone);
    drop(leadership);
    let before = tokio::time::Instant::now();
    let leadership = john.campaign().await.unwrap();
    assert!(leadership.fencing_token() > token, "also for a lock that was made anew");
    assert!((14.9..15.1).contains(&before.elapsed().as_secs_f64()), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_others_wrote_into_the_lock_survives_and_costs_nothing() {
    let server = ApiServer::builder().coordinated_leader_election(true).build();
    let mut john = candidate(&server, "john");
    let leadership = john.campaign().await.unwrap();
    let foreign = json!({
        "metadata": { "labels": { "team": "a" }, "annotations": { "other.dev/x": "1" } },
        "spec": { "strategy": "OldestEmulationVersion", "preferredHolder": "jane" },
    });
    patch(&server, foreign).await;
    let before = server.requests();
    seconds(20.0).await;
    assert!(leadership.is_valid());
    assert_eq!(server.requests().of(Verb::Get), before.of(Verb::Get), "no conflict, no read");
    leadership.release().await;
    let stored = stored(&server).await;
    assert_eq!(stored["metadata"]["labels"]["team"], "a");
    assert_eq!(stored["metadata"]["annotations"]["other.dev/x"], "1");
    assert_eq!(stored["spec"]["preferredHolder"], "jane");
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_campaign_leaves_the_lock_free() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    drop(timeout(Duration::ZERO, john.campaign()).await);
    john.leave().await;
    seconds(1.0).await;
    let mut jane = candidate(&server, "jane");
    let before = tokio::time::Instant::now();
    jane.campaign().await.unwrap().release().await;
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_is_dropped_releases_what_it_holds() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let leadership = john.campaign().await.unwrap();
    drop(john);
    seconds(30.0).await;
    assert!(leadership.is_valid(), "the leadership is enough to keep renewing");
    drop(leadership);
    seconds(1.0).await;
    assert_eq!(stored(&server).await["spec"]["holderIdentity"], "");
    assert_eq!(server.open_watches(), 0, "and nothing is left running");
}

#[tokio::test(start_paused = true)]
async fn work_that_overruns_its_lease_is_reported_to_the_watchdog_in_time() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let clock = Clock::tokio();
    let (sender, mut overruns) = tokio::sync::mpsc::unbounded_channel();
    let mut john = builder(client_on(&server, &line), "john")
        .on_overrun(move |overrun| {
            let _ = sender.send((clock.instant(), overrun));
        })
        .build()
        .unwrap();
    let leadership = john.campaign().await.unwrap();
    line.set(State::Silent);
    let cut_at = clock.instant();
    let token = leadership.fencing_token();
    // The work keeps its leadership, and so says that it still runs.
    let told = timeout(Duration::from_secs(60), overruns.recv()).await;
    let (ended_at, overrun) = told.expect("it is told").unwrap();
    assert_eq!(overrun.token, token);
    let after = ended_at.saturating_since(cut_at).as_secs_f64();
    assert!((14.6..14.71).contains(&after), "{after} s: before the 15 s of a follower");
    assert!(!leadership.is_valid());
}

#[test]
fn the_real_watchdog_acts_on_the_boot_clock_also_when_the_runtime_is_blocked() {
    let server = ApiServer::new();
    let (sender, overruns) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut john = incumbent::Candidate::builder(client(&server), lease())
            .identity("john")
            .lease_duration(Duration::from_secs(1))
            .on_overrun(move |overrun| {
                sender.send(overrun.token).unwrap();
            })
            .build()
            .unwrap();
        // The deadlines count from when the write was sent, however late its answer comes.
        let not_sent_yet = Clock::system().instant();
        let leadership = john.campaign().await.unwrap();
        // Blocks the only thread of the runtime: nothing is renewed, and nobody else could notice.
        let token = overruns.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(token, leadership.fencing_token());
        let after = Clock::system().instant().saturating_since(not_sent_yet);
        assert!(after >= Duration::from_millis(900), "{after:?}: not before the stop deadline");
        assert!(!leadership.is_valid());
    });
}

/// Two elections of one process, on the real clock. The end of each one's work takes until the other's begins.
#[test]
fn an_overrun_that_takes_long_to_end_holds_up_no_other_election() {
    let server = ApiServer::new();
    let (sender, overruns) = std::sync::mpsc::channel();
    let both = Arc::new(std::sync::Barrier::new(2));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut leaderships = Vec::new();
        for name in ["a", "b"] {
            let (sender, both) = (sender.clone(), both.clone());
            let lock = incumbent::Lock::lease("default", name);
            let mut john = incumbent::Candidate::builder(client(&server), lock)
                .identity("john")
                .lease_duration(Duration::from_secs(1))
                .on_overrun(move |overrun| {
                    both.wait();
                    sender.send(overrun.token).unwrap();
                })
                .build()
                .unwrap();
            leaderships.push(john.campaign().await.unwrap());
        }
        // Blocks the only thread of the runtime: nothing is renewed.
        let seen = [(); 2].map(|()| overruns.recv_timeout(Duration::from_secs(60)).unwrap());
        for leadership in leaderships {
            assert!(seen.contains(&leadership.fencing_token()));
        }
    });
}

#[tokio::test(start_paused = true)]
async fn nothing_is_released_when_the_work_overran() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let mut john = builder(client_on(&server, &line), "john").on_overrun(drop).build().unwrap();
    let leadership = john.campaign().await.unwrap();
    line.set(State::Silent);
    seconds(14.8).await;
    line.set(State::Whole);
    assert_eq!(leadership.release().await, Release::LeftToExpire);
    assert_eq!(stored(&server).await["spec"]["holderIdentity"], "john");
}

#[tokio::test(start_paused = true)]
async fn run_campaigns_again_after_a_loss_and_ends_with_the_work() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let terms = Arc::new(AtomicU64::new(0));
    let count = terms.clone();
    let work = |leadership: Arc<incumbent::Leadership>| {
        let count = count.clone();
        async move {
            if count.fetch_add(1, Ordering::Relaxed) == 0 {
                leadership.lost().await;
                std::future::pending::<()>().await; // Dropped at the loss.
            }
            Ok(leadership.fencing_token())
        }
    };
    let outside = async {
        seconds(3.0).await;
        patch(&server, json!({ "spec": { "holderIdentity": "jane" } })).await;
    };
    let (token, ()) = tokio::join!(john.run(work), outside);
    assert!(token.unwrap().0 > 0);
    assert_eq!(terms.load(Ordering::Relaxed), 2);
    assert_eq!(stored(&server).await["spec"]["holderIdentity"], "", "released before it returns");
}

#[tokio::test(start_paused = true)]
async fn run_returns_the_error_of_the_work_and_has_released() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let outcome = john.run(|_leadership| async { Err::<(), _>("out of paper".into()) }).await;
    let Err(Error::Work(error)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(error.to_string(), "out of paper");
    assert_eq!(stored(&server).await["spec"]["holderIdentity"], "");
}

#[tokio::test(start_paused = true)]
async fn run_holds_the_leadership_also_for_work_that_makes_no_use_of_it() {
    let server = ApiServer::new();
    let (mut john, mut jane) = (candidate(&server, "john"), candidate(&server, "jane"));
    let running = Arc::new(AtomicU64::new(0));
    let work = |running: Arc<AtomicU64>| async move {
        assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "the work of two runs at once");
        seconds(40.0).await;
        running.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    };
    let (first, second) =
        tokio::join!(john.run(|_| work(running.clone())), jane.run(|_| work(running.clone())));
    first.unwrap();
    second.unwrap();
    let writes = server.requests().of(Verb::Update);
    assert!(writes < 40, "{writes} writes for two terms of 40 s");
}

#[tokio::test(start_paused = true)]
async fn leaving_ends_also_while_the_server_is_away() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let mut john = builder(client_on(&server, &line), "john").build().unwrap();
    let leadership = john.campaign().await.unwrap();
    line.set(State::Silent);
    leadership.lost().await;
    drop(leadership);
    assert!(timeout(Duration::from_secs(60), john.campaign()).await.is_err());
    timeout(Duration::from_secs(11), john.leave()).await.expect("it does not hang");
}

#[tokio::test(start_paused = true)]
async fn a_release_ends_also_while_the_next_campaign_is_waiting() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let first = john.campaign().await.unwrap();
    let both = async { tokio::join!(first.release(), john.campaign()) };
    let (release, second) = timeout(Duration::from_secs(60), both).await.expect("no deadlock");
    assert_eq!(release, Release::Done);
    assert!(second.unwrap().is_valid());
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_writes_always_conflict_does_not_spin() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let mut john = builder(client_on(&server, &line), "john").build().unwrap();
    let leadership = john.campaign().await.unwrap();
    let before = server.requests().total();
    line.set(State::WritesConflict);
    leadership.lost().await;
    let requests = server.requests().total() - before;
    assert!(requests < 40, "{requests} requests in 10 s");
}

#[tokio::test(start_paused = true)]
async fn run_until_drops_the_work_and_releases() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let outcome = john
        .run_until(seconds(5.0), |leadership| async move {
            let _leadership = leadership;
            std::future::pending::<Result<(), _>>().await
        })
        .await;
    assert!(outcome.unwrap().is_none());
    assert_eq!(stored(&server).await["spec"]["holderIdentity"], "");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_work_hands_over_at_once() {
    let server = ApiServer::new();
    let (mut john, mut jane) = (candidate(&server, "john"), candidate(&server, "jane"));
    let (started, leads) = tokio::sync::oneshot::channel();
    let started = std::sync::Mutex::new(Some(started));
    let panicking = tokio::spawn(async move {
        john.run(|leadership| {
            let started = started.lock().unwrap().take();
            async move {
                let _leadership = leadership;
                started.unwrap().send(()).unwrap();
                seconds(1.0).await;
                panic!("a bug in the work");
                #[allow(unreachable_code)]
                Ok(())
            }
        })
        .await
    });
    leads.await.unwrap();
    let before = tokio::time::Instant::now();
    let leadership = jane.campaign().await.unwrap();
    assert!(panicking.await.unwrap_err().is_panic());
    assert_eq!(before.elapsed(), Duration::from_secs(1));
    assert!(leadership.is_valid());
}

#[tokio::test(start_paused = true)]
async fn a_namesake_is_reported_and_never_leads_beside_the_other() {
    let server = ApiServer::new();
    let (mut john, mut namesake) = (candidate(&server, "john"), candidate(&server, "john"));
    let leadership = john.campaign().await.unwrap();
    let error = namesake.campaign().await.unwrap_err();
    assert!(matches!(error, Error::DuplicateIdentity { .. }), "{error}");
    assert!(leadership.is_valid());
}

#[tokio::test(start_paused = true)]
async fn an_observer_follows_and_says_unknown_rather_than_something_stale() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let mut john = candidate(&server, "john");
    let jane = builder(client_on(&server, &line), "jane").build().unwrap();
    let mut observer = jane.observe();
    assert_eq!(observer.leader(), Leader::Unknown);

    let leadership = john.campaign().await.unwrap();
    let mut seen = observer.changed().await.unwrap();
    if seen == Leader::Nobody {
        seen = observer.changed().await.unwrap(); // She may have seen the vacant lock first.
    }
    let Leader::Known { identity, token, .. } = seen else { panic!("{seen:?}") };
    assert_eq!((identity.as_str(), token), ("john", Some(leadership.fencing_token())));

    // Her watch ends, as each does by and by, and nothing is heard any more: after the lease nobody can
    // say.
    line.set(State::Silent);
    assert_eq!(observer.changed().await, Some(Leader::Unknown));
    line.set(State::Whole);
    assert!(matches!(observer.changed().await, Some(Leader::Known { .. })));
    leadership.release().await;
    assert_eq!(observer.changed().await, Some(Leader::Nobody));
}

#[tokio::test(start_paused = true)]
async fn a_second_campaign_waits_until_the_work_of_the_first_has_ended() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let first = john.campaign().await.unwrap();
    let token = first.fencing_token();
    let second = async {
        let second = john.campaign().await.unwrap();
        assert!(second.fencing_token() > token);
    };
    let release = async {
        seconds(30.0).await;
        assert!(first.is_valid());
        first.release().await
    };
    let ((), release) = tokio::join!(second, release);
    assert_eq!(release, Release::Done);
}

#[tokio::test(start_paused = true)]
async fn a_campaign_that_is_given_up_while_work_runs_does_not_release_the_lock() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let leadership = john.campaign().await.unwrap();
    assert!(timeout(Duration::from_secs(3), john.campaign()).await.is_err());
    seconds(30.0).await;
    assert!(leadership.is_valid());
    assert_eq!(stored(&server).await["spec"]["holderIdentity"], "john");
    assert_eq!(leadership.release().await, Release::Done);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_driver_is_the_end_of_leadership() {
    let server = ApiServer::new();
    let (sender, leadership) = tokio::sync::oneshot::channel();
    let clock = Clock::tokio();
    // A runtime of its own, so that it can be taken away under the leadership's feet.
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut john = incumbent::Candidate::builder(client(&server), lease())
                .identity("john")
                .build()
                .unwrap();
            let leadership = john.campaign().await.unwrap();
            assert!(leadership.is_valid());
            sender.send(leadership).unwrap();
        });
    });
    let leadership = leadership.await.unwrap();
    tokio::task::spawn_blocking(move || other.join().unwrap()).await.unwrap();
    assert!(!leadership.is_valid(), "at once, and not only at its deadline");
    assert_eq!(leadership.lost().await, Loss::DeadlinePassed);
    assert!(!leadership.is_valid());
    let _ = clock;
}
