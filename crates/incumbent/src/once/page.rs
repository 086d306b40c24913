//! Where a record is: reads, and writes that replace exactly the version that was read.

use http::Method;
use serde_json::{Value, json};

use super::capacity;
use super::record::{OnceRecord, ROOM_FOR_A_RESULT};
use crate::answer::{Failure, Why};
use crate::clock::Clock;
use crate::error::Error;
use crate::invalid::InvalidSetting;
use crate::lock::Lock;
use crate::requests::Requests;

/// The key of a ConfigMap that holds the record of one task.
pub struct Page {
    requests: Requests,
    lock: Lock,
    key: String,
    /// How much the work may return.
    room_for_result: usize,
}

/// What was read, to judge and to base the next write on.
pub(super) struct Sight {
    pub(super) record: Option<OnceRecord>,
    /// None where there is no such ConfigMap.
    pub(super) object: Option<Value>,
}

/// Why a request did not do what it should.
pub enum Trouble {
    /// Trying again may help.
    Passing(Error),
    /// It does not get better by itself.
    Lasting(Error),
}

impl Trouble {
    /// The error in it.
    pub fn error(self) -> Error {
        match self {
            Self::Passing(error) | Self::Lasting(error) => error,
        }
    }
}

impl Page {
    /// The record of the task that `lock` names.
    ///
    /// # Errors
    /// If `lock` is not a key of a ConfigMap.
    pub fn new(client: kube::Client, lock: Lock, clock: Clock) -> Result<Self, Error> {
        let Some(key) = lock.key().map(capacity::record_key) else {
            return Err(Error::Invalid(InvalidSetting::Program {
                what: format!("{lock} has no room for a record"),
                hint: "use configmap/NAME:KEY".to_owned(),
            }));
        };
        let requests = Requests::new(client).timed(clock);
        Ok(Self { requests, lock, key, room_for_result: 0 })
    }

    /// Keeps room for a result, too.
    #[must_use]
    pub(super) fn with_results(self) -> Self {
        Self { room_for_result: ROOM_FOR_A_RESULT, ..self }
    }

    /// The lock of the task's election.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    pub(super) fn clock(&self) -> Clock {
        self.requests.clock()
    }

    /// The record, if there is one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn look(&self) -> Result<Option<OnceRecord>, Error> {
        self.read().await.map(|sight| sight.record).map_err(Trouble::error)
    }

    pub(super) async fn read(&self) -> Result<Sight, Trouble> {
        let object = match self.request(Method::GET, None).await {
            Ok(object) => object,
            Err(failure) if failure.why == Why::Gone => {
                return Ok(Sight { record: None, object: None });
            }
            Err(failure) => return Err(self.trouble("get", failure)),
        };
        if !object["metadata"]["uid"].is_string() {
            let message = "the object has no uid".to_owned();
            return Err(Trouble::Passing(Error::NotKubernetes { code: 200, message }));
        }
        let text = object["data"][&self.key].as_str().filter(|text| !text.is_empty());
        let record = text.map(serde_json::from_str).transpose();
        let record = record.map_err(|error| {
            Trouble::Lasting(Error::Invalid(InvalidSetting::Program {
                what: format!(
                    "{} of configmap/{} is not a record of incumbent once: {error}",
                    self.key,
                    self.lock.name()
                ),
                hint: "choose another key, or correct or remove what is stored there".to_owned(),
            }))
        })?;
        Ok(Sight { record, object: Some(object) })
    }

    /// Replaces exactly the version that was read by one with this record, or none. Says whether nobody else
    /// was quicker. What finished tasks have left of their elections goes with the same write.
    pub(super) async fn replace(
        &self,
        sight: Sight,
        record: Option<&OnceRecord>,
    ) -> Result<bool, Trouble> {
        let Some(mut object) = sight.object else { return Ok(false) };
        match record {
            Some(record) => object["data"][&self.key] = json!(record.to_text(self.room_for_result)),
            None => {
                object["data"].as_object_mut().and_then(|data| data.remove(&self.key));
            }
        }
        self.write(object).await
    }

    /// Sees to it that there is room for an election and a record, as far as that can be known beforehand.
    ///
    /// # Errors
    /// If there is none, or the object cannot be read.
    pub async fn make_room(&self) -> Result<(), Trouble> {
        let longest = OnceRecord::running(&"x".repeat(capacity::LONG_IDENTITY), u64::MAX);
        let longest = longest.to_text(self.room_for_result).len();
        for _ in 0..MOST_TRIES {
            let sight = self.read().await?;
            let Some(mut object) = sight.object else { return Ok(()) };
            if capacity::Capacity::of(&object).has_room_for(longest) {
                return Ok(());
            }
            capacity::sweep(&mut object, self.lock.key().unwrap_or_default());
            if !capacity::Capacity::of(&object).has_room_for(longest) {
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
    pub async fn tidy(&self) {
        let Ok(Sight { object: Some(mut object), .. }) = self.read().await else { return };
        let before = object.clone();
        capacity::sweep(&mut object, "");
        if object != before {
            let _ = self.request(Method::PUT, Some(&object)).await;
        }
    }

    async fn write(&self, mut object: Value) -> Result<bool, Trouble> {
        capacity::sweep(&mut object, self.lock.key().unwrap_or_default());
        match self.request(Method::PUT, Some(&object)).await {
            Ok(stored) => self.checked(&object, &stored).map(|()| true),
            Err(failure) if matches!(failure.why, Why::Conflict | Why::Gone) => Ok(false),
            Err(failure) => Err(self.trouble("update", failure)),
        }
    }

    /// The token that the election on this key shows in `object`.
    pub(super) fn newest_token(&self, object: Option<&Value>) -> u64 {
        let annotations = object.map(|object| &object["metadata"]["annotations"]);
        let key = self.lock.key().unwrap_or_default();
        let text = annotations.and_then(|all| all[capacity::term_annotation(key)].as_str());
        let term: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
        term.and_then(|term| term["token"].as_u64()).unwrap_or(0)
    }

    async fn request(&self, method: Method, body: Option<&Value>) -> Result<Value, Failure> {
        let (namespace, name) = (self.lock.namespace(), self.lock.name());
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
        match method {
            Method::GET => self.requests.read(&path).await,
            method => self.requests.send(method, &path, body).await,
        }
    }

    fn trouble(&self, verb: &'static str, failure: Failure) -> Trouble {
        let passes = failure.passes();
        let error = match failure.why {
            Why::TooLarge => self.full(&failure.message),
            _ => failure.into_error(&self.lock, verb),
        };
        if passes { Trouble::Passing(error) } else { Trouble::Lasting(error) }
    }

    /// Whether the stored record is the one that was written.
    fn checked(&self, wrote: &Value, stored: &Value) -> Result<(), Trouble> {
        let text = |object: &Value| object["data"][&self.key].as_str().map(str::to_owned);
        let (wrote, stored) = (text(wrote), text(stored));
        if wrote == stored {
            return Ok(());
        }
        let shown = |text: Option<String>| text.unwrap_or_else(|| "nothing".to_owned());
        Err(Trouble::Lasting(Error::Altered {
            object: format!("configmap/{}", self.lock.name()),
            field: format!("data[{}]", self.key),
            wrote: shown(wrote),
            stored: shown(stored),
        }))
    }

    fn full(&self, message: &str) -> Error {
        let name = self.lock.name();
        Error::Full {
            what: format!(
                "configmap/{name} has no room for another record, so nothing was started: {message}"
            ),
            hint: format!(
                "use another ConfigMap, or remove records that are no longer needed: kubectl -n {} \
                 edit configmap {name}",
                self.lock.namespace()
            ),
        }
    }
}

/// Each failure means that another client wrote between the read and the write.
const MOST_TRIES: u32 = 10;
