//! Where a record stands: reads, and writes that replace exactly the version that was read.

use std::time::Duration;

use http::{Method, Request};
use incumbent::{Error, Lock};
use serde_json::{Value, json};

use super::record::Record;
use crate::room;

/// The key of a ConfigMap that holds the record of one task.
pub(super) struct Page {
    client: kube::Client,
    pub(super) lock: Lock,
    key: String,
}

/// What was read, to judge and to base the next write on.
pub(super) struct Sight {
    pub(super) record: Option<Record>,
    /// None where there is no such ConfigMap.
    pub(super) object: Option<Value>,
}

/// Why a request did not do what it should.
pub(super) enum Trouble {
    /// Trying again may help.
    Passing(Error),
    /// It does not get better by itself.
    Lasting(Error),
}

impl Trouble {
    pub(super) fn error(self) -> Error {
        match self {
            Self::Passing(error) | Self::Lasting(error) => error,
        }
    }
}

impl Page {
    /// The record of the task that `lock` names.
    pub(super) fn new(client: kube::Client, lock: Lock) -> Result<Self, Error> {
        let Some(key) = lock.key().map(room::record_key) else {
            return Err(Error::Invalid {
                what: format!("{lock} has no room for a record"),
                hint: "use configmap/NAME:KEY".to_owned(),
            });
        };
        Ok(Self { client, lock, key })
    }

    pub(super) async fn read(&self) -> Result<Sight, Trouble> {
        let object = match self.request("get", Method::GET, None).await {
            Ok(object) => object,
            Err(Refusal::Missing) => return Ok(Sight { record: None, object: None }),
            Err(Refusal::Conflict) => return Err(Trouble::Passing(self.no_sense())),
            Err(Refusal::Trouble(trouble)) => return Err(*trouble),
        };
        let text = object["data"][&self.key].as_str().filter(|text| !text.is_empty());
        let record = text.map(serde_json::from_str).transpose();
        let record = record.map_err(|error| {
            Trouble::Lasting(Error::Invalid {
                what: format!(
                    "{} of configmap/{} is no record of incumbent once: {error}",
                    self.key,
                    self.lock.name()
                ),
                hint: "choose another key, or mend or remove what stands there".to_owned(),
            })
        })?;
        Ok(Sight { record, object: Some(object) })
    }

    /// Replaces exactly the version that was read by one with this record, or none. Says whether nobody else
    /// was quicker. What finished tasks have left of their elections goes with the same write.
    pub(super) async fn replace(
        &self,
        sight: Sight,
        record: Option<&Record>,
    ) -> Result<bool, Trouble> {
        let Some(mut object) = sight.object else { return Ok(false) };
        match record {
            Some(record) => object["data"][&self.key] = json!(record.to_text()),
            None => {
                object["data"].as_object_mut().and_then(|data| data.remove(&self.key));
            }
        }
        self.write(object).await
    }

    /// Sees to it that there is room for an election and a record, as far as that can be known beforehand.
    pub(super) async fn make_room(&self) -> Result<(), Trouble> {
        let longest = Record::running(&"x".repeat(room::LONG_IDENTITY), u64::MAX).to_text().len();
        for _ in 0..MOST_TRIES {
            let sight = self.read().await?;
            let Some(mut object) = sight.object else { return Ok(()) };
            if room::Room::of(&object).has_place_for(longest) {
                return Ok(());
            }
            room::sweep(&mut object, self.lock.key().unwrap_or_default());
            if !room::Room::of(&object).has_place_for(longest) {
                return Err(Trouble::Lasting(self.full("it is too large for another record")));
            }
            if self.write(object).await? {
                return Ok(());
            }
        }
        Ok(()) // Others write all the time. Where there is no room, marking the record fails, too.
    }

    /// Takes off what the elections of ended tasks have left, this one's too. Where that fails, or others write
    /// meanwhile, the next one does it.
    pub(super) async fn tidy(&self) {
        let Ok(Sight { object: Some(mut object), .. }) = self.read().await else { return };
        let before = object.clone();
        room::sweep(&mut object, "");
        if object != before {
            let _ = self.request("update", Method::PUT, Some(object)).await;
        }
    }

    async fn write(&self, mut object: Value) -> Result<bool, Trouble> {
        room::sweep(&mut object, self.lock.key().unwrap_or_default());
        match self.request("update", Method::PUT, Some(object)).await {
            Ok(_) => Ok(true),
            Err(Refusal::Conflict | Refusal::Missing) => Ok(false),
            Err(Refusal::Trouble(trouble)) => Err(*trouble),
        }
    }

    /// The token that the election on this key shows in `object`.
    pub(super) fn newest_token(&self, object: Option<&Value>) -> u64 {
        let annotations = object.map(|object| &object["metadata"]["annotations"]);
        let key = self.lock.key().unwrap_or_default();
        let text = annotations.and_then(|all| all[room::term_annotation(key)].as_str());
        let term: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
        term.and_then(|term| term["token"].as_u64()).unwrap_or(0)
    }

    async fn request(
        &self,
        verb: &'static str,
        method: Method,
        body: Option<Value>,
    ) -> Result<Value, Refusal> {
        let (namespace, name) = (self.lock.namespace(), self.lock.name());
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/namespaces/{namespace}/configmaps/{name}"))
            .header("Content-Type", "application/json")
            .body(body.map_or_else(Vec::new, |body| body.to_string().into_bytes()));
        let request = request.map_err(|error| Refusal::lasting(self.unreachable(&error)))?;
        let answer = self.client.request::<Value>(request);
        match tokio::time::timeout(REQUEST_TIMEOUT, answer).await {
            Ok(Ok(object)) => Ok(object),
            Ok(Err(kube::Error::Api(status))) => {
                Err(self.refusal(verb, status.code, status.message.clone()))
            }
            Ok(Err(error)) => Err(Refusal::passing(self.unreachable(&error))),
            Err(_) => Err(Refusal::passing(Error::Unreachable {
                message: "no answer in time".to_owned(),
            })),
        }
    }

    fn refusal(&self, verb: &'static str, code: u16, message: String) -> Refusal {
        let lock = self.lock.clone();
        let says = |text: &str| message.to_lowercase().contains(text);
        match code {
            404 => Refusal::Missing,
            409 => Refusal::Conflict,
            413 => Refusal::lasting(self.full(&message)),
            // The API server's own limit, and etcd's.
            422 if says("too long") => Refusal::lasting(self.full(&message)),
            500.. if says("request is too large") => Refusal::lasting(self.full(&message)),
            401 => Refusal::lasting(Error::Unauthorized { message }),
            403 => Refusal::lasting(Error::Forbidden { lock, verb, message }),
            408 | 429 | 500.. => Refusal::passing(Error::Rejected { lock, verb, code, message }),
            _ => Refusal::lasting(Error::Rejected { lock, verb, code, message }),
        }
    }

    fn full(&self, message: &str) -> Error {
        let name = self.lock.name();
        Error::Full {
            what: format!(
                "configmap/{name} has no room for another record, so nothing was started: {message}"
            ),
            hint: format!(
                "use another ConfigMap, or remove records that nobody asks for any more: kubectl -n {} \
                 edit configmap {name}",
                self.lock.namespace()
            ),
        }
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Error {
        let mut cause = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Error::Unreachable { message: cause.to_string() }
    }

    fn no_sense(&self) -> Error {
        Error::Unreachable { message: "an answer that makes no sense".to_owned() }
    }
}

/// Why a request was refused, or has no answer.
enum Refusal {
    Missing,
    /// Another write came first.
    Conflict,
    Trouble(Box<Trouble>),
}

impl Refusal {
    fn passing(error: Error) -> Self {
        Self::Trouble(Box::new(Trouble::Passing(error)))
    }

    fn lasting(error: Error) -> Self {
        Self::Trouble(Box::new(Trouble::Lasting(error)))
    }
}

/// An answer that takes longer is not worth the wait: a read says what came of the request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Each failure means that somebody else wrote between the read and the write.
const MOST_TRIES: u32 = 10;
