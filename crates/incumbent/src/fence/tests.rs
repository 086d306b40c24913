use std::time::Duration;

use incumbent_apiserver::ApiServer;
use incumbent_core::Term;
use k8s_openapi::api::core::v1::ConfigMap;
use tokio::sync::mpsc;

use super::*;
use crate::clock::Clock;
use crate::leadership::Command;
use crate::lock::Lock;
use crate::term::{OnOverrun, TermState};

const TERM: Duration = Duration::from_secs(10);

/// A leadership that is not renewed.
fn lead() -> (Leadership, mpsc::UnboundedReceiver<Command>) {
    let clock = Clock::tokio();
    let (now, token) = (clock.instant(), FencingToken(7));
    let term = Term { token, valid_until: now + TERM, stop_by: now + 2 * TERM };
    let lock = Lock::lease("default", "lock");
    let (commands, receiver) = mpsc::unbounded_channel();
    (Leadership::new(TermState::new(lock, term, clock, OnOverrun::Abort), commands), receiver)
}

fn plans() -> Api<ConfigMap> {
    Api::default_namespaced(kube::Client::new(ApiServer::new().service(), "default"))
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_as_the_term_ends_is_not_thrown_away() {
    let ((leadership, _driver), plans) = (lead(), plans());
    let answer = async {
        tokio::time::sleep(TERM).await;
        Ok("stored")
    };
    let outcome = leadership.fenced(&plans).ask("plan", answer).await;
    assert_eq!(outcome.ok(), Some("stored"), "the caller would have to take it for unknown");
    assert!(!leadership.is_valid());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_after_the_renew_deadline_is_not_begun() {
    let ((leadership, _driver), plans) = (lead(), plans());
    tokio::time::sleep(TERM).await;
    let begun = std::cell::Cell::new(false);
    let answer = async {
        begun.set(true);
        Ok(())
    };
    let outcome = leadership.fenced(&plans).ask("plan", answer).await;
    let Err(Trouble::Lasts(FenceError::NotLeading(_))) = outcome else {
        panic!("it is certain that nothing was written")
    };
    assert!(!begun.get());
}
