//! What is known of something that is done once: pure.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::exit;

/// As it stands in the ConfigMap, in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) state: State,
    /// Who ran it.
    by: String,
    /// The fencing token under which.
    token: u64,
    since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// Somebody has begun, and has not said how it ended.
    Running,
    /// It ended with 0.
    Done,
    /// It ended with another code.
    Failed,
    /// Whoever ran it died in the middle: nobody knows how far it came.
    InDoubt,
}

/// What a record means for one that comes to run it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may be run by whoever leads.
    Free,
    /// It is not run again, and this is the exit code.
    Over(u8),
    /// If one leads oneself, this is what has become of it.
    InDoubt(Record),
}

/// A time to live is counted by the wall clocks of whoever wrote it and of whoever reads it.
pub(super) fn judge(
    record: Option<&Record>,
    at_least_once: bool,
    ttl: Option<Duration>,
) -> Verdict {
    let Some(record) = record else { return Verdict::Free };
    let age = record.until.map(|until| Timestamp::now().duration_since(until));
    let is_old =
        ttl.zip(age).is_some_and(|(ttl, age)| age.unsigned_abs() >= ttl && age.is_positive());
    match record.state {
        _ if is_old => Verdict::Free,
        State::Done => Verdict::Over(0),
        _ if at_least_once => Verdict::Free,
        State::Failed => Verdict::Over(exit::FAILED_BEFORE),
        State::InDoubt => Verdict::Over(exit::IN_DOUBT),
        State::Running => Verdict::InDoubt(Record { state: State::InDoubt, ..record.clone() }),
    }
}

impl Record {
    pub(super) fn running(by: &str, token: u64) -> Self {
        let since = Timestamp::now();
        Self {
            state: State::Running,
            by: by.to_owned(),
            token,
            since,
            until: None,
            exit_code: None,
        }
    }

    pub(super) fn ended(self, code: u8) -> Self {
        let state = if code == 0 { State::Done } else { State::Failed };
        Self { state, until: Some(Timestamp::now()), exit_code: Some(code), ..self }
    }

    pub(super) fn settled_as_done(self) -> Self {
        let until = self.until.or_else(|| Some(Timestamp::now()));
        Self { state: State::Done, until, ..self }
    }

    /// As it is printed: the record in one line of JSON, which escapes what others have written.
    pub(super) fn to_line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONCE: bool = false;
    const AGAIN: bool = true;

    #[test]
    fn what_was_done_is_done_until_its_time_is_over() {
        assert_eq!(judge(None, ONCE, None), Verdict::Free);
        let mut done = Record::running("john", 7).ended(0);
        assert_eq!(judge(Some(&done), AGAIN, None), Verdict::Over(0));
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(judge(Some(&done), ONCE, hour), Verdict::Over(0));
        done.until = Some(Timestamp::now() - Duration::from_secs(3601));
        assert_eq!(judge(Some(&done), ONCE, hour), Verdict::Free);
    }

    #[test]
    fn who_died_in_the_middle_is_told_apart_from_who_failed() {
        let running = Record::running("john", 7);
        let Verdict::InDoubt(doubt) = judge(Some(&running), ONCE, None) else { panic!() };
        assert_eq!(judge(Some(&doubt), ONCE, None), Verdict::Over(exit::IN_DOUBT));
        let failed = running.clone().ended(3);
        assert_eq!(judge(Some(&failed), ONCE, None), Verdict::Over(exit::FAILED_BEFORE));
        for record in [running, doubt.clone(), failed] {
            assert_eq!(judge(Some(&record), AGAIN, None), Verdict::Free);
        }
        assert_eq!(judge(Some(&doubt.settled_as_done()), AGAIN, None), Verdict::Over(0));
    }
}
