//! Troubles of a schedule, in words for its log.

use incumbent_core::schedule::Trouble;

use super::page::{Page, key};

/// What the trouble means, and what to do about it.
pub(super) fn explained(trouble: &Trouble, page: &Page) -> (String, String) {
    let key_of = key(page.name());
    let (what, hint) = match trouble {
        Trouble::Unreadable => (
            "its record cannot be read, so nothing runs",
            format!(
                "correct or remove the key {key_of}; without it, the schedule begins as a new one"
            ),
        ),
        Trouble::SameRevision => (
            "its record has another pattern of the same revision, which is replaced by that of this leader",
            "raise the revision with each change of the pattern, period or time zone".to_owned(),
        ),
        Trouble::HigherRevision => (
            "its record has another pattern of a higher revision, which counts",
            "update this replica, or give its pattern a higher revision".to_owned(),
        ),
        Trouble::NoTicks => (
            "its record has a pattern that never comes, or that this version cannot read",
            "correct the pattern, and raise the revision".to_owned(),
        ),
        Trouble::Moved(name) => {
            let what = format!("it was renamed to {name}, so nothing runs under this name");
            return (what, "stop this replica, or start a version with the new name".to_owned());
        }
        Trouble::Changed => (
            "another client has changed or removed its record during a run, so no other run begins before this one ends",
            format!("change schedules with ScheduleControl, and do not edit the key {key_of}"),
        ),
        Trouble::Altered => (
            "the API server stores something other than what was written",
            "an admission webhook or a proxy changes it: incumbent doctor tries a write".to_owned(),
        ),
        Trouble::OldUnreadable => (
            "the record under its former name cannot be read, so nothing runs",
            format!(
                "correct or remove the key {}; without it, the schedule begins as a new one",
                key(page.was().unwrap_or_default())
            ),
        ),
        Trouble::NoDate => (
            "the answers of the API server have no Date header, so nothing runs",
            "look for a proxy that removes it".to_owned(),
        ),
    };
    (what.to_owned(), hint)
}
