//! Namespace. Its deletion deletes the objects in it at once.

use serde_json::{Value, json};

use super::{Deletion, Part, Resource, STATUS, Scope, USUAL, types};
use crate::column::{Column, Shown, cell};
use crate::kind::Kind;
use crate::object::{map_mut, metadata_mut, text};
use crate::request::NAMESPACES;
use crate::schema::Fields;
use crate::validate::{MetadataRules, NameRule};

pub(crate) const NAMESPACE: Resource = Resource {
    kind: Kind {
        name: "Namespace",
        plural: NAMESPACES,
        singular: "namespace",
        short_names: &["ns"],
        storage_hash: "Q3oi5N2YM8M=",
        ..Kind::CORE
    },
    scope: Scope::Cluster,
    subresources: &[STATUS],
    table: "namespaces",
    schema: types::core::NAMESPACE,
    name_rule: NameRule::Label,
    metadata_rules: MetadataRules::CoreLast,
    deletion: Deletion::Namespace,
    more_selectable: &[("status.phase", "/status/phase")],
    columns: &[Column {
        shown: Shown::Text,
        name: "Status",
        description: "The status of the namespace",
        cell: |fields, _| cell(fields, "/status/phase"),
    }],
    default,
    prepare_create,
    prepare_update,
    ..USUAL
};

/// The namespaces that upstream refuses to delete.
pub(crate) const PERMANENT: &[&str] = &["default", "kube-public", "kube-system"];

fn default(fields: &mut Fields) {
    let name = text(fields, "name").to_owned();
    // A generated name is not known yet; `prepare_create` sets the label.
    if !name.is_empty() {
        let labels = map_mut(metadata_mut(fields), "labels");
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    }
}

fn prepare_create(fields: &mut Fields) {
    default(fields);
    fields.insert("status".to_owned(), json!({"phase": "Active"}));
    map_mut(fields, "spec").insert("finalizers".to_owned(), json!(["kubernetes"]));
}

fn prepare_update(fields: &mut Fields, old: &Fields, part: Part) {
    let kept: &[&str] = if part == Part::Main { &["spec", "status"] } else { &["spec"] };
    for name in kept {
        fields.insert((*name).to_owned(), old.get(*name).cloned().unwrap_or(Value::Null));
    }
}
