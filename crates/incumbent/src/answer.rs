//! What the answer to a request means. It sends nothing and reads no clock.
//!
//! The status code alone is not enough: a proxy, a load balancer or a firewall in between answers with the
//! same codes. What decides is the [`Status`] that Kubernetes puts into the body, with its reason, its message
//! and the object that it speaks of.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use crate::error::Error;
use crate::lock::Resource;

#[cfg(test)]
mod tests;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of trouble it is.
    pub why: Why,
    /// The HTTP status; none where no answer came.
    pub code: Option<u16>,
    /// The server's words, or those of the connection.
    pub message: String,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no connection, or the answer did not come in time.
    NoAnswer,
    /// The API server cannot do it now: it is overloaded, starts, ends, or misses its store.
    Busy,
    /// Something that is not a Kubernetes API server has answered.
    NotKubernetes,
    /// The API server says that this very object does not exist.
    Gone,
    /// The namespace does not exist.
    NoNamespace,
    /// Another write came first, or the object exists already.
    Conflict,
    /// The API server does not know the client.
    Unauthorized,
    /// RBAC, or another authorizer, does not allow it.
    NoPermission,
    /// An admission webhook, policy or plugin refuses it.
    Denied,
    /// The namespace is being deleted, and accepts no new object.
    Terminating,
    /// A quota of the namespace is used up.
    NoQuota,
    /// The object would be too large.
    TooLarge,
    /// The request breaks a rule of the API.
    Invalid,
}

impl Failure {
    /// No connection, or no answer in time.
    pub(crate) fn no_answer(message: impl Into<String>) -> Self {
        Self { why: Why::NoAnswer, code: None, message: message.into(), retry_after: None }
    }

    pub(crate) fn late() -> Self {
        Self::no_answer("no answer in time")
    }

    /// An answer that no Kubernetes API server gives.
    pub(crate) fn nonsense(code: u16, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { why: Why::NotKubernetes, code: Some(code), message, retry_after: None }
    }

    /// Whether it can pass by itself, so that a later try may succeed.
    pub fn passes(&self) -> bool {
        matches!(self.why, Why::NoAnswer | Why::Busy | Why::NotKubernetes | Why::Conflict)
    }

    /// Whether the account may not do it: to ask again soon is useless.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self.why, Why::NoPermission | Why::Denied)
    }

    /// Whether the request, if it was a write, may have been applied or may be applied later. Otherwise it
    /// certainly was not and will not be.
    pub fn may_be_applied(&self) -> bool {
        match self.why {
            Why::NoAnswer | Why::NotKubernetes => true,
            // A server error may hide that it was applied. Overload is found out before anything is done.
            Why::Busy => self.code != Some(429),
            _ => false,
        }
    }

    /// The error that a caller of the library gets, about this lock or list of locks.
    pub fn into_error(self, resource: impl Into<Resource>, verb: &'static str) -> Error {
        let Self { why, code, message, .. } = self;
        let (resource, code) = (resource.into(), code.unwrap_or_default());
        let namespace = || resource.namespace().unwrap_or_default().to_owned();
        match why {
            Why::NoAnswer => Error::Unreachable { message },
            Why::Busy => Error::Unavailable { code, message },
            Why::NotKubernetes => Error::NotKubernetes { code, message },
            Why::Unauthorized => Error::Unauthorized { message },
            Why::NoPermission => Error::Forbidden { resource, verb, message },
            Why::Denied => Error::Denied { resource, verb, message },
            Why::Terminating => Error::Terminating { namespace: namespace(), message },
            Why::NoNamespace => Error::Missing {
                what: format!("namespace {}", namespace()),
                hint: format!("kubectl create namespace {}", namespace()),
            },
            Why::NoQuota => Error::Full {
                what: format!("namespace {} has no room for {resource}: {message}", namespace()),
                hint: format!(
                    "raise the quota, or delete what is not needed: kubectl describe quota --namespace {}",
                    namespace()
                ),
            },
            Why::TooLarge => Error::Full {
                what: format!("{resource} has no room for more: {message}"),
                hint: "remove what others have written into the object, or use another".to_owned(),
            },
            Why::Gone | Why::Conflict | Why::Invalid => {
                Error::Rejected { resource, verb, code, message }
            }
        }
    }

    /// What to do about it, where `rule` says what the account needs.
    pub(crate) fn hint(&self, rule: &'static str) -> &'static str {
        match self.why {
            Why::NoPermission => rule,
            Why::Unauthorized => "renew the token or certificate",
            Why::NoAnswer | Why::Busy | Why::Conflict => "it passes by itself, and is tried again",
            Why::NotKubernetes => "find out what answers in the API server's place",
            Why::Denied => "exempt the object from the policy, or change the policy",
            Why::NoNamespace | Why::Terminating => "use another namespace",
            Why::NoQuota => "raise the quota of the namespace",
            Why::TooLarge => "remove what others have written into the object",
            Why::Gone => "create the object again",
            Why::Invalid => "the object or the request breaks a rule of the API",
        }
    }
}

/// What came back: the parts of a response that decide what it means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Response<'a> {
    pub(crate) code: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: &'a [u8],
}

/// The JSON object that the API server answered to `method` on `path`, or why there is none.
pub(crate) fn meaning(method: &Method, path: &str, said: Response<'_>) -> Result<Value, Failure> {
    let Response { code, retry_after, body } = said;
    let object: Option<Value> = serde_json::from_slice(body).ok();
    let object = object.filter(Value::is_object);
    let failure = |why, message| Failure { why, code: Some(code), message, retry_after };
    if (200..300).contains(&code) {
        return object.ok_or_else(|| failure(Why::NotKubernetes, excerpt(body)));
    }
    let status = object.as_ref().and_then(Status::read);
    let message = || match object.as_ref().and_then(|object| object["message"].as_str()) {
        Some(message) => message.to_owned(),
        None => excerpt(body),
    };
    let why = match (&status, code) {
        // Upstream answers some of these as plain text.
        (_, 408 | 410 | 429) => Why::Busy,
        (_, 413) => Why::TooLarge,
        (Some(status), _) => status.why(code, &Target::of(path), method),
        (None, 500..) => Why::Busy,
        (None, _) => Why::NotKubernetes,
    };
    Err(failure(why, message()))
}

/// What a request is about, by its path.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    resource: Option<&'a str>,
    name: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Reads `/api/v1/…` or `/apis/GROUP/VERSION/…`, and there `namespaces/NAMESPACE/RESOURCE/NAME` or
    /// `RESOURCE/NAME`.
    fn of(path: &'a str) -> Self {
        let path = path.split('?').next().unwrap_or_default();
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let skipped = match parts.next() {
            Some("api") => 1,
            Some("apis") => 2,
            _ => return Self { resource: None, name: None },
        };
        let parts: Vec<_> = parts.skip(skipped).collect();
        let own = match parts.as_slice() {
            ["namespaces", _, own @ ..] if !own.is_empty() => own,
            all => all,
        };
        Self { resource: own.first().copied(), name: own.get(1).copied() }
    }
}

/// Kubernetes' `Status`: why it refuses.
struct Status<'a> {
    reason: &'a str,
    message: &'a str,
    details: &'a Value,
}

impl<'a> Status<'a> {
    fn read(object: &'a Value) -> Option<Self> {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        (object["kind"] == "Status").then(|| Self {
            reason: text("reason"),
            message: text("message"),
            details: &object["details"],
        })
    }

    fn why(&self, code: u16, target: &Target<'_>, method: &Method) -> Why {
        let is_said = |words: &str| self.message.contains(words);
        match code {
            401 => Why::Unauthorized,
            // etcd's own limit.
            500.. if is_said("request is too large") => Why::TooLarge,
            500.. => Why::Busy,
            _ if self.is_by_admission() => Why::Denied,
            403 if self.has_cause("NamespaceTerminating") => Why::Terminating,
            403 if is_said("because it is being terminated") => Why::Terminating,
            403 if is_said("exceeded quota: ") => Why::NoQuota,
            403 if is_said("User \"") && is_said(" cannot ") => Why::NoPermission,
            403 => Why::Denied,
            404 if self.is_of("namespaces") && target.resource != Some("namespaces") => {
                Why::NoNamespace
            }
            404 if self.reason == "NotFound" && self.names(target) => Why::Gone,
            409 if method != Method::GET => Why::Conflict,
            422 if self.message.to_lowercase().contains("too long") => Why::TooLarge,
            _ => Why::Invalid,
        }
    }

    /// Webhooks choose the code that they deny with, and policies have a reason of their own.
    fn is_by_admission(&self) -> bool {
        let by_webhook = self.message.contains("admission webhook \"");
        let by_policy = self.message.contains("ValidatingAdmissionPolicy '");
        (by_webhook || by_policy) && self.message.contains(" denied ")
    }

    fn has_cause(&self, reason: &str) -> bool {
        let causes = self.details["causes"].as_array();
        causes.is_some_and(|causes| causes.iter().any(|cause| cause["reason"] == reason))
    }

    fn is_of(&self, kind: &str) -> bool {
        self.details["kind"] == kind
    }

    fn names(&self, target: &Target<'_>) -> bool {
        let Target { resource: Some(resource), name: Some(name) } = target else { return false };
        self.is_of(resource) && self.details["name"] == *name
    }
}

/// The beginning of what was sent, on one line.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(LONGEST_EXCERPT)]);
    let words: Vec<_> = text.split_whitespace().collect();
    match words.is_empty() {
        true => "no words".to_owned(),
        false => words.join(" "),
    }
}

/// Enough to recognise a page by its title.
const LONGEST_EXCERPT: usize = 200;
