//! The three kinds of patch besides apply: merge patch, strategic merge patch and JSON patch.

use serde_json::{Value, json};

use super::body::{Decoded, check_kind, strict};
use super::options::FieldValidation;
use crate::cause::Cause;
use crate::json_patch::{self, JsonPatchError};
use crate::object::Object;
use crate::patch;
use crate::resources::Resource;
use crate::schema::{self, ErrorStyle, Fields};
use crate::status::Status;
use crate::typed::go_text;

/// A kind of patch.
#[derive(Clone, Copy, Debug)]
pub(super) enum PatchKind {
    Merge,
    Strategic,
    Json,
}

impl PatchKind {
    pub(super) fn of(content_type: &str) -> Result<Self, Status> {
        match content_type {
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            "application/json-patch+json" => Ok(Self::Json),
            _ => Err(Status::unsupported_patch()),
        }
    }

    /// Applies a patch to an object.
    pub(super) fn patched(
        self,
        resource: &'static Resource,
        current: &Object,
        patch: Value,
        validation: FieldValidation,
    ) -> Result<Decoded, Status> {
        // Refusals show the patch if it is strategic, and the patched object otherwise.
        let (style, patch_shown) = match self {
            Self::Strategic => (ErrorStyle::Unstructured, Some(go_text(&patch))),
            Self::Merge | Self::Json => (ErrorStyle::Json, None),
        };
        let patched = self.apply(resource, resource.shown(current), patch)?;
        let document = patch_shown.unwrap_or_else(|| patched.to_string());
        let misfit = |why: &str| misfit(&document, why);
        match patched {
            Value::Object(fields) => {
                if style == ErrorStyle::Json {
                    check_kind(&fields, &resource.kind)
                        .map_err(|status| misfit(status.message()))?;
                }
                let conformed = resource.conform(style, fields).map_err(|why| misfit(&why))?;
                strict(conformed, validation).map_err(|why| misfit(&why))
            }
            _ => Err(misfit("the patch leaves no object")),
        }
    }

    fn apply(
        self,
        resource: &'static Resource,
        mut target: Fields,
        patch: Value,
    ) -> Result<Value, Status> {
        match (self, patch) {
            (Self::Merge, patch @ Value::Object(_)) => {
                let mut target = target.into();
                patch::merge(&mut target, patch);
                Ok(target)
            }
            (Self::Strategic, Value::Object(patch)) => {
                patch::strategic(resource.schema, &mut target, patch)
                    .map_err(Status::bad_request)?;
                Ok(target.into())
            }
            (Self::Strategic, Value::Null) => Ok(target.into()),
            (Self::Json, patch) => {
                let mut target = target.into();
                json_patch::apply(&mut target, &patch).map_err(refused_patch)?;
                Ok(target)
            }
            (Self::Merge | Self::Strategic, patch) => {
                let found = schema::found(&patch);
                Err(self.undecodable(&format!(
                    "json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
                )))
            }
        }
    }

    pub(super) fn undecodable(self, why: &str) -> Status {
        match self {
            Self::Strategic => Status::bad_request(why),
            Self::Merge | Self::Json => Status::bad_request(format!("error decoding patch: {why}")),
        }
    }
}

fn refused_patch(error: JsonPatchError) -> Status {
    match error {
        JsonPatchError::Malformed(why) => {
            Status::bad_request(format!("error decoding patch: {why}"))
        }
        JsonPatchError::TooMany => Status::too_many_operations(),
        JsonPatchError::Unfit(why) => {
            tracing::debug!(why, "a JSON patch does not fit");
            Status::unprocessable()
        }
    }
}

/// The refusal of a patched object that does not fit its schema.
fn misfit(document: &str, why: &str) -> Status {
    let cause = Cause::invalid("patch", &json!(document), why);
    Status::invalid("", "", "", vec![cause])
}
