//! Tables: what `kubectl get` prints.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::answer::NextPage;
use crate::object::{Object, at, metadata, text, to_json};
use crate::request::Query;
use crate::resources::Resource;
use crate::schema::Fields;

/// A column besides the name and the age.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) shown: Shown,
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) cell: fn(&Fields, Timestamp) -> Value,
}

/// What is in a column, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Text,
    Number,
    /// After the age.
    Last,
    /// After the age, where `-o wide` asks for it.
    Wide,
}

/// What a row says of its object besides the cells.
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

/// An object without all that is its own kind's.
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

/// How long ago a time was, as kubectl shows it; none where there is no time.
pub(crate) fn age_since(time: &str, now: Timestamp) -> Option<String> {
    let time: Timestamp = time.parse().ok()?;
    Some(age(now.as_second() - time.as_second()))
}

/// A duration as kubectl shows it: two units where the second one still says something.
fn age(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |big, unit, small, small_unit| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{small_unit}"),
    };
    match seconds {
        ..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        _ => pair(days / 365, "y", days % 365, "d"),
    }
}

/// A text further down as a cell.
pub(crate) fn cell(fields: &Fields, pointer: &str) -> Value {
    at(fields, pointer).cloned().unwrap_or_else(|| json!(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_as_long_as_it_is_useful() {
        let ages = [5, 119, 125, 600, 7200, 10_800, 29_000, 180_000, 864_000, 70_000_000];
        let shown = ages.map(age);
        let expected = ["5s", "119s", "2m5s", "10m", "120m", "3h", "8h", "2d2h", "10d", "2y80d"];
        assert_eq!(shown, expected);
    }
}
