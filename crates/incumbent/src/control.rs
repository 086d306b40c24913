//! What people ask of an election from outside.

use http::Method;
use incumbent_core::{HandOver, Identity};
use serde_json::json;

use crate::answer::Why;
use crate::error::Error;
use crate::lock::{Altered, HAND_OVER_TO, Lock, PAUSED, annotation_pointer};
use crate::lock_api::LockApi;
use crate::survey::LockView;

/// Asks the candidates of one election to hand over or to pause.
///
/// These are requests, written as annotations. They do not change the record, and take nothing away
/// from a candidate. The candidates of this project obey them; those of other programs do not. The
/// account needs the verbs `get` and `patch`.
#[derive(Clone, Debug)]
pub struct ElectionControl {
    api: LockApi,
    is_dry_run: bool,
}

impl ElectionControl {
    /// Creates requests to the candidates for `lock`.
    ///
    /// # Errors
    /// If Kubernetes would refuse a name.
    pub fn new(client: kube::Client, lock: Lock) -> Result<Self, Error> {
        Ok(Self { api: LockApi::new(client, lock.checked_for_election()?), is_dry_run: false })
    }

    /// Lets the API server check each request without storing it.
    #[must_use]
    pub fn dry_run(self, on: bool) -> Self {
        Self { is_dry_run: on, ..self }
    }

    /// Asks the leader to hand over. It removes the request when it does.
    ///
    /// # Errors
    /// If the lock does not exist, or if the request cannot be written.
    pub async fn hand_over(&self, to: &HandOver) -> Result<LockView, Error> {
        let name = match to {
            HandOver::ToNext => "*",
            HandOver::To(identity) => identity.as_str(),
        };
        self.edit(HAND_OVER_TO, |_| Some(name.to_owned())).await
    }

    /// Cancels a request to hand over that was not met.
    ///
    /// # Errors
    /// Those of [`hand_over`](Self::hand_over).
    pub async fn cancel_hand_over(&self) -> Result<LockView, Error> {
        self.edit(HAND_OVER_TO, |_| None).await
    }

    /// Keeps these candidates from leading, in addition to those that are already paused; `*` means
    /// all. If one of them leads, it hands over.
    ///
    /// # Errors
    /// Those of [`hand_over`](Self::hand_over).
    pub async fn pause(&self, names: &[Identity]) -> Result<LockView, Error> {
        self.edit(PAUSED, |view| {
            let new = names.iter().filter(|name| !view.paused.contains(name));
            written(view.paused.iter().chain(new))
        })
        .await
    }

    /// Lets these candidates lead again.
    ///
    /// # Errors
    /// Those of [`hand_over`](Self::hand_over).
    pub async fn resume(&self, names: &[Identity]) -> Result<LockView, Error> {
        self.edit(PAUSED, |view| written(view.paused.iter().filter(|name| !names.contains(name))))
            .await
    }

    /// Replaces one annotation of exactly the version that was read; of a newer one, again.
    async fn edit(
        &self,
        annotation: &str,
        value: impl Fn(&LockView) -> Option<String>,
    ) -> Result<LockView, Error> {
        let lock = self.api.lock();
        let path = match self.is_dry_run {
            true => format!("{}?dryRun=All", lock.path()),
            false => lock.path(),
        };
        let mut tries = 0;
        loop {
            let view = LockView::read_by(&self.api).await?;
            let metadata = &view.object["metadata"];
            let patch = json!({ "metadata": {
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
                "annotations": { lock.annotation(annotation, annotation): value(&view) },
            }});
            let answer = self.api.requests().send(Method::PATCH, &path, Some(&patch)).await;
            tries += 1;
            match answer {
                Ok(stored) => {
                    let pointer = annotation_pointer(&lock.annotation(annotation, annotation));
                    let altered = Altered::at(&pointer, &patch, &stored);
                    let altered = altered.map(|altered| Error::altered(lock, altered));
                    return altered.map_or_else(|| LockView::of(lock.clone(), &stored), Err);
                }
                Err(failure) if failure.why == Why::Conflict && tries < MOST_TRIES => {}
                Err(failure) => return Err(failure.into_error(lock, "patch")),
            }
        }
    }
}

fn written<'a>(names: impl Iterator<Item = &'a Identity>) -> Option<String> {
    let names: Vec<_> = names.map(Identity::as_str).collect();
    (!names.is_empty()).then(|| names.join(","))
}

/// A leader renews every few seconds: to be late twice in a row is bad luck, and ten times another trouble.
const MOST_TRIES: u32 = 10;
