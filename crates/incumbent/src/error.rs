//! What can fail permanently. A failure that may pass by itself is not an error of this crate: the
//! request is retried, and the log shows it.

use std::fmt;

use thiserror::Error as ThisError;

use crate::invalid::InvalidSetting;
use crate::lock::{Altered, InvalidLock, Lock, Resource};
use crate::rights;

/// Any error, as the work of [`Candidate::run`](crate::Candidate::run) may return it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a candidate cannot take part.
///
/// `Debug` prints the error, its causes and its [hint](Self::hint), because a `main` that returns
/// `Result<(), Error>`, or `Result<(), Box<dyn std::error::Error>>`, prints `Debug`:
///
/// ```
/// use incumbent::Error;
///
/// let error = Error::Missing {
///     what: "namespace prod".to_owned(),
///     hint: "kubectl create namespace prod".to_owned(),
/// };
/// assert_eq!(
///     format!("{error:?}"),
///     "namespace prod does not exist\n  hint: kubectl create namespace prod"
/// );
/// ```
#[derive(ThisError)]
#[non_exhaustive]
pub enum Error {
    /// A name, an identity or a timing that cannot work.
    #[error(transparent)]
    Invalid(#[from] InvalidSetting),
    /// The account lacks a permission.
    #[error("not allowed to {verb} {resource} in {}: {message}", place(resource))]
    Forbidden {
        /// On what.
        resource: Resource,
        /// RBAC's verb.
        verb: &'static str,
        /// The API server's words.
        message: String,
    },
    /// The API server does not know who is asking.
    #[error("the API server does not accept the credentials: {message}")]
    Unauthorized {
        /// The API server's words.
        message: String,
    },
    /// The object does not exist, and was not created.
    #[error("{what} does not exist")]
    Missing {
        /// What is missing, with its namespace.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// The object has no room for more.
    #[error("{what}")]
    Full {
        /// What is full.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// An object with that name exists, but belongs to something else. Nothing was written to it.
    #[error("{what}")]
    Foreign {
        /// Which object, and what it is not.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// An admission webhook, policy or plugin of the cluster refuses the request. No permission
    /// helps.
    #[error("a rule of the cluster refuses to {verb} {resource}: {message}")]
    Denied {
        /// On what.
        resource: Resource,
        /// What was asked.
        verb: &'static str,
        /// The API server's words.
        message: String,
    },
    /// The namespace is being deleted, and accepts no new object.
    #[error("namespace {namespace} is being deleted: {message}")]
    Terminating {
        /// Which one.
        namespace: String,
        /// The API server's words.
        message: String,
    },
    /// A write was applied, but the API server stores something other than what was written.
    #[error(
        "the API server stores something other than what was written to {object}: {field} was {wrote}, and is \
            {stored}"
    )]
    Altered {
        /// Which object.
        object: String,
        /// The field, as `metadata.annotations[incumbent.dev/term]`.
        field: String,
        /// What was written there.
        wrote: String,
        /// What is stored there.
        stored: String,
    },
    /// The API server refuses the request as such.
    #[error("the API server refuses to {verb} {resource}: {message} (HTTP {code})")]
    Rejected {
        /// On what.
        resource: Resource,
        /// What was asked.
        verb: &'static str,
        /// The HTTP status.
        code: u16,
        /// The API server's words.
        message: String,
    },
    /// The API server has answered that it cannot handle the request now.
    #[error("the API server cannot answer now: {message} (HTTP {code})")]
    Unavailable {
        /// The HTTP status.
        code: u16,
        /// The API server's words.
        message: String,
    },
    /// The answer does not come from a Kubernetes API server, or does not look like one.
    #[error("this is not an answer of a Kubernetes API server: {message} (HTTP {code})")]
    NotKubernetes {
        /// The HTTP status.
        code: u16,
        /// The beginning of what came.
        message: String,
    },
    /// The API server cannot be reached.
    #[error("cannot reach the API server: {message}")]
    Unreachable {
        /// What the connection said.
        message: String,
    },
    /// There is no configuration that names the API server.
    #[error("no way to reach a cluster was found: {message}")]
    NotConfigured {
        /// What was tried.
        message: String,
    },
    /// The address of the API server, or the credentials, are configured in a way that cannot work.
    #[error("{what}")]
    Configuration {
        /// What is wrong, and in which file. It shows no secret.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// The credential plugin of a kubeconfig (`users[].user.exec`) returned no credentials.
    #[error("the credential plugin of the kubeconfig, `{command}`, {message}")]
    Plugin {
        /// The program. Its arguments and its environment may hold secrets, so these are left out.
        command: String,
        /// What happened to it.
        message: String,
        /// How to install it, if the kubeconfig says so; otherwise empty.
        hint: String,
    },
    /// The watchdog of this process cannot be started, so it must not lead: nothing would end work that
    /// outlives its lease.
    #[error("the watchdog cannot be started, so this process must not lead: {message}")]
    NoWatchdog {
        /// What the system said.
        message: String,
    },
    /// Another living process takes part under the same identity.
    #[error("another living process takes part in {lock} as {identity:?}")]
    DuplicateIdentity {
        /// In which election.
        lock: Lock,
        /// Under which name.
        identity: String,
    },
    /// The work failed while it led.
    #[error("the work failed: {0}")]
    Work(#[source] BoxError),
    /// The task that sends the election's requests has ended, because its runtime has ended or
    /// because of a bug. Leadership ended with it.
    #[error("the election of {lock} is no longer running")]
    Stopped {
        /// Which election.
        lock: Lock,
    },
}

impl Error {
    pub(crate) fn configuration(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Configuration { what: what.into(), hint: hint.into() }
    }

    pub(crate) fn altered(object: impl fmt::Display, altered: Altered) -> Self {
        let Altered { field, wrote, stored } = altered;
        Self::Altered { object: object.to_string(), field, wrote, stored }
    }

    /// Whether the account lacks a permission, so that asking again soon is useless.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forbidden { .. } | Self::Denied { .. })
    }

    /// Whether a later attempt may succeed without any action: the API server cannot be reached or
    /// is overloaded, or something in between answers in its place.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::NotKubernetes { .. } => true,
            Self::Unreachable { message } => {
                !["certificate", "scheme"].iter().any(|lasting| message.contains(lasting))
            }
            _ => false,
        }
    }

    /// What to do about it: a sentence, or a piece of YAML.
    pub fn hint(&self) -> String {
        let hint = match self {
            Self::Invalid(setting) => return setting.hint(),
            Self::Missing { hint, .. }
            | Self::Full { hint, .. }
            | Self::Foreign { hint, .. }
            | Self::Configuration { hint, .. } => hint,
            Self::Forbidden { resource, verb, .. } => return hint_of_forbidden(resource, verb),
            Self::Unauthorized { .. } => {
                "renew the token or certificate; a Pod's token is renewed in its file by the kubelet"
            }
            Self::Denied { .. } => {
                "no permission helps: exempt the object from the webhook or policy that the message names, or \
                 change that"
            }
            Self::Terminating { .. } => {
                "use another namespace, or wait until this one is gone, and create it again"
            }
            Self::Altered { object, .. } => {
                return format!(
                    "find out what changes {object}: kubectl get mutatingwebhookconfigurations,\
                     mutatingadmissionpolicies; or a proxy in between"
                );
            }
            Self::Unavailable { message, .. } => hint_of_unavailable(message),
            Self::NotKubernetes { .. } => {
                "a proxy, a load balancer or another server has answered: check the server's address in the \
                 kubeconfig, and HTTPS_PROXY"
            }
            Self::Rejected { .. } => "the object or the request breaks a rule of the API",
            Self::Unreachable { message } => hint_of_unreachable(message),
            Self::NotConfigured { .. } => "set KUBECONFIG, or run in a Pod with a service account",
            Self::Plugin { hint, .. } => return hint_of_plugin(hint),
            Self::NoWatchdog { .. } => {
                "it needs two threads and one file descriptor: raise the limit on the Pod's processes, or on \
                 open files (ulimit -n)"
            }
            Self::DuplicateIdentity { lock, identity } if is_seat_of(lock, identity) => {
                "give each member of the group its own name, for example its Pod's name (POD_NAME or --member)"
            }
            Self::DuplicateIdentity { .. } => {
                "give each replica its own identity, for example its Pod's name and uid"
            }
            Self::Work(_) => "the lock was released; the error comes from the work",
            Self::Stopped { .. } => "start a new candidate",
        };
        hint.to_owned()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What the work's error says is in our own words already; its causes are not.
        let first = match self {
            Self::Work(error) => error.source(),
            _ => None,
        };
        print_with_hint(f, self, first, &self.hint())
    }
}

/// Whether this is the seat of a group's member: the Lease `GROUP.MEMBER`.
fn is_seat_of(lock: &Lock, member: &str) -> bool {
    lock.name().strip_suffix(member).is_some_and(|group| group.ends_with('.'))
}

/// Writes an error as people read it where a program ends with it: what happened, its causes, what to do.
pub(crate) fn print_with_hint(
    f: &mut fmt::Formatter<'_>,
    error: &dyn fmt::Display,
    cause: Option<&(dyn std::error::Error + 'static)>,
    hint: &str,
) -> fmt::Result {
    write!(f, "{error}")?;
    for cause in std::iter::successors(cause, |cause| cause.source()) {
        write!(f, ": {cause}")?;
    }
    for (number, line) in hint.lines().enumerate() {
        write!(f, "\n  {}{line}", if number == 0 { "hint: " } else { "      " })?;
    }
    Ok(())
}

/// The root of the trouble, because "error sending request" does not help.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

impl From<incumbent_core::TimingError> for Error {
    fn from(error: incumbent_core::TimingError) -> Self {
        Self::Invalid(error.into())
    }
}

impl From<InvalidLock> for Error {
    fn from(error: InvalidLock) -> Self {
        Self::Invalid(error.into())
    }
}

/// Where; a list of all namespaces is of none.
fn place(resource: &Resource) -> String {
    match resource.namespace() {
        None => "all namespaces".to_owned(),
        Some(namespace) => format!("namespace {namespace}"),
    }
}

fn hint_of_forbidden(resource: &Resource, verb: &str) -> String {
    let rule = missing_rule(resource, verb);
    match (resource, verb) {
        (Resource::Group { .. }, _) => rule,
        (Resource::All { namespace: None, .. }, "list") => {
            format!("name a namespace with -n, or {rule}")
        }
        (Resource::All { .. }, "list") => format!("name the locks, or {rule}"),
        (_, "create") => {
            format!("make the object beforehand, or let the account do it: {rule}")
        }
        _ => rule,
    }
}

/// The rule that would allow it, as YAML to put into a Role.
///
/// RBAC cannot restrict `create` to a name.
fn missing_rule(resource: &Resource, verb: &str) -> String {
    if let Resource::Group { namespace, .. } = resource {
        let rules = rights::yaml(&rights::of_a_group());
        return format!(
            "each member needs these rules in a Role of namespace {namespace}:\n{rules}"
        );
    }
    let name = match resource {
        Resource::Lock(lock) if verb != "create" && verb != "list" => Some(lock.name()),
        _ => None,
    };
    // Without both, no list of them is up to date.
    let verbs: &[&str] = match resource {
        Resource::Objects { .. } => &["list", "watch"],
        _ => &[verb],
    };
    let role = match resource.namespace() {
        None => "ClusterRole".to_owned(),
        Some(namespace) => format!("Role of namespace {namespace}"),
    };
    let rule = rights::rule(resource.group_and_plural(), name, verbs);
    format!("the account needs this rule in a {role}:\n{}", rights::yaml(&[rule]))
}

fn hint_of_unavailable(message: &str) -> &'static str {
    match message.contains("failed calling webhook") {
        true => {
            "a webhook that has to agree does not answer: repair it, or change its failurePolicy"
        }
        false => {
            "try again; if that does not help, ask the server what is not ready: kubectl get --raw \
                '/readyz?verbose'"
        }
    }
}

fn hint_of_unreachable(message: &str) -> &'static str {
    if message.contains("certificate") {
        "the kubeconfig's certificate-authority (or ca.crt) is not that of this server: was the server installed \
            again since?"
    } else if message.starts_with("the proxy ") {
        "check the kubeconfig's proxy-url, or without one HTTPS_PROXY; NO_PROXY names the servers that are \
         asked without a proxy"
    } else {
        "check the server's address in the kubeconfig (or KUBERNETES_SERVICE_HOST and _PORT), and that it is up"
    }
}

fn hint_of_plugin(install: &str) -> String {
    let by_hand = "run it by hand, with the arguments and the environment that users[].user.exec of the \
                   kubeconfig names: it may wait for a sign-in, or for a server that is away";
    match install.is_empty() {
        true => by_hand.to_owned(),
        false => format!("{by_hand}\n{install}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_main_that_returns_an_error_prints_its_causes_and_its_hint() {
        let failed = Error::Work("it rains".into());
        let printed = format!("Error: {failed:?}");
        assert!(
            printed.starts_with("Error: the work failed: it rains\n  hint: the lock"),
            "{printed}"
        );
        let caused = Error::Work(Box::new(Error::Work("it rains".into())));
        assert!(format!("{caused:?}").contains(": it rains: it rains\n"), "{caused:?}");
        let boxed: Box<dyn std::error::Error> =
            Box::new(Error::configuration("a", "first\nsecond"));
        assert_eq!(format!("{boxed:?}"), "a\n  hint: first\n        second");
    }
}
