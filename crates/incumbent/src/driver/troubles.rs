//! What goes wrong with requests, told once.

use crate::clock::Clock;
use crate::lock::{Altered, Lock};
use crate::lock_api::Trouble;
use crate::report;

#[derive(Default)]
pub(super) struct Troubles {
    /// What has worked once: trouble with it passes, or is not ours to judge.
    proven: Vec<&'static str>,
    /// What was logged about each kind of request, until one of that kind succeeds.
    told: Vec<(&'static str, String)>,
}

impl Troubles {
    /// A request with this verb was allowed.
    pub(super) fn prove(&mut self, verb: &'static str) {
        if !self.proven.contains(&verb) {
            self.proven.push(verb);
        }
    }

    pub(super) fn is_proven(&self, verb: &str) -> bool {
        self.proven.contains(&verb)
    }

    /// A request of this kind has succeeded.
    pub(super) fn forget(&mut self, kind: &'static str) {
        self.told.retain(|(told, _)| *told != kind);
    }

    pub(super) fn tell(
        &mut self,
        lock: &Lock,
        clock: Clock,
        kind: &'static str,
        trouble: &Trouble,
    ) {
        let (error, hint) = (trouble.error.to_string(), trouble.error.hint());
        if !self.is_news(kind, &error) {
            return;
        }
        if clock.is_system() {
            report::unlogged(&format!("{lock}: {error}; will retry"), &hint);
        }
        match kind == JOINING && trouble.lasts {
            true => tracing::warn!(
                %lock, error, hint,
                "cannot join the waitlist: stays a candidate, without a place in it"
            ),
            false => tracing::warn!(%lock, error, hint, "will retry"),
        }
    }

    /// An acquire that is stored otherwise starts no term, and is tried again.
    pub(super) fn tell_altered(&mut self, lock: &Lock, kind: &'static str, altered: &Altered) {
        if self.is_news(kind, &altered.field) {
            let Altered { field, wrote, stored } = altered;
            let hint = "an admission webhook or a proxy changes it: incumbent doctor tries a write";
            tracing::warn!(
                %lock, field, wrote, stored, hint,
                "the API server stores something other than what was written"
            );
        }
    }

    /// Whether this was not logged yet, for any kind of request.
    fn is_news(&mut self, kind: &'static str, text: &str) -> bool {
        let is_told = self.told.iter().any(|(_, told)| told == text);
        self.told.retain(|(told, _)| *told != kind);
        self.told.push((kind, text.to_owned()));
        !is_told
    }
}

/// The kind of a write that joins or leaves the waitlist.
pub(super) const JOINING: &str = "join";
