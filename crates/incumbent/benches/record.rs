//! What it takes to read a lock and to write the next record into it: of each renewal, and of each event
//! of a watch.
//!
//! `cargo bench -p incumbent --bench record`; in instructions, `bench/instructions`.

use divan::{Bencher, black_box};
use incumbent::Lock;
use incumbent::benched::{read, write};
use serde_json::{Value, json};

fn main() {
    divan::main();
}

#[divan::bench(args = ["lease", "configmap"])]
fn decode(bencher: Bencher<'_, '_>, kind: &str) {
    let (lock, text) = held(kind);
    bencher.bench(|| read(black_box(&lock), black_box(&text)));
}

#[divan::bench(args = ["lease", "configmap"])]
fn edit(bencher: Bencher<'_, '_>, kind: &str) {
    let (lock, text) = held(kind);
    let object: Value = serde_json::from_str(&text).expect("it is JSON");
    let mut record = read(&lock, &text).expect("it is a lock").record;
    record.transitions += 1;
    bencher.bench(|| write(black_box(&lock), black_box(&object), black_box(&record)));
}

/// A lock in somebody's third term, with what servers add.
fn held(kind: &str) -> (Lock, String) {
    let times = json!({
        "holderIdentity": "scanner-5f6c-x2x9q", "leaseDurationSeconds": 15, "leaseTransitions": 2,
        "acquireTime": "2026-11-22T08:00:00.012345Z", "renewTime": "2026-11-22T08:00:38.431207Z",
        "leaderTransitions": 2,
    });
    let term = json!({
        "identity": "scanner-5f6c-x2x9q", "session": "0f8e2a61c4d94b7ea3b5d2c1908f7e6d",
        "token": 31719, "renewTime": "2026-11-22T08:00:38.431207Z",
    });
    let lock = Lock::parse("prod", &format!("{kind}/scanner")).expect("it is a lock");
    let mut object = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": "scanner", "namespace": "prod", "uid": "3f0d2c52-8f3e-4d0c-9d55-0f3c5f1b7a10",
            "resourceVersion": "31790", "creationTimestamp": "2026-11-22T08:00:00Z",
            "annotations": {"incumbent.dev/term": term.to_string()},
        },
    });
    if kind == "lease" {
        object["spec"] = times;
    } else {
        let record = "control-plane.alpha.kubernetes.io/leader";
        object["metadata"]["annotations"][record] = times.to_string().into();
        object["data"] = json!({"leader": "scanner-5f6c-x2x9q"});
    }
    (lock, object.to_string())
}
