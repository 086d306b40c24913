//! Pod: nothing runs here, but its status is proof of life or death to those who ask.

use serde_json::{Value, json};

use super::{Deletion, METADATA, Part, Resource, STATUS, USUAL};
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
    subresources: &[STATUS],
    table: "pods",
    schema: &[
        METADATA,
        Field::always("spec", Shape::Object(SPEC)),
        Field::always("status", Shape::Object(STATUS_FIELDS)),
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
        cell: |fields| {
            let all = at(fields, "/spec/containers").and_then(Value::as_array).map_or(0, Vec::len);
            let ready = statuses(fields).filter(|status| status["ready"] == true).count();
            format!("{ready}/{all}").into()
        },
    },
    Column {
        name: "Status",
        description: "The aggregate status of the containers in this pod.",
        cell: |fields| match at(fields, "/metadata/deletionTimestamp") {
            Some(_) => "Terminating".into(),
            None => cell(fields, "/status/phase"),
        },
    },
    Column {
        name: "Restarts",
        description: "The number of times the containers in this pod have been restarted.",
        cell: |fields| {
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
const ADDRESSES: Shape = Shape::List(&Shape::Object(&[Field::string("ip")]), ListMerge::Key("ip"));

const SPEC: &[Field] = &[
    Field::plain("volumes", KEYED_BY_NAME),
    Field::plain("initContainers", CONTAINERS),
    Field::always("containers", CONTAINERS),
    Field::plain("ephemeralContainers", KEYED_BY_NAME),
    Field::string("restartPolicy"),
    Field::pointer("terminationGracePeriodSeconds", Shape::Int64),
    Field::pointer("activeDeadlineSeconds", Shape::Int64),
    Field::string("dnsPolicy"),
    Field::plain("nodeSelector", Shape::Whole(&super::TEXTS)),
    Field::string("serviceAccountName"),
    Field::string("serviceAccount"),
    Field::pointer("automountServiceAccountToken", Shape::Bool),
    Field::string("nodeName"),
    Field::plain("hostNetwork", Shape::Bool),
    Field::plain("hostPID", Shape::Bool),
    Field::plain("hostIPC", Shape::Bool),
    Field::pointer("shareProcessNamespace", Shape::Bool),
    Field::any("securityContext"),
    Field::plain("imagePullSecrets", KEYED_BY_NAME),
    Field::string("hostname"),
    Field::string("subdomain"),
    Field::any("affinity"),
    Field::string("schedulerName"),
    Field::plain("tolerations", Shape::List(&Shape::Object(TOLERATION), ListMerge::Replace)),
    Field::plain("hostAliases", Shape::List(&Shape::Any, ListMerge::Key("ip"))),
    Field::string("priorityClassName"),
    Field::pointer("priority", Shape::Int32),
    Field::any("dnsConfig"),
    Field::any("readinessGates"),
    Field::pointer("runtimeClassName", Shape::String),
    Field::pointer("enableServiceLinks", Shape::Bool),
    Field::pointer("preemptionPolicy", Shape::String),
    Field::any("overhead"),
    Field::any("topologySpreadConstraints"),
    Field::pointer("setHostnameAsFQDN", Shape::Bool),
    Field::any("os"),
    Field::pointer("hostUsers", Shape::Bool),
    Field::any("schedulingGates"),
    Field::any("resourceClaims"),
    Field::any("resources"),
    Field::pointer("hostnameOverride", Shape::String),
    Field::any("workloadRef"),
];

const CONTAINER: &[Field] = &[
    Field::always("name", Shape::String),
    Field::string("image"),
    Field::plain("command", super::NAMES),
    Field::plain("args", super::NAMES),
    Field::string("workingDir"),
    Field::plain(
        "ports",
        Shape::List(&Shape::Object(PORT), ListMerge::Keys("containerPort", ("protocol", "TCP"))),
    ),
    Field::any("envFrom"),
    Field::plain("env", KEYED_BY_NAME),
    Field::always("resources", Shape::Object(RESOURCES)),
    Field::any("resizePolicy"),
    Field::pointer("restartPolicy", Shape::String),
    Field::any("restartPolicyRules"),
    Field::plain("volumeMounts", Shape::List(&Shape::Any, ListMerge::Key("mountPath"))),
    Field::plain("volumeDevices", Shape::List(&Shape::Any, ListMerge::Key("devicePath"))),
    Field::any("livenessProbe"),
    Field::any("readinessProbe"),
    Field::any("startupProbe"),
    Field::any("lifecycle"),
    Field::string("terminationMessagePath"),
    Field::string("terminationMessagePolicy"),
    Field::string("imagePullPolicy"),
    Field::any("securityContext"),
    Field::plain("stdin", Shape::Bool),
    Field::plain("stdinOnce", Shape::Bool),
    Field::plain("tty", Shape::Bool),
];

const PORT: &[Field] = &[
    Field::string("name"),
    Field::plain("hostPort", Shape::Int32),
    Field::always("containerPort", Shape::Int32),
    Field::string("protocol"),
    Field::string("hostIP"),
];

/// Quantities are numbers or text, and are kept as they came.
const RESOURCES: &[Field] = &[
    Field::plain("limits", Shape::Map(&Shape::Any)),
    Field::plain("requests", Shape::Map(&Shape::Any)),
    Field::any("claims"),
];

const TOLERATION: &[Field] = &[
    Field::string("key"),
    Field::string("operator"),
    Field::string("value"),
    Field::string("effect"),
    Field::pointer("tolerationSeconds", Shape::Int64),
];

const STATUS_FIELDS: &[Field] = &[
    Field::plain("observedGeneration", Shape::Int64),
    Field::string("phase"),
    Field::plain("conditions", Shape::List(&Shape::Object(CONDITION), ListMerge::Key("type"))),
    Field::string("message"),
    Field::string("reason"),
    Field::string("nominatedNodeName"),
    Field::string("hostIP"),
    Field::plain("hostIPs", Shape::Whole(&ADDRESSES)),
    Field::string("podIP"),
    Field::plain("podIPs", ADDRESSES),
    Field::pointer("startTime", Shape::Time),
    Field::plain("initContainerStatuses", Shape::Whole(&STATUSES)),
    Field::plain("containerStatuses", Shape::Whole(&STATUSES)),
    Field::string("qosClass"),
    Field::plain("ephemeralContainerStatuses", Shape::Whole(&STATUSES)),
    Field::string("resize"),
    Field::any("resourceClaimStatuses"),
    Field::any("extendedResourceClaimStatus"),
    Field::any("allocatedResources"),
    Field::any("resources"),
];

const CONDITION: &[Field] = &[
    Field::always("type", Shape::String),
    Field::plain("observedGeneration", Shape::Int64),
    Field::always("status", Shape::String),
    Field::always("lastProbeTime", Shape::Time),
    Field::always("lastTransitionTime", Shape::Time),
    Field::string("reason"),
    Field::string("message"),
];

const CONTAINER_STATUS: &[Field] = &[
    Field::always("name", Shape::String),
    Field::always("state", Shape::Object(STATE)),
    Field::always("lastState", Shape::Object(STATE)),
    Field::always("ready", Shape::Bool),
    Field::always("restartCount", Shape::Int32),
    Field::always("image", Shape::String),
    Field::always("imageID", Shape::String),
    Field::string("containerID"),
    Field::pointer("started", Shape::Bool),
    Field::any("allocatedResources"),
    Field::any("resources"),
    Field::any("volumeMounts"),
    Field::any("user"),
    Field::any("allocatedResourcesStatus"),
    Field::pointer("stopSignal", Shape::String),
];

const STATE: &[Field] = &[
    Field::pointer("waiting", Shape::Object(&[Field::string("reason"), Field::string("message")])),
    Field::pointer("running", Shape::Object(&[Field::always("startedAt", Shape::Time)])),
    Field::pointer("terminated", Shape::Object(TERMINATED)),
];

const TERMINATED: &[Field] = &[
    Field::always("exitCode", Shape::Int32),
    Field::plain("signal", Shape::Int32),
    Field::string("reason"),
    Field::string("message"),
    Field::always("startedAt", Shape::Time),
    Field::always("finishedAt", Shape::Time),
    Field::string("containerID"),
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
