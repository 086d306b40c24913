//! Candidates over kube-lease-manager, in its fully automatic way: a channel says who leads, and dropping
//! it gives the lock back.

use contender::{Error, Flags, Seat};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let flags = Flags::parse()?;
    let kubeconfig = Kubeconfig::read_from(&flags.kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    contender::run(&flags, |seat| {
        let manager = LeaseManagerBuilder::new(client.clone(), &seat.lock)
            .with_namespace(&flags.namespace)
            .with_identity(&seat.identity)
            .with_duration(flags.lease_duration.as_secs())
            .with_grace(flags.renew_grace().as_secs().max(1))
            .build();
        async move { take_part(manager.await?, seat).await }
    })
    .await
}

async fn take_part(manager: LeaseManager, seat: Seat) -> Result<(), Error> {
    let (state, watcher) = manager.watch().await;
    // It does not say whom it follows; it has read the lock by now.
    seat.report("following");
    tokio::select! {
        () = seat.asked_to_leave() => {}
        () = seat.lead_as_told(state, |leads| *leads) => {}
    }
    watcher.await??;
    Ok(())
}
