//! Which objects are the tasks, where that is what they are.

use super::super::config::MOST_TASKS;
use super::super::note::Sight;
use super::super::objects::Objects;
use super::super::watching::Pace;
use super::Driver;
use crate::answer::{Failure, Why};
use crate::error::Error;
use crate::lock::Resource;

impl Driver {
    /// Members that will not allocate soon need no list.
    pub(super) fn watch_objects(&self) {
        let Some(objects) = self.source.objects().cloned() else { return };
        let lease = self.timing.lease_duration();
        let pace =
            Pace { retry_period: self.timing.retry_period(), patience: lease * QUIET_LEASES };
        tokio::spawn(objects.look(self.clock, pace, self.sender.downgrade()));
    }

    pub(super) fn on_objects(&mut self, sight: Sight) {
        match sight {
            Sight::Listed(tasks, left_out) => {
                let trouble = (left_out > 0).then(|| too_many(left_out));
                self.tell_of_objects("list", None);
                self.tell_of_objects("fill", trouble);
                if self.source.list(tasks) {
                    self.want();
                }
            }
            Sight::Opened => self.tell_of_objects("watch", None),
            Sight::Refused(verb, failure) => self.on_refusal(verb, failure),
        }
    }

    /// A member that may end ends, if its account has never been able to list the objects. While tasks run, they continue.
    fn on_refusal(&mut self, verb: &'static str, failure: Failure) {
        let Some(resource) = self.source.objects().map(Objects::resource) else { return };
        let is_unknown = failure.code == Some(404) && failure.why != Why::NoNamespace;
        let never_worked = self.source.wishes().is_none();
        let may_end = never_worked && self.member.is_idle() && !failure.passes();
        let error = match is_unknown {
            // It may be created later than the program that works on its objects.
            true => unknown_kind(&resource),
            false => failure.into_error(resource, verb),
        };
        match may_end && !is_unknown {
            true => self.fail(error),
            false => self.tell_of_objects(verb, Some(error)),
        }
    }

    /// Shows and logs what is wrong about this, once.
    fn tell_of_objects(&self, about: &'static str, trouble: Option<Error>) {
        let group = self.store.group();
        let shown = trouble.as_ref().map(|error| format!("{error}; {}", error.hint()));
        if self.board.send_if_modified(|board| board.tell_of_objects(about, shown))
            && let Some(error) = trouble
        {
            let hint = error.hint();
            tracing::warn!(group, %error, hint, "the list of tasks is not complete");
        }
    }
}

fn unknown_kind(resource: &Resource) -> Error {
    Error::Missing {
        what: format!("the kind {resource}"),
        hint:
            "create its CustomResourceDefinition, or check which version of it the API server has"
                .to_owned(),
    }
}

fn too_many(left_out: usize) -> Error {
    Error::Full {
        what: format!(
            "{left_out} objects have no owner: a group has room for {MOST_TASKS}, and the oldest ones come first"
        ),
        hint:
            "use several groups, each with its own selector; or slots, each for a range of objects"
                .to_owned(),
    }
}

/// For how many leases a watch of the objects may show nothing. Servers send a bookmark about once a minute.
const QUIET_LEASES: u32 = 5;
