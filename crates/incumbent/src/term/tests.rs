use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::*;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// A term that is valid for so long, and whose work has so long to stop.
fn term(clock: Clock, valid_for: f64, stop_within: f64) -> Term {
    let now = clock.instant();
    Term {
        token: FencingToken(7),
        valid_until: now + seconds(valid_for),
        stop_by: now + seconds(stop_within),
    }
}

fn state(clock: Clock, valid_for: f64, stop_within: f64) -> Arc<TermState> {
    let lock = Lock::lease("default", "lock");
    TermState::new(lock, term(clock, valid_for, stop_within), clock, OnOverrun::Abort)
}

impl TermState {
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Loss>> {
        self.ended.subscribe()
    }

    /// When the dead man's switch is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.deadline.due()
    }
}

#[test]
fn a_renewal_moves_the_dead_mans_switch_with_the_stop_deadline() {
    let clock = Clock::system();
    let state = state(clock, 100.0, 140.0);
    state.arm();
    assert_eq!(state.due(), Some(state.stop_by()));
    state.renew(term(clock, 200.0, 240.0));
    assert_eq!(state.due(), Some(state.stop_by()));
    assert!(state.stop_by() > clock.instant() + seconds(200.0));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_extends_a_term_and_never_shortens_it() {
    let clock = Clock::tokio();
    let state = state(clock, 10.0, 14.0);
    state.renew(term(clock, 20.0, 24.0));
    state.renew(term(clock, 15.0, 19.0));
    assert_eq!(
        (state.valid_for(), state.stop_by()),
        (seconds(20.0), clock.instant() + seconds(24.0))
    );
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_noted_too_late_does_not_bring_a_term_back() {
    let clock = Clock::tokio();
    let state = state(clock, 10.0, 14.0);
    let stop_by = state.stop_by();
    tokio::time::advance(seconds(10.0)).await;
    state.renew(term(clock, 10.0, 14.0));
    assert_eq!((state.valid_for(), state.stop_by()), (Duration::ZERO, stop_by));
}

#[tokio::test(start_paused = true)]
async fn what_was_revoked_or_lost_or_whose_work_has_ended_is_not_renewed() {
    let clock = Clock::tokio();
    type End = fn(&TermState);
    let ends: [End; 3] =
        [|state| state.revoke(), |state| state.end(Loss::LockGone), |state| state.work_ended()];
    for end in ends {
        let state = state(clock, 10.0, 14.0);
        end(&state);
        state.renew(term(clock, 20.0, 24.0));
        assert_eq!(state.valid_for(), Duration::ZERO);
    }
}

/// What the driver has read of the clock may be old when it notes a renewal down.
#[tokio::test(start_paused = true)]
async fn a_caller_that_was_told_no_is_never_told_yes_again() {
    let clock = Clock::tokio();
    let state = state(clock, 10.0, 14.0);
    tokio::time::advance(seconds(10.0)).await;
    assert!(state.valid_for().is_zero());
    let until = clock.instant() + seconds(10.0);
    let kept = state.valid_until.fetch_update(Ordering::AcqRel, Ordering::Acquire, |known| {
        (known != 0).then_some(nanos(until))
    });
    assert_eq!((kept, state.valid_for()), (Err(0), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_check_says_when_to_look_again_and_what_to_do_by_then() {
    let clock = Clock::tokio();
    let state = state(clock, 10.0, 14.0);
    let (valid_until, stop_by) = (state.valid_until(), state.stop_by());
    assert!(matches!(state.check(), Due::At(at) if at == valid_until));
    tokio::time::advance(seconds(9.999)).await;
    assert!(matches!(state.check(), Due::At(_)));
    tokio::time::advance(seconds(0.001)).await;
    assert!(matches!(state.check(), Due::Stopping(at) if at == stop_by));
    tokio::time::advance(seconds(3.999)).await;
    assert!(matches!(state.check(), Due::Stopping(_)));
    tokio::time::advance(seconds(0.251)).await;
    let Due::Overrun(overrun) = state.check() else { panic!("it is over") };
    assert_eq!((overrun.token, overrun.late_by), (FencingToken(7), seconds(0.25)));
    assert!(!overrun.work_has_ended());
    state.work_ended();
    assert!(overrun.work_has_ended());
    assert!(matches!(state.check(), Due::Over));
}

#[tokio::test(start_paused = true)]
async fn a_term_that_was_lost_early_leaves_its_work_the_whole_time_to_stop() {
    let clock = Clock::tokio();
    let state = state(clock, 10.0, 14.0);
    state.end(Loss::LockGone);
    assert!(matches!(state.check(), Due::Stopping(at) if at == state.stop_by()));
    assert_eq!(state.loss(), Some(Loss::LockGone));
    state.end(Loss::DeadlinePassed);
    assert_eq!(state.lost().await, Loss::LockGone, "the first reason counts");
}

#[tokio::test(start_paused = true)]
async fn what_was_given_back_was_not_lost_except_after_its_deadline() {
    let clock = Clock::tokio();
    let given_back = state(clock, 10.0, 14.0);
    given_back.work_ended();
    given_back.end(Loss::LockGone);
    assert_eq!(given_back.loss(), None);
    let too_late = state(clock, 10.0, 14.0);
    tokio::time::advance(seconds(10.0)).await;
    too_late.work_ended();
    assert_eq!(too_late.loss(), Some(Loss::DeadlinePassed));
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_told_at_the_deadline_of_the_last_renewal_without_help() {
    let clock = Clock::tokio();
    let state = state(clock, 10.0, 14.0);
    let mut lost = pin!(state.lost());
    assert_eq!(lost.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
    tokio::time::advance(seconds(8.0)).await;
    state.renew(term(clock, 10.0, 14.0));
    let before = clock.instant();
    assert_eq!(lost.await, Loss::DeadlinePassed);
    let after = clock.instant().saturating_since(before);
    assert!((10.0..10.01).contains(&after.as_secs_f64()), "{after:?}");
}
