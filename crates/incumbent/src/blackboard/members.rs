//! Members: who takes part, and where each can be reached.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use incumbent_core::{Reply, Session};
use serde_json::Value;

use super::registry::{Entry, LONGEST_ADDRESS, Registry, Sign, Witness, checked_name};
use super::{Blackboard, trouble};
use crate::clock::Clock;
use crate::error::Error;
use crate::invalid::checked_address;

/// A member that is registered on a [`Blackboard`], and where it can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Its name, which is unique on the blackboard.
    pub name: String,
    /// Where it can be reached, as it registered.
    pub address: String,
    /// How long its last sign of life is valid. `None` for an entry that was written by hand, which
    /// stays.
    pub lasts: Option<Duration>,
}

impl Blackboard {
    /// Registers `name` with its address, and keeps the registration alive until the handle is dropped.
    ///
    /// The entry is stored under `data`, at `member.NAME`. Each write replaces the version that was
    /// read, so no other member is overwritten. If another living member has this name, that is an
    /// error. If that member may be dead, this waits until its last sign of life has expired (15 s,
    /// or 1.5 s per member if there are more than ten). Living members remove dead ones.
    ///
    /// The cost: a read and a write for each sign of life, of which there are three in the time for
    /// which one is valid. All members together send at most about four requests a second, however
    /// many there are. If there is an election too, give it a separate object, because it would
    /// conflict with these writes.
    ///
    /// If you drop the future while its write is on the way, the entry stays until it expires.
    ///
    /// # Errors
    /// [`Error::DuplicateIdentity`] if another process has the name, [`Error::Full`] if
    /// there is no room, and those of [`claim`](Self::claim).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn register(&self, name: &str, address: &str) -> Result<Membership, Error> {
        checked_name(name)?;
        checked_address(address, LONGEST_ADDRESS)?;
        let mut keeper = Keeper {
            blackboard: self.clone(),
            name: name.to_owned(),
            address: address.to_owned(),
            session: crate::identity::session(Clock::system())?,
            beat: 0,
            witness: Witness::default(),
            races: 0,
            told: String::new(),
        };
        let pause = loop {
            match keeper.attempt().await? {
                Outcome::Kept(pause) => break pause,
                Outcome::Raced(pause) => tokio::time::sleep(pause).await,
                Outcome::Taken(Some(until)) => tokio::time::sleep_until(until).await,
                Outcome::Taken(None) => {
                    let (lock, identity) = (self.api.lock().clone(), name.to_owned());
                    return Err(Error::DuplicateIdentity { lock, identity });
                }
            }
        };
        let (leave, asked) = mpsc::channel(1);
        let (publish, stands) = watch::channel(true);
        tokio::spawn(keeper.keep(pause, asked, publish));
        Ok(Membership { name: name.to_owned(), leave, stands })
    }

    /// The member with this name, as it is registered now.
    ///
    /// # Errors
    /// Those of [`claim`](Self::claim).
    pub async fn find(&self, name: &str) -> Result<Option<Member>, Error> {
        Ok(self.members().await?.into_iter().find(|member| member.name == name))
    }

    /// All members, by name, as they are registered now. A dead member is included until the others
    /// have noticed its death. A single read cannot tell which members are alive;
    /// [`observe_members`] can.
    ///
    /// # Errors
    /// Those of [`claim`](Self::claim).
    ///
    /// [`observe_members`]: Self::observe_members
    pub async fn members(&self) -> Result<Vec<Member>, Error> {
        let registry = Registry::read(&self.read().await?.object);
        Ok(registry.entries().map(Member::of).collect())
    }

    /// Follows the members that are registered and alive.
    ///
    /// It reads every two seconds, or less often if there are more than twenty members: a tenth of
    /// a second per member. A watch would cost more, because it would show every sign of life of
    /// every member.
    pub fn observe_members(&self) -> MembersObserver {
        MembersObserver {
            blackboard: self.clone(),
            witness: Witness::default(),
            known: None,
            next_look: Instant::now(),
        }
    }
}

impl Member {
    fn of((name, entry): (&String, &Entry)) -> Self {
        let lasts = entry.sign.as_ref().map(Sign::lasts);
        Self { name: name.clone(), address: entry.address.clone(), lasts }
    }

    fn is_same(&self, other: &Self) -> bool {
        (&self.name, &self.address) == (&other.name, &other.address)
    }
}

/// A member's entry on a [`Blackboard`]. It is kept alive in the background, and removed when this
/// is dropped.
#[derive(Debug)]
#[must_use = "the registration ends when this is dropped"]
pub struct Membership {
    name: String,
    leave: mpsc::Sender<oneshot::Sender<()>>,
    stands: watch::Receiver<bool>,
}

impl Membership {
    /// The name of the member.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the entry is still kept alive, because no other process is known to have taken the
    /// name.
    ///
    /// This does not say whether the API server can be reached now.
    pub fn is_registered(&self) -> bool {
        *self.stands.borrow() && self.stands.has_changed().is_ok()
    }

    /// Waits until another process has taken the name, because this one gave no sign of life for so
    /// long that others believed it dead.
    pub async fn lost(&mut self) {
        let _ = self.stands.wait_for(|stands| !stands).await;
    }

    /// Removes the entry, and waits until it is gone. If the API server is away for longer than the
    /// last sign of life is valid, this gives up, and other members remove the entry.
    pub async fn leave(self) {
        let (done, left) = oneshot::channel();
        if self.leave.send(done).await.is_ok() {
            let _ = left.await;
        }
    }
}

/// Follows the members of a [`Blackboard`].
#[derive(Clone, Debug)]
pub struct MembersObserver {
    blackboard: Blackboard,
    witness: Witness,
    known: Option<Vec<Member>>,
    next_look: Instant,
}

impl MembersObserver {
    /// Returns the members that are not known to be dead, by name. The first call returns at once;
    /// each further call waits until a member has joined, left or moved. You may drop the future
    /// and call this again.
    ///
    /// If a member died before this observer started, the observer notices when the last sign of
    /// life has expired, counted from its first read.
    ///
    /// # Errors
    /// Those of [`Blackboard::claim`].
    pub async fn changed(&mut self) -> Result<Vec<Member>, Error> {
        loop {
            tokio::time::sleep_until(self.next_look).await;
            self.next_look = Instant::now() + SHORTEST_PERIOD;
            let registry = Registry::read(&self.blackboard.read().await?.object);
            let now = Instant::now();
            self.witness.note(&registry, now);
            let living = registry.entries().filter(|(name, _)| !self.witness.is_dead(name, now));
            let living: Vec<_> = living.map(Member::of).collect();
            self.next_look = now + jittered(period(living.len()));
            let is_known = self.known.as_ref().is_some_and(|known| {
                known.len() == living.len() && known.iter().zip(&living).all(|(a, b)| a.is_same(b))
            });
            if !is_known {
                self.known = Some(living.clone());
                return Ok(living);
            }
        }
    }
}

/// Keeps one entry alive.
struct Keeper {
    blackboard: Blackboard,
    name: String,
    address: String,
    session: Session,
    beat: u64,
    witness: Witness,
    /// How often in a row another client was quicker.
    races: u32,
    /// What the log was told of the trouble that lasts.
    told: String,
}

enum Outcome {
    /// It is there; the next sign of life is due after this.
    Kept(Duration),
    /// Another client wrote first, or it is unknown: look again after this.
    Raced(Duration),
    /// Another has the name: at least until then, or permanently.
    Taken(Option<Instant>),
}

impl Keeper {
    async fn keep(
        mut self,
        mut pause: Duration,
        mut asked: mpsc::Receiver<oneshot::Sender<()>>,
        publish: watch::Sender<bool>,
    ) {
        let done = loop {
            tokio::select! {
                biased;
                done = asked.recv() => break done,
                () = tokio::time::sleep(pause) => {}
            }
            pause = match self.attempt().await {
                Ok(Outcome::Kept(pause) | Outcome::Raced(pause)) => {
                    self.told.clear();
                    pause
                }
                Ok(Outcome::Taken(_)) => {
                    let (lock, name) = (self.blackboard.api.lock(), &self.name);
                    tracing::warn!(%lock, name, "another has registered under this name");
                    let _ = publish.send(false);
                    return;
                }
                Err(error) => self.tell(&error),
            };
        };
        let patience = Registry::default().duration_of_a_sign();
        let _ = tokio::time::timeout(patience, self.remove()).await;
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// Reads, and replaces exactly what was read by the same with a new sign of life in it, and without those
    /// who were seen to be dead.
    async fn attempt(&mut self) -> Result<Outcome, Error> {
        let object = self.blackboard.read_or_create().await?.object;
        let (mut registry, now) = (Registry::read(&object), Instant::now());
        self.witness.note(&registry, now);
        if let Some(other) = registry.get(&self.name).filter(|entry| !self.is_mine(entry)) {
            let is_for_good = other.sign.is_none() || self.witness.is_alive(&self.name);
            match self.witness.dies_at(&self.name) {
                Some(end) if now >= end => {}
                end => return Ok(Outcome::Taken(end.filter(|_| !is_for_good))),
            }
        }
        registry.retain(|name| name == self.name || !self.witness.is_dead(name, now));
        self.beat += 1;
        registry.put(&self.name, Entry { address: self.address.clone(), sign: None });
        let lasts = registry.duration_of_a_sign();
        let sign = Some(Sign::new(self.session, self.beat, lasts));
        registry.put(&self.name, Entry { address: self.address.clone(), sign });
        Ok(match self.swap(&registry.write(&object)?).await? {
            true => Outcome::Kept(jittered(lasts / 3)),
            false => Outcome::Raced(self.back_off()),
        })
    }

    /// What has this very address, and no sign of life, is one's own whose annotation was removed.
    fn is_mine(&self, entry: &Entry) -> bool {
        entry.is_of(self.session) || (entry.sign.is_none() && entry.address == self.address)
    }

    async fn remove(&mut self) {
        loop {
            let pause = match self.try_remove().await {
                Ok(true) => return,
                Ok(false) => self.back_off(),
                Err(error) => self.tell(&error),
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_remove(&mut self) -> Result<bool, Error> {
        let Some(seen) = self.blackboard.try_read().await? else { return Ok(true) };
        let mut registry = Registry::read(&seen.object);
        if !registry.get(&self.name).is_some_and(|entry| entry.is_of(self.session)) {
            return Ok(true);
        }
        registry.remove(&self.name);
        self.swap(&registry.write(&seen.object)?).await
    }

    /// Replaces the version that `object` shows. Where the answer never came, one reads: a replace that is
    /// applied later still changes nothing but that version.
    async fn swap(&mut self, object: &Value) -> Result<bool, Error> {
        let blackboard = &self.blackboard;
        let answer = blackboard.in_time("update", blackboard.api.replace(object)).await;
        match answer.reply {
            Reply::Written(_) => {
                self.races = 0;
                let (stored, lock) = (answer.object.unwrap_or_default(), blackboard.api.lock());
                let altered = super::registry::altered(&self.name, object, &stored);
                altered.map_or(Ok(true), |altered| Err(Error::altered(lock, altered)))
            }
            Reply::Conflict | Reply::Missing | Reply::Unknown => Ok(false),
            _ => Err(trouble(answer.trouble)),
        }
    }

    /// Hundreds that start at once spread themselves.
    fn back_off(&mut self) -> Duration {
        self.races = (self.races + 1).min(8);
        (SHORTEST_BACK_OFF * 2_u32.pow(self.races)).mul_f64(fastrand::f64())
    }

    fn tell(&mut self, error: &Error) -> Duration {
        let text = error.to_string();
        if self.told != text {
            let lock = self.blackboard.api.lock();
            tracing::warn!(%lock, name = self.name, %error, hint = error.hint(), "will retry");
            self.told = text;
        }
        jittered(AFTER_TROUBLE)
    }
}

fn period(members: usize) -> Duration {
    let for_all = Duration::from_millis(100) * u32::try_from(members).unwrap_or(u32::MAX);
    for_all.max(SHORTEST_PERIOD)
}

/// A little less, so that what began together does not stay together.
fn jittered(period: Duration) -> Duration {
    period.mul_f64(1.0 - fastrand::f64() / 5.0)
}

const SHORTEST_PERIOD: Duration = Duration::from_secs(2);
const SHORTEST_BACK_OFF: Duration = Duration::from_millis(20);
const AFTER_TROUBLE: Duration = Duration::from_secs(2);
