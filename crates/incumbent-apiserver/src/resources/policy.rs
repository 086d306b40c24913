//! PodDisruptionBudget and NetworkPolicy. This server only stores them; they limit nothing.

use serde::Serialize;
use serde_json::{Value, json};

use super::label_selector;
use super::pod_template::maps;
use super::{Resource, STATUS, USUAL, begin, begin_without_status, keep_other_part, types};
use crate::cause::Cause;
use crate::column::{Column, Shown};
use crate::kind::Kind;
use crate::object::{at, map_mut};
use crate::schema::Fields;
use crate::validate::MetadataRules;

pub(crate) const POD_DISRUPTION_BUDGET: Resource = Resource {
    kind: Kind {
        group: "policy",
        name: "PodDisruptionBudget",
        plural: "poddisruptionbudgets",
        singular: "poddisruptionbudget",
        short_names: &["pdb"],
        storage_hash: "EVWiDmWqyJw=",
        ..Kind::CORE
    },
    subresources: &[STATUS],
    table: "poddisruptionbudgets",
    schema: types::policy::POD_DISRUPTION_BUDGET,
    only_stored: "it refuses no eviction",
    columns: &[
        Column {
            shown: Shown::Text,
            name: "Min Available",
            description: "The minimum number of pods that must be available.",
            cell: |fields, _| limit(fields, "minAvailable"),
        },
        Column {
            shown: Shown::Text,
            name: "Max Unavailable",
            description: "The maximum number of pods that may be unavailable.",
            cell: |fields, _| limit(fields, "maxUnavailable"),
        },
        Column {
            shown: Shown::Number,
            name: "Allowed Disruptions",
            description: "Calculated number of pods that may be disrupted at this time.",
            cell: |fields, _| at(fields, "/status/disruptionsAllowed").cloned().unwrap_or_default(),
        },
    ],
    prepare_create: |fields| begin(fields, types::policy::POD_DISRUPTION_BUDGET_STATUS),
    prepare_update: keep_other_part,
    validate: validate_budget,
    ..USUAL
};

pub(crate) const NETWORK_POLICY: Resource = Resource {
    kind: Kind {
        group: "networking.k8s.io",
        name: "NetworkPolicy",
        plural: "networkpolicies",
        singular: "networkpolicy",
        short_names: &["netpol"],
        storage_hash: "YpfwF18m1G8=",
        ..Kind::CORE
    },
    table: "networkpolicies",
    schema: types::networking::NETWORK_POLICY,
    metadata_rules: MetadataRules::CoreChange,
    only_stored: "it filters no traffic",
    columns: &[Column {
        shown: Shown::Text,
        name: "Pod-Selector",
        description: "podSelector selects the pods to which this NetworkPolicy object applies. The \
                      array of rules is applied to any pods selected by this field. An empty \
                      selector matches all pods in the policy's namespace. Multiple network \
                      policies can select the same set of pods. In this case, the ingress rules for \
                      each are combined additively. This field is optional. If it is not specified, \
                      it defaults to an empty selector.",
        cell: |fields, _| match label_selector::shown(at(fields, "/spec/podSelector")).as_str() {
            "" => "<none>".into(),
            shown => shown.into(),
        },
    }],
    default: default_network_policy,
    prepare_create: begin_without_status,
    prepare_update: keep_other_part,
    ..USUAL
};

/// A number or a percentage, as upstream's table shows it.
fn limit(fields: &Fields, name: &str) -> Value {
    match at(fields, &format!("/spec/{name}")) {
        None => "N/A".into(),
        Some(Value::String(share)) => share.as_str().into(),
        Some(number) => number.to_string().into(),
    }
}

/// The spec with the field names of upstream's internal type, which refusals show.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct InternalSpec<'a> {
    min_available: Option<&'a Value>,
    selector: Option<&'a Value>,
    max_unavailable: Option<&'a Value>,
    unhealthy_pod_eviction_policy: Option<&'a Value>,
}

fn validate_budget(fields: &Fields, _old: Option<&Fields>) -> Vec<Cause> {
    let spec = InternalSpec {
        min_available: at(fields, "/spec/minAvailable"),
        selector: at(fields, "/spec/selector"),
        max_unavailable: at(fields, "/spec/maxUnavailable"),
        unhealthy_pod_eviction_policy: at(fields, "/spec/unhealthyPodEvictionPolicy"),
    };
    let has_both = spec.min_available.is_some() && spec.max_unavailable.is_some();
    let why = "minAvailable and maxUnavailable cannot be both set";
    has_both.then(|| Cause::invalid_struct("spec", &spec, why)).into_iter().collect()
}

fn default_network_policy(fields: &mut Fields) {
    let spec = map_mut(fields, "spec");
    if !spec.contains_key("policyTypes") {
        let has_egress = spec.contains_key("egress");
        let types = if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        spec.insert("policyTypes".to_owned(), types);
    }
    for direction in ["ingress", "egress"] {
        for rule in maps(spec.get_mut(direction)) {
            for port in maps(rule.get_mut("ports")) {
                port.entry("protocol").or_insert_with(|| json!("TCP"));
            }
        }
    }
}
