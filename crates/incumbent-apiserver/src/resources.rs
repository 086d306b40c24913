//! The behaviour of each kind of object: what all have in common here, and one file for each kind.

pub(crate) mod config_map;
pub(crate) mod deployment;
pub(crate) mod endpoint_slice;
pub(crate) mod event;
pub(crate) mod flow_control;
mod label_selector;
pub(crate) mod lease;
pub(crate) mod namespace;
pub(crate) mod pod;
mod pod_template;
pub(crate) mod policy;
pub(crate) mod rbac;
pub(crate) mod registry;
pub(crate) mod review;
pub(crate) mod service;
pub(crate) mod service_account;
pub(crate) mod types;

use bytes::Bytes;
use serde_json::Value;

use crate::cause::Cause;
use crate::column::Column;
use crate::kind::Kind;
use crate::object::{Object, at, metadata_mut, to_json};
use crate::schema::{Conformed, ErrorStyle, Fields, Shape, Struct, conform_in};
use crate::validate::{MetadataRules, NameRule};

/// One kind of object, and how the server treats it.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) kind: Kind,
    pub(crate) scope: Scope,
    pub(crate) subresources: &'static [Subresource],
    /// The table of the store. Two resources can show the same table.
    pub(crate) table: &'static str,
    /// The fields, without `apiVersion` and `kind`.
    pub(crate) schema: &'static Struct,
    pub(crate) name_rule: NameRule,
    pub(crate) metadata_rules: MetadataRules,
    pub(crate) missing_on_update: MissingOnUpdate,
    pub(crate) unversioned_update: UnversionedUpdate,
    pub(crate) deletion: Deletion,
    /// The fields to select on besides name and namespace, with pointers into the stored form.
    pub(crate) more_selectable: &'static [(&'static str, &'static str)],
    pub(crate) conversion: Option<Conversion>,
    /// For a kind on which only a real cluster acts: what does not happen here. Empty for others.
    pub(crate) only_stored: &'static str,
    /// The columns besides name and age, computed from the stored form.
    pub(crate) columns: &'static [Column],
    /// Fills in the fields that the client left out. Runs on every write.
    pub(crate) default: fn(&mut Fields),
    /// Sets the fields that only the server decides, on a create.
    pub(crate) prepare_create: fn(&mut Fields),
    /// Restores the fields that this write must not change.
    pub(crate) prepare_update: fn(&mut Fields, &Fields, Part),
    /// Validates an object, given the one before the write if there was one.
    pub(crate) validate: fn(&Fields, Option<&Fields>) -> Vec<Cause>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Namespaced,
    Cluster,
}

/// What a PUT does if the object does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissingOnUpdate {
    NotFound,
    /// `AllowCreateOnUpdate`.
    Create,
}

/// What a PUT without a resourceVersion does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnversionedUpdate {
    /// `AllowUnconditionalUpdate`.
    Overwrite,
    Refuse,
}

/// How an object is deleted, and what the answer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deletion {
    AtOnce,
    /// The same, but the answer is the object.
    AtOnceShown,
    /// After a grace period, as a Pod.
    Graceful,
    /// With all objects in it.
    Namespace,
}

/// The part of an object that a write changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Main,
    Status,
}

/// A path below an object's own.
#[derive(Debug)]
pub(crate) struct Subresource {
    pub(crate) name: &'static str,
    /// Group, version and kind, if they differ from those of the object.
    pub(crate) shows: Option<(&'static str, &'static str, &'static str)>,
    pub(crate) verbs: &'static [&'static str],
}

pub(crate) const STATUS: Subresource =
    Subresource { name: "status", shows: None, verbs: &["get", "patch", "update"] };

/// Converts between the form that clients see and the stored form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conversion {
    /// The resource whose form is stored.
    pub(crate) home: &'static Resource,
    pub(crate) to_stored: fn(Fields) -> Fields,
    pub(crate) from_stored: fn(&Fields) -> Fields,
}

impl Resource {
    /// The resource whose form is stored for this one.
    pub(crate) fn home(&self) -> &Self {
        self.conversion.map_or(self, |conversion| conversion.home)
    }

    /// An object of this resource in its stored form.
    pub(crate) fn stored(&self, fields: Fields) -> Fields {
        match self.conversion {
            None => fields,
            Some(conversion) => (conversion.to_stored)(fields),
        }
    }

    /// A stored object as clients of this resource see it.
    pub(crate) fn shown(&self, object: &Object) -> Fields {
        match self.conversion {
            None => object.fields().clone(),
            Some(conversion) => (conversion.from_stored)(object.fields()),
        }
    }

    /// The JSON of a stored object as clients of this resource see it.
    pub(crate) fn json(&self, object: &Object) -> Bytes {
        match self.conversion {
            None => object.json().clone(),
            Some(conversion) => to_json(&(conversion.from_stored)(object.fields())),
        }
    }

    pub(crate) fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    pub(crate) fn verbs(&self) -> &'static [&'static str] {
        const ALL: &[&str] =
            &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
        const NAMESPACE: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
        if self.deletion == Deletion::Namespace { NAMESPACE } else { ALL }
    }

    pub(crate) fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// The fields to select on, with pointers into the stored form.
    pub(crate) fn selectable(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let common =
            [("metadata.name", "/metadata/name"), ("metadata.namespace", "/metadata/namespace")];
        let common = common.into_iter().take(if self.is_namespaced() { 2 } else { 1 });
        common.chain(self.more_selectable.iter().copied())
    }

    pub(crate) fn not_selectable(&self, field: &str) -> String {
        if !self.more_selectable.is_empty() {
            return format!("field label not supported: {field}");
        }
        let names: Vec<String> = self.selectable().map(|(name, _)| format!("{name:?}")).collect();
        format!("{field:?} is not a known field selector: only {}", names.join(", "))
    }

    /// Conforms an object to the schema, applies defaults, and sets its kind.
    ///
    /// # Errors
    ///
    /// A value has the wrong type.
    pub(crate) fn conform(
        &self,
        style: ErrorStyle,
        mut given: Fields,
    ) -> Result<Conformed, String> {
        given.remove("apiVersion");
        given.remove("kind");
        let mut conformed = conform_in(style, self.schema, given)?;
        let fields = &mut conformed.fields;
        fields.insert("apiVersion".to_owned(), self.kind.api_version().into());
        fields.insert("kind".to_owned(), self.kind.name.into());
        (self.default)(fields);
        Ok(conformed)
    }
}

/// What most kinds have in common; each states only where it differs.
const USUAL: Resource = Resource {
    kind: Kind::CORE,
    scope: Scope::Namespaced,
    subresources: &[],
    table: "",
    schema: &Struct { name: "", fields: &[] },
    name_rule: NameRule::Subdomain,
    metadata_rules: MetadataRules::Core,
    missing_on_update: MissingOnUpdate::NotFound,
    unversioned_update: UnversionedUpdate::Overwrite,
    deletion: Deletion::AtOnce,
    more_selectable: &[],
    conversion: None,
    only_stored: "",
    columns: &[],
    default: |_| {},
    prepare_create: |_| {},
    prepare_update: |_, _, _| {},
    validate: |_, _| Vec::new(),
};

/// Prepares a new object with an empty status, of a kind that counts the generations of its spec.
fn begin(fields: &mut Fields, status: &'static Struct) {
    fields.insert("status".to_owned(), Shape::Object(status).zero());
    begin_without_status(fields);
}

fn begin_without_status(fields: &mut Fields) {
    metadata_mut(fields).insert("generation".to_owned(), 1.into());
}

/// Restores the part that a write must not change, and counts a change of the spec.
fn keep_other_part(fields: &mut Fields, old: &Fields, part: Part) {
    let kept = if part == Part::Main { "status" } else { "spec" };
    fields.remove(kept);
    fields.extend(old.get(kept).map(|kept_value| (kept.to_owned(), kept_value.clone())));
    if part == Part::Main && fields.get("spec") != old.get("spec") {
        let generation = at(old, "/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
        metadata_mut(fields).insert("generation".to_owned(), (generation + 1).into());
    }
}
