//! What the lock says.

use std::fmt;
use std::time::Duration;

use crate::container::Container;
use crate::identity::{Identity, Session};
use crate::seat::SeatInfo;
use crate::time::WallTime;
use crate::waitlist::Waitlist;

/// The number to hand to your storage with each write.
///
/// It rises with each term, also when the lock is deleted and created again, as long as the API server's
/// revisions rise or one of the candidates remembers the last one. A store that remembers the highest
/// token it has seen can refuse a leader of the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(pub u64);

impl FencingToken {
    /// The token for a term that begins by replacing revision `replaced` of a lock.
    ///
    /// Every grant replaces a version at least as new as the one that the grant before it wrote, so
    /// the revision alone rises; the last token keeps it rising where a restored backup has set
    /// revisions back.
    pub(crate) fn for_grant(replaced: u64, last: Self) -> Self {
        Self(replaced.max(last.0.saturating_add(1)))
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A time as a record states it. It is only ever compared for equality.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stamp {
    /// A time.
    At(WallTime),
    /// Text of another program that is no time; a change of it is still a sign of life.
    Text(String),
}

/// What one version of the lock says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// Who holds the lock. `None` where it is vacant.
    pub holder: Option<Identity>,
    /// The process whose term this is. `None` where the holder is a program that writes none, and
    /// where the term was released. A session without a holder means that the holder's name was taken
    /// out while the term was running.
    pub session: Option<Session>,
    /// The highest fencing token that the lock remembers; zero where there was none.
    pub last_token: FencingToken,
    /// How long the holder asks others to wait. `None` where the record does not say.
    pub lease_duration: Option<Duration>,
    /// When the holder says that it acquired the lock.
    pub acquired: Option<Stamp>,
    /// When the holder says that it last renewed.
    pub renewed: Option<Stamp>,
    /// How often the holder has changed; for people, not a token.
    pub transitions: u32,
    /// What the holder says of itself.
    pub holder_info: HolderInfo,
    /// The candidates that wait, in the order in which they take over.
    pub waitlist: Waitlist,
    /// A request to the leader to hand over.
    pub hand_over: Option<HandOver>,
    /// Candidates of these names do not lead, and a leader among them hands over. `*` means all.
    pub paused: Vec<Identity>,
    /// The table of the group whose allocators share this lock: the uid of its page 0. It outlives terms.
    pub table: Option<Uid>,
}

/// What a holder says of itself to those that look for it. It decides nothing here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HolderInfo {
    /// Where it can be reached: whatever its followers understand.
    pub address: Option<String>,
    /// Where its process runs, so that others can ask whether it still does.
    pub container: Option<Container>,
    /// What a member of a group says, where the lock is its seat.
    pub seat: Option<SeatInfo>,
}

/// A request to hand over, from outside the election.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HandOver {
    /// To the next on the waitlist.
    ToNext,
    /// To this one; to the next on the waitlist if it does not come.
    To(Identity),
}

impl Record {
    /// Whether a term is running, as far as the record says.
    pub fn is_held(&self) -> bool {
        self.holder.is_some() || self.session.is_some()
    }

    /// The fencing token of the running term. `None` where the holder writes none.
    pub fn token(&self) -> Option<FencingToken> {
        (self.holder.is_some() && self.session.is_some()).then_some(self.last_token)
    }

    /// The process that holds the lock and the container that it runs in, where it says so and is not
    /// the one with the session `own`.
    pub fn other_holder(&self, own: Session) -> Option<(Session, &Container)> {
        let session = self.session.filter(|session| *session != own)?;
        Some((session, self.holder_info.container.as_ref()?))
    }

    /// The vacant record that follows this one. The last token stays, so that the next one is higher.
    pub(crate) fn vacated(&self, stamp: Stamp) -> Self {
        Self {
            holder: None,
            session: None,
            // As client-go releases: candidates that wait out even a vacant lock wait for a second.
            lease_duration: Some(Duration::from_secs(1)),
            acquired: Some(stamp.clone()),
            renewed: Some(stamp),
            holder_info: HolderInfo::default(),
            hand_over: None,
            ..self.clone()
        }
    }

    /// Whether `identity` must not lead.
    pub fn is_paused(&self, identity: &Identity) -> bool {
        self.paused.iter().any(|name| name == identity || name.as_str() == "*")
    }

    /// Whether `other` names the same process as holder.
    pub(crate) fn same_term(&self, other: &Self) -> bool {
        self.holder == other.holder && self.session == other.session
    }

    /// Whether this may have come after `earlier` in one object: no number that only rises has fallen.
    pub(crate) fn may_follow(&self, earlier: &Self) -> bool {
        self.last_token >= earlier.last_token && self.transitions >= earlier.transitions
    }

    /// Whether `other` shows the same sign of life: there was no acquisition, renewal or release in
    /// between. Labels and annotations of others are no sign of life.
    pub(crate) fn same_heartbeat(&self, other: &Self) -> bool {
        self.same_term(other)
            && self.acquired == other.acquired
            && self.renewed == other.renewed
            // A whole term may have come and gone unseen, on a wall clock that stood still.
            && self.last_token == other.last_token
            && self.transitions == other.transitions
    }
}

/// The uid that the API server gave to an object. A lock that is deleted and created again has another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub String);

/// One version of the lock: which object, and which write to it.
///
/// `revision` is the object's `resourceVersion`. It is compared as a number, which Kubernetes
/// promises since 1.35 (KEP-5504) for versions of one resource type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// Which object.
    pub uid: Uid,
    /// Which write.
    pub revision: u64,
}

/// One version of the lock and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// Which version.
    pub version: Version,
    /// What it says.
    pub record: Record,
}
