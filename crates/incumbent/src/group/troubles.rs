//! What goes wrong for a member: what ends its part in the group, and what is told and tried again.

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
    /// Whether trying again is of no use until somebody changes something.
    pub(super) lasts: bool,
}

/// What is to be done about a trouble.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// It is told already.
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
    told: BTreeMap<Asked, String>,
}

impl Troubles {
    /// This has worked. Returns whether nothing is wrong any more.
    pub(super) fn forget(&mut self, asked: Asked) -> bool {
        self.worked.insert(asked);
        self.told.remove(&asked).is_some() && self.told.is_empty()
    }

    /// A member that runs nothing and may not do what it has never done cannot take part. While tasks run, they go on.
    pub(super) fn judge(&mut self, trouble: &Trouble, is_idle: bool) -> Act {
        let text = trouble.error.to_string();
        if self.told.get(&trouble.asked) == Some(&text) {
            return Act::Nothing;
        }
        self.told.insert(trouble.asked, text);
        let is_foreign = matches!(trouble.error, Error::Foreign { .. });
        let never_worked = is_foreign || !self.worked.contains(&trouble.asked);
        match trouble.lasts && never_worked && is_idle && trouble.asked != CLEARING {
            true => Act::End,
            false => Act::Tell,
        }
    }
}

/// Seats that nobody needs cost nothing but room.
const CLEARING: Asked = (LockKind::Lease, "delete");
