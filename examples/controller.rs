//! A controller that reconciles only while it leads. The other replicas keep their caches up to date, so that the next
//! leader begins at once.
//!
//! ```text
//! cargo run -p examples --bin controller -- a     # in several terminals: a, b and c
//! kubectl create configmap world --from-literal=name=World
//! kubectl label configmap world example.com/greet=yes
//! kubectl get configmap world-greeting -o yaml
//! ```
//!
//! For each ConfigMap with the label it keeps another one, with a greeting, and puts it right whenever another client
//! changes or deletes it. A real one would do so for its own kind.

use std::sync::Arc;
use std::time::Duration;

use incumbent::controller::{Action, Controller, watcher};
use incumbent::{BoxError, Candidate, Leadership, Lock, connect, shutdown_signal};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let shutdown = shutdown_signal();
    let name = std::env::args().nth(1).ok_or("usage: controller NAME, one for each replica")?;
    let client = connect().await?;
    let mut candidate = Candidate::builder(client.clone(), Lock::lease("default", "greeter"))
        .identity(name)
        .lease_duration(Duration::from_secs(3))
        .build()?;
    // Two clients: the election and the watches work all the time, all else writes only while this process leads.
    let gated: Api<ConfigMap> =
        Api::default_namespaced(candidate.write_gate().client(client.clone()));
    let config_maps: Api<ConfigMap> = Api::default_namespaced(client);
    Controller::new(config_maps.clone(), watcher::Config::default().labels("example.com/greet"))
        .owns(config_maps, watcher::Config::default().labels("example.com/greeting"))
        .run_until(&mut candidate, shutdown, |source, leadership| {
            greet(source, leadership, gated.clone())
        })
        .await?;
    Ok(())
}

/// Makes the greeting what it should be, whatever it was. It is dropped at an `.await` when the term ends.
async fn greet(
    source: Arc<ConfigMap>,
    leadership: Arc<Leadership>,
    greetings: Api<ConfigMap>,
) -> Result<Action, BoxError> {
    let whom = source.data.as_ref().and_then(|data| data.get("name"));
    let whom = whom.map_or("nobody", String::as_str);
    let say = |what| println!("{what} {} {whom} {}", source.name_any(), leadership.fencing_token());

    say("begins");
    for _ in 0..5 {
        sleep(Duration::from_millis(10)).await; // Work that takes its time.
        say("works");
    }
    let mut greeting = ConfigMap::default();
    greeting.metadata.name = Some(format!("{}-greeting", source.name_any()));
    greeting.metadata.labels = Some([("example.com/greeting".into(), "yes".into())].into());
    greeting.metadata.owner_references =
        Some(source.controller_owner_ref(&()).into_iter().collect());
    greeting.data = Some([("greeting".to_owned(), format!("Hello, {whom}!"))].into());
    let how = PatchParams::apply("greeter").force();
    greetings.patch(&greeting.name_any(), &how, &Patch::Apply(&greeting)).await?;
    say("ends");
    Ok(Action::await_change())
}
