//! What goes wrong for a member: what ends its part in the group, and what it reports and tries again.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::lock::LockKind;

/// A kind of object, and RBAC's verb.
pub(super) type Asked = (LockKind, &'static str);

/// Why a request did not do what it should.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) asked: Asked,
    pub(super) error: Error,
    /// Whether trying again is useless until an operator changes something.
    pub(super) lasts: bool,
}

/// What is to be done about a trouble.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// It has been reported already.
    Nothing,
    /// Tell it, and try again.
    Tell,
    /// The member cannot take part.
    End,
}

#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// What has worked once: trouble with it passes, or is not this member's to judge.
    worked: BTreeSet<Asked>,
    /// What was told and is not over, with its hint, and whether it lasts.
    told: BTreeMap<Asked, (String, bool)>,
}

impl Troubles {
    /// This has worked, and with it the way to the API server.
    pub(super) fn forget(&mut self, asked: Asked) {
        self.worked.insert(asked);
        self.told.retain(|told, (_, lasts)| *lasts && *told != asked);
    }

    /// This is in order again. It says nothing about the way to the API server.
    pub(super) fn settle(&mut self, asked: Asked) {
        self.told.remove(&asked);
    }

    /// The member is no longer the allocator: what it could not do is another's to do.
    pub(super) fn forget_all(&mut self) {
        self.told.clear();
    }

    /// What is not over. Of several, one that lasts.
    pub(super) fn shown(&self) -> Option<&str> {
        let shown = self.told.values().max_by_key(|(_, lasts)| *lasts);
        shown.map(|(text, _)| text.as_str())
    }

    /// A member that may end, and may not do what it has never done, cannot take part. While tasks run, they go on.
    pub(super) fn judge(&mut self, trouble: &Trouble, may_end: bool) -> Act {
        let text = format!("{}; {}", trouble.error, trouble.error.hint());
        let before = self.told.insert(trouble.asked, (text.clone(), trouble.lasts));
        if before.is_some_and(|(told, _)| told == text) {
            return Act::Nothing;
        }
        let is_foreign = matches!(trouble.error, Error::Foreign { .. });
        let never_worked = is_foreign || !self.worked.contains(&trouble.asked);
        match trouble.lasts && never_worked && may_end && trouble.asked != CLEARING {
            true => Act::End,
            false => Act::Tell,
        }
    }
}

/// Seats that no member needs take up room and do nothing else.
const CLEARING: Asked = (LockKind::Lease, "delete");

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(asked: Asked, error: &str, lasts: bool) -> Trouble {
        let error = match lasts {
            true => Error::Unauthorized { message: error.to_owned() },
            false => Error::Unreachable { message: error.to_owned() },
        };
        Trouble { asked, error, lasts }
    }

    const READ: Asked = (LockKind::ConfigMap, "get");
    const WRITE: Asked = (LockKind::ConfigMap, "update");

    #[test]
    fn what_never_worked_and_lasts_ends_a_member_that_runs_nothing() {
        let judge = |asked, lasts, may_end| {
            let mut troubles = Troubles::default();
            troubles.forget(READ);
            troubles.judge(&trouble(asked, "no", lasts), may_end)
        };
        assert_eq!(judge(WRITE, true, true), Act::End);
        assert_eq!(judge(WRITE, true, false), Act::Tell, "tasks run");
        assert_eq!(judge(WRITE, false, true), Act::Tell, "it passes");
        assert_eq!(judge(READ, true, true), Act::Tell, "it has worked");
        assert_eq!(judge(CLEARING, true, true), Act::Tell);
        let error = Error::Foreign { what: String::new(), hint: String::new() };
        let foreign = Trouble { asked: READ, error, lasts: true };
        let mut troubles = Troubles::default();
        troubles.forget(READ);
        assert_eq!(troubles.judge(&foreign, true), Act::End, "other objects were its own");
    }

    #[test]
    fn a_trouble_is_told_once_until_it_is_over() {
        let mut troubles = Troubles::default();
        let write = |error| trouble(WRITE, error, true);
        assert_eq!(troubles.judge(&write("no"), false), Act::Tell);
        assert_eq!(troubles.judge(&write("no"), false), Act::Nothing);
        assert_eq!(troubles.judge(&write("never"), false), Act::Tell);
        assert_eq!(troubles.judge(&trouble(READ, "away", false), false), Act::Tell);
        assert!(troubles.shown().unwrap().contains("never"), "{troubles:?}");
        troubles.forget(READ);
        assert!(troubles.shown().unwrap().contains("never"), "the write is still refused");
        troubles.forget(WRITE);
        assert_eq!(troubles.shown(), None);
        assert_eq!(troubles.judge(&trouble(READ, "away", false), false), Act::Tell);
        assert!(troubles.shown().unwrap().contains("away"));
        troubles.forget(WRITE);
        assert_eq!(troubles.shown(), None, "what passes is over when anything works");
    }

    #[test]
    fn of_two_troubles_the_one_that_is_not_over_is_shown() {
        let mut troubles = Troubles::default();
        for (asked, error) in [(READ, "one"), (WRITE, "two")] {
            assert_eq!(troubles.judge(&trouble(asked, error, true), false), Act::Tell);
        }
        troubles.forget(WRITE);
        assert!(troubles.shown().unwrap().contains("one"));
        troubles.forget_all();
        assert_eq!(troubles.shown(), None);
    }
}
