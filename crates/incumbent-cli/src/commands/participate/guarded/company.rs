//! Keeping a command company: it learns of each renewal, of signals, and of the end of its time.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use incumbent::Leadership;

use super::child::GuardedChild;
use super::deadlines::{Deadlines, Moment};
use super::guardian::now;
use super::protocol::End;
use super::signals::{Signals, asks_to_end};
use crate::runtime::exit;

/// What bounds the time of a command.
pub(crate) struct Company<'a> {
    pub(crate) leadership: &'a Leadership,
    /// How often to look whether the term was renewed.
    pub(crate) tick: Duration,
    /// How long the command may take to stop when it is asked to.
    pub(crate) kill_after: Duration,
}

impl Company<'_> {
    /// Hands on what comes until nothing is left of the command. It is asked to stop as soon as `revoked` is ready.
    pub(crate) async fn keep(
        &self,
        guarded: &mut GuardedChild,
        revoked: impl Future<Output = ()>,
        signals: &mut Signals,
    ) -> (Cause, End) {
        let mut cause = Cause::ByItself;
        let (mut is_lost, mut is_killed) = (false, false);
        let mut told = Deadlines::of(self.leadership);
        let mut revoked = pin!(revoked);
        loop {
            let patience =
                self.tick.min(left_until(told.stop_at) / 2).max(Duration::from_millis(5));
            let may_go_on = cause == Cause::ByItself;
            tokio::select! {
                biased;
                end = guarded.end() => {
                    // Or its guardian has found the term over before it has started anything.
                    let is_cut_short =
                        guarded.was_told_to_stop() || end == End::Unstarted(exit::LOST);
                    return (cause.or_lost_if(is_cut_short), end);
                }
                _ = self.leadership.lost(), if !is_lost => {
                    is_lost = true;
                    // Who was asked to end, ends so, though its time is shorter now.
                    cause = if may_go_on { Cause::LostLeadership } else { cause };
                    guarded.stop(told.kill_at);
                }
                () = &mut revoked, if may_go_on => {
                    cause = Cause::LostLeadership;
                    guarded.stop(after(self.kill_after));
                }
                signal = signals.next() => {
                    guarded.signal(signal);
                    if asks_to_end(signal) {
                        cause = Cause::Asked;
                        guarded.bound(after(self.kill_after));
                    }
                }
                // The guardian has killed it by now, unless it stands still itself.
                () = tokio::time::sleep(left_until(told.kill_at) + A_MOMENT), if is_lost && !is_killed => {
                    is_killed = true;
                    guarded.handle().kill();
                }
                () = tokio::time::sleep(patience), if !is_lost => {
                    let renewed = Deadlines::of(self.leadership);
                    if renewed.stop_at > told.stop_at {
                        told = renewed;
                        guarded.extend(told);
                    }
                }
            }
        }
    }
}

/// Why a command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It ended while it might have continued.
    ByItself,
    /// Its time was over: leadership was lost or handed over, or the task was revoked.
    LostLeadership,
    /// This process was asked to end.
    Asked,
}

impl Cause {
    /// For the log.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::ByItself => "ended-by-itself",
            Self::LostLeadership => "leadership-lost",
            Self::Asked => "asked-to-end",
        }
    }

    /// The guardian goes by its own clock: it may stop a command before this process knows that its term is over.
    /// Such a command was cut short, whatever its exit code says.
    pub(crate) fn or_lost_if(self, was_told_to_stop: bool) -> Self {
        match self {
            Self::ByItself if was_told_to_stop => Self::LostLeadership,
            cause => cause,
        }
    }
}

impl Deadlines {
    /// By when a command has to stop, and is killed: early enough that it is gone at the stop deadline.
    pub(crate) fn of(leadership: &Leadership) -> Self {
        // The clock is read first: a pause before the next line makes the deadlines earlier, not later.
        let at = now();
        let (valid_for, stop_within) = (leadership.valid_for(), leadership.stop_within());
        let margin = (stop_within.saturating_sub(valid_for) / 4).min(LONGEST_KILL);
        Self {
            stop_at: at.saturating_add(nanos(valid_for)),
            kill_at: at.saturating_add(nanos(stop_within.saturating_sub(margin))),
        }
    }
}

/// More than it takes to kill anything that can be killed, on a machine that is busy.
const LONGEST_KILL: Duration = Duration::from_millis(500);

/// What a guardian that is well may need to kill what it guards, and to say so.
const A_MOMENT: Duration = Duration::from_millis(10);

fn nanos(duration: Duration) -> Moment {
    u64::try_from(duration.as_nanos()).unwrap_or(Moment::MAX)
}

pub(crate) fn after(duration: Duration) -> Moment {
    now().saturating_add(nanos(duration))
}

fn left_until(moment: Moment) -> Duration {
    Duration::from_nanos(moment.saturating_sub(now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_its_guardian_has_told_to_stop_has_not_ended_by_itself() {
        assert_eq!(Cause::ByItself.or_lost_if(true), Cause::LostLeadership);
        assert_eq!(Cause::ByItself.or_lost_if(false), Cause::ByItself);
        assert_eq!(Cause::Asked.or_lost_if(true), Cause::Asked);
    }
}
