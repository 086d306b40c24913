//! Writes of Kubernetes objects that a leader of the past cannot make.

use std::fmt::Debug;
use std::time::Duration;

use incumbent_core::FencingToken;
use kube::api::PostParams;
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::root_cause;
use crate::gate::NotLeading;
use crate::group::Task;
use crate::leadership::Leadership;

mod error;

pub use error::FenceError;

/// Writes objects under the fencing token of a [`Leadership`], or of a [`Task`] of a group. The
/// token is stored in an annotation of each object.
///
/// An object whose annotation shows a higher token is left alone, because a newer leader has
/// written it. The comparison stays true until the write, because the write replaces exactly the
/// version that was read (uid and resourceVersion). A [`WriteGate`](crate::WriteGate) checks the
/// clock before a write leaves; here, the API server decides when the write arrives.
///
/// The annotation is `incumbent.dev/fencing-token`. If it is missing, any leader may write. A
/// second annotation, `incumbent.dev/fenced-write`, marks each write, so that a write whose answer
/// was lost can be recognized. The account needs `get` and `update`. Fields that `K` does not know
/// are lost: use [`DynamicObject`](kube::core::DynamicObject) for objects that newer clients write
/// too.
///
/// ```
/// # use incumbent::{Candidate, Clock, FenceError, Lock};
/// # use incumbent_apiserver::ApiServer;
/// # use k8s_openapi::api::core::v1::ConfigMap;
/// # use kube::Api;
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = ApiServer::new();
/// # let client = kube::Client::new(server.service(), "default");
/// # let metadata = serde_json::json!({ "name": "plan", "namespace": "default" });
/// # server.create(serde_json::json!(
/// #     { "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata }
/// # ))?;
/// # let plans: Api<ConfigMap> = Api::default_namespaced(client.clone());
/// # let mut candidate = Candidate::builder(client, Lock::lease("default", "scanner"))
/// #     .clock(Clock::tokio())
/// #     .build()?;
/// let leadership = candidate.campaign().await?;
/// let fenced = leadership.fenced(&plans);
/// fenced.raise("plan").await?; // From here on no older leader changes it.
/// fenced
///     .replace("plan", |plan| {
///         plan.data.get_or_insert_default().insert("task-1".into(), "worker-3".into());
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Fenced<'a, K> {
    tenure: Tenure<'a>,
    api: &'a Api<K>,
    annotation: String,
    /// What is created where there is nothing.
    new: Option<K>,
}

/// What a write is made under.
#[derive(Clone, Copy, Debug)]
enum Tenure<'a> {
    Leadership(&'a Leadership),
    Task(&'a Task),
}

impl Leadership {
    /// Writes through `api` that the API server refuses once a newer leader has written.
    pub fn fenced<'a, K>(&'a self, api: &'a Api<K>) -> Fenced<'a, K> {
        Tenure::Leadership(self).fenced(api)
    }
}

impl Task {
    /// Writes through `api` that the API server refuses once a newer owner of this task has written.
    ///
    /// If an object is written under several tasks, use an [annotation](Fenced::annotation) for
    /// each task, because tokens of different tasks cannot be compared.
    pub fn fenced<'a, K>(&'a self, api: &'a Api<K>) -> Fenced<'a, K> {
        Tenure::Task(self).fenced(api)
    }
}

impl<'a> Tenure<'a> {
    fn fenced<K>(self, api: &'a Api<K>) -> Fenced<'a, K> {
        Fenced { tenure: self, api, annotation: TOKEN.to_owned(), new: None }
    }

    fn token(self) -> FencingToken {
        match self {
            Self::Leadership(leadership) => leadership.fencing_token(),
            Self::Task(task) => task.fencing_token(),
        }
    }

    fn is_valid(self) -> bool {
        match self {
            Self::Leadership(leadership) => leadership.is_valid(),
            Self::Task(task) => task.is_valid(),
        }
    }

    /// Waits until it is over.
    async fn lost(self) {
        match self {
            Self::Leadership(leadership) => drop(leadership.lost().await),
            Self::Task(task) => task.revoked().await,
        }
    }

    /// The error of a write once it is over.
    fn is_over(self) -> FenceError {
        match self {
            Self::Leadership(leadership) => leadership.not_leading().into(),
            Self::Task(task) => FenceError::NotOwner { task: task.name().to_owned() },
        }
    }
}

impl<K> Fenced<'_, K> {
    /// The same with the token in another annotation. Use this if leaders of several elections
    /// write one object.
    pub fn annotation(self, name: impl Into<String>) -> Self {
        Self { annotation: name.into(), ..self }
    }

    /// The same, but creates the object if it is missing: as `new`, after the change. The account
    /// also needs `create`.
    ///
    /// The fence disappears with its object, and the next write may start another. So if an older
    /// leader must not write the object again, empty it instead of deleting it.
    pub fn or_create(self, new: K) -> Self {
        Self { new: Some(new), ..self }
    }
}

impl<K> Fenced<'_, K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize,
{
    /// Writes only the token, and returns the object, which no older leader can change from now on.
    ///
    /// Begin each term with this call, because an older leader may still change what you read
    /// *before* the fence is raised. A request that replaces or deletes exactly the returned
    /// version is fenced too, for example `Api::replace_status`.
    ///
    /// # Errors
    /// Those of [`replace`](Self::replace).
    pub async fn raise(&self, name: &str) -> Result<K, FenceError> {
        self.replace(name, |_| {}).await
    }

    /// Replaces the object with the result of `change`, and returns the object as it was stored.
    ///
    /// If another client writes first, this reads again and calls `change` again, a few times. At
    /// most one of these writes is applied, provided that the client does not send a write twice by
    /// itself; a client from [`connect`](crate::connect) does not.
    ///
    /// # Errors
    /// Each [`FenceError`] says what was written, and [its hint](FenceError::hint) says
    /// what to do.
    pub async fn replace(
        &self,
        name: &str,
        mut change: impl FnMut(&mut K),
    ) -> Result<K, FenceError> {
        let mut sent = None;
        let mut why = String::new();
        for attempt in 0..ATTEMPTS {
            pause(attempt).await;
            let error = match self.attempt(name, &mut sent, &mut change).await {
                Ok(stored) => return Ok(stored),
                Err(Trouble::Passing(trouble) | Trouble::Unanswered(trouble)) => {
                    why = trouble;
                    continue;
                }
                Err(Trouble::Ended(error) | Trouble::Lasts(error)) => error,
            };
            return Err(match is_doubtful(&sent) {
                true => self.unknown(name, error.to_string()),
                false => error,
            });
        }
        Err(match is_doubtful(&sent) {
            true => self.unknown(name, why),
            false => FenceError::GaveUp { object: self.path(name), why },
        })
    }

    /// Reads, and writes if that is still to do. `sent` is the latest write, as long as it may count.
    async fn attempt(
        &self,
        name: &str,
        sent: &mut Option<Write<K>>,
        change: &mut impl FnMut(&mut K),
    ) -> Result<K, Trouble> {
        let seen = self.look(name).await?;
        let write = match (sent.take(), seen) {
            (Some(write), Some(seen)) if write.made(&seen) => return Ok(seen),
            // Exactly the same again: if the first is still on its way, only one of the two can win.
            (Some(write), seen) if write.fits(seen.as_ref()) => write,
            (Some(write), _) if write.is_doubtful => {
                let why = "no answer came, and then others wrote".to_owned();
                return Err(Trouble::Lasts(self.unknown(name, why)));
            }
            (_, seen) => self.prepare(name, seen, change)?,
        };
        let write = sent.insert(write);
        let parameters = PostParams::default();
        let answer = match write.base {
            Some(_) => self.ask(name, self.api.replace(name, &parameters, &write.object)).await,
            None => self.ask(name, self.api.create(&parameters, &write.object)).await,
        };
        write.is_doubtful |= matches!(answer, Err(Trouble::Unanswered(_) | Trouble::Ended(_)));
        let stored = answer?;
        match self.shows_token(&stored) && write.made(&stored) {
            true => Ok(stored),
            false => Err(Trouble::Lasts(self.stripped(name))),
        }
    }

    /// What is there. Nothing is an answer only where it may be created.
    async fn look(&self, name: &str) -> Result<Option<K>, Trouble> {
        match self.new {
            Some(_) => self.ask(name, self.api.get_opt(name)).await,
            None => self.ask(name, self.api.get(name)).await.map(Some),
        }
    }

    /// What to write over `seen`, unless a newer leader has been there.
    fn prepare(
        &self,
        name: &str,
        seen: Option<K>,
        change: &mut impl FnMut(&mut K),
    ) -> Result<Write<K>, Trouble> {
        let before = seen.as_ref().map(|seen| seen.meta().clone());
        if let Some(before) = &before {
            if before.resource_version.as_ref().is_none_or(String::is_empty) {
                return Err(Trouble::Passing("it was read without a resourceVersion".to_owned()));
            }
            let annotations = before.annotations.as_ref();
            self.compare(name, annotations.and_then(|all| all.get(&self.annotation)))
                .map_err(Trouble::Lasts)?;
        }
        let mark = format!("{:016x}", fastrand::u64(..));
        let mut object =
            seen.or_else(|| self.new.clone()).expect("nothing is seen only to be created");
        change(&mut object);
        let metadata = object.meta_mut();
        // Whatever the change did to them: these make it a compare-and-swap, or a create that meets nothing.
        let (uid, base) = before.map_or((None, None), |seen| (seen.uid, seen.resource_version));
        (metadata.uid, metadata.resource_version) = (uid, base.clone());
        metadata.name = Some(name.to_owned());
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(self.annotation.clone(), self.tenure.token().to_string());
        annotations.insert(MARK.to_owned(), mark.clone());
        Ok(Write { object, base, mark, is_doubtful: false })
    }

    fn compare(&self, name: &str, stored: Option<&String>) -> Result<(), FenceError> {
        let Some(value) = stored else { return Ok(()) };
        let (object, ours) = (self.path(name), self.tenure.token());
        match token(value) {
            Some(seen) if seen > ours => Err(FenceError::Stale { object, ours, seen }),
            Some(_) => Ok(()),
            None => Err(FenceError::Unreadable {
                object,
                annotation: self.annotation.clone(),
                value: value.clone(),
            }),
        }
    }

    /// Sends a request while one leads, and waits for its answer, but not longer than that.
    async fn ask<T>(
        &self,
        name: &str,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Trouble> {
        if !self.tenure.is_valid() {
            return Err(Trouble::Lasts(self.tenure.is_over()));
        }
        let answer = tokio::select! {
            biased;
            answer = tokio::time::timeout(REQUEST_TIMEOUT, answer) => answer,
            () = self.tenure.lost() => return Err(Trouble::Ended(self.tenure.is_over())),
        };
        let Ok(answer) = answer else {
            return Err(Trouble::Unanswered("no answer in time".to_owned()));
        };
        answer.map_err(|error| trouble(error, || self.path(name)))
    }

    fn shows_token(&self, stored: &K) -> bool {
        let annotations = stored.meta().annotations.as_ref();
        let shown = annotations.and_then(|all| all.get(&self.annotation));
        shown.and_then(|shown| token(shown)) == Some(self.tenure.token())
    }

    fn stripped(&self, name: &str) -> FenceError {
        FenceError::Stripped { object: self.path(name), annotation: self.annotation.clone() }
    }

    fn unknown(&self, name: &str, why: String) -> FenceError {
        FenceError::Unknown { object: self.path(name), why }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.api.resource_url())
    }
}

/// One write, which may be sent several times.
struct Write<K> {
    object: K,
    /// The resourceVersion that it replaces; none where it creates.
    base: Option<String>,
    mark: String,
    /// An answer was lost: it may have been applied, or may be later.
    is_doubtful: bool,
}

impl<K: Resource> Write<K> {
    /// Whether `seen` came of this write, directly or with changes of others since.
    fn made(&self, seen: &K) -> bool {
        let annotations = seen.meta().annotations.as_ref();
        annotations.and_then(|all| all.get(MARK)) == Some(&self.mark)
    }

    /// Whether it can be sent to what is there.
    fn fits(&self, seen: Option<&K>) -> bool {
        seen.and_then(|seen| seen.meta().resource_version.as_ref()) == self.base.as_ref()
    }
}

fn is_doubtful<K>(sent: &Option<Write<K>>) -> bool {
    sent.as_ref().is_some_and(|write| write.is_doubtful)
}

/// Why an attempt failed.
enum Trouble {
    /// Not applied, and the next attempt may be.
    Passing(String),
    /// The same, but a write may have been applied, or may be later.
    Unanswered(String),
    /// The leadership, or the ownership of the task, ended while an answer was awaited.
    Ended(FenceError),
    /// Not applied, and another attempt would not be either.
    Lasts(FenceError),
}

fn trouble(error: kube::Error, object: impl FnOnce() -> String) -> Trouble {
    match error {
        kube::Error::Api(status) => match status.code {
            409 => Trouble::Passing("other clients write all the time".to_owned()),
            429 => Trouble::Passing(status.message.clone()),
            // Something that is no API server has answered.
            _ if status.reason == NO_STATUS => Trouble::Unanswered(status.message.clone()),
            // A time-out, or a server error, may hide that it was applied, or will be.
            408 | 500.. => Trouble::Unanswered(status.message.clone()),
            _ => refused(kube::Error::Api(status), object()),
        },
        kube::Error::Service(error) => match error.downcast::<NotLeading>() {
            Ok(not_sent) => Trouble::Lasts((*not_sent).into()),
            Err(error) => Trouble::Unanswered(root_cause(&*error)),
        },
        kube::Error::BuildRequest(_) => refused(error, object()),
        error => Trouble::Unanswered(root_cause(&error)),
    }
}

fn refused(error: kube::Error, object: String) -> Trouble {
    Trouble::Lasts(FenceError::Refused { object, error: Box::new(error) })
}

/// The token that an annotation shows, written as we write it: what looks only like one might hide that a
/// newer leader was there.
fn token(value: &str) -> Option<FencingToken> {
    let token = value.parse().ok().map(FencingToken)?;
    (token.to_string() == value).then_some(token)
}

/// Lets others go first, so that those who conflict do not meet again.
async fn pause(attempt: u32) {
    if attempt > 0 {
        let longest = (10 << attempt).min(1000);
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..=longest))).await;
    }
}

/// What kube's client says where an answer has no `Status`.
const NO_STATUS: &str = "Failed to parse error data";

const TOKEN: &str = "incumbent.dev/fencing-token";
const MARK: &str = "incumbent.dev/fenced-write";

/// Ten conflicts in a row need ten other writes of one object, each just in time.
const ATTEMPTS: u32 = 10;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
