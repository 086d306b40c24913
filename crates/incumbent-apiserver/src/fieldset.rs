//! Sets of fields as `FieldsV1` encodes them, and the fields of an object that a set selects.
//!
//! A field is what upstream treats as one: a member of an object, a key of a map, an entry of a list with keys,
//! and any other value as a whole.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::schema::{Fields, ListMerge, Shape, Struct};

/// A set of fields, as a tree of their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    /// Whether the field at this path belongs to the set, besides those below it.
    is_member: bool,
    /// By path element: `f:name`, `k:{"name":"a"}` or `v:"value"`; no child is empty.
    children: BTreeMap<String, Self>,
}

impl FieldSet {
    pub(crate) fn is_empty(&self) -> bool {
        !self.is_member && self.children.is_empty()
    }

    /// Reads `FieldsV1`.
    pub(crate) fn from_json(json: &Value) -> Option<Self> {
        let mut set = Self::default();
        for (element, inner) in json.as_object()? {
            if element == "." {
                set.is_member = true;
            } else {
                let mut child = Self::from_json(inner)?;
                child.is_member |= child.children.is_empty();
                set.children.insert(element.clone(), child);
            }
        }
        Some(set)
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut json = Map::new();
        if self.is_member && !self.children.is_empty() {
            json.insert(".".to_owned(), Map::new().into());
        }
        json.extend(self.children.iter().map(|(element, set)| (element.clone(), set.to_json())));
        json.into()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.is_member |= other.is_member;
        for (element, set) in other.children {
            self.children.entry(element).or_default().add(set);
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.is_member &= !other.is_member;
        for (element, set) in &other.children {
            if let Some(child) = self.children.get_mut(element) {
                child.subtract(set);
                if child.is_empty() {
                    self.children.remove(element);
                }
            }
        }
    }

    /// Whether `FieldsV1` contains all of this set.
    pub(crate) fn is_within(&self, json: &Value) -> bool {
        (!self.is_member || is_member(json))
            && self
                .children
                .iter()
                .all(|(element, set)| json.get(element).is_some_and(|inner| set.is_within(inner)))
    }

    /// Whether `FieldsV1` contains any field of this set.
    pub(crate) fn touches(&self, json: &Value) -> bool {
        let inner = |(element, set): (&String, &Self)| {
            json.get(element).is_some_and(|inner| set.touches(inner))
        };
        (self.is_member && is_member(json)) || self.children.iter().any(inner)
    }

    /// The fields in both sets.
    pub(crate) fn shared_with(&self, other: &Self) -> Self {
        let mut shared = Self { is_member: self.is_member && other.is_member, ..Self::default() };
        for (element, set) in &self.children {
            if let Some(other) = other.children.get(element) {
                shared.put(element.clone(), set.shared_with(other));
            }
        }
        shared
    }

    /// The fields as upstream's messages name them: `.spec.containers[name="c"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let own = self.is_member.then(String::new).into_iter();
        let inner = self.children.iter().flat_map(|(element, set)| {
            let step = step(element);
            set.paths().into_iter().map(move |path| format!("{step}{path}"))
        });
        own.chain(inner).collect()
    }

    /// The set without these parts, and without the fields that only the server sets.
    pub(crate) fn without_parts(mut self, parts: &[&str]) -> Self {
        for part in NO_FIELDS.iter().chain(parts) {
            self.children.remove(&field(part));
        }
        if let Some(metadata) = self.children.get_mut("f:metadata") {
            metadata.is_member = false;
            METADATA_OF_SERVER.iter().for_each(|name| drop(metadata.children.remove(&field(name))));
            if metadata.is_empty() {
                self.children.remove("f:metadata");
            }
        }
        self
    }

    fn put(&mut self, element: String, set: Self) {
        if !set.is_empty() {
            self.children.insert(element, set);
        }
    }
}

/// Whether a node of `FieldsV1` selects the field at its own path.
fn is_member(json: &Value) -> bool {
    json.as_object().is_some_and(|map| map.is_empty() || map.contains_key("."))
}

const NO_FIELDS: &[&str] = &["apiVersion", "kind"];

/// Upstream's `stripSet`.
const METADATA_OF_SERVER: &[&str] = &[
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
];

/// The fields that a write changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Added, or given another value.
    pub(crate) taken: FieldSet,
    pub(crate) removed: FieldSet,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.removed.is_empty()
    }

    fn put(&mut self, element: String, inner: Self) {
        self.taken.put(element.clone(), inner.taken);
        self.removed.put(element, inner.removed);
    }
}

/// Compares two objects, except for these parts and the fields that only the server sets.
pub(crate) fn compare(
    schema: &'static Struct,
    old: &Fields,
    new: &Fields,
    parts: &[&str],
) -> Changes {
    let members = |fields, hidden: &[&str]| members(&Shape::Object(schema), fields, hidden);
    let hidden = [NO_FIELDS, &["metadata"], parts].concat();
    let mut changes = compare_entries(members(old, &hidden), members(new, &hidden));
    let metadata = schema.find("metadata").map(|field| &field.shape);
    let old = old.get("metadata").and_then(Value::as_object);
    let new = new.get("metadata").and_then(Value::as_object);
    if let (Some(shape), Some(new)) = (metadata, new) {
        let empty = Fields::new();
        let entries = |fields| self::members(shape, fields, METADATA_OF_SERVER);
        let inner = compare_entries(entries(old.unwrap_or(&empty)), entries(new));
        changes.put("f:metadata".to_owned(), inner);
    }
    changes
}

fn compare_values(shape: &'static Shape, old: &Value, new: &Value) -> Changes {
    if old == new {
        return Changes::default();
    }
    match (entries(shape, old), entries(shape, new)) {
        (Some(old), Some(new)) => compare_entries(old, new),
        // A Go slice or map that was never set has no entries.
        (None, Some(new)) if old.is_null() && !new.is_empty() => compare_entries(Vec::new(), new),
        _ => Changes {
            taken: FieldSet { is_member: true, ..FieldSet::default() },
            ..Changes::default()
        },
    }
}

fn compare_entries(old: Vec<Entry<'_>>, new: Vec<Entry<'_>>) -> Changes {
    let mut changes = Changes::default();
    let mut old: BTreeMap<String, Entry<'_>> =
        old.into_iter().map(|entry| (entry.element.clone(), entry)).collect();
    for entry in new {
        match old.remove(&entry.element) {
            None => {
                let whole = fields_in(entry.shape, entry.value, Count::Everything);
                changes.taken.put(entry.element, whole);
            }
            Some(old) => {
                let inner = compare_values(entry.shape, old.value, entry.value);
                changes.put(entry.element, inner);
            }
        }
    }
    for (element, entry) in old {
        changes.removed.put(element, fields_in(entry.shape, entry.value, Count::Everything));
    }
    changes
}

/// The fields that an applied object states.
pub(crate) fn stated_by(schema: &'static Struct, applied: &Fields) -> FieldSet {
    let mut set = FieldSet::default();
    for entry in members(&Shape::Object(schema), applied, &[]) {
        set.put(entry.element, fields_in(entry.shape, entry.value, Count::Undeclared));
    }
    set
}

/// The objects, maps and entries that count as fields themselves, besides the fields in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Everything,
    /// Those that the type does not declare: keys of maps, and entries of lists.
    Undeclared,
}

fn fields_in(shape: &'static Shape, value: &Value, count: Count) -> FieldSet {
    let inner = entries(shape, value).unwrap_or_default();
    let is_member = inner.is_empty() || count == Count::Everything;
    let mut set = FieldSet { is_member, ..FieldSet::default() };
    for entry in inner {
        let mut fields = fields_in(entry.shape, entry.value, count);
        fields.is_member |= !entry.is_declared;
        set.put(entry.element, fields);
    }
    set
}

/// Merges an applied value into the live one.
pub(crate) fn merge(shape: &Shape, live: &mut Value, applied: Value) {
    match (shape, live, applied) {
        (Shape::Atomic(_), live, applied) => *live = applied,
        // Null for an object or map removes none of its fields.
        (_, Value::Object(live), Value::Null) if !live.is_empty() => {}
        (_, Value::Object(live), Value::Object(applied)) => {
            for (name, value) in applied {
                let (inner, _) = member(shape, &name);
                merge(inner, live.entry(name).or_insert(Value::Null), value);
            }
        }
        (Shape::List(item, how), Value::Array(live), Value::Array(applied))
            if !matches!(how, ListMerge::Replace) =>
        {
            for value in applied {
                let wanted = element(*how, &value);
                match live.iter_mut().find(|entry| element(*how, entry) == wanted) {
                    Some(entry) => merge(item, entry, value),
                    None => live.push(value),
                }
            }
        }
        (_, live, applied) => *live = applied,
    }
}

/// Removes the fields in `gone`, unless they or any field below them are in `kept`.
pub(crate) fn prune(shape: &Shape, value: &mut Value, gone: &FieldSet, kept: Option<&FieldSet>) {
    // Returns whether the value stays.
    let visit = |element: &str, inner: &'static Shape, value: &mut Value| {
        let Some(gone) = gone.children.get(element) else { return true };
        let kept = kept.and_then(|kept| kept.children.get(element));
        if gone.is_member && kept.is_none() {
            return false;
        }
        prune(inner, value, gone, kept);
        kept.is_some() || !value.as_object().is_some_and(Map::is_empty)
    };
    match (shape, value) {
        (Shape::Atomic(_), _) => {}
        (_, Value::Object(map)) => {
            map.retain(|name, value| visit(&field(name), member(shape, name).0, value));
        }
        (Shape::List(item, how), Value::Array(list)) => list.retain_mut(|value| {
            element(*how, value).is_none_or(|element| visit(&element, item, value))
        }),
        _ => {}
    }
}

/// A field inside another one.
struct Entry<'a> {
    element: String,
    shape: &'static Shape,
    value: &'a Value,
    /// Whether the type declares the member; users choose the keys of a map and the entries of a list.
    is_declared: bool,
}

/// The fields inside a value. `None` if the value is one field as a whole.
fn entries<'a>(shape: &'static Shape, value: &'a Value) -> Option<Vec<Entry<'a>>> {
    match (shape, value) {
        (Shape::Atomic(_), _) => None,
        (_, Value::Object(map)) => Some(members(shape, map, &[])),
        (Shape::List(item, how), Value::Array(list)) => {
            let entry = |value| {
                let element = element(*how, value)?;
                Some(Entry { element, shape: item, value, is_declared: false })
            };
            list.iter().map(entry).collect()
        }
        _ => None,
    }
}

fn members<'a>(shape: &Shape, map: &'a Fields, hidden: &[&str]) -> Vec<Entry<'a>> {
    let seen = map.iter().filter(|(name, _)| !hidden.contains(&name.as_str()));
    seen.map(|(name, value)| {
        let (shape, is_declared) = member(shape, name);
        Entry { element: field(name), shape, value, is_declared }
    })
    .collect()
}

fn member(shape: &Shape, name: &str) -> (&'static Shape, bool) {
    match shape {
        Shape::Map(item) => (item, false),
        Shape::Object(of) => {
            of.find(name).map_or((&Shape::Any, false), |field| (&field.shape, true))
        }
        _ => (&Shape::Any, false),
    }
}

fn field(name: &str) -> String {
    format!("f:{name}")
}

/// The path element of a list's entry. `None` if entries have no key.
fn element(how: ListMerge, entry: &Value) -> Option<String> {
    match how {
        ListMerge::Replace => None,
        ListMerge::Set => Some(format!("v:{entry}")),
        ListMerge::Key(key) => Some(format!("k:{{{key:?}:{}}}", entry.get(key)?)),
        ListMerge::Keys(first, (second, usual)) => {
            let (usual, first_value) = (Value::from(usual), entry.get(first)?);
            let second_value = entry.get(second).unwrap_or(&usual);
            Some(format!("k:{{{first:?}:{first_value},{second:?}:{second_value}}}"))
        }
    }
}

/// A path element as messages show it.
fn step(element: &str) -> String {
    let keys = |text: &str| -> Option<String> {
        let keys: Fields = serde_json::from_str(text).ok()?;
        let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
        Some(keys.join(","))
    };
    match element.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("k", text)) => format!("[{}]", keys(text).unwrap_or_else(|| text.to_owned())),
        Some(("v", value)) => format!("[={value}]"),
        _ => format!("[{element}]"),
    }
}

#[cfg(test)]
mod tests;
