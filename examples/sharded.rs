//! A controller whose replicas share the objects: each reconciles those that it owns, and no object has two owners.
//!
//! ```text
//! cargo run -p examples --bin sharded -- a     # in several terminals: a, b and c
//! kubectl create configmap world --from-literal=name=World
//! kubectl label configmap world example.com/greet=yes
//! kubectl get configmap world-greeting -o yaml
//! kubectl get configmap greeters.tasks -o yaml     # which replica owns which object
//! ```
//!
//! For each ConfigMap with the label it keeps another one, with a greeting, and puts it right whenever another client
//! changes or deletes it. A real one would do so for its own kind.

use std::sync::Arc;
use std::time::Duration;

use incumbent::controller::{Action, Controller, watcher};
use incumbent::{BoxError, Group, Task, connect, shutdown_signal};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Resource, ResourceExt};
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let shutdown = shutdown_signal();
    let name = std::env::args().nth(1).ok_or("usage: sharded NAME, one for each replica")?;
    let client = connect().await?;
    let config_maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let labelled = watcher::Config::default().labels("example.com/greet");
    let controller = Controller::new(config_maps.clone(), labelled)
        .owns(config_maps.clone(), watcher::Config::default().labels("example.com/greeting"));
    let group = Group::builder(client, "default", "greeters")
        .member(name)
        .tasks(controller.tasks()) // each object is a task
        .lease_duration(Duration::from_secs(3));
    controller
        .share_until(
            || group.build(),
            shutdown,
            |source, task| greet(source, task, config_maps.clone()),
        )
        .await?;
    Ok(())
}

/// Makes the greeting what it should be, whatever it was. It is dropped at an `.await` when the object gets another owner.
async fn greet(
    source: Arc<ConfigMap>,
    task: Arc<Task>,
    greetings: Api<ConfigMap>,
) -> Result<Action, BoxError> {
    let whom = source.data.as_ref().and_then(|data| data.get("name"));
    let whom = whom.map_or("nobody", String::as_str);
    let say = |what| println!("{what} {} {whom} {}", source.name_any(), task.fencing_token());

    say("begins");
    for _ in 0..5 {
        sleep(Duration::from_millis(10)).await; // Work that takes its time.
        say("works");
    }
    let name = format!("{}-greeting", source.name_any());
    let data = Some([("greeting".to_owned(), format!("Hello, {whom}!"))].into());
    let stored = greetings.get_opt(&name).await?;
    // A fenced write changes the object even where nothing else does: without the comparison, each would cause the next.
    if stored.is_none_or(|stored| stored.data != data) {
        // Refused if a newer owner has written, however late it arrives.
        let fenced = task.fenced(&greetings).or_create(ConfigMap::default());
        fenced
            .replace(&name, |greeting| {
                let labels = greeting.metadata.labels.get_or_insert_default();
                labels.insert("example.com/greeting".to_owned(), "yes".to_owned());
                greeting.metadata.owner_references =
                    Some(source.controller_owner_ref(&()).into_iter().collect());
                greeting.data = data.clone();
            })
            .await?;
    }
    say("ends");
    Ok(Action::await_change())
}
