//! What the tests of this crate share.

#![allow(dead_code, reason = "each test file uses its own part of this")]

pub(crate) mod script;

use std::time::Duration;

use incumbent_core::{
    Config, Elector, FencingToken, HolderInfo, Identity, Instant, Now, Record, Session, Snapshot,
    Stamp, Timing, Uid, Version, WallTime,
};

pub(crate) const OWN: Session = Session(1);
pub(crate) const OTHER: Session = Session(2);

pub(crate) fn elector(identity: &str, timing: Timing) -> Elector {
    Elector::new(Config {
        timing,
        identity: Identity::new(identity).unwrap(),
        session: OWN,
        token_floor: FencingToken(0),
        priority: 0,
        holder_info: HolderInfo::default(),
    })
}

/// A moment `millis` after the start, on a wall clock that runs along.
pub(crate) fn at(millis: u64) -> Now {
    Now {
        instant: Instant::new(Duration::from_millis(millis)),
        wall: WallTime::from_unix_micros(millis as i64 * 1000),
    }
}

pub(crate) fn snapshot(uid: &str, revision: u64, record: Record) -> Snapshot {
    Snapshot { version: Version { uid: Uid(uid.to_owned()), revision }, record }
}

pub(crate) fn held_by(name: &str, session: Option<Session>, beat: i64) -> Record {
    Record {
        holder: Identity::new(name),
        session,
        last_token: FencingToken(3),
        lease_duration: Some(Duration::from_secs(15)),
        acquired: Some(Stamp::At(WallTime::from_unix_micros(0))),
        renewed: Some(Stamp::At(WallTime::from_unix_micros(beat))),
        transitions: 1,
        ..Record::default()
    }
}
