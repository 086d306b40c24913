//! What is released, and when.

use std::cell::Cell;
use std::rc::Rc;

use super::*;

/// A task whose seat is valid for so long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fake(Rc<Cell<(u64, bool)>>);

impl Fake {
    fn valid() -> Self {
        Self(Rc::new(Cell::new((10, false))))
    }

    fn revoke(&self) {
        self.0.set((0, false));
    }

    fn lose(&self) {
        self.0.set((0, true));
    }
}

impl Held for Fake {
    fn valid_for(&self) -> Duration {
        seconds(self.0.get().0)
    }

    fn is_lost(&self) -> bool {
        self.0.get().1
    }

    /// As long as the seat is renewed, it moves on.
    fn stop_within(&self) -> Duration {
        seconds(14)
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn book_with(name: &str, token: u64) -> (Book<Fake>, Fake) {
    let (mut book, held) = (Book::default(), Fake::valid());
    book.assign(name, None, token, held.clone());
    (book, held)
}

fn revoke(book: &mut Book<Fake>, held: &Fake) {
    held.revoke();
    book.look("eu");
}

#[test]
fn a_task_that_the_application_never_learned_of_is_released_at_once() {
    let (mut book, held) = book_with("eu", 7);
    assert_eq!(book.due(seconds(1), false), (vec![], None), "it is not revoked");
    revoke(&mut book, &held);
    assert_eq!(book.due(seconds(1), false), (vec![held], None));
    assert!(book.is_empty());
}

#[test]
fn a_look_says_whether_the_state_is_another() {
    let (mut book, held) = book_with("eu", 7);
    assert!(!book.look("eu") && !book.look("us"));
    held.revoke();
    assert!(book.look("eu") && !book.look("eu"));
    held.lose();
    assert!(book.look("eu") && !book.look("eu"));
}

#[test]
fn a_revoked_task_is_held_until_no_answer_is_valid_any_more() {
    let (mut book, held) = book_with("eu", 7);
    book.tell("eu", Asker::Answer, seconds(20));
    book.tell("eu", Asker::Answer, seconds(15));
    book.tell("eu", Asker::Poll, seconds(99));
    revoke(&mut book, &held);
    assert_eq!(book.due(seconds(8), false), (vec![], Some(seconds(12))));
    assert_eq!(book.due(seconds(19), false), (vec![], Some(seconds(1))));
    assert_eq!(book.due(seconds(20), false), (vec![held], None));
}

#[test]
fn a_revoked_task_is_held_as_long_as_a_lifeline_is_open_that_was_told_of_it() {
    let (mut book, held) = book_with("eu", 7);
    book.tell("eu", Asker::Lifeline(1), seconds(5));
    book.tell("eu", Asker::Lifeline(2), seconds(5));
    revoke(&mut book, &held);
    assert_eq!(book.due(seconds(1000), false), (vec![], Some(seconds(14))));
    book.lifeline_closed(1);
    assert_eq!(book.due(seconds(1000), false).0, vec![]);
    book.lifeline_closed(2);
    assert_eq!(book.due(seconds(1000), false), (vec![held], None));
}

/// Another process may have got it.
#[test]
fn a_lifeline_that_closes_does_not_end_what_an_answer_has_begun() {
    let (mut book, held) = book_with("eu", 7);
    book.tell("eu", Asker::Lifeline(1), seconds(20));
    book.tell("eu", Asker::Answer, seconds(20));
    revoke(&mut book, &held);
    book.lifeline_closed(1);
    assert_eq!(book.due(seconds(19), false), (vec![], Some(seconds(1))));
    assert_eq!(book.due(seconds(20), false), (vec![held], None));
}

#[test]
fn only_the_present_token_releases() {
    let (mut book, held) = book_with("eu", 7);
    book.tell("eu", Asker::Answer, seconds(20));
    revoke(&mut book, &held);
    assert_eq!(book.stopped("us", 7), Err(NotHeld::Task));
    for other in [6, 8] {
        assert_eq!(book.stopped("eu", other), Err(NotHeld::Token(7)));
        assert_eq!(book.due(seconds(1), false).0, vec![]);
    }
    assert_eq!(book.stopped("eu", 7), Ok(Stopped::Released(held)));
    assert_eq!(book.stopped("eu", 7), Err(NotHeld::Task), "once");
    assert!(book.was_stopped("eu", 7) && !book.was_stopped("eu", 8));
}

#[test]
fn only_the_newest_ends_are_remembered() {
    let mut book = Book::default();
    for token in 1..=MOST_STOPPED as u64 + 1 {
        book.assign("eu", None, token, Fake::valid());
        assert!(book.stopped("eu", token).is_ok());
    }
    assert!(!book.was_stopped("eu", 1) && book.was_stopped("eu", 2));
    assert!(book.was_stopped("eu", MOST_STOPPED as u64 + 1));
}

/// The loop may not have heard of the revoke yet when the application answers it.
#[test]
fn what_the_task_itself_says_counts() {
    let (mut book, held) = book_with("eu", 7);
    held.revoke();
    assert_eq!(book.stopped("eu", 7), Ok(Stopped::Released(held)));
}

#[test]
fn work_that_ends_by_itself_keeps_its_task_until_another_member_is_to_have_it() {
    let (mut book, held) = book_with("eu", 7);
    book.tell("eu", Asker::Answer, seconds(20));
    book.tell("eu", Asker::Lifeline(1), seconds(20));
    assert_eq!(book.stopped("eu", 7), Ok(Stopped::Kept));
    assert_eq!(book.stopped("eu", 7), Ok(Stopped::Kept), "twice is no mistake");
    assert_eq!(book.get("eu").unwrap().state, State::Done);
    revoke(&mut book, &held);
    assert_eq!(book.due(seconds(1), false), (vec![held], None));
}

#[test]
fn a_lost_task_is_held_no_longer_than_any_work_may_run() {
    let (mut book, held) = book_with("eu", 7);
    book.tell("eu", Asker::Lifeline(1), seconds(20));
    book.tell("eu", Asker::Answer, seconds(40));
    held.lose();
    book.look("eu");
    assert_eq!(book.get("eu").unwrap().state, State::Lost);
    assert_eq!(book.due(seconds(1), false), (vec![], Some(seconds(14))));
    book.lifeline_closed(1);
    assert_eq!(book.due(seconds(1), false), (vec![], Some(seconds(14))));
}

#[test]
fn when_no_work_runs_any_more_all_that_is_revoked_is_released() {
    let (mut book, held) = book_with("eu", 7);
    book.assign("us", Some(3), 8, Fake::valid());
    for task in ["eu", "us"] {
        book.tell(task, Asker::Answer, seconds(20));
    }
    revoke(&mut book, &held);
    assert_eq!(book.due(seconds(1), true).0, vec![held]);
    assert_eq!(book.entries().map(|(name, _)| name).collect::<Vec<_>>(), ["us"]);
}
