//! Pod: nothing runs here, but its status is proof of life or death to those who ask.

use serde_json::{Value, json};

use super::{Deletion, METADATA, Part, Resource, STATUS, Subresource, USUAL};
use crate::object::{at, map_mut, metadata_mut};
use crate::schema::{Field, Fields, ListMerge, Shape};
use crate::status::Cause;
use crate::table::{Column, cell};
use crate::validate::{NameRule, name_errors};

pub(crate) const POD: Resource = Resource {
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    storage_hash: "xPOwRZ+Yhw8=",
    subresources: &[
        Subresource {
            name: "eviction",
            shows: Some(("policy", "v1", "Eviction")),
            verbs: &["create"],
        },
        STATUS,
    ],
    table: "pods",
    schema: &[
        METADATA,
        Field::always(2, "spec", Shape::Object(SPEC)),
        Field::always(3, "status", Shape::Object(STATUS_FIELDS)),
    ],
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
        name: "Ready",
        description: "The aggregate readiness state of this pod for accepting traffic.",
        cell: |fields, _| {
            let all = at(fields, "/spec/containers").and_then(Value::as_array).map_or(0, Vec::len);
            let ready = statuses(fields).filter(|status| status["ready"] == true).count();
            format!("{ready}/{all}").into()
        },
    },
    Column {
        name: "Status",
        description: "The aggregate status of the containers in this pod.",
        cell: |fields, _| match at(fields, "/metadata/deletionTimestamp") {
            Some(_) => "Terminating".into(),
            None => cell(fields, "/status/phase"),
        },
    },
    Column {
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

const CONTAINERS: Shape = Shape::List(&Shape::Object(CONTAINER), ListMerge::Key("name"));
const KEYED_BY_NAME: Shape = Shape::List(&Shape::Any, ListMerge::Key("name"));
const STATUSES: Shape = Shape::List(&Shape::Object(CONTAINER_STATUS), ListMerge::Key("name"));
const ADDRESSES: Shape =
    Shape::List(&Shape::Object(&[Field::string(1, "ip")]), ListMerge::Key("ip"));

const SPEC: &[Field] = &[
    Field::plain(1, "volumes", KEYED_BY_NAME),
    Field::plain(20, "initContainers", CONTAINERS),
    Field::always(2, "containers", CONTAINERS),
    Field::plain(34, "ephemeralContainers", KEYED_BY_NAME),
    Field::string(3, "restartPolicy"),
    Field::pointer(4, "terminationGracePeriodSeconds", Shape::Int64),
    Field::pointer(5, "activeDeadlineSeconds", Shape::Int64),
    Field::string(6, "dnsPolicy"),
    Field::plain(7, "nodeSelector", Shape::Whole(&super::TEXTS)),
    Field::string(8, "serviceAccountName"),
    Field::string(9, "serviceAccount"),
    Field::pointer(21, "automountServiceAccountToken", Shape::Bool),
    Field::string(10, "nodeName"),
    Field::plain(11, "hostNetwork", Shape::Bool),
    Field::plain(12, "hostPID", Shape::Bool),
    Field::plain(13, "hostIPC", Shape::Bool),
    Field::pointer(27, "shareProcessNamespace", Shape::Bool),
    Field::any(14, "securityContext"),
    Field::plain(15, "imagePullSecrets", KEYED_BY_NAME),
    Field::string(16, "hostname"),
    Field::string(17, "subdomain"),
    Field::any(18, "affinity"),
    Field::string(19, "schedulerName"),
    Field::plain(22, "tolerations", Shape::List(&Shape::Object(TOLERATION), ListMerge::Replace)),
    Field::plain(23, "hostAliases", Shape::List(&Shape::Any, ListMerge::Key("ip"))),
    Field::string(24, "priorityClassName"),
    Field::pointer(25, "priority", Shape::Int32),
    Field::any(26, "dnsConfig"),
    Field::any(28, "readinessGates"),
    Field::pointer(29, "runtimeClassName", Shape::String),
    Field::pointer(30, "enableServiceLinks", Shape::Bool),
    Field::pointer(31, "preemptionPolicy", Shape::String),
    Field::any(32, "overhead"),
    Field::any(33, "topologySpreadConstraints"),
    Field::pointer(35, "setHostnameAsFQDN", Shape::Bool),
    Field::any(36, "os"),
    Field::pointer(37, "hostUsers", Shape::Bool),
    Field::any(38, "schedulingGates"),
    Field::any(39, "resourceClaims"),
    Field::any(40, "resources"),
    Field::pointer(41, "hostnameOverride", Shape::String),
    Field::any(0, "workloadRef"),
];

const CONTAINER: &[Field] = &[
    Field::always(1, "name", Shape::String),
    Field::string(2, "image"),
    Field::plain(3, "command", super::NAMES),
    Field::plain(4, "args", super::NAMES),
    Field::string(5, "workingDir"),
    Field::plain(
        6,
        "ports",
        Shape::List(&Shape::Object(PORT), ListMerge::Keys("containerPort", ("protocol", "TCP"))),
    ),
    Field::any(19, "envFrom"),
    Field::plain(7, "env", KEYED_BY_NAME),
    Field::always(8, "resources", Shape::Object(RESOURCES)),
    Field::any(23, "resizePolicy"),
    Field::pointer(24, "restartPolicy", Shape::String),
    Field::any(25, "restartPolicyRules"),
    Field::plain(9, "volumeMounts", Shape::List(&Shape::Any, ListMerge::Key("mountPath"))),
    Field::plain(21, "volumeDevices", Shape::List(&Shape::Any, ListMerge::Key("devicePath"))),
    Field::any(10, "livenessProbe"),
    Field::any(11, "readinessProbe"),
    Field::any(22, "startupProbe"),
    Field::any(12, "lifecycle"),
    Field::string(13, "terminationMessagePath"),
    Field::string(20, "terminationMessagePolicy"),
    Field::string(14, "imagePullPolicy"),
    Field::any(15, "securityContext"),
    Field::plain(16, "stdin", Shape::Bool),
    Field::plain(17, "stdinOnce", Shape::Bool),
    Field::plain(18, "tty", Shape::Bool),
];

const PORT: &[Field] = &[
    Field::string(1, "name"),
    Field::plain(2, "hostPort", Shape::Int32),
    Field::always(3, "containerPort", Shape::Int32),
    Field::string(4, "protocol"),
    Field::string(5, "hostIP"),
];

/// Quantities are numbers or text, and are kept as they came.
const RESOURCES: &[Field] = &[
    Field::plain(1, "limits", Shape::Map(&Shape::Any)),
    Field::plain(2, "requests", Shape::Map(&Shape::Any)),
    Field::any(3, "claims"),
];

const TOLERATION: &[Field] = &[
    Field::string(1, "key"),
    Field::string(2, "operator"),
    Field::string(3, "value"),
    Field::string(4, "effect"),
    Field::pointer(5, "tolerationSeconds", Shape::Int64),
];

const STATUS_FIELDS: &[Field] = &[
    Field::plain(17, "observedGeneration", Shape::Int64),
    Field::string(1, "phase"),
    Field::plain(2, "conditions", Shape::List(&Shape::Object(CONDITION), ListMerge::Key("type"))),
    Field::string(3, "message"),
    Field::string(4, "reason"),
    Field::string(11, "nominatedNodeName"),
    Field::string(5, "hostIP"),
    Field::plain(16, "hostIPs", Shape::Whole(&ADDRESSES)),
    Field::string(6, "podIP"),
    Field::plain(12, "podIPs", ADDRESSES),
    Field::pointer(7, "startTime", Shape::Time),
    Field::plain(10, "initContainerStatuses", Shape::Whole(&STATUSES)),
    Field::plain(8, "containerStatuses", Shape::Whole(&STATUSES)),
    Field::string(9, "qosClass"),
    Field::plain(13, "ephemeralContainerStatuses", Shape::Whole(&STATUSES)),
    Field::string(14, "resize"),
    Field::any(15, "resourceClaimStatuses"),
    Field::any(18, "extendedResourceClaimStatus"),
    Field::any(19, "allocatedResources"),
    Field::any(20, "resources"),
];

const CONDITION: &[Field] = &[
    Field::always(1, "type", Shape::String),
    Field::plain(7, "observedGeneration", Shape::Int64),
    Field::always(2, "status", Shape::String),
    Field::always(3, "lastProbeTime", Shape::Time),
    Field::always(4, "lastTransitionTime", Shape::Time),
    Field::string(5, "reason"),
    Field::string(6, "message"),
];

const CONTAINER_STATUS: &[Field] = &[
    Field::always(1, "name", Shape::String),
    Field::always(2, "state", Shape::Object(STATE)),
    Field::always(3, "lastState", Shape::Object(STATE)),
    Field::always(4, "ready", Shape::Bool),
    Field::always(5, "restartCount", Shape::Int32),
    Field::always(6, "image", Shape::String),
    Field::always(7, "imageID", Shape::String),
    Field::string(8, "containerID"),
    Field::pointer(9, "started", Shape::Bool),
    Field::any(10, "allocatedResources"),
    Field::any(11, "resources"),
    Field::any(12, "volumeMounts"),
    Field::any(13, "user"),
    Field::any(14, "allocatedResourcesStatus"),
    Field::pointer(15, "stopSignal", Shape::String),
];

const STATE: &[Field] = &[
    Field::pointer(
        1,
        "waiting",
        Shape::Object(&[Field::string(1, "reason"), Field::string(2, "message")]),
    ),
    Field::pointer(2, "running", Shape::Object(&[Field::always(1, "startedAt", Shape::Time)])),
    Field::pointer(3, "terminated", Shape::Object(TERMINATED)),
];

const TERMINATED: &[Field] = &[
    Field::always(1, "exitCode", Shape::Int32),
    Field::plain(2, "signal", Shape::Int32),
    Field::string(3, "reason"),
    Field::string(4, "message"),
    Field::always(5, "startedAt", Shape::Time),
    Field::always(6, "finishedAt", Shape::Time),
    Field::string(7, "containerID"),
];

/// What upstream's defaulting and its built-in admission plug-ins fill in.
fn default(fields: &mut Fields) {
    let spec = map_mut(fields, "spec");
    for (name, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("serviceAccountName", json!("default")),
        ("securityContext", json!({})),
        ("schedulerName", json!("default-scheduler")),
        ("priority", json!(0)),
        ("enableServiceLinks", json!(true)),
        ("preemptionPolicy", json!("PreemptLowerPriority")),
    ] {
        spec.entry(name).or_insert(value);
    }
    if let Some(account) = spec.get("serviceAccountName").cloned() {
        spec.insert("serviceAccount".to_owned(), account);
    }
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            default_container(container);
        }
    }
    let status = map_mut(fields, "status");
    status.entry("phase").or_insert_with(|| json!("Pending"));
}

fn default_container(container: &mut Fields) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
    let is_latest = matches!(tag, None | Some("latest")) && !image.contains('@');
    let pull_policy = if is_latest { "Always" } else { "IfNotPresent" };
    for (name, value) in [
        ("terminationMessagePath", "/dev/termination-log"),
        ("terminationMessagePolicy", "File"),
        ("imagePullPolicy", pull_policy),
    ] {
        container.entry(name).or_insert_with(|| json!(value));
    }
    let ports = container.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        port.entry("protocol").or_insert_with(|| json!("TCP"));
    }
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
    let kept = if part == Part::Main { "status" } else { "spec" };
    fields.insert(kept.to_owned(), old.get(kept).cloned().unwrap_or_else(|| json!({})));
    match part {
        Part::Main if fields.get("spec") != old.get("spec") => {
            let generation = at(old, "/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
            metadata_mut(fields).insert("generation".to_owned(), (generation + 1).into());
        }
        Part::Main => {}
        Part::Status => {
            // The class follows from the spec, and a kubelet does not give Pods away.
            let quality = quality_of_service(fields);
            map_mut(fields, "status").insert("qosClass".to_owned(), quality.into());
            let owners = at(old, "/metadata/ownerReferences").cloned();
            let metadata = metadata_mut(fields);
            metadata.remove("ownerReferences");
            metadata.extend(owners.map(|owners| ("ownerReferences".to_owned(), owners)));
        }
    }
}

fn validate(fields: &Fields, old: Option<&Fields>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let containers = at(fields, "/spec/containers").and_then(Value::as_array);
    if containers.is_none_or(Vec::is_empty) {
        causes.push(Cause::required("spec.containers", ""));
    }
    for (index, container) in containers.into_iter().flatten().enumerate() {
        let text = |name: &str| container.get(name).and_then(Value::as_str).unwrap_or_default();
        let field = |name: &str| format!("spec.containers[{index}].{name}");
        match text("name") {
            "" => causes.push(Cause::required(field("name"), "")),
            name => {
                let errors = name_errors(NameRule::Label, name);
                causes.extend(
                    errors.iter().map(|why| Cause::invalid(field("name"), &json!(name), why)),
                );
            }
        }
        if text("image").is_empty() {
            causes.push(Cause::required(field("image"), ""));
        }
    }
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

/// The spec without what may be changed.
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
