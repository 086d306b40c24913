//! Candidates over kube-leader-election, as its example of a shared lease does it: a loop that tries to
//! acquire or renew, and a flag that others look at.
//!
//! Its example tries every 5 s under a lease of 15 s; this one every 2 s, which hands over sooner.

use std::time::Duration;

use contender::{Error, Flags, Seat};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use kube_leader_election::{LeaseLock, LeaseLockParams, LeaseLockResult};
use tokio::sync::watch;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let flags = Flags::parse()?;
    let kubeconfig = Kubeconfig::read_from(&flags.kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    contender::run(&flags, |seat| {
        let params = LeaseLockParams {
            lease_name: seat.lock.clone(),
            holder_id: seat.identity.clone(),
            lease_ttl: flags.lease_duration,
        };
        let lock = LeaseLock::new(client.clone(), &flags.namespace, params);
        let every = flags.retry_period();
        async move { take_part(lock, every, seat).await }
    })
    .await
}

async fn take_part(lock: LeaseLock, every: Duration, seat: Seat) -> Result<(), Error> {
    let (leads, state) = watch::channel(false);
    tokio::select! {
        () = seat.asked_to_leave() => {}
        () = elect(&lock, every, &leads, &seat) => {}
        () = seat.lead_as_told(state, |leads| *leads) => {}
    }
    if *leads.borrow() {
        lock.step_down().await?;
    }
    Ok(())
}

async fn elect(lock: &LeaseLock, every: Duration, leads: &watch::Sender<bool>, seat: &Seat) {
    let mut ticks = tokio::time::interval(every);
    let mut knows_of_another = false;
    loop {
        ticks.tick().await;
        match lock.try_acquire_or_renew().await {
            Ok(LeaseLockResult::Acquired(_)) => set(leads, true),
            Ok(LeaseLockResult::NotAcquired(_)) => {
                set(leads, false);
                if !std::mem::replace(&mut knows_of_another, true) {
                    seat.report("following");
                }
            }
            // The example keeps the flag as it is; whoever goes by the result clears it.
            Err(error) => {
                eprintln!("{error}");
                set(leads, false);
            }
        }
    }
}

fn set(leads: &watch::Sender<bool>, to: bool) {
    leads.send_if_modified(|leads| std::mem::replace(leads, to) != to);
}
