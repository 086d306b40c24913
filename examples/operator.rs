//! An operator that reconciles only while it leads, with the controller of kube-rs.
//!
//! ```text
//! operator &  operator &
//! kubectl create configmap world --from-literal=name=World
//! kubectl label configmap world example.com/greet=yes
//! kubectl get configmap world-greeting -o yaml
//! ```
//!
//! For each ConfigMap with the label it keeps another one, with a greeting, and puts it right whenever another client
//! changes or deletes it. A real one would do so for its own kind.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use incumbent::{BoxError, Candidate, Leadership, Lock, connect, shutdown_signal};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, Resource, ResourceExt};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let shutdown = shutdown_signal();
    let lock = Lock::lease("default", "operator");
    let client = connect().await?;
    let mut candidate =
        Candidate::builder(client.clone(), lock).lease_duration(Duration::from_secs(3)).build()?;
    // Two clients: the election writes in order to lead, all else writes only while this process does.
    let client = candidate.write_gate().client(client);
    candidate.run_until(shutdown, |leadership| reconcile_all(client.clone(), leadership)).await?;
    Ok(())
}

/// A controller for one term. A new one lists everything again, so that nothing is missed that the last leader
/// has left undone; followers watch nothing, and cost nothing.
async fn reconcile_all(client: Client, leadership: Arc<Leadership>) -> Result<(), BoxError> {
    println!("leads");
    let config_maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let labelled = watcher::Config::default().labels(LABEL);
    Controller::new(config_maps.clone(), labelled)
        .owns(config_maps, watcher::Config::default())
        .run(reconcile, try_again, Arc::new(Term { client, _leadership: leadership }))
        .for_each(async |outcome| match outcome {
            Ok((source, _)) => println!("greets {}", source.name),
            Err(error) => eprintln!("{error}"),
        })
        .await;
    Err("the controller has ended".into())
}

/// What reconciling needs.
struct Term {
    client: Client,
    /// Each reconciliation is a separate task. As long as one runs, it keeps the lock from being released.
    _leadership: Arc<Leadership>,
}

/// Makes the greeting what it should be, whatever it was.
///
/// A write that leaves in time and arrives late may undo what the next leader has written. That one watches
/// what it owns, and puts it right: this is why an operator needs no token, as long as it acts on the API
/// server alone.
async fn reconcile(source: Arc<ConfigMap>, term: Arc<Term>) -> Result<Action, kube::Error> {
    let whom = source.data.as_ref().and_then(|data| data.get("name"));
    let mut greeting = ConfigMap::default();
    greeting.metadata.name = Some(format!("{}-greeting", source.name_any()));
    greeting.metadata.owner_references =
        Some(source.controller_owner_ref(&()).into_iter().collect());
    let text = format!("Hello, {}!", whom.map_or("nobody", String::as_str));
    greeting.data = Some([("greeting".to_owned(), text)].into());

    let config_maps: Api<ConfigMap> = Api::default_namespaced(term.client.clone());
    let (name, how) = (greeting.name_any(), PatchParams::apply("operator").force());
    config_maps.patch(&name, &how, &Patch::Apply(&greeting)).await?;
    Ok(Action::await_change())
}

fn try_again(_: Arc<ConfigMap>, _: &kube::Error, _: Arc<Term>) -> Action {
    Action::requeue(Duration::from_secs(1))
}

const LABEL: &str = "example.com/greet";
