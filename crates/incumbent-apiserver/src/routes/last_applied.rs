//! The annotation of `kubectl apply`, for users who change to `kubectl apply --server-side`.

use serde_json::Value;

use crate::fieldset::{FieldSet, compare, stated_by};
use crate::object::metadata_mut;
use crate::resources::Resource;
use crate::schema::Fields;

pub(super) const NAME: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The object that was applied last.
pub(super) fn read(object: &Fields) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(NAME)?.as_str()
}

/// The fields that were applied last and still have those values.
pub(super) fn fields(resource: &Resource, last: &str, live: &Fields) -> FieldSet {
    let Ok(Value::Object(last)) = serde_json::from_str(last) else { return FieldSet::default() };
    let mut fields = stated_by(resource.schema, &last).without_parts(&[]);
    let changes = compare(resource.schema, &last, live, &[]);
    fields.subtract(&changes.taken);
    fields.subtract(&changes.removed);
    fields
}

/// The annotation's value for an applied object.
pub(super) fn encode(applied: &Fields) -> String {
    let mut applied = applied.clone();
    if let Some(Value::Object(annotations)) = metadata_mut(&mut applied).get_mut("annotations") {
        annotations.remove(NAME);
    }
    format!("{}\n", Value::from(applied))
}
