//! A stored object, shared by everybody who reads it.

use std::sync::OnceLock;

use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

use crate::schema::Fields;

/// An object as it is stored: never changed, only replaced.
#[derive(Debug)]
pub(crate) struct Object {
    fields: Fields,
    version: u64,
    weight: usize,
    /// Made once, however many read or watch it.
    json: OnceLock<Bytes>,
}

impl Object {
    /// Gives the object its place in the order of all writes.
    pub(crate) fn new(mut fields: Fields, version: u64) -> Self {
        metadata_mut(&mut fields).insert("resourceVersion".to_owned(), version.to_string().into());
        let weight = fields.iter().map(|(name, value)| weight(name, value)).sum();
        Self { fields, version, weight, json: OnceLock::new() }
    }

    /// What a dry run shows: an object with the version that the client made up, if it did.
    pub(crate) fn unstored(fields: Fields) -> Self {
        Self { fields, version: 0, weight: 0, json: OnceLock::new() }
    }

    pub(crate) fn fields(&self) -> &Fields {
        &self.fields
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// About how many bytes of memory it takes: the fields, their JSON, and that of an event.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    pub(crate) fn name(&self) -> &str {
        text(&self.fields, "name")
    }

    pub(crate) fn namespace(&self) -> &str {
        text(&self.fields, "namespace")
    }

    pub(crate) fn uid(&self) -> &str {
        text(&self.fields, "uid")
    }

    /// Whether it is deleted already, and waits for its finalizers or for its grace to end.
    pub(crate) fn is_dying(&self) -> bool {
        at(&self.fields, "/metadata/deletionTimestamp").is_some()
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        metadata(&self.fields)?.get("labels")?.get(key)?.as_str()
    }

    pub(crate) fn json(&self) -> &Bytes {
        self.json.get_or_init(|| to_json(&self.fields))
    }

    /// Equal but for the version: such a write changes nothing and is not made.
    pub(crate) fn says_the_same_as(&self, fields: &Fields) -> bool {
        let (mine, theirs) = (metadata(&self.fields), metadata(fields));
        let same_member = |(name, value): (&String, &Value)| {
            name == "metadata" || fields.get(name) == Some(value)
        };
        self.fields.len() == fields.len()
            && self.fields.iter().all(same_member)
            && same_but_for_version(mine, theirs)
    }
}

/// An item of a list, which unlike an object on its own does not name its kind.
pub(crate) struct Item<'a>(pub(crate) &'a Fields);

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0 {
            if name != "apiVersion" && name != "kind" {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

pub(crate) fn to_json(value: &impl Serialize) -> Bytes {
    // Maps with text as keys and no foreign serializers: there is nothing that could fail.
    serde_json::to_vec(value).map(Bytes::from).unwrap_or_default()
}

pub(crate) fn metadata(fields: &Fields) -> Option<&Fields> {
    fields.get("metadata")?.as_object()
}

pub(crate) fn metadata_mut(fields: &mut Fields) -> &mut Fields {
    map_mut(fields, "metadata")
}

/// The member as a map; anything else there gives way to an empty one.
pub(crate) fn map_mut<'a>(fields: &'a mut Fields, name: &str) -> &'a mut Fields {
    let member = fields.entry(name).or_insert(Value::Null);
    if !member.is_object() {
        *member = Fields::new().into();
    }
    match member {
        Value::Object(map) => map,
        _ => unreachable!("it was made a map just above"),
    }
}

/// A text of the metadata, empty where there is none.
pub(crate) fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    metadata(fields).and_then(|metadata| metadata.get(name)?.as_str()).unwrap_or_default()
}

/// A text further down, such as `/spec/nodeName`; empty where there is none.
pub(crate) fn text_at<'a>(fields: &'a Fields, pointer: &str) -> &'a str {
    at(fields, pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A value further down, by a pointer without escapes.
pub(crate) fn at<'a>(fields: &'a Fields, pointer: &str) -> Option<&'a Value> {
    let mut steps = pointer.split('/').skip(1);
    let first = fields.get(steps.next()?)?;
    steps.try_fold(first, |value, step| value.get(step))
}

fn weight(name: &str, value: &Value) -> usize {
    /// A node of a tree, its allocation, and its punctuation in two texts.
    const NODE: usize = 120;
    /// The text itself, and twice in JSON.
    const COPIES: usize = 3;
    let inner = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => COPIES * text.len(),
        Value::Array(values) => values.iter().map(|value| weight("", value)).sum(),
        Value::Object(map) => map.iter().map(|(name, value)| weight(name, value)).sum(),
    };
    NODE + COPIES * name.len() + inner
}

fn same_but_for_version(mine: Option<&Fields>, theirs: Option<&Fields>) -> bool {
    let count = |metadata: Option<&Fields>| {
        metadata.map_or(0, |map| map.keys().filter(|name| *name != "resourceVersion").count())
    };
    let same = |(name, value): (&String, &Value)| {
        name == "resourceVersion" || theirs.and_then(|map| map.get(name)) == Some(value)
    };
    count(mine) == count(theirs) && mine.into_iter().flatten().all(same)
}
