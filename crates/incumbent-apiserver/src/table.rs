//! Tables, as `kubectl get` prints them.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::column::{Column, Shown, age_since};
use crate::list::NextPage;
use crate::object::{Object, metadata, text, to_json};
use crate::request::Query;
use crate::resources::Resource;
use crate::schema::Fields;

/// What a row contains besides its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Included {
    Nothing,
    Metadata,
    Object,
}

impl Included {
    pub(crate) fn wanted(query: &Query) -> Self {
        match query.text("includeObject") {
            Some("None") => Self::Nothing,
            Some("Object") => Self::Object,
            _ => Self::Metadata,
        }
    }

    fn of(self, fields: &Fields) -> Value {
        match self {
            Self::Nothing => Value::Null,
            Self::Object => fields.clone().into(),
            Self::Metadata => partial(fields),
        }
    }
}

/// An object reduced to its metadata.
pub(crate) fn partial(fields: &Fields) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata(fields),
    })
}

/// The table of these objects.
pub(crate) fn table(
    resource: &Resource,
    objects: &[&Object],
    version: u64,
    next: Option<&NextPage>,
    included: Included,
    now: Timestamp,
) -> Bytes {
    let mut about = json!({"resourceVersion": version.to_string()});
    if let Some(next) = next {
        about["continue"] = json!(next.token);
        about["remainingItemCount"] = json!(next.remaining);
    }
    let rows: Vec<Value> =
        objects.iter().map(|object| row(resource, object.fields(), included, now)).collect();
    to_json(&json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": about,
        "columnDefinitions": columns(resource), "rows": rows,
    }))
}

const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, \
    although some resources may allow a client to request the generation of an appropriate name \
    automatically. Name is primarily intended for creation idempotence and configuration \
    definition. Cannot be updated. More info: \
    https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";

const AGE: &str = "CreationTimestamp is a timestamp representing the server time when this object \
    was created. It is not guaranteed to be set in happens-before order across separate \
    operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\
    \n\nPopulated by the system. Read-only. Null for lists. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

fn columns(resource: &Resource) -> Vec<Value> {
    let column = |name: &str, format: &str, description: &str, shown: Shown| {
        json!({
            "name": name, "format": format, "description": description,
            "type": if shown == Shown::Number { "integer" } else { "string" },
            "priority": i32::from(shown == Shown::Wide),
        })
    };
    let own = |own: &Column| column(own.name, "", own.description, own.shown);
    let mut columns = vec![column("Name", "name", NAME, Shown::Text)];
    columns.extend(before_the_age(resource).map(own));
    columns.push(column("Age", "", AGE, Shown::Text));
    columns.extend(after_the_age(resource).map(own));
    columns
}

fn row(resource: &Resource, fields: &Fields, included: Included, now: Timestamp) -> Value {
    let own = |column: &Column| (column.cell)(fields, now);
    let mut cells = vec![json!(text(fields, "name"))];
    cells.extend(before_the_age(resource).map(own));
    let created = age_since(text(fields, "creationTimestamp"), now);
    cells.push(json!(created.as_deref().unwrap_or("<unknown>")));
    cells.extend(after_the_age(resource).map(own));
    json!({"cells": cells, "object": included.of(fields)})
}

fn before_the_age(resource: &Resource) -> impl Iterator<Item = &Column> {
    let is_before = |column: &&Column| matches!(column.shown, Shown::Text | Shown::Number);
    resource.columns.iter().filter(is_before)
}

fn after_the_age(resource: &Resource) -> impl Iterator<Item = &Column> {
    resource.columns.iter().filter(|column| matches!(column.shown, Shown::Last | Shown::Wide))
}
