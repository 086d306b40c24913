//! Candidates over kubert's lease: a channel shows the claim and when it expires, and dropping it gives
//! the lock back. The Lease has to be there before.

use contender::{Error, Flags, Seat};
use k8s_openapi::api::coordination::v1::Lease;
use kube_client::config::{KubeConfigOptions, Kubeconfig};
use kube_client::{Api, Client, Config};
use kubert::lease::{ClaimParams, LeaseManager};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let flags = Flags::parse()?;
    let kubeconfig = Kubeconfig::read_from(&flags.kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    let params = ClaimParams {
        lease_duration: flags.lease_duration,
        renew_grace_period: flags.renew_grace(),
    };
    contender::run(&flags, |seat| {
        let leases: Api<Lease> = Api::namespaced(client.clone(), &flags.namespace);
        let params = params.clone();
        async move { take_part(leases, params, seat).await }
    })
    .await
}

async fn take_part(leases: Api<Lease>, params: ClaimParams, seat: Seat) -> Result<(), Error> {
    let manager = LeaseManager::init(leases, &seat.lock).await?;
    // One field manager for all, as the names of candidates come and go.
    let (claim, keeper) = manager.spawn(&seat.identity, params).await?;
    if !claim.borrow().is_current_for(&seat.identity) {
        seat.report("following");
    }
    tokio::select! {
        () = seat.asked_to_leave() => {}
        () = seat.lead_as_told(claim, |claim| claim.is_current_for(&seat.identity)) => {}
    }
    keeper.await??;
    Ok(())
}
