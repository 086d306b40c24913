//! The requests about one lock, and what their answers mean for its election.

use std::borrow::Cow;

use futures_util::Stream;
use http::Method;
use incumbent_core::{Operation, Record, Reply, Snapshot};
use serde_json::Value;

use crate::answer::{Failure, Why};
use crate::clock::Clock;
use crate::error::Error;
use crate::limiter::{Share, Turn, Wait};
use crate::lock::{Altered, GROUP_LABEL, Lock, version};
use crate::requests::{Requests, only};
use crate::stored::Stored;
use crate::stream::{Seen, WatchError};

#[cfg(test)]
mod tests;

/// One lock behind one API server.
#[derive(Clone, Debug)]
pub(crate) struct LockApi {
    requests: Requests,
    lock: Lock,
}

/// What came of a request.
pub(crate) struct Answer {
    /// RBAC's verb for what was asked.
    pub(crate) verb: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) reply: Reply,
    /// The object that the reply speaks of, as JSON, to base the next write on.
    pub(crate) object: Option<Value>,
    /// What to tell if it does not get better.
    pub(crate) trouble: Option<Trouble>,
    /// What was stored otherwise than it was written.
    pub(crate) altered: Option<Altered>,
}

/// How far a request came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    NotSent,
    NoAnswer,
    Status(u16),
}

/// Why a request did not do what it should.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) error: Box<Error>,
    /// Whether trying again is useless until somebody changes something.
    pub(crate) lasts: bool,
}

impl LockApi {
    pub(crate) fn new(client: kube::Client, lock: Lock) -> Self {
        Self { requests: Requests::new(client), lock }
    }

    /// The clock that its time-outs go by, and those of all who are given this.
    pub(crate) fn timed(self, clock: Clock) -> Self {
        Self { requests: self.requests.timed(clock), ..self }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.requests.clock()
    }

    pub(crate) fn limited(self, share: Share) -> Self {
        Self { requests: self.requests.limited(share), ..self }
    }

    /// Waits for the turn of a request. `None` where it gave up before that, and must not be sent.
    pub(crate) async fn turn(&self, wait: Wait) -> Option<Turn> {
        self.requests.turn(wait).await
    }

    pub(crate) fn lock(&self) -> &Lock {
        &self.lock
    }

    /// For requests about other objects than the lock.
    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    pub(crate) fn map_lock(self, change: impl FnOnce(Lock) -> Lock) -> Self {
        Self { lock: change(self.lock), ..self }
    }

    /// Sends `operation`; a replace edits `current`, which must be the version that it replaces.
    pub(crate) async fn send(&self, operation: Operation, current: Option<Stored>) -> Answer {
        let (mut answer, sent, record) = match operation {
            Operation::Read => return self.read().await,
            Operation::Create(record) => {
                let object = self.lock.create(&record);
                (self.create(&object).await, object, record)
            }
            Operation::Replace { .. } if self.is_foreign(current.as_ref()) => {
                let trouble = Trouble { error: Box::new(foreign(&self.lock)), lasts: true };
                let refused = Answer::not_sent("update");
                return Answer { trouble: Some(trouble), ..refused };
            }
            Operation::Replace { base, record } => {
                // Not the version that was judged: go and read.
                let Some(object) = self.replacement(&base, &record, current) else {
                    return Answer::plain("update", Reply::Conflict);
                };
                (self.replace(&object).await, object, record)
            }
        };
        if let (Reply::Written(stored), Some(object)) = (&answer.reply, &answer.object) {
            answer.altered = self.lock.altered((&sent, &record), (object, &stored.record));
        }
        answer
    }

    pub(crate) async fn read(&self) -> Answer {
        self.ask("get", Method::GET, &self.lock.path(), None).await
    }

    pub(crate) async fn create(&self, object: &Value) -> Answer {
        self.ask("create", Method::POST, &self.lock.collection_path(), Some(object)).await
    }

    pub(crate) async fn replace(&self, object: &Value) -> Answer {
        self.ask("update", Method::PUT, &self.lock.path(), Some(object)).await
    }

    /// The lock's object, where it exists.
    pub(crate) async fn object(&self) -> Result<Option<Value>, Error> {
        let read = match self.requests.read(&self.lock.path()).await {
            Err(failure) if failure.why == Why::Gone => return Ok(None),
            Ok(object) => match version(&object) {
                Ok(_) => Ok(object),
                Err(error) => Err(Failure::nonsense(200, error.to_string())),
            },
            Err(failure) => Err(failure),
        };
        read.map(Some).map_err(|failure| failure.into_error(&self.lock, "get"))
    }

    /// Opens a watch of the lock's object, from `after` on or from its present state.
    pub(crate) async fn watch(
        &self,
        after: Option<&str>,
    ) -> Result<impl Stream<Item = Result<Seen, WatchError>> + use<>, Failure> {
        let filter = only(self.lock.name());
        self.requests.watch(&self.lock.collection_path(), &filter, after).await
    }

    /// Whether the object belongs to something else, so that it is not written to.
    fn is_foreign(&self, current: Option<&Stored>) -> bool {
        self.lock.group().is_some()
            && current.is_some_and(|current| self.lock.is_foreign(&current.object()))
    }

    fn replacement(
        &self,
        base: &incumbent_core::Version,
        record: &Record,
        current: Option<Stored>,
    ) -> Option<Value> {
        let current = current.filter(|stored| stored.version() == base)?;
        Some(self.lock.edit(&current.object(), record))
    }

    async fn ask(
        &self,
        verb: &'static str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        let sent = body.filter(|_| method == Method::PUT);
        let answered = self.requests.exchange(method, path, body).await;
        let answer = match answered.outcome {
            Ok(object) => self.success(verb, object, sent),
            Err(failure) => self.failure(verb, failure),
        };
        Answer { outcome: answered.code.map_or(Outcome::NoAnswer, Outcome::Status), ..answer }
    }

    fn failure(&self, verb: &'static str, failure: Failure) -> Answer {
        let is_write = verb != "get";
        let is_unknown = match failure.code {
            Some(_) => is_write && failure.may_be_applied(),
            None => true,
        };
        let reply = match failure.why {
            Why::Gone if verb != "create" => Reply::Missing,
            Why::Conflict if is_write => Reply::Conflict,
            _ if is_unknown => Reply::Unknown,
            _ => Reply::Refused { retry_after: failure.retry_after },
        };
        let is_trouble = !matches!(reply, Reply::Missing | Reply::Conflict);
        let trouble = is_trouble.then(|| self.trouble(verb, failure));
        Answer { trouble, ..Answer::plain(verb, reply) }
    }

    /// `sent` is what was to replace the version that it shows.
    fn success(&self, verb: &'static str, object: Value, sent: Option<&Value>) -> Answer {
        match self.judged(&object, sent) {
            Ok(snapshot) => {
                let reply = match verb {
                    "get" => Reply::Found(snapshot),
                    _ => Reply::Written(snapshot),
                };
                Answer { object: Some(object), ..Answer::plain(verb, reply) }
            }
            Err(message) => {
                let trouble = Some(self.trouble(verb, Failure::nonsense(200, message)));
                Answer { trouble, ..Answer::plain(verb, Reply::Unknown) }
            }
        }
    }

    /// What the object says. An answer to a write shows the object that was written, at a newer version.
    fn judged(&self, object: &Value, sent: Option<&Value>) -> Result<Snapshot, Cow<'static, str>> {
        let snapshot = self.lock.decode(object).map_err(|error| error.to_string())?;
        match sent.map(version) {
            Some(Ok(base)) if base.uid != snapshot.version.uid => {
                Err("it shows another object than the one that was written".into())
            }
            Some(Ok(base)) if base.revision > snapshot.version.revision => {
                Err("it shows an older version than the one that was replaced".into())
            }
            _ => Ok(snapshot),
        }
    }

    fn trouble(&self, verb: &'static str, failure: Failure) -> Trouble {
        let lasts = !failure.passes();
        Trouble { error: Box::new(failure.into_error(&self.lock, verb)), lasts }
    }
}

impl Answer {
    fn plain(verb: &'static str, reply: Reply) -> Self {
        let (object, trouble, altered) = (None, None, None);
        Self { verb, outcome: Outcome::NotSent, reply, object, trouble, altered }
    }

    /// The request did not get its turn in time: it has certainly not been applied.
    pub(crate) fn not_sent(verb: &'static str) -> Self {
        Self::plain(verb, Reply::Refused { retry_after: None })
    }

    /// No answer came in time: the request may have been applied, or may be applied later.
    pub(crate) fn timed_out(verb: &'static str) -> Self {
        let message = Failure::late().message;
        let trouble =
            Some(Trouble { error: Box::new(Error::Unreachable { message }), lasts: false });
        Self { outcome: Outcome::NoAnswer, trouble, ..Self::plain(verb, Reply::Unknown) }
    }
}

/// The seat of a member is another program's Lease.
fn foreign(seat: &Lock) -> Error {
    let (group, name) = (seat.group().unwrap_or_default(), seat.name());
    Error::Foreign {
        what: format!("{seat} exists, and is no seat of group {group}"),
        hint: format!(
            "another program may use it: give the member another name, or delete the Lease; if it is to be the seat: \
             kubectl label --namespace {} lease {name} {GROUP_LABEL}={group}",
            seat.namespace()
        ),
    }
}

/// RBAC's verb for an operation.
pub(crate) fn verb(operation: &Operation) -> &'static str {
    match operation {
        Operation::Read => "get",
        Operation::Create(_) => "create",
        Operation::Replace { .. } => "update",
    }
}
