//! Roles and their bindings.

use serde_json::{Value, json};

use super::{MissingOnUpdate, Resource, Scope, USUAL, types};
use crate::cause::Cause;
use crate::column::{Column, Shown};
use crate::kind::Kind;
use crate::object::{map_mut, text_at};
use crate::schema::Fields;
use crate::validate::{MetadataRules, NameRule};

pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

pub(crate) const ROLE: Resource = Resource {
    kind: Kind {
        name: "Role",
        plural: "roles",
        singular: "role",
        storage_hash: "7FuwZcIIItM=",
        ..USUAL_RBAC.kind
    },
    table: "roles",
    schema: types::rbac::ROLE,
    validate: validate_role,
    ..USUAL_RBAC
};

pub(crate) const CLUSTER_ROLE: Resource = Resource {
    kind: Kind {
        name: "ClusterRole",
        plural: "clusterroles",
        singular: "clusterrole",
        storage_hash: "bYE5ZWDrJ44=",
        ..USUAL_RBAC.kind
    },
    scope: Scope::Cluster,
    table: "clusterroles",
    schema: types::rbac::CLUSTER_ROLE,
    validate: validate_role,
    ..USUAL_RBAC
};

pub(crate) const ROLE_BINDING: Resource = Resource {
    kind: Kind {
        name: "RoleBinding",
        plural: "rolebindings",
        singular: "rolebinding",
        storage_hash: "eGsCzGH6b1g=",
        ..USUAL_BINDING.kind
    },
    schema: types::rbac::ROLE_BINDING,
    table: "rolebindings",
    ..USUAL_BINDING
};

pub(crate) const CLUSTER_ROLE_BINDING: Resource = Resource {
    kind: Kind {
        name: "ClusterRoleBinding",
        plural: "clusterrolebindings",
        singular: "clusterrolebinding",
        storage_hash: "48tpQ8gZHFc=",
        ..USUAL_BINDING.kind
    },
    schema: types::rbac::CLUSTER_ROLE_BINDING,
    scope: Scope::Cluster,
    table: "clusterrolebindings",
    ..USUAL_BINDING
};

const USUAL_RBAC: Resource = Resource {
    kind: Kind { group: GROUP, ..Kind::CORE },
    name_rule: NameRule::PathSegment,
    metadata_rules: MetadataRules::CoreLast,
    missing_on_update: MissingOnUpdate::Create,
    ..USUAL
};

const USUAL_BINDING: Resource = Resource {
    columns: &[Column {
        shown: Shown::Text,
        name: "Role",
        description: "The role that is bound",
        cell: |fields, _| {
            let text = |name| text_at(fields, name);
            format!("{}/{}", text("/roleRef/kind"), text("/roleRef/name")).into()
        },
    }],
    default: default_binding,
    validate: validate_binding,
    ..USUAL_RBAC
};

fn default_binding(fields: &mut Fields) {
    let role_ref = map_mut(fields, "roleRef");
    if role_ref.get("apiGroup").and_then(Value::as_str).unwrap_or_default().is_empty() {
        role_ref.insert("apiGroup".to_owned(), GROUP.into());
    }
    let subjects = fields.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects.into_iter().flatten().filter_map(Value::as_object_mut) {
        let is_person =
            matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group"));
        if is_person && !subject.contains_key("apiGroup") {
            subject.insert("apiGroup".to_owned(), GROUP.into());
        }
    }
}

fn validate_role(fields: &Fields, _old: Option<&Fields>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let rules = fields.get("rules").and_then(Value::as_array);
    for (index, rule) in rules.into_iter().flatten().enumerate() {
        let is_empty =
            |name: &str| rule.get(name).and_then(Value::as_array).is_none_or(Vec::is_empty);
        let require = |name: &str, why: &str| {
            is_empty(name).then(|| Cause::required(format!("rules[{index}].{name}"), why))
        };
        causes.extend(require("verbs", "verbs must contain at least one value"));
        let is_namespaced = text_at(fields, "/kind") == ROLE.kind.name;
        if is_namespaced && !is_empty("nonResourceURLs") {
            let why = "namespaced rules cannot apply to non-resource URLs";
            let field = format!("rules[{index}].nonResourceURLs");
            causes.push(Cause::invalid(field, &rule["nonResourceURLs"], why));
        } else if is_empty("nonResourceURLs") {
            causes
                .extend(require("apiGroups", "resource rules must supply at least one api group"));
            causes.extend(require("resources", "resource rules must supply at least one resource"));
        }
    }
    causes
}

fn validate_binding(fields: &Fields, old: Option<&Fields>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let is_cluster = text_at(fields, "/kind") == CLUSTER_ROLE_BINDING.kind.name;
    let known: &[&str] = if is_cluster { &["ClusterRole"] } else { &["ClusterRole", "Role"] };
    let group = text_at(fields, "/roleRef/apiGroup");
    if group != GROUP {
        causes.push(Cause::unsupported("roleRef.apiGroup", &json!(group), &[GROUP]));
    }
    let kind = text_at(fields, "/roleRef/kind");
    if !known.contains(&kind) {
        causes.push(Cause::unsupported("roleRef.kind", &json!(kind), known));
    }
    if text_at(fields, "/roleRef/name").is_empty() {
        causes.push(Cause::required("roleRef.name", ""));
    }
    let subjects = fields.get("subjects").and_then(Value::as_array);
    for (index, subject) in subjects.into_iter().flatten().enumerate() {
        causes.extend(subject_causes(index, subject));
    }
    if old.is_some_and(|old| old.get("roleRef") != fields.get("roleRef")) {
        let given = fields.get("roleRef").unwrap_or(&Value::Null);
        causes.push(Cause::invalid("roleRef", given, "cannot change roleRef"));
    }
    causes
}

fn subject_causes(index: usize, subject: &Value) -> Vec<Cause> {
    const KINDS: &[&str] = &["ServiceAccount", "User", "Group"];
    let text = |name: &str| subject.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut causes = Vec::new();
    if text("name").is_empty() {
        causes.push(Cause::required(format!("subjects[{index}].name"), ""));
    }
    match text("kind") {
        "ServiceAccount" if text("namespace").is_empty() => {
            causes.push(Cause::required(format!("subjects[{index}].namespace"), ""));
        }
        kind if !KINDS.contains(&kind) => {
            let field = format!("subjects[{index}].kind");
            causes.push(Cause::unsupported(field, &json!(kind), KINDS));
        }
        _ => {}
    }
    causes
}
