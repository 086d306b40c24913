//! Candidates that take part for as long as they live, and the work that they do while they lead.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use incumbent::{Builder, Candidate, Error, Leadership};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::ledger::Ledger;

/// A process that takes part in the election.
pub(crate) struct Process {
    pub(crate) name: String,
    task: JoinHandle<()>,
    killed: watch::Sender<bool>,
    health: watch::Sender<bool>,
}

/// What all work of a process needs to know.
#[derive(Clone)]
struct Worker {
    name: String,
    ledger: Ledger,
    /// This process is gone, and with it all that it did.
    killed: watch::Receiver<bool>,
    /// The token of the last term that overran: its work is ended by force.
    overran: watch::Receiver<u64>,
    /// Whether it says of itself that it is well.
    health: watch::Receiver<bool>,
    /// Nothing goes wrong any more, and nobody gives up what works.
    healed: watch::Receiver<bool>,
}

/// How the work of one term goes.
#[derive(Clone, Copy)]
struct Plan {
    /// It is done after this long.
    length: Duration,
    /// What of the time it has to stop it takes; more than all of it is an overrun.
    stops_after: f64,
}

impl Process {
    /// Starts, `after` a while, a process whose every draw comes from `rng`. Its name here and the identity
    /// that the builder has been given differ where two share one.
    pub(crate) fn start(
        name: String,
        after: Duration,
        builder: Builder,
        ledger: &Ledger,
        healed: watch::Receiver<bool>,
        mut rng: Rng,
    ) -> Self {
        let (killed, is_killed) = watch::channel(false);
        let (overrun, overran) = watch::channel(0);
        let on_overrun = {
            let (name, ledger) = (name.clone(), ledger.clone());
            move |over: incumbent::Overrun| {
                ledger.overrun(&name, &over);
                overrun.send_replace(over.token.0);
            }
        };
        let (health, is_well) = watch::channel(true);
        let builder = builder.on_overrun(on_overrun).health(is_well.clone());
        let worker = Worker {
            name: name.clone(),
            ledger: ledger.clone(),
            killed: is_killed,
            overran,
            health: is_well,
            healed,
        };
        let task = tokio::spawn(async move {
            sleep(after).await;
            let candidate = builder.build().expect("it can be built");
            match rng.bool() {
                true => take_part_by_run(candidate, worker, rng).await,
                false => take_part_by_campaign(candidate, worker, rng).await,
            }
        });
        Self { name, task, killed, health }
    }

    /// From now on, and for so long, it is not fit to lead.
    pub(crate) fn falls_ill(&self, lasts: Duration) {
        let health = self.health.clone();
        health.send_replace(false);
        tokio::spawn(async move {
            sleep(lasts).await;
            health.send_replace(true);
        });
    }

    /// From one moment to the next there is no work of it.
    pub(crate) fn end(self) {
        self.killed.send_replace(true);
        self.task.abort();
    }
}

async fn take_part_by_run(mut candidate: Candidate, worker: Worker, mut rng: Rng) {
    loop {
        let outcome = candidate
            .run(|leadership| {
                let work = worker.clone().work(leadership.clone(), Plan::draw(&mut rng));
                let work = tokio::spawn(work);
                async move {
                    drop(leadership);
                    Ok(work.await?)
                }
            })
            .await;
        worker.after(outcome, &mut rng).await;
    }
}

async fn take_part_by_campaign(mut candidate: Candidate, worker: Worker, mut rng: Rng) {
    loop {
        let outcome = match candidate.campaign().await {
            Ok(leadership) => {
                let leadership = Arc::new(leadership);
                worker.clone().work(leadership.clone(), Plan::draw(&mut rng)).await;
                if let (true, Some(leadership)) = (rng.bool(), Arc::into_inner(leadership)) {
                    leadership.release().await;
                }
                Ok(())
            }
            Err(error) => Err(error),
        };
        worker.after(outcome, &mut rng).await;
    }
}

impl Worker {
    /// What runs while this process leads, and for a while after: it keeps its leadership that
    /// long.
    async fn work(mut self, leadership: Arc<Leadership>, plan: Plan) {
        let token = leadership.fencing_token().0;
        let _entry = self.ledger.enter(&self.name, leadership.clone());
        let (mut killed, mut overran) = (self.killed.clone(), self.overran.clone());
        tokio::select! {
            biased;
            _ = killed.wait_for(|killed| *killed) => {}
            _ = overran.wait_for(|overran| *overran == token) => {}
            () = self.act(&leadership, plan) => {}
        }
    }

    async fn act(&mut self, leadership: &Leadership, plan: Plan) {
        let mut is_done = std::pin::pin!(sleep(plan.length));
        let mut health = self.health.clone();
        let loss = loop {
            self.ledger.look();
            tokio::select! {
                biased;
                loss = leadership.lost() => break loss,
                // `run` lets go of it then; what it has spawned has to stop by itself.
                _ = leadership.asked_to_hand_over() => {
                    return self.ledger.note("asked", &format!("{} was asked", self.name));
                }
                _ = health.wait_for(|is_well| !is_well) => {
                    return self.ledger.note("ill", &format!("{} hands over, ill", self.name));
                }
                () = &mut is_done, if !*self.healed.borrow() => {
                    return self.ledger.note("handover", &format!("{} is done", self.name));
                }
                () = sleep(Duration::from_millis(500)) => {}
            }
        };
        self.ledger.note("loss", &format!("{} lost: {loss:?}", self.name));
        if leadership.is_valid() {
            self.ledger.violation(format!("{} lost what is still valid", self.name));
        }
        sleep(leadership.stop_within().mul_f64(plan.stops_after)).await;
    }

    async fn after(&self, outcome: Result<(), Error>, rng: &mut Rng) {
        if let Err(error) = outcome {
            self.ledger.note("campaign failed", &format!("{}: {error}", self.name));
        }
        sleep(Duration::from_millis(rng.u64(1..3_000))).await;
    }
}

impl Plan {
    fn draw(rng: &mut Rng) -> Self {
        let stops_after = match rng.u8(..8) {
            0 => 2.0,
            1 | 2 => 0.0,
            _ => rng.f64() * 0.95,
        };
        Self { length: Duration::from_millis(rng.u64(2_000..60_000)), stops_after }
    }
}
