//! Refusals in upstream's words, because clients match on them.

use std::fmt;

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::cause::{Cause, summary};
use crate::kind::{Kind, qualified};
use crate::request::Place;

/// A refused request, as a Kubernetes `Status` object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    code: u16,
    reason: &'static str,
    message: String,
    details: Option<Box<Details>>,
    /// The token with which a list can continue; empty for other refusals.
    next_page: String,
    /// For the `Warning` header.
    warnings: Vec<String>,
}

impl Status {
    /// The HTTP status code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The reason in one word, such as `Conflict`; empty if upstream gives none.
    pub fn reason(&self) -> &str {
        self.reason
    }

    /// The message for users.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The `Status` object as JSON.
    pub fn to_json(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "code": self.code,
        });
        if !self.message.is_empty() {
            status["message"] = json!(self.message);
        }
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if !self.next_page.is_empty() {
            status["metadata"]["continue"] = json!(self.next_page);
        }
        if let Some(details) = &self.details {
            status["details"] = details.to_json();
        }
        status
    }

    pub(crate) fn with_warnings(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }

    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The seconds to wait before a retry, if upstream states them.
    pub(crate) fn retry_after_seconds(&self) -> Option<u32> {
        self.details.as_ref()?.retry_after_seconds
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// `what` is the sentence after "is forbidden: ".
    pub(crate) fn forbidden(group: &str, plural: &str, name: &str, what: &str) -> Self {
        let subject = quoted(&qualified(plural, group), name);
        Self::new(403, "Forbidden", format!("{subject} is forbidden: {}", escape_html(what)))
            .about(group, plural, name)
    }

    /// A create in a namespace that is being deleted.
    pub(crate) fn namespace_terminating(kind: &Kind, name: &str, namespace: &str) -> Self {
        let (group, plural) = (kind.group, kind.plural);
        let what = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let message = format!("namespace {namespace} is being terminated");
        let cause = Cause::new("NamespaceTerminating", message, "metadata.namespace");
        let details = Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: plural.to_owned(),
            causes: vec![cause],
            ..Details::default()
        };
        Self::forbidden(group, plural, name, &what).with_details(details)
    }

    pub(crate) fn forbidden_path(user: &str, verb: &str, path: &str) -> Self {
        let message = format!("forbidden: User {user:?} cannot {verb} path {path:?}");
        Self::new(403, "Forbidden", escape_html(&message)).with_details(Details::default())
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", kind.qualified());
        Self::new(404, "NotFound", message).about(kind.group, kind.plural, name)
    }

    pub(crate) fn no_such_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
            .with_details(Details::default())
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message).with_details(Details::default())
    }

    pub(crate) fn not_acceptable() -> Self {
        // Upstream's words, although this server does not answer in protobuf.
        let message = "406: Not Acceptable\n\nAvailable representations: application/json, \
                       application/yaml, application/vnd.kubernetes.protobuf";
        Self::new(406, "NotAcceptable", message).with_details(Details::default())
    }

    /// `is_dying` if the existing object is being deleted.
    pub(crate) fn already_exists(kind: &Kind, name: &str, is_dying: bool) -> Self {
        let dying = if is_dying { "object is being deleted: " } else { "" };
        let message = format!("{dying}{} \"{name}\" already exists", kind.qualified());
        Self::new(409, "AlreadyExists", message).about(kind.group, kind.plural, name)
    }

    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        Self::conflict_on(kind.group, kind.plural, name, why)
    }

    /// A failed precondition of a delete, for which upstream names the kind.
    pub(crate) fn kind_conflict(kind: &Kind, name: &str, why: &str) -> Self {
        Self::conflict_on(kind.group, kind.name, name, why)
    }

    fn conflict_on(group: &str, what: &str, name: &str, why: &str) -> Self {
        let subject = quoted(&qualified(what, group), name);
        let message = format!("Operation cannot be fulfilled on {subject}: {why}");
        Self::new(409, "Conflict", message).about(group, what, name)
    }

    /// An apply of fields that other managers set to different values.
    pub(crate) fn apply_conflict(message: String, causes: Vec<Cause>) -> Self {
        Self::new(409, "Conflict", message).with_details(Details { causes, ..Details::default() })
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// The version of the first page is compacted; `token` continues in the newest version.
    pub(crate) fn expired_page(token: &str) -> Self {
        let message = "The provided continue parameter is too old to display a consistent list \
                       result. You can start a new list without the continue parameter, or use \
                       the continue token in this response to retrieve the remainder of the \
                       results. Continuing with the provided token results in an inconsistent \
                       list - objects that were created, modified, or deleted between the time \
                       the first chunk was returned and now may show up in the list.";
        Self { next_page: token.to_owned(), ..Self::expired(message) }
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// The body of a request takes too long.
    pub(crate) fn too_slow() -> Self {
        let message = "Timeout: request did not complete within the allotted timeout";
        Self::new(504, "Timeout", message).with_details(Details::default())
    }

    /// Too many bodies arrive at the same time.
    pub(crate) fn too_busy() -> Self {
        let details = Details { retry_after_seconds: Some(1), ..Details::default() };
        let message = "Too many requests, please try again later.";
        Self::new(429, "TooManyRequests", message).with_details(details)
    }

    pub(crate) fn too_many_operations() -> Self {
        let message = "The allowed maximum operations in a JSON patch is 10000";
        Self::new(413, "RequestEntityTooLarge", message)
    }

    pub(crate) fn unsupported_patch() -> Self {
        Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type")
            .with_details(Details::default())
    }

    pub(crate) fn unsupported_body() -> Self {
        let message = "the body of the request was in an unknown format - \
                       accepted media types include: application/json, application/yaml, \
                       application/vnd.kubernetes.protobuf";
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// An invalid object; `what` is the kind, or the plural if the `resourceVersion` is invalid.
    pub(crate) fn invalid(group: &str, what: &str, name: &str, causes: Vec<Cause>) -> Self {
        let subject = qualified(what, group);
        let message = format!("{subject} \"{name}\" is invalid: {}", summary(&causes));
        let details = Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: what.to_owned(),
            causes,
            ..Details::default()
        };
        Self::new(422, "Invalid", message).with_details(details)
    }

    /// An invalid query parameter.
    pub(crate) fn invalid_options(kind: &str, cause: Cause) -> Self {
        Self::invalid_option_set(kind, vec![cause])
    }

    /// Invalid query parameters.
    pub(crate) fn invalid_option_set(kind: &str, causes: Vec<Cause>) -> Self {
        Self::invalid("meta.k8s.io", kind, "", causes)
    }

    /// A patch that does not fit the object.
    pub(crate) fn unprocessable() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::new(422, "Invalid", message).with_details(Details::default())
    }

    /// An error that upstream does not classify: 500 without a reason.
    pub(crate) fn raw(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// The answer of an injected fault to a request for this place.
    pub(crate) fn of_fault(code: u16, place: &Place, retry_after_seconds: Option<u32>) -> Self {
        let (group, plural, name) = match place {
            Place::Resource(path) => (&*path.group, &*path.plural, &*path.name),
            Place::Other => ("", "", ""),
        };
        let status = match code {
            401 => Self::unauthorized(),
            403 => Self::forbidden(group, plural, name, "a fault was injected"),
            409 => Self::conflict_on(group, plural, name, MODIFIED),
            410 => Self::expired("The resourceVersion for the provided list is too old."),
            500 => Self::raw("etcdserver: request timed out"),
            _ => {
                let message = "the server is currently unable to handle the request";
                Self::new(code, "ServiceUnavailable", message)
            }
        };
        match retry_after_seconds {
            None => status,
            Some(_) => {
                let details = status.details.as_deref().cloned().unwrap_or_default();
                status.with_details(Details { retry_after_seconds, ..details })
            }
        }
    }

    /// The body of a 504 from upstream's outermost filter, which is not a complete `Status`.
    pub(crate) fn filter_timeout() -> Bytes {
        let message = "Timeout: request did not complete within the allotted timeout";
        let body = json!({
            "metadata": {}, "status": "Failure", "message": message, "reason": "Timeout",
            "details": {}, "code": 504,
        });
        Bytes::from(format!("{body}\n"))
    }

    pub(crate) fn version_in_the_future(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let why = "Too large resource version".to_owned();
        let cause = Cause::new("ResourceVersionTooLarge", why, "");
        let details =
            Details { causes: vec![cause], retry_after_seconds: Some(1), ..Details::default() };
        Self::new(504, "Timeout", message).with_details(details)
    }

    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            next_page: String::new(),
            warnings: Vec::new(),
        }
    }

    fn with_details(self, details: Details) -> Self {
        Self { details: Some(Box::new(details)), ..self }
    }

    fn about(self, group: &str, kind: &str, name: &str) -> Self {
        self.with_details(Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            ..Details::default()
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Status {}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

/// The message of a conflict.
const MODIFIED: &str = "the object has been modified; please apply your changes to the \
                                   latest version and try again";

/// The object that a refusal is about, and the causes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Details {
    name: String,
    group: String,
    kind: String,
    causes: Vec<Cause>,
    retry_after_seconds: Option<u32>,
}

impl Details {
    fn to_json(&self) -> Value {
        let mut details = Map::new();
        for (key, value) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind)] {
            if !value.is_empty() {
                details.insert(key.to_owned(), json!(value));
            }
        }
        if !self.causes.is_empty() {
            let causes: Vec<Value> = self.causes.iter().map(Cause::to_json).collect();
            details.insert("causes".to_owned(), causes.into());
        }
        if let Some(seconds) = self.retry_after_seconds {
            details.insert("retryAfterSeconds".to_owned(), seconds.into());
        }
        Value::Object(details)
    }
}

fn quoted(subject: &str, name: &str) -> String {
    if name.is_empty() { subject.to_owned() } else { format!("{subject} \"{name}\"") }
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
