//! Model checking: the production elector, in every state that the given bounds allow.
//!
//! A world has a few candidates, ends after a few ticks, and has a budget for each kind of fault.
//! Within these bounds, the checker tries every order of events. The lease is three ticks long.
//!
//! Each test states an exact number of states, so that it fails if a world becomes smaller. A
//! change of the protocol changes that number. `UPDATE_COUNTS=1` writes the new numbers into this
//! file.
//!
//! `cargo test -p incumbent-sim --test model -- --ignored` visits the larger worlds, one at a time.
//! `-- --ignored larger::deletions` visits one of them.

mod properties;
mod register;
mod state;
mod tally;
mod world;

use std::panic::Location;
use std::sync::{Mutex, PoisonError};

use properties::{ONE_LEADER, TOKENS_RISE};
use stateright::{Checker, HasDiscoveries, Model};
use world::{Luck, Mutant, World};

const NONE: Luck =
    Luck { crashes: 0, delays: 0, losses: 0, refusals: 0, releases: 0, edits: 0, deletions: 0 };

#[test]
fn two_that_poll() {
    check(289_484, polling(2, 6, Luck { delays: 2, ..NONE }));
    check(299_117, polling(2, 5, Luck { crashes: 1, delays: 1, ..NONE }));
    check(127_918, polling(2, 4, Luck { losses: 2, ..NONE }));
    check(255_742, polling(2, 4, Luck { losses: 1, releases: 1, ..NONE }));
    check(117_966, polling(2, 4, Luck { crashes: 1, refusals: 1, ..NONE }));
}

#[test]
fn two_that_watch() {
    check(47_517, watching(2, 2, 3, Luck { releases: 1, ..NONE }));
    check(132_790, watching(1, 2, 3, Luck { delays: 1, edits: 1, ..NONE }));
}

#[test]
fn three() {
    check(1_191_303, polling(3, 3, Luck { crashes: 1, ..NONE }));
    check(651_678, polling(3, 3, Luck { delays: 1, ..NONE }));
}

#[test]
fn a_deleted_lock_costs_order_but_no_token() {
    check(153_568, polling(2, 4, Luck { delays: 1, deletions: 1, ..NONE }));
    check(262_167, watching(1, 2, 3, Luck { delays: 1, deletions: 1, ..NONE }));
}

#[test]
fn each_mutant_is_caught() {
    use Mutant::*;
    let late = |delays| Luck { delays, ..NONE };
    let release = Luck { releases: 1, ..NONE };
    let deletion = Luck { deletions: 1, ..NONE };
    catch(BlindRegister, ONE_LEADER, polling(2, 1, NONE));
    catch(Impatient, ONE_LEADER, polling(2, 3, NONE));
    catch(FromTheAnswer, ONE_LEADER, polling(2, 4, Luck { refusals: 1, ..late(2) }));
    catch(NoWatchdog, ONE_LEADER, polling(2, 4, late(2)));
    catch(ReleaseBeforeStop, ONE_LEADER, polling(2, 2, release));
    catch(FastClock, ONE_LEADER, polling(2, 4, late(1)));
    catch(FallingRevisions, TOKENS_RISE, polling(2, 2, deletion));
}

/// Each of these tests takes minutes, and some take a few GiB.
mod larger {
    use std::sync::{Mutex, PoisonError};

    use super::{Luck, NONE, World, polling, watching};

    /// Runs one check at a time, because two at once need more memory than many machines have.
    #[track_caller]
    fn check(states: usize, world: World) {
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        super::check(states, world);
    }

    #[test]
    #[ignore = "takes a minute"]
    fn a_crash_and_delays() {
        check(1_822_459, polling(2, 5, Luck { crashes: 1, delays: 2, ..NONE }));
    }

    #[test]
    #[ignore = "takes a minute"]
    fn a_loss_and_delays() {
        check(2_765_686, polling(2, 5, Luck { losses: 1, delays: 2, ..NONE }));
    }

    #[test]
    #[ignore = "takes minutes, and some GiB"]
    fn a_crash_a_loss_and_a_release() {
        check(10_863_869, polling(2, 5, Luck { crashes: 1, losses: 1, releases: 1, ..NONE }));
    }

    #[test]
    #[ignore = "takes minutes, and some GiB"]
    fn a_refusal_delays_and_an_edit() {
        check(6_277_212, polling(2, 4, Luck { refusals: 1, delays: 2, edits: 1, ..NONE }));
    }

    #[test]
    #[ignore = "takes minutes, and some GiB"]
    fn delays_over_eight_ticks() {
        check(8_816_796, polling(2, 8, Luck { delays: 3, ..NONE }));
    }

    #[test]
    #[ignore = "takes a minute"]
    fn deletions_and_delays() {
        check(2_522_143, polling(2, 5, Luck { delays: 2, deletions: 1, ..NONE }));
    }

    #[test]
    #[ignore = "takes a minute"]
    fn watching_a_crash_and_a_delay() {
        check(3_892_913, watching(2, 2, 5, Luck { crashes: 1, delays: 1, ..NONE }));
    }

    #[test]
    #[ignore = "takes a minute"]
    fn watching_a_loss_and_a_release() {
        check(4_136_729, watching(2, 2, 4, Luck { losses: 1, releases: 1, ..NONE }));
    }

    #[test]
    #[ignore = "takes a minute"]
    fn two_of_three_watch() {
        check(521_623, watching(2, 3, 3, NONE));
    }
}

fn polling(candidates: u8, ticks: u64, luck: Luck) -> World {
    watching(0, candidates, ticks, luck)
}

fn watching(watching: u8, candidates: u8, ticks: u64, luck: Luck) -> World {
    World { candidates, watching, ticks, luck, ..World::default() }
}

/// Visits every state of `world`, and checks that there are exactly `states` of them.
#[track_caller]
fn check(states: usize, world: World) {
    let (bounds, caller) = (format!("{world:?}"), Location::caller());
    let checker = world.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    let (found, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{bounds}: {found} states, {depth} deep");
    let (now, before) = (grouped(found), grouped(states));
    if std::env::var_os("UPDATE_COUNTS").is_some() {
        return write_count(caller.line(), &before, &now);
    }
    assert!(found == states, "{bounds} has {now} states now, not {before}");
}

/// Writes the number of states into the line of this file that states it.
fn write_count(line: u32, before: &str, now: &str) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/model/main.rs");
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let line = &mut lines[line as usize - 1];
    *line = line.replacen(before, now, 1);
    std::fs::write(path, lines.join("\n") + "\n").unwrap();
}

/// Formats a number as it is written in this file.
fn grouped(number: usize) -> String {
    match number / 1000 {
        0 => number.to_string(),
        thousands => format!("{}_{:03}", grouped(thousands), number % 1000),
    }
}

/// Checks that this mutant breaks the `property`, and prints a short path to the violation.
fn catch(mutant: Mutant, property: &'static str, world: World) {
    let world = World { mutant: Some(mutant), ..world };
    let wanted = HasDiscoveries::AllOf([property].into());
    let checker = world.checker().finish_when(wanted).spawn_bfs().join();
    let path = checker.discovery(property);
    let path = path.unwrap_or_else(|| panic!("{mutant:?} does not break \"{property}\""));
    println!("{mutant:?} after {} states: {:?}", checker.unique_state_count(), path.into_actions());
}
