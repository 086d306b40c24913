//! Settings that cannot work.

use incumbent_core::{FencingToken, TimingError};
use thiserror::Error as ThisError;

use crate::lock::InvalidLock;

/// Which name, address, timing or other setting cannot work.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum InvalidSetting {
    /// The lock cannot be named like this.
    #[error(transparent)]
    Lock(#[from] InvalidLock),
    /// A Lease has no place for a blackboard.
    #[error("a Lease cannot be a blackboard")]
    Blackboard,
    /// The durations do not fit together.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// Candidates and blackboards take no such name.
    #[error("{0:?} cannot be an identity")]
    Identity(String),
    /// Blackboards take no such name of a member.
    #[error("{0:?} cannot be the name of a member")]
    MemberName(String),
    /// An address that is published is too long, or has control characters.
    #[error("{address:?} cannot be an address")]
    Address {
        /// What was given.
        address: String,
        /// How many bytes it may have.
        longest: usize,
    },
    /// The floor leaves too few tokens above it.
    #[error("{floor} is too high for a token floor: {highest} is the highest")]
    TokenFloor {
        /// What was given.
        floor: FencingToken,
        /// The highest floor that works.
        highest: FencingToken,
    },
    /// A claim was to replace a version that no object can have.
    #[error("{0:?} is not a resourceVersion")]
    ResourceVersion(String),
    /// A group's name is no DNS label.
    #[error("{0:?} cannot be the name of a group")]
    GroupName(String),
    /// A member's lease is too long.
    #[error("the lease of a member is too long")]
    GroupLease,
    /// A table cannot store the name of a task.
    #[error("{0:?} cannot be the name of a task")]
    TaskName(String),
    /// A list of tasks has the same name twice.
    #[error("task {0:?} is listed twice")]
    DuplicateTask(String),
    /// A group has too many named tasks.
    #[error("{0} tasks are too many")]
    TooManyTasks(usize),
    /// A group has no slots or permits, or too many.
    #[error("a group cannot have {0} slots or permits")]
    TaskCount(u16),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// The API server's address is no URL.
    #[error("{0:?} is not the address of an API server")]
    Server(String),
    /// The Pod's token cannot be shown to a server.
    #[error("{file} {why}: no server accepts that as a token")]
    PodToken {
        /// Where it is.
        file: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Kubernetes accepts no such key of a label.
    #[error("{0:?} cannot be a label")]
    RouteKey(String),
    /// A route by label needs the name of a Pod.
    #[error("no Pod is known to label")]
    RoutePod,
    /// A route by EndpointSlice needs an address.
    #[error("no IP address is known for the EndpointSlice")]
    RouteAddress,
    /// A setting of the program that uses this crate, for one that reports its own settings in the same way.
    #[error("{what}")]
    Program {
        /// What is wrong.
        what: String,
        /// What to do about it.
        hint: String,
    },
}

impl InvalidSetting {
    /// What to do about it, in a sentence.
    pub fn hint(&self) -> String {
        let hint = match self {
            Self::Lock(error) => error.hint(),
            Self::Blackboard => "use configmap/NAME[:KEY]",
            Self::Timing(_) => "one number scales all: set only the lease duration",
            Self::Identity(_) => {
                "it has 1 to 253 bytes, no control characters, and no space at its ends"
            }
            Self::MemberName(_) => {
                "it has 1 to 200 letters, digits, '-', '_' and '.': a Pod's name, say"
            }
            Self::Address { longest, .. } => {
                return format!("it has at most {longest} bytes, and no control characters");
            }
            Self::TokenFloor { .. } => {
                "the floor is a little above the last token that was given elsewhere"
            }
            Self::ResourceVersion(_) => "it is the number that metadata.resourceVersion shows",
            Self::GroupName(_) => {
                "it has lower case letters, digits and '-', and at most 63 of them"
            }
            Self::GroupLease => "it has at most 60 s",
            Self::TaskName(_) => "it has 1 to 253 visible ASCII characters",
            Self::DuplicateTask(_) => "list each name once",
            Self::TooManyTasks(_) => "a group has at most 10000: let a task be a range of keys",
            Self::TaskCount(_) => "it has 1 to 16384 of them",
            Self::Random(_) => {
                "without one, two processes with the same name could not be told apart"
            }
            Self::Server(_) => "write it like https://10.0.0.1:6443",
            Self::PodToken { .. } => "write the token and nothing else: printf %s \"$TOKEN\"",
            Self::RouteKey(_) => {
                "after the slash it has at most 63 letters, digits, '-', '_' and '.': set Route::key"
            }
            Self::RoutePod => {
                "set POD_NAME and POD_NAMESPACE by the downward API, or name it by Route::pod"
            }
            Self::RouteAddress => {
                "set POD_IP by the downward API, or an IP with or without a port by Builder::address"
            }
            Self::Program { hint, .. } => hint,
        };
        hint.to_owned()
    }
}

/// An address that is written where others read it.
pub(crate) fn checked_address(address: &str, longest: usize) -> Result<(), InvalidSetting> {
    match address.len() <= longest && !address.chars().any(char::is_control) {
        true => Ok(()),
        false => Err(InvalidSetting::Address { address: address.to_owned(), longest }),
    }
}
