//! Why an object is invalid, worded as upstream words it.

use serde::Serialize;
use serde_json::{Value, json};

/// One rule that one field breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    reason: &'static str,
    message: String,
    field: String,
}

impl Cause {
    /// `value` is shown as JSON: a string in quotes, a number without.
    pub(crate) fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Self {
        Self::new("FieldValueInvalid", format!("Invalid value: {value}: {why}"), field)
    }

    /// The same for a Go struct, whose members are shown in their own order.
    pub(crate) fn invalid_struct(
        field: impl Into<String>,
        value: &impl Serialize,
        why: &str,
    ) -> Self {
        let value = serde_json::to_string(value).unwrap_or_default();
        Self::new("FieldValueInvalid", format!("Invalid value: {value}: {why}"), field)
    }

    pub(crate) fn required(field: impl Into<String>, why: &str) -> Self {
        let message = match why {
            "" => "Required value".to_owned(),
            why => format!("Required value: {why}"),
        };
        Self::new("FieldValueRequired", message, field)
    }

    /// Somebody else set the field; `who` is quoted already.
    pub(crate) fn other_manager(who: &str, path: &str) -> Self {
        Self::new("FieldManagerConflict", format!("conflict with {who}"), path)
    }

    pub(crate) fn forbidden(field: impl Into<String>, why: &str) -> Self {
        Self::new("FieldValueForbidden", format!("Forbidden: {why}"), field)
    }

    pub(crate) fn too_long(field: impl Into<String>, limit: usize) -> Self {
        let message = format!("Too long: may not be more than {limit} bytes");
        Self::new("FieldValueTooLong", message, field)
    }

    pub(crate) fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new("FieldValueDuplicate", format!("Duplicate value: {value}"), field)
    }

    pub(crate) fn unsupported(field: impl Into<String>, value: &Value, known: &[&str]) -> Self {
        let known: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", known.join(", "));
        Self::new("FieldValueNotSupported", message, field)
    }

    pub(crate) fn new(reason: &'static str, message: String, field: impl Into<String>) -> Self {
        Self { reason, message, field: field.into() }
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut cause = json!({"reason": self.reason, "message": self.message});
        if !self.field.is_empty() {
            cause["field"] = json!(self.field);
        }
        cause
    }
}

/// All causes in one sentence; what several of them state is stated once.
pub(crate) fn summary(causes: &[Cause]) -> String {
    let mut each: Vec<String> = Vec::new();
    for cause in causes {
        let text = format!("{}: {}", cause.field, cause.message);
        if !each.contains(&text) {
            each.push(text);
        }
    }
    match each.as_slice() {
        [only] => only.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}
