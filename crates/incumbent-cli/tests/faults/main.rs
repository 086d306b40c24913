//! Real processes under real faults: who leads writes to a register, which is the witness.
//!
//! Two runs a fault here; `INCUMBENT_FAULT_RUNS=50 cargo test -p incumbent-cli --test faults --
//! --nocapture` does more and prints for each fault: runs, terms, overlap, gaps, and refused old writes.

#[path = "../support/mod.rs"]
mod support;

#[path = "../../src/commands/dev/demo/register.rs"]
#[allow(dead_code, reason = "the writing half is the candidates'")]
mod register;

mod arena;
mod commands;
mod groups;
mod namespace;
mod process;
mod worker;
mod workers;

use std::net::Shutdown;
use std::time::Duration;

use arena::{Arena, millis};
use rustix::process::Signal;
use support::proxy::State;

#[test]
fn a_leader_that_is_killed() {
    Arena::start("kill -9").play(|arena, _| {
        let leader = arena.leader();
        arena.member(&leader).kill();
        arena.next_after(&leader);
        arena.member(&leader).restart();
    });
}

/// The moments at which a pause could be mistaken: the renewal, the renew deadline, the stop deadline, the
/// end of the lease.
#[test]
fn a_leader_that_is_frozen_around_each_deadline() {
    Arena::start("SIGSTOP, SIGCONT").play(|arena, rng| {
        let leader = arena.leader();
        arena.member(&leader).signal(Signal::STOP);
        let deadline = [333, 667, 980, 1000, 1500][rng.usize(..5)];
        std::thread::sleep(millis(deadline - 30 + rng.u64(..60)));
        arena.member(&leader).signal(Signal::CONT);
        std::thread::sleep(millis(rng.u64(..1500)));
        arena.revive();
    });
}

#[test]
fn a_leader_that_is_cut_off_and_comes_back() {
    Arena::start("cut off").play(|arena, rng| {
        let leader = arena.leader();
        arena.member(&leader).cable().cut();
        std::thread::sleep(millis(rng.u64(100..2500)));
        arena.member(&leader).cable().mend();
    });
}

#[test]
fn a_leader_whose_answers_are_swallowed() {
    Arena::start("answers held").play(|arena, rng| {
        let leader = arena.leader();
        arena.member(&leader).cable().set(State::AnswersHeld);
        std::thread::sleep(millis(rng.u64(100..2500)));
        if rng.bool() {
            arena.member(&leader).cable().close(Shutdown::Both);
        }
        arena.member(&leader).cable().mend();
    });
}

#[test]
fn a_leader_behind_a_slow_line() {
    Arena::start("slow line").play(|arena, rng| {
        let leader = arena.leader();
        arena.member(&leader).cable().set(State::Slow(millis(rng.u64(50..900))));
        std::thread::sleep(millis(rng.u64(500..2500)));
        arena.member(&leader).cable().mend();
    });
}

#[test]
fn connections_that_are_half_closed_or_reset() {
    Arena::start("half closed").play(|arena, rng| {
        let leader = arena.leader();
        let how = [Shutdown::Write, Shutdown::Read, Shutdown::Both][rng.usize(..3)];
        arena.member(&leader).cable().close(how);
        std::thread::sleep(millis(rng.u64(100..1500)));
    });
}

#[test]
fn a_server_that_restarts() {
    Arena::start("server restart").play(|arena, rng| {
        arena.leader();
        arena.without_server(millis(rng.u64(10..2500)));
    });
}

/// libfaketime turns the wall clock, and leaves the others alone.
#[test]
fn a_wall_clock_that_jumps() {
    let Some(mut arena) = Arena::with_wall_clocks("wall clock jumps") else { return };
    arena.play(|arena, rng| {
        let leader = arena.leader();
        // Ahead: a session's times only rise, so one that is turned back shows the last one and a little.
        arena.turn_clock(&leader, rng.i64(60..86_400));
        std::thread::sleep(millis(rng.u64(100..1500)));
        arena.member(&leader).turn_clock(-86_400);
        std::thread::sleep(millis(rng.u64(100..1500)));
        arena.member(&leader).kill();
        arena.next_after(&leader);
        arena.member(&leader).restart();
    });
}

/// With an address of its own, from which no packet comes any more: not even a reset.
#[test]
fn a_host_that_loses_its_network() {
    let Some(mut arena) = namespace::arena("network cut off") else { return };
    arena.play(|arena, rng| {
        let leader = arena.leader();
        arena.member(&leader).network(false);
        std::thread::sleep(millis(rng.u64(100..2500)));
        arena.member(&leader).network(true);
    });
}

const LEASE: Duration = Duration::from_secs(1);
