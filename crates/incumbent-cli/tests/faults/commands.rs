//! Commands of `incumbent work`: for each task a register is the witness of which command works on it, and when.

use std::thread::sleep;
use std::time::Duration;

use super::arena::millis;
use super::groups::{cut_off_for_a_while, freeze_around_a_deadline};
use super::workers::{LEASE, TASKS, Workers};

/// The lease, and a second for what follows it, in which a command is started as well.
const BOUND: Duration = LEASE.saturating_add(Duration::from_secs(1));

#[test]
fn the_commands_of_a_member_that_is_killed() {
    Workers::with_commands("work: kill -9").play(BOUND, |workers, rng| {
        let victim = workers.victim(rng);
        workers.member(victim).kill();
        sleep(millis(rng.u64(..2500)));
        workers.member(victim).restart();
    });
}

/// The guardians have to see to it that the commands end.
#[test]
fn the_commands_of_a_member_that_is_frozen_around_each_deadline() {
    Workers::with_commands("work: SIGSTOP, SIGCONT").play(BOUND, freeze_around_a_deadline);
}

#[test]
fn the_commands_of_a_member_that_is_cut_off_and_comes_back() {
    Workers::with_commands("work: cut off").play(BOUND, cut_off_for_a_while);
}

#[test]
fn the_commands_of_a_member_that_is_asked_to_end_while_the_list_is_edited() {
    Workers::with_commands("work: SIGTERM, list edited").play(BOUND, |workers, rng| {
        let victim = workers.victim(rng);
        workers.edit_list(TASKS[rng.usize(..TASKS.len())]);
        workers.member(victim).stop();
        workers.edit_list(TASKS[rng.usize(..TASKS.len())]);
        sleep(millis(rng.u64(..700)));
        workers.member(victim).restart();
    });
}
