//! What follows when the command of a task has ended: pure, so that it can be read and tested alone.
//!
//! A member cannot refuse a task, only ask that another member gets it (`GroupHandle::decline`). If all members decline a
//! task, it stays where it is. So a task whose command fails everywhere visits each member, and is then tried by the last
//! one once a minute. A member that has declined a task accepts it again after a time, which doubles each time, up to an
//! hour, so that the task does not circulate without end.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::commands::participate::guarded::{End, LONG_ENOUGH, Restart};

/// What the flags say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) restart: Restart,
    pub(crate) max_restarts: u32,
    /// Whether the tasks are permits: then the command ends for good instead of waiting, or of being declined.
    pub(crate) are_permits: bool,
}

/// How the commands of all tasks have failed here. It outlasts a task's stay, for when the task comes back.
#[derive(Debug, Default)]
pub(crate) struct AllFailures(HashMap<String, (Instant, Failures)>);

impl AllFailures {
    /// The command of this task has ended: what is done next, and how often it has failed in a row.
    pub(crate) fn next(
        &mut self,
        task: &str,
        rules: Rules,
        end: End,
        lasted: Duration,
        now: Instant,
    ) -> (Next, u32) {
        let (_, mut failures) = self.0.remove(task).unwrap_or_else(|| (now, Failures::default()));
        let next = failures.next(rules, end, lasted, now);
        let in_a_row = failures.in_a_row;
        if failures.matter(now) {
            self.0.insert(task.to_owned(), (now, failures));
        }
        if self.0.len() > MOST_REMEMBERED {
            self.forget_older_half();
        }
        (next, in_a_row)
    }

    /// Names of tasks may come and go without end.
    fn forget_older_half(&mut self) {
        let mut moments: Vec<_> = self.0.values().map(|(latest, _)| *latest).collect();
        moments.sort_unstable();
        let oldest = moments[moments.len() / 2];
        self.0.retain(|_, (latest, _)| *latest >= oldest);
    }
}

/// How the command of one task has failed here.
#[derive(Clone, Debug, Default)]
struct Failures {
    in_a_row: u32,
    /// How often the task was declined since the command ran long enough.
    declined: u32,
    declined_until: Option<Instant>,
}

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing, until the task is assigned again.
    Rest,
    /// Give the permit back, and end.
    GiveBack,
    /// Start the command again after this pause, if the task is still ours. Decline the task for this long, if it says so.
    Again { pause: Duration, decline_for: Option<Duration> },
}

impl Failures {
    fn next(&mut self, rules: Rules, end: End, lasted: Duration, now: Instant) -> Next {
        if end.code() == 0 || lasted >= LONG_ENOUGH {
            *self = Self { declined_until: self.declined_until, ..Self::default() };
        }
        if !rules.restart.is_wanted_after(end) {
            return if rules.are_permits { Next::GiveBack } else { Next::Rest };
        }
        if end.code() == 0 {
            return Next::Again { pause: FIRST_PAUSE, decline_for: None };
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        let pause = doubled(FIRST_PAUSE, self.in_a_row).min(LONGEST_PAUSE);
        let is_declined = self.declined_until.is_some_and(|until| now < until);
        if self.in_a_row <= rules.max_restarts || is_declined {
            return Next::Again { pause, decline_for: None };
        }
        if rules.are_permits {
            return Next::GiveBack;
        }
        self.declined = self.declined.saturating_add(1);
        let decline_for = doubled(FIRST_DECLINE, self.declined).min(LONGEST_DECLINE);
        self.declined_until = Some(now + decline_for);
        Next::Again { pause, decline_for: Some(decline_for) }
    }

    /// Whether a later end depends on them.
    fn matter(&self, now: Instant) -> bool {
        self.in_a_row > 0 || self.declined_until.is_some_and(|until| now < until)
    }
}

/// Of the first time it is `first`, and twice as much each time after that.
fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1 << times.saturating_sub(1).min(16))
}

/// As many as a group may have tasks, twice, so that what is forgotten is seldom of a task that is still there.
const MOST_REMEMBERED: usize = 2 * 16_384;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

const FIRST_DECLINE: Duration = Duration::from_secs(60);
const LONGEST_DECLINE: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { restart: Restart::OnFailure, max_restarts: 2, are_permits: false };
    const SHORT: Duration = Duration::from_secs(1);
    const GOOD: End = End::Exited(0);
    const BAD: End = End::Exited(3);

    fn again(pause: u64, decline_for: Option<u64>) -> Next {
        let decline_for = decline_for.map(Duration::from_secs);
        Next::Again { pause: Duration::from_secs(pause), decline_for }
    }

    #[test]
    fn a_command_that_succeeds_rests_and_one_that_fails_starts_again_unless_told_otherwise() {
        let next = |restart, end| {
            Failures::default().next(Rules { restart, ..RULES }, end, SHORT, Instant::now())
        };
        assert_eq!(next(Restart::OnFailure, GOOD), Next::Rest);
        assert_eq!(next(Restart::OnFailure, BAD), again(1, None));
        assert_eq!(next(Restart::Always, GOOD), again(1, None));
        assert_eq!([next(Restart::Never, GOOD), next(Restart::Never, BAD)], [Next::Rest; 2]);
    }

    #[test]
    fn only_failures_that_matter_are_remembered_and_of_too_many_the_newest() {
        let (mut all, now) = (AllFailures::default(), Instant::now());
        let mut end = |task: u64, end| {
            let moment = now + Duration::from_millis(task);
            all.next(&task.to_string(), RULES, end, SHORT, moment)
        };
        assert_eq!(end(1, BAD), (again(1, None), 1));
        assert_eq!(end(1, BAD), (again(2, None), 2));
        assert_eq!(end(1, GOOD), (Next::Rest, 0));
        assert_eq!(end(1, BAD), (again(1, None), 1), "the row was broken");
        let most = MOST_REMEMBERED as u64;
        for task in 2..=most + 1 {
            end(task, BAD);
        }
        assert_eq!(end(most + 1, BAD).1, 2);
        assert_eq!(end(1, BAD).1, 1, "it was forgotten");
        for task in 0..most {
            end(task, GOOD);
        }
        assert!(all.0.len() <= 2, "{}", all.0.len());
    }

    #[test]
    fn the_command_of_a_permit_gives_it_back_when_it_is_done_or_keeps_failing() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        let rules = Rules { are_permits: true, ..RULES };
        assert_eq!(failures.next(rules, GOOD, SHORT, now), Next::GiveBack);
        let failing = [1, 2, 3].map(|_| failures.next(rules, BAD, SHORT, now));
        assert_eq!(failing, [again(1, None), again(2, None), Next::GiveBack]);
    }

    #[test]
    fn a_task_whose_command_keeps_failing_is_declined_once_for_each_time() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        let mut next =
            |seconds| failures.next(RULES, BAD, SHORT, now + Duration::from_secs(seconds));
        assert_eq!([next(0), next(2)], [again(1, None), again(2, None)]);
        assert_eq!(next(5), again(4, Some(60)));
        assert_eq!(next(64), again(8, None), "it is declined already");
        assert_eq!(next(66), again(16, Some(120)), "it came back, and is not tried as often again");
        assert_eq!(next(60_000), again(32, Some(240)));
    }

    #[test]
    fn pauses_and_declines_have_an_end() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        let mut last = Next::Rest;
        for day in 0..100 {
            last = failures.next(RULES, BAD, SHORT, now + day * Duration::from_secs(86_400));
        }
        assert_eq!(last, again(60, Some(3600)));
    }

    #[test]
    fn a_run_of_a_minute_starts_the_count_again() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for _ in 0..5 {
            failures.next(RULES, BAD, SHORT, now);
        }
        assert_eq!(failures.next(RULES, BAD, LONG_ENOUGH, now), again(1, None));
        assert_eq!(failures.in_a_row, 1);
    }
}
