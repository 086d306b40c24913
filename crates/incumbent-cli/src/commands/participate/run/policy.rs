//! What follows when a command has ended: pure, so that it can be read and tested alone.

use std::time::Duration;

use crate::commands::participate::guarded::{Cause, End, LONG_ENOUGH, Restart};
use crate::commands::participate::run::args::OnLoss;
use crate::runtime::exit;

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Give the lock back, and end with this code.
    Exit(u8),
    /// Start the command again in the same term.
    Restart,
    /// Give the lock back, and wait for another term.
    Campaign,
}

/// What the flags say, and how often the command was started again.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) on_loss: OnLoss,
    pub(crate) restart: Restart,
    pub(crate) max_restarts: u32,
    pub(crate) restarts: u32,
}

impl Policy {
    pub(crate) fn next(&mut self, cause: Cause, end: End, lasted: Duration) -> Next {
        match (cause, self.on_loss) {
            (Cause::Asked, _) => return Next::Exit(end.code()),
            (Cause::LostLeadership, OnLoss::Exit) => return Next::Exit(exit::LOST),
            (Cause::LostLeadership, OnLoss::Wait) => return Next::Campaign,
            (Cause::ByItself, _) => {}
        }
        let is_wanted = self.restart.is_wanted_after(end);
        if lasted >= LONG_ENOUGH {
            self.restarts = 0;
        }
        if !is_wanted || self.restarts >= self.max_restarts {
            return Next::Exit(end.code());
        }
        self.restarts += 1;
        Next::Restart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(on_loss: OnLoss, restart: Restart) -> Policy {
        Policy { on_loss, restart, max_restarts: 2, restarts: 0 }
    }

    const SHORT: Duration = Duration::from_secs(1);
    const GOOD: End = End::Exited(0);
    const BAD: End = End::Exited(3);

    #[test]
    fn an_end_hands_over_unless_a_restart_is_wanted() {
        let next = |restart, end| policy(OnLoss::Wait, restart).next(Cause::ByItself, end, SHORT);
        assert_eq!(next(Restart::Never, BAD), Next::Exit(3));
        assert_eq!(next(Restart::OnFailure, BAD), Next::Restart);
        assert_eq!(next(Restart::OnFailure, GOOD), Next::Exit(0));
        assert_eq!(next(Restart::Always, GOOD), Next::Restart);
    }

    #[test]
    fn restarts_are_counted_until_one_run_lasts() {
        let mut policy = policy(OnLoss::Wait, Restart::OnFailure);
        let mut next = |lasted| policy.next(Cause::ByItself, BAD, lasted);
        assert_eq!(
            [next(SHORT), next(SHORT), next(SHORT)],
            [Next::Restart, Next::Restart, Next::Exit(3)]
        );
        assert_eq!(next(LONG_ENOUGH), Next::Restart);
    }

    #[test]
    fn a_loss_is_no_failure_of_the_command() {
        let killed = End::Signalled(9);
        let next =
            |on_loss| policy(on_loss, Restart::Always).next(Cause::LostLeadership, killed, SHORT);
        assert_eq!((next(OnLoss::Wait), next(OnLoss::Exit)), (Next::Campaign, Next::Exit(79)));
    }

    #[test]
    fn who_was_asked_to_end_ends_as_the_command_did() {
        let mut policy = policy(OnLoss::Wait, Restart::Always);
        assert_eq!(policy.next(Cause::Asked, End::Signalled(15), SHORT), Next::Exit(143));
    }
}
