//! The floor of a handover: one write, seen through a watch by another client, who then writes.
//!
//! No election can be faster on this machine and API server. For each line on stdin it does that once,
//! on a Lease of its own, and prints how long it took; two clients, each with connections of its own.

use std::pin::pin;

use contender::{Error, Flags};
use futures_util::TryStreamExt;
use incumbent::Connect;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams, WatchEvent, WatchParams};
use kube::core::ObjectMeta;
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let flags = Flags::parse()?;
    let (leader, follower) = (leases(&flags).await?, leases(&flags).await?);
    let mut lease = Lease {
        metadata: ObjectMeta { name: Some(flags.lock.clone()), ..ObjectMeta::default() },
        ..Lease::default()
    };
    lease = leader.create(&PostParams::default(), &lease).await?;
    let of_this = WatchParams::default().fields(&format!("metadata.name={}", flags.lock));
    let version = lease.metadata.resource_version.clone().ok_or("no version")?;
    let mut watch = pin!(follower.watch(&of_this, &version).await?);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    // The first time opens connections, which candidates have long done.
    let mut is_warm = false;
    while !is_warm || lines.next_line().await?.is_some() {
        let start = contender::boot_time();
        let leads = async {
            let written = write(&leader, &flags.lock, lease.clone(), "a").await;
            written.map(|_| contender::boot_time() - start)
        };
        let answers = async {
            let seen = loop {
                match watch.try_next().await?.ok_or("the watch ended")? {
                    WatchEvent::Modified(seen) if is_of(&seen, "a") => break seen,
                    _ => {}
                }
            };
            let seen_after = contender::boot_time() - start;
            let answered = write(&follower, &flags.lock, seen, "b").await?;
            Ok::<_, Error>((answered, seen_after, contender::boot_time() - start))
        };
        let (written, (answered, seen, done)) = tokio::try_join!(leads, answers)?;
        lease = answered;
        let [written, seen, done] = [written, seen, done].map(|took| took.as_micros());
        if std::mem::replace(&mut is_warm, true) {
            println!(
                r#"{{"event":"floor","written_us":{written},"seen_us":{seen},"answered_us":{done}}}"#
            );
        }
    }
    Ok(())
}

fn is_of(lease: &Lease, holder: &str) -> bool {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) == Some(holder)
}

async fn leases(flags: &Flags) -> Result<Api<Lease>, Error> {
    let client = Connect::default().kubeconfig(&flags.kubeconfig).client().await?;
    Ok(Api::namespaced(client, &flags.namespace))
}

/// Writes as a candidate would: a replace of exactly the version that is known.
async fn write(
    api: &Api<Lease>,
    name: &str,
    mut lease: Lease,
    holder: &str,
) -> Result<Lease, Error> {
    lease.spec.get_or_insert_default().holder_identity = Some(holder.to_owned());
    Ok(api.replace(name, &PostParams::default(), &lease).await?)
}
