//! What one process does about one task: marks it as running, and records how it ended.

use std::future::Future;
use std::time::Duration;

use super::page::{Page, Trouble};
use super::record::{OnceRecord, OnceState, Rules, Step, Term};
use crate::error::Error;
use crate::leadership::Leadership;

/// A process that would run a task, if no other one has.
pub struct Attempt {
    page: Page,
    rules: Rules,
    unbegun: Unbegun,
}

/// What came of the attempt to mark a task as running.
pub enum Begun {
    /// It is marked as this, and the work may start.
    Marked(OnceRecord),
    /// It is not run, because of this.
    Over(OnceRecord),
    /// The term is over, or a newer leader has been here.
    Stopped,
}

/// Why the end of a run is not recorded.
#[derive(Debug, thiserror::Error)]
pub enum NotRecorded {
    /// It was settled, or run again.
    #[error("another client has changed its record in the meantime")]
    Changed,
    /// A webhook, say, does not let it be stored.
    #[error(transparent)]
    Altered(Error),
    /// It was tried for five minutes.
    #[error("the API server did not accept it")]
    Refused,
    /// The caller did not wait any longer.
    #[error("this program was told to end")]
    ToldToEnd,
}

/// What was, or may have been, recorded as running while nothing was started.
#[derive(Default)]
struct Unbegun {
    marks: Vec<OnceRecord>,
    /// What stood in their place.
    before: Option<OnceRecord>,
}

impl Unbegun {
    fn is_in(&self, stored: Option<&OnceRecord>) -> bool {
        self.marks.iter().any(|mark| mark.is_open_in(stored))
    }

    fn add(&mut self, mark: &OnceRecord, before: Option<&OnceRecord>) {
        if !self.is_in(before) {
            self.before = before.cloned();
        }
        if self.marks.last() != Some(mark) {
            self.marks.push(mark.clone());
        }
    }
}

impl Attempt {
    /// At the task of this page.
    pub fn new(page: Page, rules: Rules) -> Self {
        Self { page, rules, unbegun: Unbegun::default() }
    }

    /// The task's page.
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// Marks the task as running, for as long as the term lasts. Between the answer and the caller there may be a pause of
    /// any length, so look at [`Leadership::is_valid`] before the work starts.
    ///
    /// # Errors
    /// What does not get better by itself.
    pub async fn begin(
        &mut self,
        running: &OnceRecord,
        leadership: &Leadership,
    ) -> Result<Begun, Error> {
        let mut told = String::new();
        loop {
            let pause = match self.try_to_begin(running, leadership).await {
                Ok(Some(begun)) => return Ok(begun),
                Ok(None) => PAUSE,
                Err(Trouble::Passing(error)) => {
                    let text = error.to_string();
                    if told != text {
                        tracing::warn!(%error, hint = error.hint(), "will retry");
                        told = text;
                    }
                    AFTER_TROUBLE
                }
                Err(Trouble::Lasting(error)) => return Err(error),
            };
            self.page.clock().sleep(pause).await;
        }
    }

    /// None where another client was quicker to write.
    async fn try_to_begin(
        &mut self,
        running: &OnceRecord,
        leadership: &Leadership,
    ) -> Result<Option<Begun>, Trouble> {
        let sight = self.page.read().await?;
        let term = Term {
            token: leadership.fencing_token().0,
            is_valid: leadership.is_valid(),
            newest: self.page.newest_token(sight.object.as_ref()),
            unbegun: &self.unbegun.marks,
        };
        let seen = sight.record.clone();
        Ok(match (self.rules.step(seen.as_ref(), term), seen) {
            (Step::Over, Some(seen)) => Some(Begun::Over(seen)),
            (Step::Stop | Step::Over, _) => Some(Begun::Stopped),
            (Step::Doubt(doubt), _) => {
                let is_written = self.page.replace(sight, Some(&doubt)).await?;
                is_written.then_some(Begun::Over(doubt))
            }
            (Step::Begin, seen) => {
                self.unbegun.add(running, seen.as_ref());
                let is_written = self.page.replace(sight, Some(running)).await?;
                is_written.then(|| Begun::Marked(running.clone()))
            }
        })
    }

    /// The work has started: from now on, only its end takes the mark away.
    pub fn started(&mut self) {
        self.unbegun = Unbegun::default();
    }

    /// Records how the work ended. It needs no term: it replaces only what this very run has written. It tries for five
    /// minutes, or until `told_to_end`.
    ///
    /// # Errors
    /// Why it is not recorded.
    pub async fn conclude(
        &self,
        running: &OnceRecord,
        ended: &OnceRecord,
        told_to_end: impl Future<Output = ()>,
    ) -> Result<(), NotRecorded> {
        let clock = self.page.clock();
        let too_late = clock.sleep(PATIENCE);
        in_time(self.page.conclude(running, ended), too_late, told_to_end).await
    }

    /// Takes back a mark for work that was not started, so that nobody has to doubt it.
    ///
    /// A write of it that is still on its way may land later, if no other client has written meanwhile: then the
    /// next leader finds it in doubt.
    pub async fn withdraw(&mut self) {
        let unbegun = std::mem::take(&mut self.unbegun);
        if unbegun.marks.is_empty() {
            return;
        }
        let withdrawn = async {
            loop {
                match self.page.read().await {
                    Ok(sight) if !unbegun.is_in(sight.record.as_ref()) => return,
                    Ok(sight) => match self.page.replace(sight, unbegun.before.as_ref()).await {
                        Ok(true) | Err(Trouble::Lasting(_)) => return,
                        Ok(false) | Err(Trouble::Passing(_)) => {}
                    },
                    Err(_) => {}
                }
                self.page.clock().sleep(PAUSE).await;
            }
        };
        let _ = self.page.clock().timeout(WITHDRAWAL, withdrawn).await;
    }
}

impl Page {
    /// Changes the record of a task that is in doubt or has failed, after a person has checked: it is done, or with `None`,
    /// it may run again. Returns the record of a task that is marked as running, and changes nothing then.
    ///
    /// # Errors
    /// If the record cannot be read or written.
    pub async fn settle(&self, is_done: bool) -> Result<Option<OnceRecord>, Error> {
        loop {
            let sight = self.read().await.map_err(Trouble::error)?;
            let Some(seen) = sight.record.clone() else { return Ok(None) };
            if seen.state == OnceState::Running {
                return Ok(Some(seen));
            }
            let settled = is_done.then(|| seen.settled_as_done());
            if self.replace(sight, settled.as_ref()).await.map_err(Trouble::error)? {
                return Ok(None);
            }
        }
    }

    /// Writes how a run ended over what that run has written. Tries for as long as it is polled, whatever the
    /// trouble: a right that was taken away may be given back.
    async fn conclude(&self, running: &OnceRecord, ended: &OnceRecord) -> Result<(), NotRecorded> {
        let mut is_first = true;
        loop {
            let trouble = match self.read().await {
                Ok(sight) if sight.record.as_ref() == Some(ended) => return Ok(()),
                Ok(sight) if !running.is_open_in(sight.record.as_ref()) => {
                    return Err(NotRecorded::Changed);
                }
                Ok(sight) => match self.replace(sight, Some(ended)).await {
                    Ok(true) => return Ok(()),
                    Ok(false) => None,
                    // To write the same again would be stored in the same way.
                    Err(Trouble::Lasting(error @ Error::Altered { .. })) => {
                        return Err(NotRecorded::Altered(error));
                    }
                    Err(trouble) => Some(trouble.error()),
                },
                Err(trouble) => Some(trouble.error()),
            };
            if let Some(error) = trouble {
                if is_first {
                    tracing::warn!(%error, "the end of a task is not recorded yet: will retry");
                }
                is_first = false;
                self.clock().sleep(AFTER_TROUBLE).await;
            }
        }
    }
}

/// Waits for the end of a run to be recorded, or says why it is not.
pub(super) async fn in_time(
    recorded: impl Future<Output = Result<(), NotRecorded>>,
    too_late: impl Future<Output = ()>,
    told_to_end: impl Future<Output = ()>,
) -> Result<(), NotRecorded> {
    tokio::select! {
        biased;
        outcome = recorded => outcome,
        () = too_late => Err(NotRecorded::Refused),
        () = told_to_end => Err(NotRecorded::ToldToEnd),
    }
}

/// How long the end of a run is tried to be recorded. Named in docs/once.md.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// For taking back a mark, while somebody waits for this program to end.
const WITHDRAWAL: Duration = Duration::from_secs(10);

/// Between two writes that others were quicker than, while the term may end any moment.
const PAUSE: Duration = Duration::from_millis(50);

/// After a failure that passes.
const AFTER_TROUBLE: Duration = Duration::from_millis(500);
