//! `incumbent once` in ConfigMaps that are nearly full.

use serde_json::{Map, Value, json};

use super::support::{Cluster, Outcome};

/// As a Pod of a Deployment that runs it leaves it.
fn done() -> String {
    json!({
        "state": "done", "by": "invoices-7d9c5b8f6d-x7x2p_0b1f8a52-5f0e-4c55-9d6e-1c3f3f0b7a11",
        "token": 1_234_567, "since": "2026-11-28T15:20:00.123456789Z",
        "until": "2026-11-28T15:20:09.123456789Z", "exitCode": 0,
    })
    .to_string()
}

fn create(cluster: &Cluster, data: Map<String, Value>, annotations: Map<String, Value>) {
    let metadata = json!({ "name": "jobs", "namespace": "default", "annotations": annotations });
    let object =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data });
    cluster.server.create(object).unwrap();
}

fn once(cluster: &Cluster, lock: &str) -> Outcome {
    let mut command = cluster.command(&format!("once {lock} -- sh -c"));
    Outcome::of(command.arg("echo sent").output().unwrap())
}

fn stored(cluster: &Cluster) -> Value {
    cluster.stored("/api/v1/namespaces/default/configmaps/jobs").unwrap()
}

fn records(object: &Value) -> usize {
    object["data"].as_object().unwrap().keys().filter(|key| key.ends_with(".once")).count()
}

#[test]
fn what_ended_tasks_have_left_of_their_elections_makes_room_for_the_next() {
    let cluster = Cluster::start();
    let (mut data, mut annotations) = (Map::new(), Map::new());
    let record = json!({
        "holderIdentity": "", "leaseDurationSeconds": 15, "leaderTransitions": 1,
        "acquireTime": "2026-11-28T15:20:00.123456Z", "renewTime": "2026-11-28T15:20:00.123456Z",
    });
    // All that there was room for, before such leftovers were cleared away.
    let mut taken = 0;
    let mut tasks = 0;
    loop {
        let key = format!("invoice-{tasks:04}");
        taken += "incumbent.dev/record.incumbent.dev/term.".len() + 2 * key.len();
        taken += record.to_string().len() + r#"{"token":7}"#.len();
        if taken > 256 << 10 {
            break;
        }
        tasks += 1;
        data.insert(key.clone(), "".into());
        data.insert(format!("{key}.once"), done().into());
        annotations.insert(format!("incumbent.dev/record.{key}"), record.to_string().into());
        annotations
            .insert(format!("incumbent.dev/term.{key}"), json!({ "token": 7 }).to_string().into());
    }
    create(&cluster, data, annotations);
    let next = once(&cluster, "configmap/jobs:invoice-4711");
    assert_eq!((next.code, next.stdout.as_str()), (0, "sent\n"), "{next:?}");
    let object = stored(&cluster);
    assert_eq!(records(&object), tasks + 1);
    let left = object["metadata"]["annotations"].as_object().map_or(0, Map::len);
    assert_eq!((left, object["data"].as_object().unwrap().len()), (0, tasks + 1), "{object}");
    // A task that was done before the upgrade is not done again.
    let before = once(&cluster, "configmap/jobs:invoice-0000");
    let said: Value = serde_json::from_str(&before.stdout).unwrap();
    assert_eq!((before.code, said.to_string()), (0, done()));
}

/// How many records a ConfigMap holds: named in docs/once.md.
const CAPACITY: usize = 5_000;

#[test]
fn a_config_map_that_has_no_room_is_told_before_anything_is_started() {
    let cluster = Cluster::start();
    let mut data = Map::new();
    for number in 0..CAPACITY {
        data.insert(format!("invoice-{number:04}.once"), done().into());
    }
    // Nearly full, but for one more record.
    let taken: usize = data.values().map(|text| text.as_str().unwrap().len()).sum();
    let free = (1 << 20) - taken;
    assert!(free > 400, "{CAPACITY} records of {} bytes take {taken}", done().len());
    data.insert("other".to_owned(), "x".repeat(free - 400).into());
    create(&cluster, data, Map::new());
    let last = once(&cluster, "configmap/jobs:invoice-last");
    assert_eq!((last.code, last.stdout.as_str()), (0, "sent\n"), "{last:?}");
    assert_eq!(records(&stored(&cluster)), CAPACITY + 1);

    let next = once(&cluster, "configmap/jobs:invoice-next");
    assert_eq!((next.code, next.stdout.as_str()), (73, ""), "{next:?}");
    for part in ["configmap/jobs has no room", "nothing was started", "use another ConfigMap"] {
        assert!(next.stderr.contains(part), "{next:?}");
    }
    assert_eq!(records(&stored(&cluster)), CAPACITY + 1);
    let looked = cluster.run("doctor --lock configmap/jobs:invoice-last");
    assert!(looked.stdout.contains("of the room is taken"), "{looked:?}");
}

#[test]
fn the_longest_names_have_room() {
    let cluster = Cluster::start();
    let lock = format!("configmap/{}:{}", "n".repeat(253), "k".repeat(50));
    let first = once(&cluster, &format!("{lock} --identity {}", "i".repeat(200)));
    assert_eq!((first.code, first.stdout.as_str()), (0, "sent\n"), "{first:?}");
    assert_eq!(once(&cluster, &lock).code, 0);
    let too_long = once(&cluster, &format!("{lock}k"));
    assert_eq!(too_long.code, 78, "{too_long:?}");
}
