use std::sync::Arc;

use incumbent::group_survey::{PageState, PageView, TaskKind, UnownedView};
use jiff::Timestamp;

use super::*;
use crate::dashboard::board::Board;
use crate::dashboard::frame::Ages;
use crate::dashboard::group_page::{overview, parts};

/// A group of so many slots, which were seen to have no owner for so many milliseconds.
fn view(slots: u16, seen_for: u64) -> GroupView {
    let seen_for = Duration::from_millis(seen_for);
    let mut page = PageView::default();
    page.state = PageState::Open;
    let unowned = |slot: u16| {
        let mut task = UnownedView::default();
        (task.name, task.seen_for) = (slot.to_string(), seen_for);
        task.is_seen = true;
        task
    };
    let mut view = GroupView::default();
    (view.namespace, view.name) = ("default".to_owned(), "jobs".to_owned());
    view.kind = Some(TaskKind::Slots(slots));
    view.pages = vec![page];
    view.unowned = (0..slots).map(unowned).collect();
    view
}

fn name() -> GroupName {
    GroupName { namespace: "default".to_owned(), name: "jobs".to_owned() }
}

fn board_of(view: GroupView, at: u64, before: &GroupBoard) -> GroupBoard {
    let status = GroupStatus::of(&view, Timestamp::now(), Some(Duration::from_secs(10)));
    GroupBoard::of(view, status, Duration::from_secs(at), before)
}

/// What a script swaps in.
fn html(group: GroupBoard) -> String {
    let board = Board { has_looked: true, groups: vec![Arc::new(group)], ..Board::default() };
    let parts = parts(&board, &name(), "").into_iter().map(|part| part.html);
    parts.chain([overview(&board, true, Ages::Scripted).into_string()]).collect()
}

#[test]
fn while_time_alone_passes_the_page_stays_the_same() {
    let first = board_of(view(8, 30_000), 100, &GroupBoard::unseen(name()));
    assert_eq!((first.longest(), first.rank()), (Some(Duration::from_secs(70)), 3));
    let what: Vec<_> = first.concerns.iter().map(|concern| concern.what.as_str()).collect();
    assert_eq!(what[0], "8 tasks are stuck: 0, 1, 2, 3, 4, …");
    // A clock that states whole seconds moves the beginning a little.
    let second = board_of(view(8, 33_400), 103, &first);
    assert_eq!(second.concerns[0].since, Some(Duration::from_secs(70)));
    assert_eq!(html(first), html(second));
}

#[test]
fn a_task_that_waits_again_counts_from_then() {
    let first = board_of(view(8, 30_000), 100, &GroupBoard::unseen(name()));
    let second = board_of(view(8, 0), 103, &first);
    assert_eq!(second.longest(), Some(Duration::from_secs(103)));
}

#[test]
fn a_page_of_many_tasks_is_not_large() {
    let html = html(board_of(view(16_384, 30_000), 100, &GroupBoard::unseen(name())));
    assert!(html.contains("16384 unowned") && html.contains("0-16383"), "{html}");
    assert!(html.len() < 40_000, "{} bytes", html.len());
}

#[test]
fn before_the_first_look_nothing_is_said_of_the_group() {
    let page = html(GroupBoard::unseen(name()));
    assert!(page.contains("Unknown") && !page.contains("Empty"), "{page}");
    let cut_off = GroupBoard::cut_off(name(), "no route\u{202e}".to_owned());
    assert!(html(cut_off).contains("no route\u{fffd}"));
}
