//! Reads the body of a request.

use serde_json::Value;

use super::options::FieldValidation;
use crate::kind::Kind;
use crate::object::text_at;
use crate::protobuf;
use crate::resources::Resource;
use crate::resources::registry::find_kind;
use crate::resources::review::Review;
use crate::schema::{Conformed, ErrorStyle, Fields, conform};
use crate::status::Status;
use crate::yaml;

/// The content type of server-side apply.
pub(super) const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// The body of a request, parsed before the store is locked.
#[derive(Debug)]
pub(crate) enum Body {
    Json(Value),
    /// Why it cannot be parsed, and its first bytes.
    Broken {
        why: String,
        start: String,
    },
}

impl Body {
    pub(crate) fn parse(bytes: &[u8], content_type: &str) -> Self {
        if matches!(content_type, "application/yaml" | APPLY_PATCH) {
            return Self::parse_yaml(bytes);
        }
        if content_type == protobuf::MEDIA_TYPE {
            return Self::of(protobuf::read(bytes), bytes);
        }
        match serde_json::from_slice(bytes) {
            Ok(value) => Self::Json(value),
            Err(error) => {
                let why = if error.is_eof() {
                    "unexpected end of JSON input".to_owned()
                } else {
                    error.to_string()
                };
                Self::Broken { why, start: start(bytes) }
            }
        }
    }

    fn parse_yaml(bytes: &[u8]) -> Self {
        // Most YAML bodies are JSON, which is parsed much faster.
        if let Ok(value) = serde_json::from_slice(bytes) {
            return Self::Json(value);
        }
        Self::of(yaml::read(bytes), bytes)
    }

    fn of(read: Result<Value, String>, bytes: &[u8]) -> Self {
        match read {
            Ok(value) => Self::Json(value),
            Err(why) => Self::Broken { why, start: start(bytes) },
        }
    }

    /// An absent body.
    pub(crate) fn nothing() -> Self {
        Self::Json(Value::Null)
    }

    /// Takes the body out of a call.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::nothing())
    }
}

/// An object that a client sent, with warnings about dropped fields.
pub(super) struct Decoded {
    pub(super) fields: Fields,
    pub(super) warnings: Vec<String>,
}

/// Reads an object of this resource.
pub(super) fn decode_object(
    body: Body,
    resource: &Resource,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let fields = object(body, resource.kind.name)?;
    check_kind(&fields, &resource.kind)?;
    let subject = subject(&resource.kind.api_version(), resource.kind.name);
    let refuse = |why| Status::bad_request(format!("{subject}: {why}"));
    let conformed = resource.conform(ErrorStyle::Json, fields).map_err(refuse)?;
    strict(conformed, validation).map_err(refuse)
}

/// Reads a review, which is never stored.
pub(super) fn decode_review(body: Body, review: &Review) -> Result<Fields, Status> {
    let kind = &review.kind;
    let mut fields = object(body, kind.name)?;
    check_kind(&fields, kind)?;
    fields.remove("apiVersion");
    fields.remove("kind");
    let subject = subject(&kind.api_version(), kind.name);
    let conformed = conform(review.schema, fields);
    let conformed = conformed.map_err(|why| Status::bad_request(format!("{subject}: {why}")))?;
    Ok(conformed.fields)
}

/// Refuses unknown fields, warns of them, or ignores them, as the client asks.
pub(super) fn strict(conformed: Conformed, validation: FieldValidation) -> Result<Decoded, String> {
    let Conformed { fields, unknown } = conformed;
    let complaints: Vec<String> =
        unknown.iter().map(|path| format!("unknown field {path:?}")).collect();
    match validation {
        FieldValidation::Strict if !complaints.is_empty() => {
            Err(format!("strict decoding error: {}", complaints.join(", ")))
        }
        FieldValidation::Warn => Ok(Decoded { fields, warnings: complaints }),
        FieldValidation::Strict | FieldValidation::Ignore => {
            Ok(Decoded { fields, warnings: Vec::new() })
        }
    }
}

/// The beginning of upstream's message about an invalid object.
fn subject(api_version: &str, kind: &str) -> String {
    format!("{kind} in version {:?} cannot be handled as a {kind}", last_part(api_version))
}

fn object(body: Body, kind: &str) -> Result<Fields, Status> {
    let (why, start) = match body {
        Body::Json(Value::Object(fields)) => return Ok(fields),
        Body::Json(Value::Null) => return Ok(Fields::new()),
        Body::Json(other) => {
            let text = other.to_string();
            ("cannot unmarshal into Go value of type struct".to_owned(), start(text.as_bytes()))
        }
        Body::Broken { why, start } => (why, start),
    };
    Err(Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; \
         json parse error: {why} ({start})"
    )))
}

/// Checks `apiVersion` and `kind`, if the client sent them.
pub(super) fn check_kind(fields: &Fields, wanted: &Kind) -> Result<(), Status> {
    let (wanted_version, wanted_name) = (wanted.api_version(), wanted.name);
    let given = |name: &str| match text_at(fields, name) {
        "" => None,
        text => Some(text.to_owned()),
    };
    let api_version = given("/apiVersion").unwrap_or_else(|| wanted_version.clone());
    let kind = given("/kind").unwrap_or_else(|| wanted_name.to_owned());
    if api_version == wanted_version && kind == wanted_name {
        return Ok(());
    }
    let is_known = find_kind(&api_version, &kind).is_some()
        || (api_version == "v1" && CORE_KINDS.contains(&kind.as_str()));
    let why = if is_known {
        let (from, to) = (last_part(&api_version), internal_group(wanted.group));
        format!("converting ({from}.{kind}) to ({to}.{wanted_name}): unknown conversion")
    } else {
        format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme \
             \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\""
        )
    };
    let version = last_part(&api_version);
    Err(Status::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {wanted_name}: {why}"
    )))
}

/// Kinds that upstream has and this server does not store.
const CORE_KINDS: &[&str] = &[
    "Binding",
    "ComponentStatus",
    "Endpoints",
    "LimitRange",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "PodTemplate",
    "ReplicationController",
    "ResourceQuota",
    "Secret",
];

fn internal_group(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        group => group.split('.').next().unwrap_or(group),
    }
}

fn last_part(api_version: &str) -> &str {
    api_version.rsplit('/').next().unwrap_or(api_version)
}

fn start(bytes: &[u8]) -> String {
    const LENGTH: usize = 30;
    match bytes {
        [] => "<empty>".to_owned(),
        bytes if bytes.len() <= LENGTH => String::from_utf8_lossy(bytes).into_owned(),
        bytes => format!("{} ...", String::from_utf8_lossy(&bytes[..LENGTH])),
    }
}
