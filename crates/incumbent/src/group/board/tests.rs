use incumbent_core::Uid;
use incumbent_core::group::{Assignment, Order, Place, SeatTerm, Shape};

use super::*;

fn at(seconds: u64) -> Instant {
    Instant::new(Duration::from_secs(seconds))
}

fn name(name: &str) -> TaskName {
    TaskName::new(name).unwrap()
}

/// A page on which each of these members owns this task, under this token, and is asked to stop it or not.
fn page(entries: &[(&str, &str, u64, bool)]) -> Page {
    let mut page = Page::empty(Place::First(Shape { kind: Kind::Named, pages: 1 }));
    page.is_open = true;
    for (task, member, token, is_revoked) in entries {
        let term = SeatTerm {
            member: Identity::new(*member).unwrap(),
            seat: Uid((*member).to_owned()),
            token: FencingToken(1),
        };
        let order = page.orders.entry(term).or_insert_with(|| Order {
            lease_duration: Duration::from_secs(15),
            address: Some(format!("{member}:80")),
            tasks: BTreeMap::new(),
            next: BTreeMap::new(),
        });
        let revoked = is_revoked.then_some(*token);
        order.tasks.insert(name(task), Assignment { token: FencingToken(*token), revoked });
    }
    page
}

fn show(board: &mut Board, now: u64, entries: &[(&str, &str, u64, bool)]) {
    board.show(at(now), PageIndex::FIRST, Some((now, page(entries))));
}

const SEAT: Duration = Duration::from_secs(10);

#[test]
fn an_answer_is_good_for_as_long_as_the_seat_and_no_longer_than_the_watch_may_be_silent() {
    let mut board = Board::default();
    board.hear(at(100));
    show(&mut board, 100, &[("eu", "john", 7, false)]);
    let owner = |now, seat| board.owner_of(at(now), &name("eu"), seat);
    assert_eq!(owner(100, SEAT).unwrap().valid_for, SEAT);
    assert_eq!(owner(170, SEAT).unwrap().valid_for, Duration::from_secs(5));
    assert_eq!(owner(175, SEAT), None, "the watch is silent");
    assert_eq!(owner(100, Duration::ZERO), None, "it may be cut off");
    assert_eq!(board.owner_of(at(100), &name("us"), SEAT), None);
    board.hear(at(170));
    let owner = board.owner_of(at(175), &name("eu"), SEAT).unwrap();
    assert_eq!((owner.member.as_str(), owner.address.as_deref()), ("john", Some("john:80")));
    assert_eq!((owner.fencing_token, owner.is_revoked), (FencingToken(7), false));
}

#[test]
fn a_move_is_counted_when_another_member_gets_the_task() {
    let mut board = Board::default();
    show(&mut board, 1, &[("eu", "john", 1, false), ("us", "john", 1, false)]);
    assert_eq!(board.status(at(1), SEAT).moves, 0, "the first owner is no move");
    show(&mut board, 2, &[("eu", "john", 1, true), ("us", "john", 1, false)]);
    show(&mut board, 3, &[("us", "john", 1, false)]);
    show(&mut board, 4, &[("eu", "jane", 4, false), ("us", "john", 1, false)]);
    assert_eq!(board.status(at(4), SEAT).moves, 1);
    show(&mut board, 5, &[("eu", "jane", 5, false), ("us", "john", 1, false)]);
    assert_eq!(board.status(at(5), SEAT).moves, 1, "the same member again is no move");
}

#[test]
fn a_task_that_waits_for_longer_than_the_bound_is_stuck() {
    let bound = Duration::from_secs(19);
    let mut board = Board::default();
    board.list(at(0), Kind::Named, ["eu", "us"].into_iter().map(name));
    show(&mut board, 1, &[("eu", "john", 1, false)]);
    let status = board.status(at(18), bound);
    assert_eq!((status.tasks, status.unowned, status.generation), (Some(2), 1, Some(1)));
    assert_eq!(status.stuck, []);
    assert_eq!(board.next_stuck_at(at(18), bound), Some(at(19)));
    let stuck = |name: &str, owner: Option<&str>, waits_for| StuckTask {
        name: name.to_owned(),
        owner: owner.map(str::to_owned),
        waits_for: Duration::from_secs(waits_for),
    };
    assert_eq!(board.stuck(at(19), bound), [stuck("us", None, 19)]);
    // What is asked to stop waits from then on, whatever else the page says.
    show(&mut board, 20, &[("eu", "john", 1, true)]);
    show(&mut board, 30, &[("eu", "john", 1, true), ("us", "jane", 2, false)]);
    assert_eq!(board.stuck(at(38), bound), []);
    assert_eq!(board.stuck(at(39), bound), [stuck("eu", Some("john"), 19)]);
    // It is assigned again, and asked to stop again: another wait.
    show(&mut board, 40, &[("eu", "john", 40, true)]);
    assert_eq!(board.stuck(at(41), bound), []);
}

#[test]
fn a_task_that_is_no_longer_listed_and_has_no_owner_waits_for_nothing() {
    let mut board = Board::default();
    board.list(at(0), Kind::Named, ["eu"].into_iter().map(name));
    board.list(at(1), Kind::Named, [].into_iter());
    let status = board.status(at(100), SEAT);
    assert_eq!((status.tasks, status.unowned, status.stuck.len()), (Some(0), 0, 0));
}

#[test]
fn a_task_that_goes_to_another_page_does_not_wait() {
    let mut board = Board::default();
    board.list(at(0), Kind::Named, ["eu", "us"].map(name).into_iter());
    show(&mut board, 1, &[("eu", "john", 1, false), ("us", "john", 1, true)]);
    board.show(at(2), PageIndex(1), Some((2, page(&[("eu", "jane", 2, false)]))));
    board.show(at(3), PageIndex::FIRST, None);
    let status = board.status(at(30), Duration::from_secs(10));
    assert_eq!((status.unowned, status.moves), (1, 1));
    let stuck = |board: &Board, now| {
        let stuck = board.stuck(at(now), Duration::from_secs(10));
        stuck.into_iter().map(|task| (task.name, task.waits_for.as_secs())).collect::<Vec<_>>()
    };
    assert_eq!(stuck(&board, 30), [("us".to_owned(), 27)]);
    // What is listed again has waited all the time, and what is not does not wait.
    board.list(at(31), Kind::Named, ["us", "ap"].map(name).into_iter());
    assert_eq!(stuck(&board, 42), [("ap".to_owned(), 11), ("us".to_owned(), 39)]);
    board.list(at(43), Kind::Named, ["eu"].map(name).into_iter());
    assert_eq!(stuck(&board, 60), []);
}
