//! `operator`: the leader keeps things as they should be, and the others write nothing.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use rustix::process::Signal;
use serde_json::json;

use crate::stage::{Stage, within};

const OPERATOR: &str = env!("CARGO_BIN_EXE_operator");

async fn greeting_is(config_maps: &Api<ConfigMap>, expected: &str) {
    within(async {
        loop {
            let stored = config_maps.get_opt("world-greeting").await.unwrap();
            if stored.is_some_and(|stored| stored.data.unwrap()["greeting"] == expected) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn name(config_maps: &Api<ConfigMap>, name: &str) {
    let patch = Patch::Merge(json!({ "data": { "name": name } }));
    config_maps.patch("world", &PatchParams::default(), &patch).await.unwrap();
}

async fn delete_greeting(config_maps: &Api<ConfigMap>) {
    config_maps.delete("world-greeting", &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_reconciles_at_a_time_and_the_next_makes_up_for_what_it_missed() {
    let stage = Stage::new().await;
    let config_maps: Api<ConfigMap> = Api::default_namespaced(stage.client());
    let metadata = json!({
        "name": "world", "namespace": "default", "labels": { "example.com/greet": "yes" },
    });
    let data = json!({ "name": "World" });
    let world =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data });
    stage.server.create(world).unwrap();

    let mut first = stage.start(OPERATOR, &[]);
    greeting_is(&config_maps, "Hello, World!").await;
    let owners = config_maps.get("world-greeting").await.unwrap().metadata.owner_references;
    assert_eq!(owners.unwrap()[0].name, "world");
    delete_greeting(&config_maps).await;
    greeting_is(&config_maps, "Hello, World!").await;

    // The first one freezes. The second one goes on; when the first wakes, it is told of the same change, and
    // leaves it alone.
    let mut second = stage.start(OPERATOR, &[]);
    first.send(Signal::STOP);
    name(&config_maps, "Jane").await;
    second.says("leads").await;
    greeting_is(&config_maps, "Hello, Jane!").await;
    first.news();
    first.send(Signal::CONT);
    name(&config_maps, "John").await;
    greeting_is(&config_maps, "Hello, John!").await;
    first.kill();
    assert_eq!(first.rest().await, [""; 0]);

    // What happens while nobody leads is made up for.
    second.kill();
    delete_greeting(&config_maps).await;
    let mut third = stage.start(OPERATOR, &[]);
    greeting_is(&config_maps, "Hello, John!").await;
    third.interrupt();
}
