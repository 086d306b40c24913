//! The end of a command: it is killed until nothing is left, and what does not die is told of.

use std::time::Duration;

use super::deadlines::Moment;
use crate::runtime::descendants::Survivor;

/// How often to kill again, and when to say that it takes long: without its own clock.
#[derive(Debug)]
pub(crate) struct KillBackoff {
    pause: Duration,
    /// When something is said next.
    speak_at: Moment,
}

impl KillBackoff {
    pub(crate) fn start(now: Moment) -> Self {
        Self { pause: SHORTEST, speak_at: now.saturating_add(PATIENCE) }
    }

    /// How long to wait for a death, which may be noticed earlier.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST);
        pause
    }

    /// What there is to say of these, now and then.
    pub(crate) fn complaint(&mut self, now: Moment, survivors: &[Survivor]) -> Option<String> {
        let survivor = survivors.first()?;
        if now < self.speak_at {
            return None;
        }
        self.speak_at = now.saturating_add(BETWEEN_WORDS);
        let why = match survivor.is_out_of_reach {
            true => "cannot be killed, because this user may send it no signal",
            false => "was killed and has not died: it hangs in the kernel, or a debugger holds it",
        };
        let pid = survivor.pid.as_raw_nonzero();
        Some(format!(
            "process {pid} of the command {why}. Nothing is released while it lives. But if the \
             lease can no longer be renewed, another process will take over beside it: end it by hand"
        ))
    }
}

const SHORTEST: Duration = Duration::from_micros(500);

/// A death is told of by a signal; this is for what comes without one.
const LONGEST: Duration = Duration::from_millis(200);

/// A second: what can die is dead by then.
const PATIENCE: Moment = 1_000_000_000;

const BETWEEN_WORDS: Moment = 10_000_000_000;

#[cfg(test)]
mod tests {
    use rustix::process::Pid;

    use super::*;

    #[test]
    fn what_lives_after_a_second_is_told_of_every_ten() {
        let pid = Pid::from_raw(4711).unwrap();
        let survivors = [Survivor { pid, is_out_of_reach: true }];
        let mut backoff = KillBackoff::start(0);
        let mut spoke = |second: Moment, survivors: &[Survivor]| {
            backoff.complaint(second * 1_000_000_000, survivors).is_some()
        };
        assert!(!spoke(0, &survivors));
        assert!(!spoke(2, &[]), "there is nothing to say of what is dead");
        assert!(spoke(2, &survivors));
        assert!(!spoke(11, &survivors));
        assert!(spoke(12, &survivors));
    }

    #[test]
    fn the_pauses_grow_and_have_an_end() {
        let mut backoff = KillBackoff::start(0);
        let pauses: Vec<_> = (0..12).map(|_| backoff.pause()).collect();
        assert_eq!((pauses[0], pauses[1], pauses[11]), (SHORTEST, SHORTEST * 2, LONGEST));
    }
}
