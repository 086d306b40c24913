//! What is known of a task, and what may be written over it: pure.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::lock::HIGHEST_FLOOR;

/// What is known of a task that runs once: how far it came, by which process, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OnceRecord {
    /// How far it came.
    pub state: OnceState,
    /// The identity of the process that ran it.
    pub by: String,
    /// The fencing token under which it ran.
    pub token: u64,
    /// When it began, by that process' wall clock.
    pub since: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// How the command ended, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// What the work returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Why the work failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How far a task came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnceState {
    /// A process has begun, and has not recorded the end.
    Running,
    /// It is done.
    Done,
    /// It has failed.
    Failed,
    /// The process died in the middle: it is unknown how far it came.
    InDoubt,
}

/// What a process wants of a task.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Whether to run it again if it failed, or is in doubt.
    pub at_least_once: bool,
    /// A task that ended longer ago counts as never run. Counted by the wall clocks of the process that wrote the record
    /// and of the one that reads it.
    pub ttl: Option<Duration>,
}

/// The term of the process that judges, as far as it knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Term<'a> {
    pub(super) token: u64,
    /// By the clock, after the record was read.
    pub(super) is_valid: bool,
    /// The token that the election shows in the very object that the record was read from.
    pub(super) newest: u64,
    /// What this process has tried to write, in this term or earlier ones, without starting the work.
    pub(super) unbegun: &'a [OnceRecord],
}

/// What the leader does about a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Mark it as running, and then run it.
    Begin,
    /// Its process has died: write this.
    Doubt(OnceRecord),
    /// Leave it as it is: the task is not run again.
    Over,
    /// Write nothing: the term is over, or a newer leader has been here.
    Stop,
}

impl Rules {
    /// Whether the task is not run again, whichever candidate leads.
    pub fn is_over(&self, record: &OnceRecord) -> bool {
        match record.state {
            _ if self.is_old(record) => false,
            OnceState::Done => true,
            OnceState::Failed | OnceState::InDoubt => !self.at_least_once,
            OnceState::Running => false,
        }
    }

    fn is_old(&self, record: &OnceRecord) -> bool {
        let age = record.until.map(|until| Timestamp::now().duration_since(until));
        self.ttl.zip(age).is_some_and(|(ttl, age)| age.is_positive() && age.unsigned_abs() >= ttl)
    }

    /// What a leader may do about what it has read. The write has to replace exactly that version.
    ///
    /// A record under a higher token was written by a newer leader, and is never overwritten. So is one under
    /// the same token that is not this process's own: then a token was given twice.
    pub(super) fn step(&self, record: Option<&OnceRecord>, term: Term<'_>) -> Step {
        if !term.is_valid {
            return Step::Stop;
        }
        if term.newest > term.token {
            return Step::Stop;
        }
        let Some(record) = record else { return Step::Begin };
        let is_unbegun = term.unbegun.iter().any(|mark| mark.is_open_in(Some(record)));
        if is_unbegun && record.token <= term.token {
            // It was marked, and never started, so there is nothing to doubt.
            return Step::Begin;
        }
        if self.is_over(record) {
            return Step::Over;
        }
        if record.token >= term.token {
            return Step::Stop;
        }
        if record.state == OnceState::Running && !self.at_least_once {
            return Step::Doubt(OnceRecord { state: OnceState::InDoubt, ..record.clone() });
        }
        Step::Begin
    }
}

impl OnceRecord {
    /// A run that begins now.
    pub fn running(by: &str, token: u64) -> Self {
        Self {
            state: OnceState::Running,
            by: by.to_owned(),
            token,
            since: Timestamp::now(),
            until: None,
            exit_code: None,
            result: None,
            error: None,
        }
    }

    /// The end of a command, now.
    #[must_use]
    pub fn ended(self, code: u8) -> Self {
        let state = if code == 0 { OnceState::Done } else { OnceState::Failed };
        Self { state, until: Some(Timestamp::now()), exit_code: Some(code), ..self }
    }

    /// The end of work that has succeeded, now.
    pub(super) fn done(self, result: Option<String>) -> Self {
        Self { state: OnceState::Done, until: Some(Timestamp::now()), result, ..self }
    }

    /// The end of work that has failed, now.
    pub(super) fn failed(self, error: &str) -> Self {
        let error = Some(error.chars().take(LONGEST_ERROR).collect());
        Self { state: OnceState::Failed, until: Some(Timestamp::now()), error, ..self }
    }

    pub(super) fn settled_as_done(self) -> Self {
        let until = self.until.or_else(|| Some(Timestamp::now()));
        Self { state: OnceState::Done, until, ..self }
    }

    /// The least token of a term that may write over this record. One that is higher than elections take for a floor was
    /// written by hand, and stays as it is.
    pub fn token_floor(&self) -> u64 {
        self.token.saturating_add(1).min(HIGHEST_FLOOR.0)
    }

    /// Whether both speak of one run of the command.
    fn is_same_run(&self, other: &Self) -> bool {
        (&self.by, self.token, self.since) == (&other.by, other.token, other.since)
    }

    /// Whether the runner of `self` may still say how its run ended: nobody has begun another run since, and
    /// no person has settled it. A newer leader that found it as `running` may have put it in doubt.
    pub(super) fn is_open_in(&self, stored: Option<&Self>) -> bool {
        stored.is_some_and(|stored| {
            self.is_same_run(stored)
                && matches!(stored.state, OnceState::Running | OnceState::InDoubt)
        })
    }

    /// As it is stored: what is running is padded to the length of the longest record that may take its place,
    /// so that there is always room to say how it ended. `result` is how much the work may return.
    pub(super) fn to_text(&self, result: usize) -> String {
        let text = self.to_line();
        match self.state {
            OnceState::Running => {
                format!("{text:<width$}", width = text.len() + LONGEST_END + result)
            }
            _ => text,
        }
    }

    /// As it is printed: the record in one line of JSON, which escapes what others have written.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// How many bytes a text takes in a record.
pub(super) fn bytes_of(text: &str) -> usize {
    serde_json::to_string(text).map_or(usize::MAX, |json| json.len())
}

/// The most bytes of a result, in JSON.
pub(super) const MOST_RESULT_BYTES: usize = 4 * 1024;

/// What a result takes in a record, with its name.
pub(super) const ROOM_FOR_A_RESULT: usize = MOST_RESULT_BYTES + 16;

/// The most characters of why something failed: as JSON, no more than a result.
const LONGEST_ERROR: usize = 512;

/// `,"until":"2026-11-28T15:20:00.123456789Z","exitCode":255`
const LONGEST_END: usize = 57;

#[cfg(test)]
mod tests {
    use super::*;

    const ONCE: Rules = Rules { at_least_once: false, ttl: None };
    const AGAIN: Rules = Rules { at_least_once: true, ttl: None };

    fn term(token: u64) -> Term<'static> {
        Term { token, is_valid: true, newest: token, unbegun: &[] }
    }

    /// One of each state, written under this token.
    fn records(token: u64) -> [OnceRecord; 4] {
        let running = OnceRecord::running("john", token);
        let doubt = OnceRecord { state: OnceState::InDoubt, ..running.clone() };
        [running.clone(), running.clone().ended(0), running.ended(3), doubt]
    }

    #[test]
    fn what_was_done_is_done_until_its_time_is_over() {
        let mut done = OnceRecord::running("john", 7).ended(0);
        assert!(AGAIN.is_over(&done));
        let hour = Rules { ttl: Some(Duration::from_secs(3600)), ..ONCE };
        assert!(hour.is_over(&done));
        done.until = Some(Timestamp::now() - Duration::from_secs(3601));
        assert!(!hour.is_over(&done));
        assert_eq!(hour.step(Some(&done), term(8)), Step::Begin);
    }

    #[test]
    fn a_leader_judges_what_older_leaders_have_left() {
        let [running, done, failed, doubt] = records(7);
        let step = |rules: Rules, record: &OnceRecord| rules.step(Some(record), term(8));
        assert_eq!(step(ONCE, &running), Step::Doubt(doubt.clone()));
        assert_eq!(step(ONCE, &done), Step::Over);
        assert_eq!(step(ONCE, &failed), Step::Over);
        assert_eq!(step(ONCE, &doubt), Step::Over);
        assert_eq!(step(AGAIN, &done), Step::Over);
        for record in [running, failed, doubt.clone()] {
            assert_eq!(step(AGAIN, &record), Step::Begin);
        }
        assert_eq!(step(AGAIN, &doubt.settled_as_done()), Step::Over);
    }

    /// What needs no write is told all the same: it is true whichever candidate leads.
    #[test]
    fn what_a_newer_leader_wrote_is_never_overwritten() {
        let long_ago = Some(Timestamp::now() - Duration::from_secs(2));
        let second = Some(Duration::from_secs(1));
        for token in [8, 9] {
            let [running, done, failed, doubt] = records(token);
            let step = |rules: Rules, record: &OnceRecord| rules.step(Some(record), term(8));
            for rules in [ONCE, AGAIN] {
                assert_eq!(step(rules, &running), Step::Stop);
                assert_eq!(step(rules, &done), Step::Over);
                let old = OnceRecord { until: long_ago, ..done.clone() };
                assert_eq!(step(Rules { ttl: second, ..rules }, &old), Step::Stop);
            }
            assert_eq!(step(ONCE, &failed), Step::Over);
            assert_eq!(step(ONCE, &doubt), Step::Over);
            assert_eq!(step(AGAIN, &failed), Step::Stop);
            assert_eq!(step(AGAIN, &doubt), Step::Stop);
        }
    }

    #[test]
    fn nothing_is_written_once_the_term_is_over_or_the_election_shows_a_newer_one() {
        let over = Term { is_valid: false, ..term(8) };
        let superseded = Term { newest: 9, ..term(8) };
        let [running, done, failed, doubt] = records(7).map(Some);
        for record in [None, running, done, failed, doubt] {
            for rules in [ONCE, AGAIN] {
                assert_eq!(rules.step(record.as_ref(), over), Step::Stop);
                assert_eq!(rules.step(record.as_ref(), superseded), Step::Stop);
            }
        }
    }

    #[test]
    fn what_this_process_has_marked_and_not_started_is_begun() {
        let [marked, _, _, doubt] = records(7);
        for rules in [ONCE, AGAIN] {
            for token in [7, 8] {
                let term = Term { unbegun: std::slice::from_ref(&marked), ..term(token) };
                assert_eq!(rules.step(Some(&marked), term), Step::Begin);
                assert_eq!(rules.step(Some(&doubt), term), Step::Begin);
            }
        }
        let other = OnceRecord { since: marked.since + Duration::from_secs(1), ..marked.clone() };
        let term = Term { unbegun: std::slice::from_ref(&marked), ..term(8) };
        assert!(matches!(ONCE.step(Some(&other), term), Step::Doubt(_)));
    }

    #[test]
    fn a_runner_says_how_its_own_run_ended_also_where_it_was_put_in_doubt() {
        let [running, done, failed, doubt] = records(7);
        assert!(running.is_open_in(Some(&running)) && running.is_open_in(Some(&doubt)));
        let [later, ..] = records(8);
        let settled = doubt.settled_as_done();
        for stored in [Some(&done), Some(&failed), Some(&later), Some(&settled), None] {
            assert!(!running.is_open_in(stored), "{stored:?}");
        }
    }

    #[test]
    fn there_is_room_for_the_end_before_it_begins() {
        let [running, ..] = records(u64::MAX);
        let mut ended = running.clone().ended(255);
        ended.until = Some("2026-11-28T15:20:00.123456789Z".parse().unwrap());
        assert!(ended.to_text(0).len() <= running.to_text(0).len());
        let read: OnceRecord = serde_json::from_str(&running.to_text(0)).unwrap();
        assert_eq!(read, running);
    }
}
