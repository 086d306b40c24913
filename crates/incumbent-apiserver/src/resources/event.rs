//! Event: one table, which two groups show under different field names.

use serde_json::{Value, json};

use super::{Conversion, MissingOnUpdate, Resource, USUAL, types};
use crate::cause::Cause;
use crate::column::{Column, Shown, cell};
use crate::kind::Kind;
use crate::object::{at, text, text_at};
use crate::schema::{Fields, conform};
use crate::validate::MetadataRules;

/// The stored form.
pub(crate) const CORE_EVENT: Resource = Resource {
    kind: Kind {
        name: "Event",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        storage_hash: "r2yiGXH7wu8=",
        ..Kind::CORE
    },
    table: "events",
    schema: types::core::EVENT,
    metadata_rules: MetadataRules::Once,
    missing_on_update: MissingOnUpdate::Create,
    more_selectable: &[
        ("involvedObject.kind", "/involvedObject/kind"),
        ("involvedObject.namespace", "/involvedObject/namespace"),
        ("involvedObject.name", "/involvedObject/name"),
        ("involvedObject.uid", "/involvedObject/uid"),
        ("involvedObject.apiVersion", "/involvedObject/apiVersion"),
        ("involvedObject.resourceVersion", "/involvedObject/resourceVersion"),
        ("involvedObject.fieldPath", "/involvedObject/fieldPath"),
        ("reason", "/reason"),
        ("reportingComponent", "/reportingComponent"),
        ("source", "/source/component"),
        ("type", "/type"),
    ],
    columns: &[
        Column {
            shown: Shown::Text,
            name: "Type",
            description: "",
            cell: |fields, _| cell(fields, "/type"),
        },
        Column {
            shown: Shown::Text,
            name: "Reason",
            description: "",
            cell: |fields, _| cell(fields, "/reason"),
        },
        Column {
            shown: Shown::Text,
            name: "Object",
            description: "",
            cell: |fields, _| {
                let kind = text_at(fields, "/involvedObject/kind").to_lowercase();
                format!("{kind}/{}", text_at(fields, "/involvedObject/name")).into()
            },
        },
        Column {
            shown: Shown::Text,
            name: "Message",
            description: "",
            cell: |fields, _| cell(fields, "/message"),
        },
    ],
    validate: validate_core,
    ..USUAL
};

/// The same events as `events.k8s.io` shows them.
pub(crate) const EVENT: Resource = Resource {
    kind: Kind { group: "events.k8s.io", ..CORE_EVENT.kind },
    schema: types::events::EVENT,
    more_selectable: &[
        ("regarding.kind", "/involvedObject/kind"),
        ("regarding.namespace", "/involvedObject/namespace"),
        ("regarding.name", "/involvedObject/name"),
        ("regarding.uid", "/involvedObject/uid"),
        ("regarding.apiVersion", "/involvedObject/apiVersion"),
        ("regarding.resourceVersion", "/involvedObject/resourceVersion"),
        ("regarding.fieldPath", "/involvedObject/fieldPath"),
        ("reason", "/reason"),
        ("reportingController", "/reportingComponent"),
        ("type", "/type"),
    ],
    conversion: Some(Conversion { home: &CORE_EVENT, to_stored, from_stored }),
    validate,
    ..CORE_EVENT
};

/// Field names in core/v1, and in `events.k8s.io`.
const RENAMED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn to_stored(mut fields: Fields) -> Fields {
    for (core, new) in RENAMED {
        if let Some(value) = fields.remove(*new) {
            fields.insert((*core).to_owned(), value);
        }
    }
    reshape(&CORE_EVENT, fields)
}

fn from_stored(stored: &Fields) -> Fields {
    let mut fields = stored.clone();
    for (core, new) in RENAMED {
        if let Some(value) = fields.remove(*core) {
            fields.insert((*new).to_owned(), value);
        }
    }
    reshape(&EVENT, fields)
}

/// Conforms an object to the other form, which writes other fields when they are empty.
fn reshape(resource: &Resource, mut fields: Fields) -> Fields {
    fields.remove("apiVersion");
    fields.remove("kind");
    let mut fields = conform(resource.schema, fields).map(|done| done.fields).unwrap_or_default();
    fields.insert("apiVersion".to_owned(), resource.kind.api_version().into());
    fields.insert("kind".to_owned(), resource.kind.name.into());
    fields
}

/// Events of core/v1 without an `eventTime` are of the old style, which has few rules.
fn validate_core(fields: &Fields, _old: Option<&Fields>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let about = text_at(fields, "/involvedObject/namespace");
    let own = text(fields, "namespace");
    let expected = if about.is_empty() { "default" } else { about };
    if own != expected {
        let why = "does not match event.namespace";
        causes.push(Cause::invalid("involvedObject.namespace", &json!(about), why));
    }
    if at(fields, "/eventTime").is_some_and(Value::is_string) {
        causes.extend(new_style_causes(fields));
    }
    causes
}

fn validate(fields: &Fields, old: Option<&Fields>) -> Vec<Cause> {
    if old.is_none() && !at(fields, "/eventTime").is_some_and(Value::is_string) {
        return vec![Cause::required("eventTime", "")];
    }
    let mut causes = validate_core(fields, old);
    let kind = text_at(fields, "/type");
    if !matches!(kind, "Normal" | "Warning") {
        causes.push(Cause::invalid("type", &json!(""), &format!("has invalid value: {kind}")));
    }
    causes
}

fn new_style_causes(fields: &Fields) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (pointer, field) in [
        ("/reportingComponent", "reportingController"),
        ("/reportingInstance", "reportingInstance"),
        ("/action", "action"),
        ("/reason", "reason"),
    ] {
        let value = text_at(fields, pointer);
        if value.is_empty() {
            causes.push(Cause::required(field, ""));
        } else if value.len() > 128 {
            causes.push(Cause::invalid(field, &json!(""), "can have at most 128 characters"));
        }
    }
    if text_at(fields, "/message").len() > 1024 {
        causes.push(Cause::invalid("message", &json!(""), "can have at most 1024 characters"));
    }
    causes
}
