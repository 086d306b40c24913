//! Model checking of groups: the production member and allocator, in every state that the given bounds allow.
//!
//! Two members and two allocators that act at all times, two tasks, and one page or two. A world begins settled, and
//! has a budget for each kind of fault; within it, every order of events is tried. One allocator sees everything at
//! once and may write late; the other one sees pages and seats late, each on its own. Members see pages late, and may be
//! shown again what they saw before. A lease passes only when each process has renewed its term, or has none and no
//! work: the electors are not part of this model.
//!
//! In every state a task has at most one owner, and its tokens rise. From every state in which nothing more happens
//! without a fault, one is reached in which each listed task runs once: leases pass until then. A task is started at most
//! five times.
//!
//! `cargo test -p incumbent-sim --test groups_model -- --ignored` visits the larger worlds.

mod part;
mod search;
mod state;
mod store;
mod world;

use incumbent_core::group::Happening;
use search::{healed, visit};
use state::{Late, Luck, State};

const NONE: Luck = Luck {
    crashes: 0,
    starts: 0,
    cuts: 0,
    leaves: 0,
    losses: 0,
    pages_deleted: 0,
    seats_deleted: 0,
    labels: 0,
    edits: 0,
    passes: 0,
};

/// Two members run one task each. With three processes, the third bears the name of the first and has not started. The second
/// allocator acts or rests.
fn settled(processes: usize, pages: u8, late: Late) -> State {
    let mut state = healed(State::new(processes, pages)).expect("each task runs");
    state.show_all_but(1, Late::NOTHING);
    let mut state = healed(state).expect("each task runs");
    state.late = late;
    if late.rests {
        state.step_allocator(1, Happening::Active(false));
    }
    state
}

fn check(states: usize, first: State, luck: Luck) {
    let began = std::time::Instant::now();
    let found = visit(&first, luck, 6_000_000);
    println!("{luck:?}: {found:?} in {:?}", began.elapsed());
    assert!(found.is_complete, "{luck:?}");
    assert_eq!(found.states, states, "{luck:?}");
}

#[test]
fn members_lose_their_terms() {
    let luck = Luck { crashes: 1, starts: 1, losses: 1, passes: 1, ..NONE };
    check(1_277, settled(2, 2, Late::RESTS), luck);
    check(737, settled(2, 2, Late::PAGES_AND_SEATS), Luck { cuts: 1, ..NONE });
    check(737, settled(2, 2, Late::PAGES_AND_SEATS), Luck { crashes: 1, starts: 1, ..NONE });
    check(17_636, settled(2, 2, Late::PAGES_AND_SEATS), Luck { crashes: 1, passes: 1, ..NONE });
    check(1_621, settled(2, 1, Late::PAGES_AND_SEATS), Luck { cuts: 1, losses: 1, ..NONE });
    check(809, settled(2, 2, Late::RESTS), Luck { cuts: 2, ..NONE });
    check(534, settled(2, 2, Late::RESTS), Luck { cuts: 1, passes: 1, ..NONE });
}

#[test]
fn a_member_leaves() {
    check(1_350, settled(2, 2, Late { pages: true, ..Late::NOTHING }), Luck { leaves: 1, ..NONE });
    check(1_813, settled(2, 2, Late::RESTS), Luck { leaves: 1, starts: 1, ..NONE });
}

#[test]
fn the_list_changes() {
    check(1_961, settled(2, 2, Late::PAGES_AND_SEATS), Luck { edits: 1, ..NONE });
    check(2_177, settled(2, 2, Late::RESTS), Luck { edits: 2, ..NONE });
    check(2_271, settled(2, 1, Late::RESTS), Luck { edits: 1, cuts: 1, ..NONE });
}

#[test]
fn a_seat_is_deleted_or_loses_its_label() {
    check(27_073, settled(2, 1, Late::PAGES_AND_SEATS), Luck { labels: 1, cuts: 1, ..NONE });
    check(
        11_981,
        settled(3, 1, Late::RESTS),
        Luck { seats_deleted: 1, starts: 1, passes: 1, ..NONE },
    );
    check(1_438, settled(2, 1, Late::PAGES_AND_SEATS), Luck { labels: 1, passes: 1, ..NONE });
    check(6_463, settled(2, 2, Late::PAGES_AND_SEATS), Luck { seats_deleted: 1, ..NONE });
    check(2_155, settled(2, 2, Late::RESTS), Luck { seats_deleted: 1, passes: 1, ..NONE });
    check(471, settled(3, 1, Late::RESTS), Luck { seats_deleted: 1, starts: 1, ..NONE });
}

#[test]
fn a_page_is_deleted() {
    check(11_246, settled(2, 1, Late::RESTS), Luck { pages_deleted: 1, cuts: 1, ..NONE });
    check(27_445, settled(2, 1, Late::RESTS), Luck { pages_deleted: 2, ..NONE });
    check(6_159, settled(2, 1, Late::RESTS), Luck { pages_deleted: 1, passes: 1, ..NONE });
    check(4_205, settled(2, 2, Late::RESTS), Luck { pages_deleted: 1, ..NONE });
}

#[test]
fn a_page_and_a_seat_are_deleted() {
    check(33_276, settled(2, 1, Late::RESTS), Luck { pages_deleted: 1, seats_deleted: 1, ..NONE });
}

/// Worlds for minutes.
mod larger {
    use super::*;

    #[test]
    #[ignore = "takes a minute"]
    fn a_member_leaves_under_two_late_allocators() {
        check(111_669, settled(2, 2, Late::PAGES_AND_SEATS), Luck { leaves: 1, ..NONE });
    }

    #[test]
    #[ignore = "takes a minute"]
    fn a_page_is_deleted_under_two_late_allocators() {
        let late = Late::PAGES_AND_SEATS;
        check(686_457, settled(2, 1, late), Luck { pages_deleted: 1, ..NONE });
    }

    #[test]
    #[ignore = "takes a minute"]
    fn a_page_of_two_is_deleted_and_opens_again() {
        check(37_833, settled(2, 2, Late::RESTS), Luck { pages_deleted: 1, passes: 1, ..NONE });
    }

    #[test]
    #[ignore = "takes a minute"]
    fn a_page_of_two_is_deleted_under_two_allocators() {
        check(87_829, settled(2, 2, Late::NOTHING), Luck { pages_deleted: 1, ..NONE });
    }
}
