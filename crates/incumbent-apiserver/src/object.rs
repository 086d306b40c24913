//! A stored object, which all readers share.

use std::sync::OnceLock;

use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

use crate::schema::Fields;

/// A stored object; never changed, only replaced.
#[derive(Debug)]
pub(crate) struct Object {
    fields: Fields,
    version: u64,
    weight: usize,
    /// Serialized once for all who read or watch the object.
    json: OnceLock<Bytes>,
}

impl Object {
    /// An object with the version of the write that stored it.
    pub(crate) fn new(mut fields: Fields, version: u64) -> Self {
        metadata_mut(&mut fields).insert("resourceVersion".to_owned(), version.to_string().into());
        let weight = fields.iter().map(|(name, value)| weight(name, value)).sum();
        Self { fields, version, weight, json: OnceLock::new() }
    }

    /// The result of a dry run, which keeps the version that the client sent.
    pub(crate) fn unstored(fields: Fields) -> Self {
        Self { fields, version: 0, weight: 0, json: OnceLock::new() }
    }

    pub(crate) fn fields(&self) -> &Fields {
        &self.fields
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The approximate memory in bytes: the fields, their JSON, and the JSON of an event.
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

    /// Whether it is being deleted, and waits for its finalizers or for its grace period.
    pub(crate) fn is_dying(&self) -> bool {
        at(&self.fields, "/metadata/deletionTimestamp").is_some()
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        metadata(&self.fields)?.get("labels")?.get(key)?.as_str()
    }

    pub(crate) fn json(&self) -> &Bytes {
        self.json.get_or_init(|| to_json(&self.fields))
    }

    /// Whether the fields are equal, except for the version. The store skips such a write.
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

/// An item of a list, which unlike a single object does not state its kind.
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
    // Values with string keys always serialize.
    serde_json::to_vec(value).map(Bytes::from).unwrap_or_default()
}

pub(crate) fn metadata(fields: &Fields) -> Option<&Fields> {
    fields.get("metadata")?.as_object()
}

pub(crate) fn metadata_mut(fields: &mut Fields) -> &mut Fields {
    map_mut(fields, "metadata")
}

/// The member as a map; any other value there is replaced by an empty map.
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

/// A string of the metadata; empty if it is missing.
pub(crate) fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    metadata(fields).and_then(|metadata| metadata.get(name)?.as_str()).unwrap_or_default()
}

/// The string at a pointer such as `/spec/nodeName`; empty if it is missing.
pub(crate) fn text_at<'a>(fields: &'a Fields, pointer: &str) -> &'a str {
    at(fields, pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The value at a pointer, which must not contain escapes.
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
