//! Requests about the object that holds the election and the record.

use http::Method;
use incumbent_core::Session;
use incumbent_core::schedule::{
    Asked, Moment, ScheduleObject, ScheduleRecord, ScheduleReply, StoredSchedule, Suspension,
    Timetable, resumed,
};
use jiff::fmt::rfc2822;
use serde_json::{Value, json};

use super::calendar::CronCalendar;
use super::{REQUEST_TIMEOUT, codec, invalid};
use crate::answer::{Failure, Why};
use crate::clock::Clock;
use crate::error::Error;
use crate::lock::{Lock, LockKind, version};
use crate::requests::{Answered, Requests};

/// The record of one schedule in the object of an election.
#[derive(Clone, Debug)]
pub(super) struct Page {
    requests: Requests,
    lock: Lock,
    name: String,
    was: Option<String>,
    /// What the path of a write is followed by.
    query: &'static str,
}

/// The answer to a request.
pub(super) struct Exchanged {
    pub(super) reply: ScheduleReply,
    pub(super) date: Option<Moment>,
    pub(super) object: Option<Value>,
    /// Why the request failed.
    pub(super) failure: Option<Failure>,
}

impl Exchanged {
    /// The version to replace is not known here, so it is not the newest.
    pub(super) fn conflict() -> Self {
        Self { reply: ScheduleReply::Conflict, date: None, object: None, failure: None }
    }
}

impl Page {
    pub(super) fn new(
        requests: Requests,
        lock: Lock,
        name: &str,
        was: Option<&str>,
    ) -> Result<Self, Error> {
        if lock.kind() != LockKind::ConfigMap {
            return Err(invalid(
                format!("{lock} has no room for the record of a schedule"),
                "use the lock configmap/NAME",
            ));
        }
        for name in [Some(name), was].into_iter().flatten() {
            let is_key = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            if !is_key || name.is_empty() || name.len() > LONGEST_NAME {
                return Err(invalid(
                    format!("{name:?} cannot be the name of a schedule"),
                    "use letters, digits, '-', '_' and '.', at most 200 of them",
                ));
            }
        }
        Ok(Self { requests, lock, name: name.to_owned(), was: was.map(str::to_owned), query: "" })
    }

    pub(super) fn lock(&self) -> &Lock {
        &self.lock
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The name that the schedule had before.
    pub(super) fn was(&self) -> Option<&str> {
        self.was.as_deref()
    }

    pub(super) async fn read(&self) -> Exchanged {
        let path = self.lock.path();
        let answered = self.requests.ask(Method::GET, &path, None, REQUEST_TIMEOUT).await;
        self.exchanged(answered, ScheduleReply::Found)
    }

    /// Replaces exactly the version that `object` is.
    pub(super) async fn replace(
        &self,
        mut object: Value,
        record: &ScheduleRecord,
        was: Option<&ScheduleRecord>,
    ) -> Exchanged {
        self.edit(&mut object, &self.name, record);
        if let (Some(name), Some(was)) = (&self.was, was) {
            self.edit(&mut object, name, was);
        }
        let path = self.lock.path() + self.query;
        let answered = self.requests.ask(Method::PUT, &path, Some(&object), REQUEST_TIMEOUT).await;
        self.exchanged(answered, ScheduleReply::Written)
    }

    fn edit(&self, object: &mut Value, name: &str, record: &ScheduleRecord) {
        let key = key(name);
        let text = codec::encode(record, object["data"][&key].as_str());
        if !object["data"].is_object() {
            object["data"] = json!({});
        }
        object["data"][&key] = text.into();
    }

    fn exchanged(
        &self,
        answered: Answered,
        success: impl FnOnce(ScheduleObject) -> ScheduleReply,
    ) -> Exchanged {
        let date = answered.date.as_deref().and_then(http_date);
        let failure = match answered.outcome {
            Ok(object) => match self.decode(&object) {
                Some(decoded) => {
                    let object = Some(object);
                    return Exchanged { reply: success(decoded), date, object, failure: None };
                }
                None => Failure::nonsense(200, "it is no object of Kubernetes"),
            },
            Err(failure) => failure,
        };
        let reply = match failure.why {
            Why::Gone => ScheduleReply::Missing,
            Why::Conflict => ScheduleReply::Conflict,
            _ if failure.may_be_applied() => ScheduleReply::Unknown,
            _ => ScheduleReply::Refused { retry_after: failure.retry_after },
        };
        Exchanged { reply, date, object: None, failure: Some(failure) }
    }

    fn decode(&self, object: &Value) -> Option<ScheduleObject> {
        let stored = |name: &str| match &object["data"][key(name)] {
            Value::Null => StoredSchedule::Missing,
            Value::String(text) => match codec::decode(text) {
                Some(record) => StoredSchedule::Readable(Box::new(record)),
                None => StoredSchedule::Unreadable,
            },
            _ => StoredSchedule::Unreadable,
        };
        let election = self.lock.decode(object).ok()?.record;
        Some(ScheduleObject {
            version: version(object).ok()?,
            term: election.token().zip(election.session),
            schedule: stored(&self.name),
            was: self.was.as_deref().map_or(StoredSchedule::Missing, stored),
        })
    }
}

/// The key of the ConfigMap that holds the record.
pub(super) fn key(name: &str) -> String {
    format!("{name}.schedule")
}

fn http_date(text: &str) -> Option<Moment> {
    let time = rfc2822::parse(text).ok()?.timestamp();
    Some(Moment::from_unix_micros(time.as_microsecond()))
}

/// With `.schedule`, it fits into a key.
const LONGEST_NAME: usize = 200;

/// Suspends a schedule, resumes it, or asks for a run out of turn.
#[derive(Clone, Debug)]
pub struct ScheduleControl {
    page: Page,
}

impl ScheduleControl {
    /// The schedule `name` beside the election of `lock`.
    ///
    /// # Errors
    /// If the lock is a Lease, or the name is no key of a ConfigMap.
    pub fn new(client: kube::Client, lock: Lock, name: &str) -> Result<Self, Error> {
        let requests = Requests::new(client).timed(Clock::system());
        Ok(Self { page: Page::new(requests, lock, name, None)? })
    }

    /// If `on`, the API server checks each request and stores nothing.
    #[must_use]
    pub fn dry_run(mut self, on: bool) -> Self {
        self.page.query = if on { "?dryRun=All" } else { "" };
        self
    }

    /// Suspends the schedule: no tick is due until it is resumed. A run that is in progress continues. Returns whether
    /// it was not suspended before.
    ///
    /// # Errors
    /// If there is no such schedule, it was renamed, or it cannot be read or written.
    pub async fn suspend(&self, by: &str) -> Result<bool, Error> {
        self.change(|record, now| {
            let is_new = record.suspended.is_none();
            record.suspended.get_or_insert_with(|| Suspension { since: now, by: by.to_owned() });
            is_new
        })
        .await
    }

    /// Resumes the schedule. Ticks that passed during the suspension are counted, and never caught up. Returns whether
    /// it was suspended.
    ///
    /// # Errors
    /// If there is no such schedule, it was renamed, or it cannot be read or written.
    pub async fn resume(&self) -> Result<bool, Error> {
        let calendar = CronCalendar::default();
        let name = &self.page.name;
        let timetable = Timetable { calendar: &calendar, name, jitter: std::time::Duration::ZERO };
        self.change(|record, now| {
            let was_suspended = record.suspended.is_some();
            *record = resumed(record, now, timetable);
            was_suspended
        })
        .await
    }

    /// Asks the leader for a run out of turn. It begins when no other run is in progress, also while the schedule is
    /// suspended, but not in the first twelve seconds of a new schedule. Returns whether no earlier request was
    /// waiting.
    ///
    /// # Errors
    /// If there is no such schedule, it was renamed, it cannot be read or written, or the system gives no random
    /// numbers.
    pub async fn run_now(&self) -> Result<bool, Error> {
        let Session(drawn) = crate::identity::session(Clock::system())?;
        let id = drawn as u64;
        self.change(|record, now| {
            let is_new = record.asked.is_none();
            record.asked.get_or_insert(Asked { id, at: now });
            is_new
        })
        .await
    }

    async fn change(
        &self,
        mut change: impl FnMut(&mut ScheduleRecord, Moment) -> bool,
    ) -> Result<bool, Error> {
        loop {
            let Exchanged { reply, date, object, failure } = self.page.read().await;
            let (ScheduleReply::Found(found), Some(object)) = (reply, object) else {
                return Err(self.error("get", failure));
            };
            let before = match found.schedule {
                StoredSchedule::Readable(record) => self.in_use(record)?,
                StoredSchedule::Missing => return Err(self.error("get", None)),
                StoredSchedule::Unreadable => return Err(self.unreadable()),
            };
            // An answer without a `Date`: only the own clock remains.
            let own = || Moment::from(Clock::system().now().wall);
            let mut after = ScheduleRecord::clone(&before);
            let outcome = change(&mut after, date.unwrap_or_else(own));
            if after == *before {
                return Ok(outcome);
            }
            let written = self.page.replace(object, &after, None).await;
            match written.reply {
                ScheduleReply::Written(_) => return Ok(outcome),
                // Another client was quicker.
                ScheduleReply::Conflict => {}
                _ => return Err(self.error("update", written.failure)),
            }
        }
    }

    /// The record, unless the schedule has another name now: then no replica would follow what is written here.
    fn in_use(&self, record: Box<ScheduleRecord>) -> Result<Box<ScheduleRecord>, Error> {
        match &record.moved_to {
            None => Ok(record),
            Some(new) => Err(Error::Missing {
                what: self.what(),
                hint: format!("it was renamed to {new}: use that name"),
            }),
        }
    }

    fn unreadable(&self) -> Error {
        Error::Foreign {
            what: format!("the record of {} cannot be read: nothing was changed", self.what()),
            hint: format!("correct or remove the key {} of the ConfigMap", key(&self.page.name)),
        }
    }

    fn what(&self) -> String {
        let (lock, name) = (&self.page.lock, &self.page.name);
        format!("schedule {name} of {lock} in namespace {}", lock.namespace())
    }

    fn error(&self, verb: &'static str, failure: Option<Failure>) -> Error {
        match failure {
            Some(failure) if failure.why != Why::Gone => failure.into_error(&self.page.lock, verb),
            _ => Error::Missing {
                what: self.what(),
                hint: "check the names; the first leader of a new schedule creates its record"
                    .to_owned(),
            },
        }
    }
}
