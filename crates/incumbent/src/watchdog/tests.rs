use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use incumbent_core::{FencingToken, Term};

use super::*;
use crate::lock::Lock;

fn overrun_calls(
    clock: Clock,
    token: u64,
    stop_within: Duration,
    action: impl Fn(Overrun) + Send + Sync + 'static,
) -> Arc<TermState> {
    let valid_until = clock.instant() + stop_within / 2;
    let stop_by = clock.instant() + stop_within;
    let term = Term { token: FencingToken(token), valid_until, stop_by };
    TermState::new(Lock::lease("default", "lock"), term, clock, OnOverrun::Call(Arc::new(action)))
}

/// Guards a term of the real clock on the real thread.
fn guarded(token: u64, action: impl Fn(Overrun) + Send + Sync + 'static) -> Arc<TermState> {
    let clock = Clock::system();
    let term = overrun_calls(clock, token, Duration::from_millis(20), action);
    Guard::start(clock).unwrap().guard(&term);
    term
}

fn next(overruns: &Receiver<Overrun>) -> u64 {
    overruns.recv_timeout(Duration::from_secs(20)).expect("it is acted on").token.0
}

#[test]
fn a_slow_action_holds_up_no_other_however_many_overrun_at_once() {
    const OTHERS: u64 = 300;
    let (sender, overruns) = channel();
    let (all_done, until_all_done) = channel::<()>();
    let until_all_done = Mutex::new(until_all_done);
    let (begin, begun) = channel();
    let slow = guarded(0, move |overrun| {
        begin.send(overrun).unwrap();
        let _ = until_all_done.lock().unwrap().recv();
    });
    assert_eq!(next(&begun), 0);
    let others: Vec<_> = (1..=OTHERS)
        .map(|token| {
            let sender = sender.clone();
            guarded(token, move |overrun| sender.send(overrun).unwrap())
        })
        .collect();
    let mut seen: Vec<_> = (1..=OTHERS).map(|_| next(&overruns)).collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(1..=OTHERS));
    drop(all_done);
    drop((slow, others));
}

#[test]
fn each_overrun_of_a_process_is_acted_on_and_only_once() {
    let (sender, overruns) = channel();
    let mut terms = Vec::new();
    for token in 1..=3 {
        let sender = sender.clone();
        terms.push(guarded(token, move |overrun| sender.send(overrun).unwrap()));
        assert_eq!(next(&overruns), token);
    }
    assert!(overruns.try_recv().is_err());
}

/// Spins until the dead man's switch of this term is off; it would end this process otherwise.
fn until_off(term: &TermState) {
    while term.due().is_some() {
        thread::yield_now();
    }
}

#[test]
fn an_overrun_that_was_attended_to_does_not_end_the_process_later() {
    let (sender, overruns) = channel();
    let still_works = guarded(1, move |overrun| sender.send(overrun).unwrap());
    assert_eq!(next(&overruns), 1);
    until_off(&still_works);
}

#[test]
fn work_that_ends_in_time_is_left_alone() {
    let (sender, overruns) = channel();
    let unwanted = sender.clone();
    let ended = guarded(1, move |overrun| unwanted.send(overrun).unwrap());
    assert!(ended.due().is_some());
    ended.work_ended();
    assert_eq!(ended.due(), None);
    // Due later than the first, so the first would have been acted on before.
    let _runs = guarded(2, move |overrun| sender.send(overrun).unwrap());
    assert_eq!(next(&overruns), 2);
    assert!(overruns.try_recv().is_err());
}

#[test]
fn a_task_that_waits_for_a_loss_is_woken_by_the_watchdog_too() {
    struct Woken(std::sync::mpsc::Sender<()>);
    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }
    let (sender, woken) = channel();
    let clock = Clock::system();
    let term = overrun_calls(clock, 1, Duration::from_millis(20), |_| {});
    let waker = std::task::Waker::from(Arc::new(Woken(sender)));
    // No runtime has a timer that could do it.
    let mut ended = term.subscribe();
    let mut told = std::pin::pin!(ended.changed());
    let mut context = std::task::Context::from_waker(&waker);
    assert!(Future::poll(told.as_mut(), &mut context).is_pending());
    Guard::start(clock).unwrap().guard(&term);
    woken.recv_timeout(Duration::from_secs(20)).expect("it is woken");
    assert_eq!(term.loss(), Some(Loss::DeadlinePassed));
}

#[tokio::test(start_paused = true)]
async fn a_look_says_what_is_due_and_when_to_look_again() {
    let clock = Clock::tokio();
    let calls = Arc::new(AtomicUsize::new(0));
    let term = |token, seconds| {
        let calls = calls.clone();
        overrun_calls(clock, token, Duration::from_secs(seconds), move |_| {
            calls.fetch_add(1, Ordering::Relaxed);
        })
    };
    let (short, long, given_back) = (term(1, 10), term(2, 40), term(3, 60));
    let mut terms = Terms::default();
    for term in [&short, &long, &given_back] {
        terms.add(term.clone());
    }
    let counts = |look: &Look| (look.overruns.len(), look.lost.len(), look.ended.len());

    let look = terms.look();
    assert_eq!((look.next, counts(&look)), (Some(short.valid_until()), (0, 0, 0)));
    given_back.work_ended();
    tokio::time::advance(Duration::from_secs(5)).await;
    let look = terms.look();
    assert_eq!((look.next, counts(&look)), (Some(short.stop_by()), (0, 1, 1)));
    tokio::time::advance(Duration::from_secs(5)).await;
    let look = terms.look();
    assert_eq!((look.next, counts(&look)), (Some(long.valid_until()), (1, 1, 0)));
    assert_eq!(look.overruns[0].1.token, FencingToken(1));
    assert_eq!(counts(&terms.look()), (0, 0, 0), "an overrun is told once");
    tokio::time::advance(Duration::from_secs(60)).await;
    let look = terms.look();
    assert_eq!((look.next, counts(&look)), (None, (1, 1, 0)));
    assert_eq!(look.overruns[0].1.late_by, Duration::from_secs(30));
    assert_eq!(calls.load(Ordering::Relaxed), 0, "a look does nothing about it");
}
