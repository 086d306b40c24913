//! Groups of real processes: for each task a register is the witness of who runs it, and under which token.

use std::net::Shutdown;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use super::arena::{millis, runs};
use super::support::proxy::State;
use super::workers::{LEASE, NAMES, TASKS, Workers};

/// By when each task has an owner again after a fault: the lease, and a second for what follows it.
const BOUND: Duration = LEASE.saturating_add(Duration::from_secs(1));

#[test]
fn the_tasks_of_a_worker_that_is_killed_have_an_owner_again() {
    Workers::start("kill -9").play(BOUND, |workers, rng| {
        let victim = workers.victim(rng);
        workers.member(victim).kill();
        sleep(millis(rng.u64(..2500)));
        workers.member(victim).restart();
    });
}

#[test]
fn the_allocator_and_another_worker_are_killed_together() {
    Workers::start("kill -9, two with the allocator").play(BOUND, |workers, rng| {
        let allocator = workers.allocator().unwrap_or(NAMES[0]);
        let other = loop {
            let other = NAMES[rng.usize(..NAMES.len())];
            if other != allocator {
                break other;
            }
        };
        workers.member(allocator).kill();
        workers.member(other).kill();
        workers.all_run(BOUND);
        workers.member(allocator).restart();
        workers.member(other).restart();
    });
}

/// The moments at which a pause could be mistaken, as for an election.
#[test]
fn a_worker_that_is_frozen_around_each_deadline() {
    Workers::start("SIGSTOP, SIGCONT").play(BOUND, freeze_around_a_deadline);
}

#[test]
fn a_worker_that_is_cut_off_and_comes_back() {
    Workers::start("cut off").play(BOUND, cut_off_for_a_while);
}

#[test]
fn a_worker_whose_answers_are_held_back() {
    Workers::start("answers held").play(BOUND, |workers, rng| {
        let victim = workers.victim(rng);
        let victim = workers.member(victim);
        victim.cable().set(State::AnswersHeld);
        sleep(millis(rng.u64(100..2500)));
        if rng.bool() {
            victim.cable().close(Shutdown::Both);
        }
        victim.cable().mend();
    });
}

#[test]
fn a_worker_behind_a_slow_line() {
    Workers::start("slow line").play(BOUND, |workers, rng| {
        let victim = workers.victim(rng);
        let victim = workers.member(victim);
        victim.cable().set(State::Slow(millis(rng.u64(50..900))));
        sleep(millis(rng.u64(500..2500)));
        victim.cable().mend();
    });
}

#[test]
fn connections_of_a_worker_that_are_half_closed_or_reset() {
    Workers::start("half closed").play(BOUND, |workers, rng| {
        let victim = workers.victim(rng);
        let how = [Shutdown::Write, Shutdown::Read, Shutdown::Both][rng.usize(..3)];
        workers.member(victim).cable().close(how);
        sleep(millis(rng.u64(100..1500)));
    });
}

/// All workers lose it at once, so that all may have to wait a lease for each other's seats.
#[test]
fn a_server_that_restarts_under_a_group() {
    Workers::start("server restart").play(BOUND, |workers, rng| {
        workers.without_server(millis(rng.u64(10..2500)));
    });
}

#[test]
fn a_wall_clock_of_a_worker_that_jumps() {
    let Some(workers) = Workers::with_wall_clocks("wall clock jumps") else { return };
    workers.play(BOUND, |workers, rng| {
        let victim = workers.victim(rng);
        workers.member(victim).turn_clock(rng.i64(60..86_400));
        sleep(millis(rng.u64(100..1500)));
        workers.member(victim).turn_clock(-86_400);
        sleep(millis(rng.u64(100..1500)));
        workers.member(victim).kill();
        workers.all_run(BOUND);
        workers.member(victim).restart();
    });
}

#[test]
fn a_worker_whose_host_loses_its_network() {
    let Some(workers) = Workers::on_hosts("network cut off") else { return };
    workers.play(BOUND, |workers, rng| {
        let victim = workers.victim(rng);
        workers.member(victim).network(false);
        sleep(millis(rng.u64(100..2500)));
        workers.member(victim).network(true);
    });
}

/// One at a time, to a newer version, each at once after the one before it is there.
#[test]
fn a_rolling_restart_moves_each_task_little_more_than_once() {
    Workers::with_long_leases("rolling restart").play(BOUND, |workers, _| {
        workers.calm_down();
        let before = workers.starts();
        workers.roll_out();
        for name in NAMES {
            workers.member(name).stop();
            workers.member(name).restart();
            workers.takes_seat(name);
        }
        workers.all_run(BOUND);
        workers.calm_down();
        let moves = (workers.starts() - before) as f64 / TASKS.len() as f64;
        println!("a rolling restart of {} workers: {moves} moves a task", NAMES.len());
        assert!(moves <= 1.0 + 2.0 / NAMES.len() as f64, "{moves} moves a task");
    });
}

/// What people do with kubectl, while a worker is killed, frozen or cut off. A seat that is deleted while its worker
/// is away is waited out twice: by those who knew it, and as one that is missing.
#[test]
fn the_list_is_edited_and_seats_are_deleted_while_workers_fail() {
    Workers::start("list edited, seats deleted").play(LEASE + BOUND, |workers, rng| {
        let victim = workers.victim(rng);
        let fault = rng.u8(..3);
        let worker = workers.member(victim);
        match fault {
            0 => worker.kill(),
            1 => worker.signal(Signal::STOP),
            _ => worker.cable().cut(),
        }
        for _ in 0..3 {
            workers.edit_list(TASKS[rng.usize(..TASKS.len())]);
            workers.delete_seat(NAMES[rng.usize(..NAMES.len())]);
            sleep(millis(rng.u64(..700)));
        }
        let worker = workers.member(victim);
        match fault {
            0 => worker.restart(),
            1 => worker.signal(Signal::CONT),
            _ => worker.cable().mend(),
        }
    });
}

/// The table is made again: all tasks stop, and wait for the longest lease that a member may have.
#[test]
fn the_table_is_deleted_while_workers_fail() {
    const LONGEST_LEASE: Duration = Duration::from_secs(60);
    let runs = (runs() / 10).max(1);
    Workers::start("table deleted").play_so_often(runs, LONGEST_LEASE + BOUND, |workers, rng| {
        let victim = workers.victim(rng);
        workers.member(victim).signal(Signal::STOP);
        workers.delete_page();
        sleep(millis(rng.u64(..1500)));
        workers.member(victim).signal(Signal::CONT);
        let killed = workers.victim(rng);
        workers.member(killed).kill();
        workers.delete_seat(NAMES[rng.usize(..NAMES.len())]);
        sleep(millis(rng.u64(..1500)));
        workers.member(killed).restart();
    });
}

/// Freezes one member, for about as long as one of the durations that it goes by.
pub(super) fn freeze_around_a_deadline(workers: &mut Workers, rng: &mut fastrand::Rng) {
    let victim = workers.victim(rng);
    workers.member(victim).signal(Signal::STOP);
    let deadline = [333, 667, 980, 1000, 1500][rng.usize(..5)];
    sleep(millis(deadline - 30 + rng.u64(..60)));
    workers.member(victim).signal(Signal::CONT);
    sleep(millis(rng.u64(..1500)));
}

/// Cuts one member off from the API server, and connects it again.
pub(super) fn cut_off_for_a_while(workers: &mut Workers, rng: &mut fastrand::Rng) {
    let victim = workers.victim(rng);
    workers.member(victim).cable().cut();
    sleep(millis(rng.u64(100..2500)));
    workers.member(victim).cable().mend();
}
