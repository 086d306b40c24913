//! `controller` and `sharded`: each object is reconciled after its last change, and never by two processes at once, also if
//! processes are killed, frozen or restarted.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use rustix::process::Signal;
use serde_json::json;
use tokio::time::sleep;

use crate::stage::{Process, Stage, within};

const CONTROLLER: &str = env!("CARGO_BIN_EXE_controller");
const SHARDED: &str = env!("CARGO_BIN_EXE_sharded");

const OBJECTS: usize = 12;
const JOURNAL: &str = "journal";

/// Some processes of one program, all of which print into one journal.
struct Scene {
    stage: Stage,
    config_maps: Api<ConfigMap>,
    program: &'static str,
    running: BTreeMap<&'static str, Process>,
    /// How many processes were frozen. Each may wake between a look at the clock and one line.
    frozen: usize,
    wanted: BTreeMap<String, String>,
}

impl Scene {
    async fn new(program: &'static str) -> Self {
        let stage = Stage::new().await;
        for number in 0..OBJECTS {
            stage.server.create(source(number)).unwrap();
        }
        let config_maps = Api::default_namespaced(stage.client());
        let wanted = (0..OBJECTS).map(|number| (format!("o{number}"), "start".to_owned()));
        let (wanted, running) = (wanted.collect(), BTreeMap::new());
        let mut scene = Self { stage, config_maps, program, running, frozen: 0, wanted };
        for name in ["a", "b", "c"] {
            scene.start(name);
        }
        scene
    }

    fn start(&mut self, name: &'static str) {
        self.running.insert(name, self.stage.start_into(JOURNAL, self.program, &[name]));
    }

    fn kill(&mut self, name: &str) {
        self.running.remove(name).unwrap().kill();
    }

    fn freeze(&mut self, name: &str) {
        self.running[name].send(Signal::STOP);
        self.frozen += 1;
    }

    /// Changes all objects, with pauses in which some of the changes are reconciled.
    async fn change(&mut self, value: &str) {
        for (name, wanted) in &mut self.wanted {
            let patch = Patch::Merge(json!({ "data": { "name": value } }));
            self.config_maps.patch(name, &PatchParams::default(), &patch).await.unwrap();
            value.clone_into(wanted);
            sleep(Duration::from_millis(15)).await;
        }
    }

    /// Deletes an object and creates it again.
    async fn replace(&mut self, number: usize) {
        let name = format!("o{number}");
        self.config_maps.delete(&name, &DeleteParams::default()).await.unwrap();
        self.stage.server.create(source(number)).unwrap();
        self.wanted.insert(name, "start".to_owned());
    }

    /// Waits until each greeting is that of the object's last change.
    async fn settle(&self) {
        let labelled = ListParams::default().labels("example.com/greeting");
        let mut wrong = Vec::new();
        let settled = async {
            loop {
                let greetings = self.config_maps.list(&labelled).await.unwrap().items;
                let stored = |name: &str| {
                    let name = format!("{name}-greeting");
                    let is_named =
                        |stored: &&ConfigMap| stored.metadata.name.as_ref() == Some(&name);
                    greetings.iter().find(is_named).and_then(|stored| stored.data.clone())
                };
                wrong = Vec::from_iter(self.wanted.iter().filter(|(name, whom)| {
                    let greeting = stored(name).unwrap_or_default().remove("greeting");
                    greeting != Some(format!("Hello, {whom}!"))
                }));
                if wrong.is_empty() {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let patience = Duration::from_secs(30);
        let settled = tokio::time::timeout(patience, settled).await;
        assert!(settled.is_ok(), "lost reconciles: {wrong:?}\n{}", self.journal());
    }

    fn journal(&self) -> String {
        std::fs::read_to_string(self.stage.folder().join(JOURNAL)).unwrap()
    }

    /// Whether no process went on with an object after another one had begun: the tokens of an object never fall.
    fn check_journal(&self) {
        let journal = self.journal();
        let mut tokens: BTreeMap<&str, u64> = BTreeMap::new();
        let mut late = Vec::new();
        for line in journal.lines() {
            let [_, object, _, token] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line:?}");
            };
            let token = token.parse().unwrap();
            let newest = tokens.entry(object).or_default();
            match token < *newest {
                true => late.push(line),
                false => *newest = token,
            }
        }
        assert!(late.len() <= self.frozen, "two at once: {late:?}\n{journal}");
        assert_eq!(tokens.len(), OBJECTS);
    }

    /// The process that leads.
    async fn leader(&self) -> &'static str {
        let leases: Api<Lease> = Api::default_namespaced(self.stage.client());
        within(async {
            loop {
                let lease = leases.get_opt("greeter").await.unwrap();
                let holder = lease.and_then(|lease| lease.spec?.holder_identity);
                let names = self.running.keys();
                if let Some(name) = names.into_iter().find(|name| holder.as_deref() == Some(name)) {
                    return *name;
                }
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }
}

fn source(number: usize) -> serde_json::Value {
    let labels = json!({ "example.com/greet": "yes" });
    let metadata =
        json!({ "name": format!("o{number}"), "namespace": "default", "labels": labels });
    let data = json!({ "name": "start" });
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_leader_that_dies_or_freezes_leaves_no_reconcile_undone_and_none_doubled() {
    let mut scene = Scene::new(CONTROLLER).await;
    scene.settle().await;

    // Killed in the middle of its work.
    let first = scene.leader().await;
    scene.change("one").await;
    scene.kill(first);
    scene.change("two").await;
    scene.settle().await;

    // Frozen in the middle of its work, and it wakes when another one works.
    let second = scene.leader().await;
    scene.change("three").await;
    scene.freeze(second);
    scene.change("four").await;
    scene.settle().await;
    scene.running[second].send(Signal::CONT);
    scene.change("five").await;
    scene.settle().await;

    // It hands over in the middle of its work, and another process of its name starts.
    let third = scene.leader().await;
    scene.change("six").await;
    scene.running.get_mut(third).unwrap().interrupt();
    scene.replace(3).await;
    scene.start(first);
    scene.change("seven").await;
    scene.settle().await;
    scene.check_journal();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_owner_that_dies_or_freezes_leaves_no_reconcile_undone_and_none_doubled() {
    let mut scene = Scene::new(SHARDED).await;
    scene.settle().await;

    // Objects move to members that join, in the middle of the work.
    scene.change("one").await;
    scene.settle().await;
    scene.change("two").await;
    scene.kill("a");
    scene.change("three").await;
    scene.settle().await;
    scene.start("a");
    scene.change("four").await;
    scene.settle().await;

    // Frozen in the middle of its work, and it wakes when others work on its objects, or the watchdog ends it.
    scene.change("five").await;
    scene.freeze("b");
    scene.change("six").await;
    scene.settle().await;
    scene.running["b"].send(Signal::CONT);
    scene.change("seven").await;
    scene.settle().await;

    // It leaves in the middle of its work, and objects come and go.
    scene.change("eight").await;
    scene.running.get_mut("c").unwrap().interrupt();
    scene.replace(3).await;
    scene.start("c");
    scene.change("nine").await;
    scene.replace(5).await;
    scene.settle().await;
    scene.check_journal();
}
