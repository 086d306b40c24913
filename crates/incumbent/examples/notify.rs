//! Sends each notification once, however many replicas run and whichever of them crash:
//! `cargo run -p incumbent --example notify`.
//!
//! The outbox is a ConfigMap: `todo-1`, `todo-2`, … are to be sent. Before a notification leaves, the leader
//! writes under its key that it is on its way, with its token, as a replace of the version that it has read.
//! A leader of the past is refused there, before it can send.
//!
//! A crash between that write and the sending loses the notification: it is sent **at most once**. Turn the
//! two around, and it is sent at least once. No third way exists without the receiver's help.

use std::sync::Arc;
use std::time::Duration;

use incumbent::{BoxError, Candidate, Error, Leadership, Lock, connect};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = connect().await?;
    let outbox: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let mut candidate = Candidate::builder(client, Lock::lease("default", "notify"))
        .lease_duration(Duration::from_secs(3))
        .build()?;
    let work = |leadership: Arc<Leadership>| {
        let outbox = outbox.clone();
        async move {
            while leadership.is_valid() {
                send_next(&outbox, &leadership).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        }
    };
    candidate.run_until(tokio::signal::ctrl_c(), work).await?;
    Ok(())
}

async fn send_next(outbox: &Api<ConfigMap>, leadership: &Leadership) -> Result<(), BoxError> {
    let mut stored = outbox.get("outbox").await?;
    let data = stored.data.get_or_insert_default();
    let Some(key) =
        data.iter().find(|(key, state)| is_to_do(key, state)).map(|(key, _)| key.clone())
    else {
        return Ok(());
    };
    // Fenced: who has read something older than what a later leader wrote gets 409 here.
    data.insert(key.clone(), format!("sent under token {}", leadership.fencing_token()));
    match outbox.replace("outbox", &PostParams::default(), &stored).await {
        Ok(_) if leadership.is_valid() => send(&key),
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn is_to_do(key: &str, state: &str) -> bool {
    key.starts_with("todo-") && !state.starts_with("sent")
}

/// A mail, say, that nobody wants twice.
fn send(key: &str) {
    println!("{key}");
}
