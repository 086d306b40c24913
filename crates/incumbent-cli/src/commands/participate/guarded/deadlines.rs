//! When a guardian ends its command: a pure state machine, without a clock and without processes.

/// Nanoseconds on the boot-time clock, which all processes of a machine share.
pub(crate) type Moment = u64;

/// By when, if nobody says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadlines {
    /// The command is told to stop.
    pub(crate) stop_at: Moment,
    /// What then still runs is killed. So much before others may lead that it is gone by then.
    pub(crate) kill_at: Moment,
}

impl Deadlines {
    /// Of what runs while others lead: it has no term that could end.
    pub(crate) const NONE: Self = Self { stop_at: Moment::MAX, kill_at: Moment::MAX };

    /// When the kernel kills a guardian that has not begun to kill. The time to kill a command is a third of the time
    /// it has to stop; this leaves more than half of it.
    fn last_resort(self) -> Moment {
        let spent = (self.kill_at.saturating_sub(self.stop_at) / 8).min(LONGEST_HESITATION);
        self.kill_at.saturating_add(spent)
    }
}

/// A quarter of a second: half of the longest time that there is to kill a command.
const LONGEST_HESITATION: Moment = 250_000_000;

/// What a guardian learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// The term was renewed.
    Extended(Deadlines),
    /// The command shall stop now, and is killed at this moment, or earlier if its term ends earlier.
    Stop { kill_at: Moment },
    /// The command was asked to stop already, and is killed at this moment.
    Bound { kill_at: Moment },
    /// Whoever started this guardian is gone.
    Orphaned,
    /// The command has ended; what it has started may still run.
    Ended,
    /// Nothing but that time has passed.
    Woken,
}

/// What a guardian does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct Output {
    /// Tell the command to stop.
    pub(crate) terminate: bool,
    /// Kill all that there is, until nothing is left.
    pub(crate) kill: bool,
    /// Look again at this moment.
    pub(crate) wake_at: Moment,
}

#[derive(Debug)]
pub(crate) struct Guard {
    deadlines: Deadlines,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Will be told to stop when its time is over.
    Running,
    /// Was told to stop, and will be killed at this moment.
    Stopping { kill_at: Moment },
    /// Is being killed.
    Killing,
}

impl Guard {
    pub(crate) fn new(deadlines: Deadlines) -> Self {
        Self { deadlines, phase: Phase::Running }
    }

    /// Whether the command may still be started.
    pub(crate) fn may_start(&self, now: Moment) -> bool {
        now < self.deadlines.stop_at
    }

    pub(crate) fn step(&mut self, now: Moment, input: Input) -> Output {
        let mut terminate = false;
        match input {
            // A term that is over stays over, and later news of it are old.
            Input::Extended(later) if now < self.deadlines.stop_at => {
                self.deadlines.stop_at = self.deadlines.stop_at.max(later.stop_at);
                self.deadlines.kill_at = self.deadlines.kill_at.max(later.kill_at);
            }
            Input::Stop { kill_at } => terminate |= self.stop(kill_at),
            Input::Bound { kill_at } => {
                self.stop(kill_at);
            }
            Input::Orphaned => terminate |= self.stop(self.orphans_end(now)),
            Input::Ended => self.phase = Phase::Killing,
            Input::Extended(_) | Input::Woken => {}
        }
        if now >= self.deadlines.stop_at {
            terminate |= self.stop(self.deadlines.kill_at);
        }
        if let Phase::Stopping { kill_at } = self.phase
            && now >= kill_at.min(self.deadlines.kill_at)
        {
            self.phase = Phase::Killing;
        }
        Output { terminate, kill: matches!(self.phase, Phase::Killing), wake_at: self.wake_at() }
    }

    /// Says whether this is the first time.
    fn stop(&mut self, kill_at: Moment) -> bool {
        match &mut self.phase {
            Phase::Running => {
                self.phase = Phase::Stopping { kill_at };
                true
            }
            Phase::Stopping { kill_at: known } => {
                *known = kill_at.min(*known);
                false
            }
            Phase::Killing => false,
        }
    }

    /// A leader's has what is left of its term, which is not renewed.
    fn orphans_end(&self, now: Moment) -> Moment {
        match self.deadlines.kill_at {
            Moment::MAX => now.saturating_add(ORPHANS_GRACE),
            kill_at => kill_at,
        }
    }

    /// When the guardian is of no more use, and its death is the command's: never, once it kills.
    pub(crate) fn last_resort_at(&self) -> Moment {
        match self.phase {
            Phase::Running | Phase::Stopping { .. } => self.deadlines.last_resort(),
            Phase::Killing => Moment::MAX,
        }
    }

    fn wake_at(&self) -> Moment {
        match self.phase {
            Phase::Running => self.deadlines.stop_at,
            Phase::Stopping { kill_at } => kill_at.min(self.deadlines.kill_at),
            Phase::Killing => Moment::MAX,
        }
    }
}

/// For a command without a term.
const ORPHANS_GRACE: Moment = 5_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Deadlines = Deadlines { stop_at: 100, kill_at: 140 };

    fn nothing_until(wake_at: Moment) -> Output {
        Output { terminate: false, kill: false, wake_at }
    }

    #[test]
    fn a_term_that_is_not_renewed_ends_with_a_warning_and_then_by_force() {
        let mut guard = Guard::new(TERM);
        assert_eq!(guard.step(99, Input::Woken), nothing_until(100));
        let told = Output { terminate: true, kill: false, wake_at: 140 };
        assert_eq!(guard.step(100, Input::Woken), told);
        assert_eq!(guard.step(139, Input::Woken), nothing_until(140));
        assert!(guard.step(140, Input::Woken).kill);
    }

    #[test]
    fn a_renewal_moves_both_deadlines_and_never_back() {
        let mut guard = Guard::new(TERM);
        let later = Deadlines { stop_at: 200, kill_at: 240 };
        assert_eq!(guard.step(90, Input::Extended(later)), nothing_until(200));
        assert_eq!(guard.step(91, Input::Extended(TERM)), nothing_until(200));
    }

    #[test]
    fn news_that_come_after_the_end_extend_nothing() {
        let mut guard = Guard::new(TERM);
        let later = Deadlines { stop_at: 200, kill_at: 240 };
        let told = Output { terminate: true, kill: false, wake_at: 140 };
        assert_eq!(guard.step(100, Input::Extended(later)), told);
        assert!(guard.step(140, Input::Extended(later)).kill);
    }

    #[test]
    fn who_is_told_to_stop_has_its_time_but_no_more_than_the_term() {
        let mut guard = Guard::new(TERM);
        let told = Output { terminate: true, kill: false, wake_at: 60 };
        assert_eq!(guard.step(50, Input::Stop { kill_at: 60 }), told);
        assert!(guard.step(60, Input::Woken).kill);

        let mut guard = Guard::new(TERM);
        let told = Output { terminate: true, kill: false, wake_at: 140 };
        assert_eq!(guard.step(50, Input::Stop { kill_at: 1000 }), told);
        // While it stops, the term continues to be renewed.
        let later = Deadlines { stop_at: 200, kill_at: 240 };
        assert_eq!(guard.step(90, Input::Extended(later)), nothing_until(240));
        assert!(guard.step(240, Input::Woken).kill);
    }

    #[test]
    fn it_is_told_once_and_the_nearest_end_counts() {
        let mut guard = Guard::new(TERM);
        assert!(guard.step(10, Input::Stop { kill_at: 120 }).terminate);
        assert_eq!(guard.step(11, Input::Stop { kill_at: 130 }), nothing_until(120));
        assert_eq!(guard.step(12, Input::Orphaned), nothing_until(120));
        assert_eq!(guard.step(13, Input::Stop { kill_at: 110 }), nothing_until(110));
    }

    #[test]
    fn who_was_asked_by_somebody_else_is_not_told_again() {
        let mut guard = Guard::new(TERM);
        assert_eq!(guard.step(10, Input::Bound { kill_at: 120 }), nothing_until(120));
        assert_eq!(guard.step(100, Input::Woken), nothing_until(120));
        assert!(guard.step(120, Input::Woken).kill);
    }

    #[test]
    fn an_orphan_has_the_rest_of_its_term() {
        let told = Output { terminate: true, kill: false, wake_at: 140 };
        assert_eq!(Guard::new(TERM).step(10, Input::Orphaned), told);
        let mut follower = Guard::new(Deadlines::NONE);
        let told = Output { terminate: true, kill: false, wake_at: 10 + ORPHANS_GRACE };
        assert_eq!(follower.step(10, Input::Orphaned), told);
    }

    #[test]
    fn the_last_resort_comes_after_the_kill_and_never_while_it_kills() {
        let mut guard = Guard::new(TERM);
        assert_eq!(guard.last_resort_at(), 145);
        let later = Deadlines { stop_at: 200, kill_at: 240 };
        let _ = guard.step(90, Input::Extended(later));
        assert_eq!(guard.last_resort_at(), 245);
        let _ = guard.step(100, Input::Stop { kill_at: 110 });
        assert_eq!(guard.last_resort_at(), 245);
        let _ = guard.step(110, Input::Woken);
        assert_eq!(guard.last_resort_at(), Moment::MAX);
        assert_eq!(Guard::new(Deadlines::NONE).last_resort_at(), Moment::MAX);
        let long = Deadlines { stop_at: 0, kill_at: 60_000_000_000 };
        assert_eq!(Guard::new(long).last_resort_at(), 60_250_000_000);
    }

    #[test]
    fn what_a_command_leaves_behind_is_killed_at_once() {
        let mut guard = Guard::new(TERM);
        assert!(guard.step(10, Input::Ended).kill);
        assert!(!guard.step(100, Input::Woken).terminate);
    }
}
