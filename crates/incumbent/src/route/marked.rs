//! An object that shows who leads, with the leader's token beside it.

use std::time::Duration;

use http::Method;
use incumbent_core::FencingToken;
use serde_json::Value;

use super::LOOK_PERIOD;
use crate::answer::Why;
use crate::clock::Clock;
use crate::error::Error;
use crate::lock::{Altered, Lock, annotation_pointer};
use crate::lock_api::LockApi;

/// What is common to all routes: requests, and the annotation with the token, by which an older leader knows that a
/// newer one has been there.
pub(super) struct Marked {
    api: LockApi,
    annotation: String,
    /// RBAC's rule that the requests need.
    rule: &'static str,
    /// Our token, and the highest of those above it that were told of. Each is told of once.
    told: Option<(FencingToken, FencingToken)>,
}

impl Marked {
    pub(super) fn new(api: LockApi, annotation: String, rule: &'static str) -> Self {
        Self { api, annotation, rule, told: None }
    }

    pub(super) fn lock(&self) -> &Lock {
        self.api.lock()
    }

    pub(super) fn clock(&self) -> Clock {
        self.api.clock()
    }

    /// The key of the annotation.
    pub(super) fn annotation(&self) -> &str {
        &self.annotation
    }

    /// `None` where there is no such object.
    pub(super) async fn read(&self, path: &str) -> Result<Option<Value>, Trouble> {
        self.send(Method::GET, path, None).await
    }

    /// Sends a write, and compares what is stored at these places, and of the token, with what was written.
    pub(super) async fn write(
        &self,
        (method, path): (Method, &str),
        body: &Value,
        places: &[String],
    ) -> Result<(), Trouble> {
        let stored = self.send(method, path, Some(body)).await?;
        let token = annotation_pointer(&self.annotation);
        let mut places = places.iter().chain([&token]);
        let differs = |stored: &Value| places.find_map(|at| Altered::at(at, body, stored));
        match stored.as_ref().and_then(differs) {
            None => Ok(()),
            Some(altered) => {
                let message = Error::altered(path, altered).to_string();
                let hint = "an admission webhook or a proxy changes it: exempt the object";
                Err(Trouble { message, hint, is_race: false })
            }
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Option<Value>, Trouble> {
        match self.api.requests().send(method, path, body).await {
            Ok(object) => Ok(Some(object)),
            Err(failure) => match failure.why {
                Why::Gone => Ok(None),
                Why::Conflict => Err(Trouble::race()),
                _ => {
                    let code =
                        failure.code.map(|code| format!(" (HTTP {code})")).unwrap_or_default();
                    let message = format!("{}{code}", failure.message);
                    Err(Trouble { message, hint: failure.hint(self.rule), is_race: false })
                }
            },
        }
    }

    /// The token that the object shows, where it shows one.
    pub(super) fn token(&self, object: &Value) -> Result<Option<FencingToken>, NoToken> {
        let Some(text) = object["metadata"]["annotations"][&self.annotation].as_str() else {
            return Ok(None);
        };
        text.parse()
            .map(|token| Some(FencingToken(token)))
            .map_err(|_| NoToken { annotation: self.annotation.clone(), value: text.to_owned() })
    }

    /// What a leader does about a token that is higher than its own: it leaves the object alone, and says so.
    pub(super) fn tell_of_higher(&mut self, object: &str, ours: FencingToken, seen: FencingToken) {
        if self.told.is_some_and(|(by, highest)| by == ours && highest >= seen) {
            return;
        }
        self.told = Some((ours, seen));
        let hint = "a newer leader has written it; if there is none, the lock was restored or moved: raise the \
                    token floor above this token, or remove the annotation";
        tracing::warn!(
            lock = %self.lock(), object, token = %ours, seen = %seen, hint,
            "a route shows a higher token than this leader's: it is left alone"
        );
    }
}

/// An annotation that holds no token. It may hide that a newer leader was there.
#[derive(Debug)]
pub(super) struct NoToken {
    annotation: String,
    value: String,
}

impl NoToken {
    /// The trouble with an object that has such an annotation.
    pub(super) fn on(self, object: &str) -> Trouble {
        let Self { annotation, value } = self;
        let message = format!(
            "{object} is left alone: its annotation {annotation} is {value:?}, not a fencing token"
        );
        let hint = "find out who wrote it, and remove the annotation";
        Trouble { message, hint, is_race: false }
    }
}

/// Why a route could not be written. All of it is retried.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) message: String,
    pub(super) hint: &'static str,
    pub(super) is_race: bool,
}

impl Trouble {
    /// Another client wrote in between: look again.
    fn race() -> Self {
        let (message, hint) = ("other clients write all the time".to_owned(), "it is tried again");
        Self { message, hint, is_race: true }
    }

    pub(super) fn pause(&self, failures: u32) -> Duration {
        let step =
            if self.is_race { Duration::from_millis(20) } else { Duration::from_millis(500) };
        (step * 2_u32.pow(failures)).min(LOOK_PERIOD).mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}
