//! How inputs, operations and changes read in the trace.

use incumbent_core::{
    Change, Input, Observation, Operation, Record, Reply, Snapshot, Stamp, Version,
};

pub(super) fn describe_input(input: &Input) -> String {
    match input {
        Input::Reply(Reply::Found(snapshot)) => format!("found {}", describe_snapshot(snapshot)),
        Input::Reply(Reply::Written(snapshot)) => {
            format!("written {}", describe_snapshot(snapshot))
        }
        Input::Observed(Observation::Present(snapshot)) => {
            format!("saw {}", describe_snapshot(snapshot))
        }
        other => format!("{other:?}").to_lowercase(),
    }
}

pub(super) fn describe_operation(operation: &Operation) -> String {
    match operation {
        Operation::Read => "read".to_owned(),
        Operation::Create(_) => "create".to_owned(),
        Operation::Replace { base, record } => {
            let version = Version { uid: base.uid.clone(), revision: base.revision };
            let snapshot = Snapshot { version, record: record.clone() };
            format!("replace {}", describe_snapshot(&snapshot))
        }
    }
}

pub(super) fn describe_snapshot(snapshot: &Snapshot) -> String {
    let Snapshot { version, record } = snapshot;
    let holder = record.holder.as_ref().map_or("-", |holder| holder.as_str());
    let session = record.session.map_or_else(|| "-".to_owned(), |session| session.0.to_string());
    let (uid, revision, token) = (&version.uid.0, version.revision, record.last_token);
    let seconds = record.lease_duration.map_or(0, |duration| duration.as_secs());
    let beat = match &record.renewed {
        Some(Stamp::At(wall)) => wall.unix_micros() % 1_000_000_000_000,
        _ => 0,
    };
    format!(
        "{uid}@{revision} holder {holder} session {session} token {token} for {seconds}s beat {beat}{}",
        describe_waitlist(record)
    )
}

/// The waiting sessions, and the requests to the leader.
fn describe_waitlist(record: &Record) -> String {
    let waiters = record.waitlist.waiters().iter();
    let waiters: Vec<String> = waiters
        .map(|waiter| match waiter.session {
            Some(session) => session.0.to_string(),
            None => waiter.identity.to_string(),
        })
        .collect();
    let mut line = match waiters.is_empty() {
        true => String::new(),
        false => format!(" line {}", waiters.join(",")),
    };
    if let Some(wish) = &record.hand_over {
        line.push_str(&format!(" asked {wish:?}"));
    }
    if !record.paused.is_empty() {
        line.push_str(&format!(" cordoned {:?}", record.paused));
    }
    line
}

pub(super) fn describe_change(change: &Change) -> &'static str {
    match change {
        Change::Started(_) => "LEADS",
        Change::Renewed(_) => "renewed",
        Change::Lost(_) => "LOST",
        Change::Released(_) => "released",
    }
}
