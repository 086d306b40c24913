//! A member of a group, and its work on the tasks that it owns.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use incumbent_core::Session;
use tokio::sync::watch;

use super::super::machine::HostClock;
use super::books::Books;
use crate::clock::Clock;
use crate::error::{BoxError, Error};
use crate::group::{Group, GroupBuilder, GroupHandle, Task};

/// What the stage keeps in hand of a member.
pub(super) struct Strings {
    pub(super) handle: GroupHandle,
    pub(super) leaves: watch::Sender<bool>,
    pub(super) ended: Arc<AtomicBool>,
}

/// What all work of a process needs to know.
#[derive(Clone)]
struct Worker {
    name: String,
    books: Books,
    host: HostClock,
    lease: Duration,
    /// Nothing goes wrong any more, and no work ends for no reason.
    healed: Arc<AtomicBool>,
}

/// Starts a member whose every draw comes from `rng`. Called inside of its runtime.
pub(super) fn start(
    name: &str,
    host: HostClock,
    builder: GroupBuilder,
    books: &Books,
    healed: &Arc<AtomicBool>,
    lease: Duration,
    mut rng: Rng,
) -> Strings {
    let ended = Arc::new(AtomicBool::new(false));
    let on_overrun = {
        let (books, ended, name) = (books.clone(), ended.clone(), name.to_owned());
        move |over: crate::Overrun| {
            let text = || format!("{name} ends itself: {over:?}");
            books.judge.note(host.true_now(), "a process ended itself", text);
            ended.store(true, Ordering::Relaxed);
        }
    };
    let group = builder
        .clock(Clock::simulated(host))
        .candidates(move |candidate| {
            // From the generator of this process.
            let session = Session(fastrand::u128(1..));
            candidate.container(None).session(session).on_overrun(on_overrun.clone())
        })
        .build()
        .expect("it can be built");
    let handle = group.handle();
    let (leaves, is_leaving) = watch::channel(false);
    let (books, name) = (books.clone(), name.to_owned());
    let worker = Worker { name, books, host, lease, healed: healed.clone() };
    let is_over = ended.clone();
    tokio::spawn(async move {
        let outcome = match rng.bool() {
            true => worker.run(group, is_leaving, rng).await,
            false => worker.take(group, is_leaving, rng).await,
        };
        worker.tell_end(outcome);
        is_over.store(true, Ordering::Relaxed);
    });
    Strings { handle, leaves, ended }
}

impl Worker {
    async fn run(
        &self,
        group: Group,
        mut leaves: watch::Receiver<bool>,
        rng: Rng,
    ) -> Result<(), Error> {
        let shutdown = async move { drop(leaves.wait_for(|leaves| *leaves).await) };
        let rng = std::sync::Mutex::new(rng);
        let work = |task: Arc<Task>| {
            let rng = rng.lock().expect("nothing panics with it").fork();
            async move { self.work(&task, rng).await }
        };
        group.run_until(shutdown, work).await
    }

    /// The same without `run_until`.
    async fn take(
        &self,
        mut group: Group,
        mut leaves: watch::Receiver<bool>,
        mut rng: Rng,
    ) -> Result<(), Error> {
        let mut running = tokio::task::JoinSet::new();
        let outcome = loop {
            tokio::select! {
                biased;
                _ = leaves.wait_for(|leaves| *leaves) => break Ok(()),
                task = group.next_task() => match task {
                    Ok(task) => {
                        let (worker, rng) = (self.clone(), rng.fork());
                        running.spawn(async move { worker.keep(task, rng).await });
                    }
                    Err(error) => break Err(error),
                },
                Some(_) = running.join_next() => {}
            }
        };
        running.shutdown().await;
        group.leave().await;
        outcome
    }

    /// Work that ends only when it is dropped, or fails.
    async fn work(&self, task: &Task, mut rng: Rng) -> Result<(), BoxError> {
        let _entry = self.enter(task);
        let fails_after = match rng.u8(..6) {
            0 => self.lease.mul_f64(rng.f64() * 3.0),
            _ => Duration::MAX,
        };
        let (asks_every, mut worked) =
            (self.lease.mul_f64(0.02 + rng.f64() / 10.0), Duration::ZERO);
        loop {
            self.sleep(asks_every).await;
            worked += asks_every;
            if worked > fails_after && !self.healed.load(Ordering::Relaxed) {
                self.note("work failed", task);
                return Err("it failed".into());
            }
        }
    }

    /// Keeps a task until its work has stopped, which takes a while.
    async fn keep(&self, task: Task, mut rng: Rng) {
        if !task.is_valid() {
            return;
        }
        let _entry = self.enter(&task);
        // It only asks now and then, as much work does: tokio wakes tasks that wait for one event in an order that no
        // seed decides.
        let asks_every = self.lease.mul_f64(0.01 + rng.f64() / 20.0);
        let mut left = match rng.u8(..5) {
            0 => self.lease.mul_f64(rng.f64() * 3.0),
            _ => Duration::MAX,
        };
        while task.is_valid() {
            if left.is_zero() && !self.healed.load(Ordering::Relaxed) {
                return self.note("a task was dropped early", &task);
            }
            self.sleep(asks_every).await;
            left = left.saturating_sub(asks_every);
        }
        self.note("a task was revoked", &task);
        // Where the seat is lost, there is a third of the lease for it; more, and the process is ended.
        let stops_after = match rng.u8(..40) {
            0 => 2.0,
            1..10 => 0.0,
            _ => rng.f64() * 0.29,
        };
        self.sleep(self.lease.mul_f64(stops_after)).await;
    }

    fn sleep(&self, span: Duration) -> impl Future<Output = ()> + use<> {
        let clock = Clock::simulated(self.host);
        async move { clock.sleep(span).await }
    }

    fn enter(&self, task: &Task) -> Entry {
        let (at, process) = (self.host.true_now(), self.host.number());
        let token = task.fencing_token().0;
        let number = self.books.begin(at, process, &self.name, task.name(), token);
        Entry { books: self.books.clone(), host: self.host, number }
    }

    fn note(&self, what: &'static str, task: &Task) {
        let text = || format!("{}: {what}: {}", self.name, task.name());
        self.books.judge.note(self.host.true_now(), what, text);
    }

    fn tell_end(&self, outcome: Result<(), Error>) {
        let (at, judge) = (self.host.true_now(), &self.books.judge);
        match outcome {
            Ok(()) => judge.note(at, "a member left", || format!("{} has left", self.name)),
            Err(error) => judge.note(at, "a member failed", || format!("{}: {error}", self.name)),
        }
    }
}

/// Work that runs, for as long as this exists.
struct Entry {
    books: Books,
    host: HostClock,
    number: usize,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.books.end(self.host.true_now(), self.number);
    }
}
