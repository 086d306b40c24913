//! Deployment. This server only stores it; no controller creates Pods for it.

use serde_json::{Value, json};

use super::label_selector;
use super::pod_template::{container_causes, default_spec, map};
use super::{Part, Resource, STATUS, USUAL, begin, keep_other_part, types};
use crate::cause::Cause;
use crate::column::{Column, Shown};
use crate::kind::Kind;
use crate::object::{at, map_mut, metadata_mut, text_at};
use crate::schema::Fields;
use crate::validate::MetadataRules;

pub(crate) const DEPLOYMENT: Resource = Resource {
    kind: Kind {
        group: "apps",
        name: "Deployment",
        plural: "deployments",
        singular: "deployment",
        short_names: &["deploy"],
        categories: &["all"],
        storage_hash: "8aSe+NMegvE=",
        ..Kind::CORE
    },
    subresources: &[STATUS],
    table: "deployments",
    schema: types::apps::DEPLOYMENT,
    metadata_rules: MetadataRules::CoreChange,
    only_stored: "no Pods start",
    columns: COLUMNS,
    default,
    prepare_create: |fields| begin(fields, types::apps::DEPLOYMENT_STATUS),
    prepare_update,
    validate,
    ..USUAL
};

const COLUMNS: &[Column] = &[
    Column {
        shown: Shown::Text,
        name: "Ready",
        description: "Number of the pod with ready state",
        cell: |fields, _| {
            let (ready, all) =
                (count(fields, "/status/readyReplicas"), count(fields, "/spec/replicas"));
            format!("{ready}/{all}").into()
        },
    },
    Column {
        shown: Shown::Text,
        name: "Up-to-date",
        description: "Total number of non-terminating pods targeted by this deployment that have \
                      the desired template spec.",
        cell: |fields, _| count(fields, "/status/updatedReplicas").into(),
    },
    Column {
        shown: Shown::Text,
        name: "Available",
        description: "Total number of available non-terminating pods (ready for at least \
                      minReadySeconds) targeted by this deployment.",
        cell: |fields, _| count(fields, "/status/availableReplicas").into(),
    },
    Column {
        shown: Shown::Wide,
        name: "Containers",
        description: "Names of each container in the template.",
        cell: |fields, _| of_containers(fields, "name"),
    },
    Column {
        shown: Shown::Wide,
        name: "Images",
        description: "Images referenced by each container in the template.",
        cell: |fields, _| of_containers(fields, "image"),
    },
    Column {
        shown: Shown::Wide,
        name: "Selector",
        description: "Label selector for pods. Existing ReplicaSets whose pods are selected by this \
                      will be the ones affected by this deployment. It must match the pod \
                      template's labels.",
        cell: |fields, _| label_selector::shown(at(fields, "/spec/selector")).into(),
    },
];

fn count(fields: &Fields, pointer: &str) -> i64 {
    at(fields, pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn of_containers(fields: &Fields, name: &str) -> Value {
    let containers = at(fields, "/spec/template/spec/containers").and_then(Value::as_array);
    let texts = containers.into_iter().flatten().filter_map(|container| container[name].as_str());
    texts.collect::<Vec<_>>().join(",").into()
}

fn default(fields: &mut Fields) {
    let spec = map_mut(fields, "spec");
    for (name, value) in [
        ("replicas", json!(1)),
        ("revisionHistoryLimit", json!(10)),
        ("progressDeadlineSeconds", json!(600)),
    ] {
        spec.entry(name).or_insert(value);
    }
    let strategy = map_mut(spec, "strategy");
    if *strategy.entry("type").or_insert_with(|| json!("RollingUpdate")) == "RollingUpdate" {
        let rolling = map_mut(strategy, "rollingUpdate");
        for name in ["maxUnavailable", "maxSurge"] {
            rolling.entry(name).or_insert_with(|| json!("25%"));
        }
    }
    if let Some(template) = map(map_mut(spec, "template").get_mut("spec")) {
        default_spec(template);
    }
}

/// Changed annotations count as a new generation, because upstream's controller copies them to the ReplicaSets.
fn prepare_update(fields: &mut Fields, old: &Fields, part: Part) {
    keep_other_part(fields, old, part);
    let of = |fields: &Fields, pointer| at(fields, pointer).cloned();
    let is_annotated = of(fields, "/metadata/annotations") != of(old, "/metadata/annotations");
    match part {
        Part::Main if is_annotated && fields.get("spec") == old.get("spec") => {
            let generation = count(old, "/metadata/generation") + 1;
            metadata_mut(fields).insert("generation".to_owned(), generation.into());
        }
        Part::Main => {}
        Part::Status => {
            let labels = of(old, "/metadata/labels");
            let metadata = metadata_mut(fields);
            metadata.remove("labels");
            metadata.extend(labels.map(|labels| ("labels".to_owned(), labels)));
        }
    }
}

fn validate(fields: &Fields, old: Option<&Fields>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let selector = at(fields, "/spec/selector").filter(|selector| !selector.is_null());
    let not_negative = |name: &str| {
        let number = count(fields, &format!("/spec/{name}"));
        let why = "must be greater than or equal to 0";
        (number < 0).then(|| Cause::invalid(format!("spec.{name}"), &number.into(), why))
    };
    causes.extend(not_negative("replicas"));
    match selector {
        None => causes.push(Cause::required("spec.selector", "")),
        Some(selector) if selector.as_object().is_some_and(Fields::is_empty) => {
            let why = "empty selector is invalid for deployment";
            causes.push(Cause::invalid("spec.selector", selector, why));
        }
        Some(_) => {}
    }
    let labels = at(fields, "/spec/template/metadata/labels");
    let found = labels.and_then(Value::as_object);
    if selector.is_none() || !label_selector::matches(selector, found) {
        let why = "`selector` does not match template `labels`";
        let labels = labels.unwrap_or(&Value::Null);
        causes.push(Cause::invalid("spec.template.metadata.labels", labels, why));
    }
    causes.extend(container_causes(at(fields, "/spec/template/spec"), "spec.template.spec"));
    let policy = text_at(fields, "/spec/template/spec/restartPolicy");
    if policy != "Always" {
        let field = "spec.template.spec.restartPolicy";
        causes.push(Cause::unsupported(field, &json!(policy), &["Always"]));
    }
    causes.extend(
        ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"]
            .into_iter()
            .filter_map(not_negative),
    );
    if old.is_some_and(|old| at(old, "/spec/selector") != selector) {
        let selector = selector.unwrap_or(&Value::Null);
        causes.push(Cause::invalid("spec.selector", selector, "field is immutable"));
    }
    causes
}
