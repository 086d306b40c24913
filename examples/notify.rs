//! Sends each notification once, however many replicas run and whichever of them crash.
//!
//! ```text
//! kubectl create configmap outbox --from-literal=invoice-4711=
//! notify &  notify &
//! ```
//!
//! Each key of the ConfigMap `outbox` is a notification to send. Its value is a record of that: empty, then
//! `sending under token N`, then `sent under token N`. Each change is a compare-and-swap, before the
//! notification leaves and after, so no two replicas ever begin to send the same one, not even if both
//! believe to lead.
//!
//! A sender that crashes in between leaves `sending` behind, and it is unknown whether the notification has left. No
//! third way exists without the receiver's help, so choose what to lose:
//!
//! - **At most once**, by default: it is not sent again, but marked `in doubt` for a person to check. The
//!   cost: a crash may lose one.
//! - **At least once**, with `notify --again`: the next leader sends it again. The cost: a crash may send one
//!   twice. A receiver that knows the key, which is the same each time, can drop the second.

use std::time::Duration;

use incumbent::{BoxError, Candidate, FencingToken, Lock, connect, shutdown_signal};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use tokio::time::{sleep, timeout};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let shutdown = shutdown_signal();
    let again = std::env::args().any(|argument| argument == "--again");
    let client = connect().await?;
    let outbox = Outbox(Api::default_namespaced(client.clone()));
    let mut candidate = Candidate::builder(client, Lock::lease("default", "notify"))
        .lease_duration(Duration::from_secs(3))
        .build()?;
    candidate
        .run_until(shutdown, |leadership| {
            let outbox = outbox.clone();
            async move {
                while leadership.is_valid() {
                    // What hangs is given up: to its record, that is a crash like any other.
                    let round = outbox.send_all(leadership.fencing_token(), again);
                    timeout(leadership.valid_for(), round).await??;
                    sleep(Duration::from_millis(100)).await;
                }
                Ok(())
            }
        })
        .await?;
    Ok(())
}

/// The notifications, and a record of what became of each.
#[derive(Clone)]
struct Outbox(Api<ConfigMap>);

impl Outbox {
    async fn send_all(&self, token: FencingToken, again: bool) -> Result<(), kube::Error> {
        let entries = self.0.get(OBJECT).await?.data.unwrap_or_default();
        for (key, state) in entries {
            let sending = format!("{SENDING}{token}");
            // A newer leader's is none of this one's business.
            let is_left_behind = state.strip_prefix(SENDING).is_some_and(|by| is_older(by, token));
            if state.is_empty() || (is_left_behind && again) {
                if self.swap(&key, &state, &sending).await? {
                    send(&key);
                    self.swap(&key, &sending, &format!("sent under token {token}")).await?;
                }
            } else if is_left_behind {
                self.swap(&key, &state, &format!("in doubt, was {state}")).await?;
            }
        }
        Ok(())
    }

    /// Replaces one value by another, and says whether it was still there to replace.
    async fn swap(&self, key: &str, old: &str, new: &str) -> Result<bool, kube::Error> {
        loop {
            let mut stored = self.0.get(OBJECT).await?;
            match stored.data.get_or_insert_default().get_mut(key) {
                Some(value) if value == old => new.clone_into(value),
                _ => return Ok(false),
            }
            match self.0.replace(OBJECT, &PostParams::default(), &stored).await {
                // Another client wrote in between, perhaps another key: look again.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                outcome => return outcome.map(|_| true),
            }
        }
    }
}

fn is_older(by: &str, token: FencingToken) -> bool {
    by.parse().is_ok_and(|by: u64| by < token.0)
}

/// A mail, say, that must not arrive twice.
fn send(key: &str) {
    println!("{key}");
}

const OBJECT: &str = "outbox";
const SENDING: &str = "sending under token ";
