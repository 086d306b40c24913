//! Work neither begins nor continues after the renew deadline, however late its task is woken.

mod support;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use incumbent::{Candidate, Leadership};
use incumbent_apiserver::ApiServer;
use support::{Line, State, builder, client_on, seconds};

/// Polls it once. Nothing polls it again before the test does: so its task is woken late.
fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// John's driver gets the lock, and the answer lies there until the term is over.
async fn with_an_answer_that_is_late<F: Future>(future: Pin<&mut F>, line: &Line) {
    assert!(poll(future).is_pending());
    seconds(1.0).await;
    line.set(State::Silent);
    seconds(12.0).await;
    line.set(State::Whole);
}

fn john(server: &ApiServer, line: &Line) -> Candidate {
    builder(client_on(server, line), "john").on_overrun(|_| {}).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_term_that_is_over_before_it_is_taken_is_not_handed_out() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let mut john = john(&server, &line);
    let mut campaign = pin!(john.campaign());
    with_an_answer_that_is_late(campaign.as_mut(), &line).await;
    assert!(campaign.await.unwrap().is_valid());
}

#[tokio::test(start_paused = true)]
async fn work_does_not_begin_in_a_term_that_is_over() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let mut john = john(&server, &line);
    let begun = Mutex::new(Vec::new());
    let work = |leadership: Arc<Leadership>| {
        begun.lock().unwrap().push(leadership.is_valid());
        async { Ok(()) }
    };
    let mut run = pin!(john.run(work));
    with_an_answer_that_is_late(run.as_mut(), &line).await;
    run.await.unwrap();
    assert_eq!(*begun.lock().unwrap(), [true]);
}

/// The deadline passes while nothing polls the work, which then is ready to continue.
#[tokio::test(start_paused = true)]
async fn work_that_is_woken_after_its_term_is_not_polled_again() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let mut john = john(&server, &line);
    let polled = Mutex::new(Vec::new());
    let work = |leadership: Arc<Leadership>| {
        let polled = &polled;
        async move {
            poll_fn(|_| {
                polled.lock().unwrap().push(leadership.is_valid());
                Poll::<()>::Pending
            })
            .await;
            Ok(())
        }
    };
    {
        let mut run = pin!(john.run(work));
        assert!(poll(run.as_mut()).is_pending());
        seconds(1.0).await;
        assert!(poll(run.as_mut()).is_pending());
        assert_eq!(*polled.lock().unwrap(), [true]);
        line.set(State::Silent);
        seconds(12.0).await;
        assert!(poll(run.as_mut()).is_pending());
    }
    assert_eq!(*polled.lock().unwrap(), [true]);
}
