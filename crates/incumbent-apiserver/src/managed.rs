//! Ownership of fields: `metadata.managedFields`, and the conflicts of server-side apply.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::auth::User;
use crate::cause::Cause;
use crate::fieldset::{Changes, FieldSet, compare};
use crate::object::{at, map_mut, metadata_mut};
use crate::resources::Resource;
use crate::schema::{Fields, conform};
use crate::status::Status;
use crate::time;

/// One entry of `managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manager {
    pub(crate) id: ManagerId,
    time: String,
    fields: FieldSet,
}

/// The key of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ManagerId {
    pub(crate) name: String,
    pub(crate) operation: Operation,
    pub(crate) api_version: String,
    pub(crate) subresource: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Apply,
    Update,
}

/// The writer of one request.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) id: ManagerId,
    pub(crate) now: Timestamp,
    pub(crate) user: User,
    /// Set if the request is an apply.
    pub(crate) applied: Option<Applied>,
    /// Takes fields from other managers without a conflict.
    pub(crate) force: bool,
    /// Fields that this writer may take without a conflict.
    pub(crate) inherited: FieldSet,
    /// An annotation to set without a change of its owner.
    pub(crate) annotation: Option<(&'static str, String)>,
    /// The parts of the object that this request cannot change, such as `status`.
    pub(crate) other_parts: &'static [&'static str],
}

/// What an apply states and changes.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    /// The fields that it states, including those that it sets to null.
    pub(crate) fields: FieldSet,
    /// Its effect on the object; `None` if the object is new.
    pub(crate) changes: Option<Changes>,
    /// Whether it leaves the object unchanged.
    pub(crate) is_idle: bool,
}

impl Writer {
    /// Updates the `managedFields` of `new`, which is about to replace `old`.
    ///
    pub(crate) fn record(&self, resource: &Resource, old: Option<&Fields>, new: &mut Fields) {
        let resource = resource.home();
        let given = metadata_mut(new).remove("managedFields");
        let kept = old.and_then(|old| at(old, "/metadata/managedFields"));
        // No manager owns the fields that the server sets on every object.
        let blank = if old.is_none() { blank(resource) } else { Fields::new() };
        let applied = self.applied.as_ref().and_then(|applied| applied.changes.clone());
        let changes = applied.unwrap_or_else(|| {
            compare(resource.schema, old.unwrap_or(&blank), new, self.other_parts)
        });
        let is_kept = given.is_none() || given.as_ref() == kept;
        if is_kept && self.applied.is_none() && self.takes_only_its_own(kept, &changes) {
            let list = given.or_else(|| kept.cloned()).map(|list| self.renewed(list, &changes));
            metadata_mut(new).extend(list.map(|list| ("managedFields".to_owned(), list)));
            return;
        }
        let mut managers = given
            .as_ref()
            .filter(|given| given.as_array().is_some_and(|list| !list.is_empty()))
            .and_then(decode)
            .or_else(|| decode(kept?))
            .unwrap_or_default();
        // An object without managers stays without them until the first apply.
        if old.is_some() && managers.is_empty() && self.applied.is_none() {
            return;
        }
        self.take(&mut managers, changes);
        let metadata = metadata_mut(new);
        if !managers.is_empty() {
            metadata.insert("managedFields".to_owned(), encode(&managers));
        }
        if let Some((name, value)) = &self.annotation {
            let annotations = map_mut(metadata, "annotations");
            annotations.insert((*name).to_owned(), value.as_str().into());
        }
    }

    /// Checks that an apply may take the fields that it changes.
    ///
    /// # Errors
    ///
    /// Another manager set one of the fields to a different value.
    pub(crate) fn refuse_conflicts(
        &self,
        managers: &[Manager],
        changes: &Changes,
    ) -> Result<(), Status> {
        let others = managers.iter().filter(|manager| manager.id != self.id && !self.force);
        let taken = others.map(|manager| {
            let mut taken = manager.fields.shared_with(&changes.taken);
            taken.subtract(&self.inherited);
            (manager.id.clone(), taken.paths())
        });
        let conflicts: Vec<_> = taken.filter(|(_, paths)| !paths.is_empty()).collect();
        if conflicts.is_empty() { Ok(()) } else { Err(conflict(conflicts)) }
    }

    /// Whether no field changes its owner, as in each renewal of a lease.
    fn takes_only_its_own(&self, kept: Option<&Value>, changes: &Changes) -> bool {
        let list = kept.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        changes.is_empty()
            || changes.removed.is_empty()
                && list.iter().any(|entry| self.id.is_of(entry))
                && list.iter().all(|entry| match (self.id.is_of(entry), entry.get("fieldsV1")) {
                    (true, Some(fields)) => changes.taken.is_within(fields),
                    (false, Some(fields)) => !changes.taken.touches(fields),
                    (is_own, None) => !is_own,
                })
    }

    /// The entries, with the time of this write in the writer's own entry.
    fn renewed(&self, mut list: Value, changes: &Changes) -> Value {
        if let (false, Value::Array(entries)) = (changes.is_empty(), &mut list) {
            if let Some(own) = entries.iter_mut().find(|entry| self.id.is_of(entry)) {
                own["time"] = time::seconds(self.now).into();
            }
            entries.sort_by(|a, b| order(a).cmp(&order(b)));
        }
        list
    }

    fn take(&self, managers: &mut Vec<Manager>, changes: Changes) {
        let place = managers.iter().position(|manager| manager.id == self.id);
        let own = place.map(|place| managers.remove(place));
        for manager in managers.iter_mut() {
            manager.fields.subtract(&changes.taken);
            manager.fields.subtract(&changes.removed);
        }
        managers.push(self.own(own, changes));
        managers.retain(|manager| !manager.fields.is_empty());
    }

    /// The writer's entry after the write, derived from the one before.
    fn own(&self, before: Option<Manager>, changes: Changes) -> Manager {
        let now = time::seconds(self.now);
        match (&self.applied, before) {
            (Some(Applied { fields, is_idle, .. }), before) => {
                // Upstream records no time for a manager that changed nothing.
                let since = before.map(|own| own.time).unwrap_or_default();
                let time = if *is_idle { since } else { now };
                Manager { id: self.id.clone(), time, fields: fields.clone() }
            }
            (None, Some(mut own)) => {
                if !changes.taken.is_empty() {
                    own.time = now;
                }
                own.fields.subtract(&changes.removed);
                own.fields.add(changes.taken);
                own
            }
            (None, None) => Manager { id: self.id.clone(), time: now, fields: changes.taken },
        }
    }
}

/// The managers of a stored object.
///
/// If the object has no `managedFields`, one entry owns all its fields.
pub(crate) fn managers(resource: &Resource, object: &Fields) -> Vec<Manager> {
    let known = at(object, "/metadata/managedFields").and_then(decode).unwrap_or_default();
    if !known.is_empty() {
        return known;
    }
    let id = ManagerId {
        name: "before-first-apply".to_owned(),
        operation: Operation::Update,
        api_version: resource.kind.api_version(),
        subresource: String::new(),
    };
    let fields = compare(resource.schema, &blank(resource), object, &[]).taken;
    let time = crate::object::text(object, "creationTimestamp").to_owned();
    vec![Manager { id, time, fields }]
}

/// The fields that an applier owned before, and the union of its new fields and those of all other managers.
pub(crate) fn before_and_after(
    managers: &[Manager],
    writer: &ManagerId,
    applied: &FieldSet,
) -> (FieldSet, FieldSet) {
    let mut before = FieldSet::default();
    let mut after = applied.clone();
    for manager in managers {
        let set = if manager.id == *writer { &mut before } else { &mut after };
        set.add(manager.fields.clone());
    }
    (before, after)
}

pub(crate) fn encode(managers: &[Manager]) -> Value {
    let mut entries: Vec<Value> = managers.iter().map(Manager::to_json).collect();
    entries.sort_by(|a, b| order(a).cmp(&order(b)));
    entries.into()
}

/// Appliers come first, then the order of writing.
fn order(entry: &Value) -> [&str; 3] {
    ["operation", "time", "manager"].map(|name| entry_text(entry, name))
}

fn entry_text<'a>(entry: &'a Value, name: &str) -> &'a str {
    entry.get(name).and_then(Value::as_str).unwrap_or_default()
}

impl ManagerId {
    fn is_of(&self, entry: &Value) -> bool {
        let text = |name| entry_text(entry, name);
        text("manager") == self.name
            && text("operation") == self.operation.as_str()
            && text("apiVersion") == self.api_version
            && text("subresource") == self.subresource
    }
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

impl Manager {
    fn to_json(&self) -> Value {
        let operation = self.id.operation.as_str();
        let mut json = json!({
            "manager": self.id.name, "operation": operation, "apiVersion": self.id.api_version,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.to_json(),
        });
        if !self.time.is_empty() {
            json["time"] = json!(self.time);
        }
        if !self.id.subresource.is_empty() {
            json["subresource"] = json!(self.id.subresource);
        }
        json
    }

    fn from_json(json: &Value) -> Option<Self> {
        let text = |name: &str| entry_text(json, name).to_owned();
        let operation = match text("operation").as_str() {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        let id = ManagerId {
            name: text("manager"),
            operation,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
        };
        let fields =
            json.get("fieldsV1").map_or_else(|| Some(FieldSet::default()), FieldSet::from_json)?;
        Some(Self { id, time: text("time"), fields })
    }
}

/// The entries of a `managedFields`. Users reset them by `[{}]`, which gives no entries.
fn decode(json: &Value) -> Option<Vec<Manager>> {
    let list = json.as_array()?;
    if let [Value::Object(only)] = list.as_slice()
        && only.is_empty()
    {
        return Some(Vec::new());
    }
    list.iter().map(Manager::from_json).collect()
}

/// An object whose fields are all unset.
fn blank(resource: &Resource) -> Fields {
    conform(resource.schema, Fields::new()).map(|blank| blank.fields).unwrap_or_default()
}

/// The refusal that lists the fields which other managers set to different values.
fn conflict(mut conflicts: Vec<(ManagerId, Vec<String>)>) -> Status {
    conflicts.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    let causes: Vec<Cause> = conflicts
        .iter()
        .flat_map(|(id, paths)| paths.iter().map(|path| Cause::other_manager(&shown(id), path)))
        .collect();
    let message = match conflicts.as_slice() {
        [(id, paths)] if paths.len() == 1 => {
            format!("1 conflict: conflict with {}: {}", shown(id), paths[0])
        }
        several => {
            let lines = several.iter().flat_map(|(id, paths)| {
                let head = format!("conflicts with {}:", shown(id));
                std::iter::once(head).chain(paths.iter().map(|path| format!("- {path}")))
            });
            let lines: Vec<String> = lines.collect();
            format!("{} conflicts: {}", causes.len(), lines.join("\n"))
        }
    };
    Status::apply_conflict(format!("Apply failed with {message}"), causes)
}

fn shown(id: &ManagerId) -> String {
    let mut text = format!("{:?}", id.name);
    if !id.subresource.is_empty() {
        text = format!("{text} with subresource {:?}", id.subresource);
    }
    if id.operation == Operation::Update {
        text = format!("{text} using {}", id.api_version);
    }
    text
}
