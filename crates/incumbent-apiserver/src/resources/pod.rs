//! Pod. This server runs none, but elections take its status as proof that a process has ended.

use serde_json::{Value, json};

use super::pod_template::{container_causes, default_spec};
use super::{Deletion, Part, Resource, STATUS, Subresource, USUAL, keep_other_part, types};
use crate::cause::Cause;
use crate::column::{Column, Shown, cell};
use crate::kind::Kind;
use crate::object::{at, map_mut, metadata_mut};
use crate::schema::Fields;

pub(crate) const POD: Resource = Resource {
    kind: Kind {
        name: "Pod",
        plural: "pods",
        singular: "pod",
        short_names: &["po"],
        categories: &["all"],
        storage_hash: "xPOwRZ+Yhw8=",
        ..Kind::CORE
    },
    subresources: &[
        Subresource {
            name: "eviction",
            shows: Some(("policy", "v1", "Eviction")),
            verbs: &["create"],
        },
        STATUS,
    ],
    table: "pods",
    schema: types::core::POD,
    deletion: Deletion::Graceful,
    more_selectable: &[
        ("spec.nodeName", "/spec/nodeName"),
        ("spec.restartPolicy", "/spec/restartPolicy"),
        ("spec.schedulerName", "/spec/schedulerName"),
        ("spec.serviceAccountName", "/spec/serviceAccountName"),
        ("status.phase", "/status/phase"),
        ("status.podIP", "/status/podIP"),
        ("status.nominatedNodeName", "/status/nominatedNodeName"),
    ],
    columns: COLUMNS,
    default,
    prepare_create,
    prepare_update,
    validate,
    ..USUAL
};

const COLUMNS: &[Column] = &[
    Column {
        shown: Shown::Text,
        name: "Ready",
        description: "The aggregate readiness state of this pod for accepting traffic.",
        cell: |fields, _| {
            let all = at(fields, "/spec/containers").and_then(Value::as_array).map_or(0, Vec::len);
            let ready = statuses(fields).filter(|status| status["ready"] == true).count();
            format!("{ready}/{all}").into()
        },
    },
    Column {
        shown: Shown::Text,
        name: "Status",
        description: "The aggregate status of the containers in this pod.",
        cell: |fields, _| match at(fields, "/metadata/deletionTimestamp") {
            Some(_) => "Terminating".into(),
            None => cell(fields, "/status/phase"),
        },
    },
    Column {
        shown: Shown::Text,
        name: "Restarts",
        description: "The number of times the containers in this pod have been restarted.",
        cell: |fields, _| {
            let counts = statuses(fields).filter_map(|status| status["restartCount"].as_i64());
            counts.sum::<i64>().to_string().into()
        },
    },
];

fn statuses(fields: &Fields) -> impl Iterator<Item = &Value> {
    at(fields, "/status/containerStatuses").and_then(Value::as_array).into_iter().flatten()
}

/// Sets the defaults of upstream, and of its built-in admission plug-ins.
fn default(fields: &mut Fields) {
    let spec = map_mut(fields, "spec");
    for (name, value) in [
        ("serviceAccountName", json!("default")),
        ("priority", json!(0)),
        ("enableServiceLinks", json!(true)),
        ("preemptionPolicy", json!("PreemptLowerPriority")),
    ] {
        spec.entry(name).or_insert(value);
    }
    default_spec(spec);
    let status = map_mut(fields, "status");
    status.entry("phase").or_insert_with(|| json!("Pending"));
}

fn prepare_create(fields: &mut Fields) {
    let quality = quality_of_service(fields);
    fields.insert("status".to_owned(), json!({"phase": "Pending", "qosClass": quality}));
    let tolerations = map_mut(fields, "spec").entry("tolerations").or_insert_with(|| json!([]));
    if let Value::Array(tolerations) = tolerations {
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            if !tolerations.iter().any(|toleration| toleration.get("key") == Some(&json!(key))) {
                tolerations.push(json!({
                    "key": key, "operator": "Exists", "effect": "NoExecute",
                    "tolerationSeconds": 300,
                }));
            }
        }
    }
    metadata_mut(fields).insert("generation".to_owned(), 1.into());
}

fn quality_of_service(fields: &Fields) -> &'static str {
    let containers = at(fields, "/spec/containers").and_then(Value::as_array);
    let (mut any, mut all) = (false, true);
    for container in containers.into_iter().flatten() {
        let amount = |list: &str, name: &str| container.get("resources")?.get(list)?.get(name);
        for name in ["cpu", "memory"] {
            let (request, limit) = (amount("requests", name), amount("limits", name));
            any |= request.is_some() || limit.is_some();
            all &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn prepare_update(fields: &mut Fields, old: &Fields, part: Part) {
    keep_other_part(fields, old, part);
    if part == Part::Status {
        // The class follows from the spec, and a status update must not change the owners.
        let quality = quality_of_service(fields);
        map_mut(fields, "status").insert("qosClass".to_owned(), quality.into());
        let owners = at(old, "/metadata/ownerReferences").cloned();
        let metadata = metadata_mut(fields);
        metadata.remove("ownerReferences");
        metadata.extend(owners.map(|owners| ("ownerReferences".to_owned(), owners)));
    }
}

fn validate(fields: &Fields, old: Option<&Fields>) -> Vec<Cause> {
    let mut causes = container_causes(fields.get("spec"), "spec");
    if old.is_some_and(|old| fixed_spec(old) != fixed_spec(fields)) {
        let why = "pod updates may not change fields other than `spec.containers[*].image`,\
                   `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                   `spec.tolerations` (only additions to existing tolerations),\
                   `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                   previously negative)";
        causes.push(Cause::forbidden("spec", why));
    }
    causes
}

/// The spec without the fields that an update may change.
fn fixed_spec(fields: &Fields) -> Option<Value> {
    let mut spec = fields.get("spec").cloned();
    let map = spec.as_mut().and_then(Value::as_object_mut)?;
    map.remove("activeDeadlineSeconds");
    map.remove("tolerations");
    for list in ["initContainers", "containers"] {
        let containers = map.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            container.remove("image");
        }
    }
    spec
}
