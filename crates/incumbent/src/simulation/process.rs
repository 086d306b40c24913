//! Candidates that take part for as long as they live, and the work that they do while they lead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::watch;

use super::judge::Judge;
use super::machine::HostClock;
use crate::candidate::{Builder, Candidate};
use crate::clock::Clock;
use crate::error::Error;
use crate::leadership::Leadership;
use crate::observer::Observer;

/// What the world keeps in hand of a candidate.
pub(super) struct Strings {
    /// Whether it says of itself that it is well.
    pub(super) health: watch::Sender<bool>,
    /// Who it says leads.
    pub(super) observer: Observer,
    /// It wants to be gone: its watchdog has found work that overran, and ends the process.
    pub(super) aborted: Arc<AtomicBool>,
    /// Its candidate leaves, and its work ends: two channels, for tokio wakes two who wait for one in an order
    /// that no seed decides.
    leaves: [watch::Sender<bool>; 2],
}

impl Strings {
    pub(super) fn leave(&self) {
        for leaves in &self.leaves {
            leaves.send_replace(true);
        }
    }
}

/// What all work of a process needs to know.
#[derive(Clone)]
struct Worker {
    name: String,
    judge: Judge,
    clock: HostClock,
    /// The token of the last term that overran: its work is ended by force.
    overran: watch::Receiver<u64>,
    health: watch::Receiver<bool>,
    leaves: watch::Receiver<bool>,
    /// Nothing goes wrong any more, and nobody gives up what works.
    healed: Arc<AtomicBool>,
}

/// How the work of one term goes.
#[derive(Clone, Copy)]
struct Plan {
    /// It is done after this long.
    length: Duration,
    /// What of the time it has to stop it takes; more than all of it is an overrun.
    stops_after: f64,
    /// How often it asks whether it leads.
    asks_every: Duration,
}

/// Starts a candidate whose every draw comes from `rng`. Called inside of its runtime.
pub(super) fn start(
    name: &str,
    clock: HostClock,
    builder: Builder,
    judge: &Judge,
    healed: &Arc<AtomicBool>,
    lease: Duration,
    mut rng: Rng,
) -> Strings {
    let (overrun, overran) = watch::channel(0);
    let aborted = Arc::new(AtomicBool::new(false));
    let on_overrun = {
        let (name, judge, aborted) = (name.to_owned(), judge.clone(), aborted.clone());
        let aborts = rng.bool();
        move |over: crate::Overrun| {
            judge.overran(clock.true_now(), clock.number(), &name, &over);
            match aborts {
                true => aborted.store(true, Ordering::Relaxed),
                false => drop(overrun.send_replace(over.token.0)),
            }
        }
    };
    let (health, is_well) = watch::channel(true);
    let (leaves, work_leaves) = (watch::Sender::new(false), watch::Sender::new(false));
    let builder =
        builder.clock(Clock::simulated(clock)).on_overrun(on_overrun).health(is_well.clone());
    let worker = Worker {
        name: name.to_owned(),
        judge: judge.clone(),
        clock,
        overran,
        health: is_well,
        leaves: work_leaves.subscribe(),
        healed: healed.clone(),
    };
    let mut is_left = leaves.subscribe();
    let candidate = builder.build().expect("it can be built");
    let observer = candidate.observe();
    tokio::spawn(async move {
        let takes_part = async {
            match rng.bool() {
                true => take_part_by_run(candidate, worker, rng, lease).await,
                false => take_part_by_campaign(candidate, worker, rng, lease).await,
            }
        };
        tokio::select! {
            biased;
            _ = is_left.wait_for(|is_left| *is_left) => {}
            () = takes_part => {}
        }
    });
    Strings { health, observer, aborted, leaves: [leaves, work_leaves] }
}

async fn take_part_by_run(mut candidate: Candidate, worker: Worker, mut rng: Rng, lease: Duration) {
    loop {
        let outcome = candidate
            .run(|leadership| {
                let plan = Plan::draw(&mut rng, lease);
                let work = tokio::spawn(worker.clone().work(leadership.clone(), plan, true));
                async move {
                    drop(leadership);
                    Ok(work.await?)
                }
            })
            .await;
        worker.after(outcome, &mut rng, lease).await;
    }
}

async fn take_part_by_campaign(
    mut candidate: Candidate,
    worker: Worker,
    mut rng: Rng,
    lease: Duration,
) {
    loop {
        let outcome = match candidate.campaign().await {
            Ok(leadership) => {
                let leadership = Arc::new(leadership);
                let plan = Plan::draw(&mut rng, lease);
                worker.clone().work(leadership.clone(), plan, false).await;
                if let (true, Some(leadership)) = (rng.bool(), Arc::into_inner(leadership)) {
                    leadership.release().await;
                }
                Ok(())
            }
            Err(error) => Err(error),
        };
        worker.after(outcome, &mut rng, lease).await;
    }
}

/// Work that runs, for as long as this exists.
struct Entry {
    worker: Worker,
    leadership: Arc<Leadership>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Worker { name, judge, clock, .. } = &self.worker;
        // The process may stand still while it asks.
        let is_late = self.leadership.stop_within().is_zero();
        let (at, process) = (clock.true_now(), clock.number());
        let token = self.leadership.fencing_token().0;
        if is_late {
            judge.ends_late(at, process, name, token);
        }
        judge.ends(at, process, token);
    }
}

impl Worker {
    /// What runs while this process leads, and for a while after: it keeps its leadership that long.
    async fn work(self, leadership: Arc<Leadership>, plan: Plan, only_asks: bool) {
        let token = leadership.fencing_token().0;
        self.judge.begins(self.clock.true_now(), self.clock.number(), &self.name, &leadership);
        let _entry = Entry { worker: self.clone(), leadership: leadership.clone() };
        let (mut overran, mut leaves) = (self.overran.clone(), self.leaves.clone());
        tokio::select! {
            biased;
            _ = leaves.wait_for(|leaves| *leaves) => {}
            _ = overran.wait_for(|overran| *overran == token) => {}
            () = self.act(&leadership, plan, only_asks) => {}
        }
    }

    /// Where `candidate.run` waits for the loss, the work only asks now and then, as much work does; tokio wakes
    /// two who wait for one event in an order that no seed decides.
    async fn act(&self, leadership: &Leadership, plan: Plan, only_asks: bool) {
        match only_asks {
            true => self.ask_now_and_then(leadership, plan).await,
            false => {
                if let Some(what) = self.wait_for_an_end(leadership, plan).await {
                    return self.note(what);
                }
            }
        }
        if leadership.is_valid() {
            return self.note("handover");
        }
        self.note("loss");
        let stop_within = leadership.stop_within().mul_f64(plan.stops_after);
        Clock::simulated(self.clock).sleep(stop_within).await;
    }

    async fn ask_now_and_then(&self, leadership: &Leadership, plan: Plan) {
        let mut left = plan.length;
        while leadership.is_valid() && (!left.is_zero() || self.healed.load(Ordering::Relaxed)) {
            let nap = plan.asks_every.min(leadership.valid_for()).max(Duration::from_millis(1));
            Clock::simulated(self.clock).sleep(nap).await;
            left = left.saturating_sub(nap);
        }
    }

    async fn wait_for_an_end(&self, leadership: &Leadership, plan: Plan) -> Option<&'static str> {
        let clock = Clock::simulated(self.clock);
        let (mut health, healed) = (self.health.clone(), self.healed.clone());
        let is_done = async {
            clock.sleep(plan.length).await;
            while healed.load(Ordering::Relaxed) {
                clock.sleep(Duration::from_secs(3600)).await;
            }
        };
        tokio::select! {
            biased;
            loss = leadership.lost() => {
                let (at, name) = (self.clock.true_now(), &self.name);
                self.judge.trace(at, || format!("{name} lost: {loss:?}"));
                if leadership.is_valid() {
                    self.judge.violation(at, format!("{name} lost what is still valid"));
                }
                None
            }
            _ = leadership.asked_to_hand_over() => Some("asked"),
            _ = health.wait_for(|is_well| !is_well) => Some("ill"),
            () = is_done => Some("handover"),
        }
    }

    fn note(&self, what: &'static str) {
        self.judge.note(self.clock.true_now(), what, || format!("{}: {what}", self.name));
    }

    async fn after(&self, outcome: Result<(), Error>, rng: &mut Rng, lease: Duration) {
        if let Err(error) = outcome {
            let text = || format!("{}: {error}", self.name);
            self.judge.note(self.clock.true_now(), "campaign failed", text);
        }
        Clock::simulated(self.clock).sleep(lease.mul_f64(rng.f64() / 5.0)).await;
    }
}

impl Plan {
    fn draw(rng: &mut Rng, lease: Duration) -> Self {
        let stops_after = match rng.u8(..8) {
            0 => 2.0,
            1 | 2 => 0.0,
            _ => rng.f64() * 0.95,
        };
        let length = lease.mul_f64(0.1 + 4.0 * rng.f64());
        Self { length, stops_after, asks_every: lease.mul_f64(0.01 + rng.f64() / 10.0) }
    }
}
