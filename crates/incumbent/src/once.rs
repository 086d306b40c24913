//! Work that runs once, however many processes come to run it and whichever of them die.
//!
//! The record of it is in a ConfigMap, under a separate key beside the election's. Each change of it is
//! a compare-and-swap on what was read and judged. The work runs only under a term of that election, so a
//! leader that finds `running` under an older token knows that its process has died; one that finds a newer
//! token knows that its own term is over, and writes nothing.

use std::fmt;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

mod attempt;
mod capacity;
mod page;
mod record;
#[cfg(test)]
mod tests;

pub use record::{OnceRecord, OnceState};

/// What `incumbent once` and `incumbent doctor` are made of. No promise is made of it.
#[doc(hidden)]
pub mod parts {
    pub use super::attempt::{Attempt, Begun, NotRecorded};
    pub use super::capacity::Capacity;
    pub use super::page::{Page, Trouble};
    pub use super::record::Rules;
}

use incumbent_core::FencingToken;

use self::attempt::{Attempt, Begun, NotRecorded};
use self::page::{Page, Trouble};
use self::record::{MOST_RESULT_BYTES, Rules, bytes_of};
use crate::candidate::{Builder, Candidate};
use crate::clock::Clock;
use crate::error::{BoxError, Error};
use crate::invalid::InvalidSetting;
use crate::leadership::Leadership;
use crate::lock::Lock;

/// Runs work once for each key, across all processes that ask for it.
///
/// The first process that asks runs the work. All others wait for its end, and get its result, now and later. The records
/// are those of `incumbent once`, so programs and shell scripts can share them.
///
/// By default, work that has begun is never begun again (*at most once*): if its process dies in the middle, the task is
/// in doubt until a person has checked and [settled](Self::settle) it. See `docs/once.md`.
///
/// ```no_run
/// # async fn run(client: incumbent::kube::Client) -> Result<(), incumbent::Error> {
/// use incumbent::{Lock, Once, OnceOutcome};
///
/// let invoices = Once::new(client, Lock::config_map("default", "invoices"));
/// let outcome = invoices.run("invoice-4711", async |run| {
///     // Send the token along, so that the receiver can refuse a second attempt.
///     println!("sending, under token {}", run.fencing_token());
///     Ok("receipt 17".to_owned())
/// });
/// if let OnceOutcome::Done(record) = outcome.await? {
///     println!("{} by {}: {:?}", record.since, record.by, record.result);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Once {
    client: kube::Client,
    config_map: Lock,
    rules: Rules,
    clock: Clock,
    adjust: Option<Adjust>,
}

/// What a program sets about its candidates.
type Adjust = Arc<dyn Fn(Builder) -> Builder + Send + Sync>;

/// How a task stands, after [`Once::run`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnceOutcome {
    /// It is done, now or earlier.
    Done(OnceRecord),
    /// It failed, now or earlier.
    Failed(OnceRecord),
    /// It is unknown how far it came: its process died or lost the leadership in the middle, or its end could not be
    /// recorded.
    InDoubt(OnceRecord),
}

/// The run of a task, for the work.
#[derive(Clone, Debug)]
pub struct OnceRun {
    key: Arc<str>,
    leadership: Arc<Leadership>,
}

/// What work returns to be stored: nothing, or a text of at most 4 KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnceResult(Option<String>);

impl Once {
    /// Tasks whose records are in this ConfigMap, which is created if there is none. A key that `config_map` names does not
    /// count.
    pub fn new(client: kube::Client, config_map: Lock) -> Self {
        let (rules, clock) = (Rules::default(), Clock::system());
        Self { client, config_map, rules, clock, adjust: None }
    }

    /// Runs a task again if it failed, or if its process died in the middle: it may then be done twice. Default: off.
    ///
    /// All processes that use one key must make the same choice.
    #[must_use]
    pub fn at_least_once(mut self, on: bool) -> Self {
        self.rules.at_least_once = on;
        self
    }

    /// A task that ended longer ago than this counts as never run. Default: its record counts for as long as it exists.
    ///
    /// This compares the wall clocks of two processes.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.rules.ttl = Some(ttl);
        self
    }

    /// Sets anything about the candidates with which this process takes part: their identity, the lease, and so on.
    /// What it says about the clock or a token floor is overridden, and health decides only whether it campaigns.
    #[must_use]
    pub fn candidate(
        mut self,
        adjust: impl Fn(Builder) -> Builder + Send + Sync + 'static,
    ) -> Self {
        self.adjust = Some(Arc::new(adjust));
        self
    }

    /// Sets the clock; for tests under paused time.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Runs `work`, unless the task of this key has been run; returns how it stands then.
    ///
    /// While another process runs it, this waits for the end. The work is polled only while this process leads the
    /// task's election, and dropped at its next `.await` if that is lost; what it has spawned must hold a clone of the
    /// [`OnceRun`], as with [`Candidate::run`]. Work that fails is recorded as failed, with the first words of its
    /// error. If the caller drops this future while the work runs, that counts as a death.
    ///
    /// A text that the work returns is stored with the record if it has at most 4 KiB as JSON; a longer one is not stored, which
    /// is logged. So a ConfigMap has room for about 250 results of that length.
    ///
    /// # Errors
    /// If the record cannot be read or written and waiting cannot help: a missing permission, no namespace, no
    /// room ([`Error::Full`]), a webhook that changes the record. Nothing was started then.
    pub async fn run<F, R>(
        &self,
        key: &str,
        work: impl Fn(OnceRun) -> F,
    ) -> Result<OnceOutcome, Error>
    where
        F: Future<Output = Result<R, BoxError>>,
        R: Into<OnceResult>,
    {
        let page = self.page(key)?;
        let mut told = String::new();
        let seen = loop {
            match page.read().await {
                Ok(sight) => break sight.record,
                Err(trouble) => self.wait_out(&page, trouble, &mut told).await?,
            }
        };
        if let Some(over) = seen.as_ref().filter(|seen| self.rules.is_over(seen)) {
            return Ok(OnceOutcome::of(over.clone()));
        }
        while let Err(trouble) = page.make_room().await {
            self.wait_out(&page, trouble, &mut told).await?;
        }
        let floor = seen.map_or(0, |seen| seen.token_floor());
        let mut candidate = self.candidate_for(page.lock().clone(), floor)?;
        let mut attempt = Attempt::new(page, self.rules);
        let outcome = self.take_part(&mut candidate, &mut attempt, key, &work).await;
        attempt.withdraw().await;
        candidate.leave().await;
        attempt.page().tidy().await;
        outcome
    }

    /// What is known of the task of this key. `None` if it was never run, or was forgotten.
    ///
    /// # Errors
    /// If its record cannot be read.
    pub async fn look(&self, key: &str) -> Result<Option<OnceRecord>, Error> {
        self.page(key)?.look().await
    }

    /// Settles a task that is in doubt or has failed, after a person has checked: it is done, or else it may run again.
    ///
    /// Returns whether it is settled. A task that is marked as running is not: it may run right now, and the next process
    /// that asks for it finds out.
    ///
    /// # Errors
    /// If its record cannot be read or written.
    pub async fn settle(&self, key: &str, is_done: bool) -> Result<bool, Error> {
        Ok(self.page(key)?.settle(is_done).await?.is_none())
    }

    fn page(&self, key: &str) -> Result<Page, Error> {
        let lock = self.config_map.clone().with_key(key);
        Ok(Page::new(self.client.clone(), lock, self.clock)?.with_results())
    }

    fn candidate_for(&self, lock: Lock, floor: u64) -> Result<Candidate, Error> {
        let builder = Candidate::builder(self.client.clone(), lock);
        let builder = match &self.adjust {
            Some(adjust) => adjust(builder),
            None => builder,
        };
        builder.clock(self.clock).token_floor(floor).build()
    }

    /// Waits after a trouble that passes, and logs it unless it was `told`.
    async fn wait_out(
        &self,
        page: &Page,
        trouble: Trouble,
        told: &mut String,
    ) -> Result<(), Error> {
        match trouble {
            Trouble::Lasting(error) => return Err(error),
            Trouble::Passing(error) => {
                let text = error.to_string();
                if *told != text {
                    let lock = page.lock();
                    tracing::warn!(%lock, %error, hint = error.hint(), "will retry");
                    *told = text;
                }
            }
        }
        self.clock.sleep(AFTER_TROUBLE).await;
        Ok(())
    }

    /// Takes part until the task is over.
    async fn take_part<F, R>(
        &self,
        candidate: &mut Candidate,
        attempt: &mut Attempt,
        key: &str,
        work: &impl Fn(OnceRun) -> F,
    ) -> Result<OnceOutcome, Error>
    where
        F: Future<Output = Result<R, BoxError>>,
        R: Into<OnceResult>,
    {
        loop {
            let leadership = Arc::new(candidate.campaign().await?);
            let running = OnceRecord::running(candidate.identity(), leadership.fencing_token().0);
            let begun = tokio::select! {
                biased;
                _ = leadership.lost() => continue,
                begun = attempt.begin(&running, &leadership) => begun?,
            };
            match begun {
                Begun::Over(record) => return Ok(OnceOutcome::of(record)),
                Begun::Marked(running) => {
                    if let Some(outcome) = self.lead(attempt, leadership, running, key, work).await
                    {
                        return Ok(outcome);
                    }
                }
                Begun::Stopped if leadership.is_valid() => {
                    return Err(superseded(key, leadership.fencing_token()));
                }
                Begun::Stopped => {}
            }
        }
    }

    /// Runs the work. `None` if it has not begun, or if the leadership was lost and the task may run again.
    async fn lead<F, R>(
        &self,
        attempt: &mut Attempt,
        leadership: Arc<Leadership>,
        running: OnceRecord,
        key: &str,
        work: &impl Fn(OnceRun) -> F,
    ) -> Option<OnceOutcome>
    where
        F: Future<Output = Result<R, BoxError>>,
        R: Into<OnceResult>,
    {
        let run = OnceRun { key: key.into(), leadership: Arc::clone(&leadership) };
        let has_begun = AtomicBool::new(false);
        // Between the answer and the first line of the work there may be a pause of any length.
        let work = leadership.while_valid(async {
            has_begun.store(true, Ordering::Relaxed);
            work(run).await
        });
        let worked = tokio::select! {
            biased;
            _ = leadership.lost() => None,
            worked = work => worked,
        };
        if !has_begun.load(Ordering::Relaxed) {
            return None;
        }
        attempt.started();
        let ended = match worked {
            Some(Ok(result)) => running.clone().done(storable(key, result.into())),
            Some(Err(error)) => {
                tracing::warn!(key, %error, "the work of a task failed");
                running.clone().failed(&error.to_string())
            }
            None => {
                tracing::warn!(key, "leadership was lost, so the task is in doubt");
                return (!self.rules.at_least_once).then(|| OnceOutcome::in_doubt(running));
            }
        };
        Some(match recorded(attempt, &running, &ended, leadership).await {
            Ok(()) => OnceOutcome::of(ended),
            Err(error) => {
                tracing::warn!(key, %error, "the end of a task is not recorded, so it is in doubt");
                OnceOutcome::in_doubt(running)
            }
        })
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config_map, rules, .. } = self;
        f.debug_struct("Once").field("config_map", config_map).field("rules", rules).finish()
    }
}

impl OnceOutcome {
    /// The record of the task.
    pub fn record(&self) -> &OnceRecord {
        match self {
            Self::Done(record) | Self::Failed(record) | Self::InDoubt(record) => record,
        }
    }

    fn of(record: OnceRecord) -> Self {
        match record.state {
            OnceState::Done => Self::Done(record),
            OnceState::Failed => Self::Failed(record),
            OnceState::InDoubt | OnceState::Running => Self::in_doubt(record),
        }
    }

    fn in_doubt(record: OnceRecord) -> Self {
        Self::InDoubt(OnceRecord { state: OnceState::InDoubt, ..record })
    }
}

impl OnceRun {
    /// The key of the task. It is the same each time that the task is run.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The leadership under which the work runs: how long it is valid, its fencing token, fenced writes.
    pub fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    /// The number to send with each write. It is higher each time that the task is run.
    pub fn fencing_token(&self) -> FencingToken {
        self.leadership.fencing_token()
    }

    /// Whether the work may still do anything. See [`Leadership::is_valid`].
    pub fn is_valid(&self) -> bool {
        self.leadership.is_valid()
    }
}

impl From<()> for OnceResult {
    fn from((): ()) -> Self {
        Self(None)
    }
}

impl From<String> for OnceResult {
    fn from(text: String) -> Self {
        Self(Some(text))
    }
}

impl From<Option<String>> for OnceResult {
    fn from(text: Option<String>) -> Self {
        Self(text)
    }
}

/// Records how the work ended. The lock is held meanwhile, so that no other process runs the task again, but not beyond the
/// lease: nothing of the work is left that the watchdog would have to end.
async fn recorded(
    attempt: &Attempt,
    running: &OnceRecord,
    ended: &OnceRecord,
    leadership: Arc<Leadership>,
) -> Result<(), NotRecorded> {
    let mut recorded = pin!(attempt.conclude(running, ended, pending()));
    tokio::select! {
        biased;
        outcome = &mut recorded => return outcome,
        _ = leadership.lost() => {}
    }
    drop(leadership);
    recorded.await
}

fn superseded(key: &str, token: FencingToken) -> Error {
    Error::Invalid(InvalidSetting::Program {
        what: format!(
            "the record of {key} was written under a token that is not older than ours ({token}), so nothing was started"
        ),
        hint: "run it again; if that does not help, correct or remove the record".to_owned(),
    })
}

/// The result, if a record has room for it.
fn storable(key: &str, OnceResult(text): OnceResult) -> Option<String> {
    text.filter(|text| {
        let bytes = bytes_of(text);
        let fits = bytes <= MOST_RESULT_BYTES;
        if !fits {
            tracing::warn!(key, bytes, "the result of a task is too long, and is not stored");
        }
        fits
    })
}

/// After a failure that passes.
const AFTER_TROUBLE: Duration = Duration::from_millis(500);
