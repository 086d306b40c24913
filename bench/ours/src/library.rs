//! Ours as a library: candidates over the crate `incumbent`, as its README shows it.

use contender::{Error, Flags, Seat};
use incumbent::{Candidate, Connect, Elections, Lock, Timing};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let flags = Flags::parse()?;
    let timing = Timing::from_lease_duration(flags.lease_duration)?;
    let client = Connect::default().kubeconfig(&flags.kubeconfig).client().await?;
    let elections = Elections::new(client);
    contender::run(&flags, |seat| {
        let lock = Lock::lease(&flags.namespace, &seat.lock);
        // One watch for all asks for more rights than one for the only lock.
        let builder = match flags.elections {
            1 => Candidate::builder(elections.client().clone(), lock),
            _ => elections.candidate(lock),
        };
        let candidate = builder.identity(&seat.identity).timing(timing).build();
        async move { take_part(candidate?, seat).await }
    })
    .await
}

async fn take_part(mut candidate: Candidate, seat: Seat) -> Result<(), Error> {
    let mut observer = candidate.observe();
    let work = |leadership: std::sync::Arc<incumbent::Leadership>| {
        let seat = seat.clone();
        async move {
            seat.lead(|| leadership.is_valid()).await;
            Ok(())
        }
    };
    let follow = async {
        let sees_another = |identity: &str| identity != seat.identity;
        while let Some(leader) = observer.changed().await {
            if let incumbent::Leader::Known { identity, .. } = leader
                && sees_another(identity.as_str())
            {
                seat.report("following");
            }
        }
        std::future::pending::<()>().await
    };
    tokio::select! {
        biased;
        outcome = candidate.run_until(seat.asked_to_leave(), work) => outcome.map(drop)?,
        () = follow => {}
    }
    candidate.leave().await;
    Ok(())
}
