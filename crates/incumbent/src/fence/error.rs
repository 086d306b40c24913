//! Why a fenced write was not made.

use std::fmt;

use incumbent_core::FencingToken;
use thiserror::Error as ThisError;

use crate::error::{print_with_hint, root_cause};
use crate::gate::NotLeading;

/// Why a fenced write was not made; [`Unknown`](Self::Unknown) alone leaves open whether it was.
///
/// `Debug` prints its [hint](Self::hint) too, as that of [`Error`](crate::Error) does.
#[derive(ThisError)]
#[non_exhaustive]
pub enum FenceError {
    /// A newer leader has written the object, so this one belongs to the past and must stop. Nothing was
    /// written.
    #[error("{object} was written under token {seen}, newer than ours ({ours})")]
    Stale {
        /// The object's path.
        object: String,
        /// The token of this leadership.
        ours: FencingToken,
        /// The token that the object shows.
        seen: FencingToken,
    },
    /// The leadership has ended. Nothing was written.
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    /// This process no longer owns the task: it was revoked, or the seat was lost. Nothing was written.
    #[error("not sent: this process does not own task {task}")]
    NotOwner {
        /// The task.
        task: String,
    },
    /// The annotation shows something that is no token, so it is unknown who is newer. Nothing was
    /// written.
    #[error("{object} has {value:?} as {annotation}, which is not a fencing token")]
    Unreadable {
        /// The object's path.
        object: String,
        /// The annotation's name.
        annotation: String,
        /// What it shows.
        value: String,
    },
    /// The API server refuses the request as such. Nothing was written.
    #[error("the API server refuses a fenced write of {object}: {}", root_cause(error))]
    Refused {
        /// The object's path.
        object: String,
        /// The API server's words.
        #[source]
        error: Box<kube::Error>,
    },
    /// The write was applied, and its token was not stored with it: an older leader could overwrite it.
    #[error("{object} was written, and is stored without our fencing token in {annotation}")]
    Stripped {
        /// The object's path.
        object: String,
        /// The annotation's name.
        annotation: String,
    },
    /// Others wrote first, or no answer came to a read, too often in a row. Nothing was written.
    #[error("gave up writing {object}: {why}")]
    GaveUp {
        /// The object's path.
        object: String,
        /// What came of the last attempt.
        why: String,
    },
    /// The answer to the write was lost, and there is no telling any more whether it was applied, or will
    /// be.
    #[error("the outcome of a fenced write of {object} is unknown: {why}")]
    Unknown {
        /// The object's path.
        object: String,
        /// Why.
        why: String,
    },
}

impl FenceError {
    /// What to do about it, in a sentence.
    pub fn hint(&self) -> String {
        match self {
            Self::Stale { .. } => {
                "stop the work of this term: it continues elsewhere, under the newer token".to_owned()
            }
            Self::NotLeading(_) => "stop the work of this term, and campaign again".to_owned(),
            Self::NotOwner { .. } => {
                "stop the work of this task: another member may own it".to_owned()
            }
            Self::Unreadable { annotation, .. } => format!(
                "find out who wrote it; then set the token that the lock shows: kubectl annotate \
                 --overwrite KIND NAME {annotation}=TOKEN"
            ),
            Self::Refused { .. } => {
                "the object must exist, unless or_create makes it, and the account needs the verbs get and update \
                 on it"
                    .to_owned()
            }
            Self::Stripped { .. } => {
                "an admission webhook or a proxy removes or changes it: exempt the object, and write again"
                    .to_owned()
            }
            Self::GaveUp { .. } => "try again later".to_owned(),
            Self::Unknown { .. } => {
                "read the object: a change that may be made twice can just be made again".to_owned()
            }
        }
    }
}

impl fmt::Debug for FenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_with_hint(f, self, None, &self.hint())
    }
}
