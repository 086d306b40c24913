//! What can go wrong for good. Trouble that passes is not an error of this crate: it is retried, and
//! shows in the log.

use std::fmt;

use thiserror::Error as ThisError;

use crate::lock::{Altered, Lock};

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
    #[error("{what}")]
    Invalid {
        /// What is wrong.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// The account lacks a permission.
    #[error("not allowed to {verb} {} in {}: {message}", subject(lock, verb), place(lock))]
    Forbidden {
        /// On which lock.
        lock: Lock,
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
    /// The object does not exist and was not created.
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
    /// A rule of the cluster refuses it: an admission webhook, policy or plugin. No permission helps.
    #[error("a rule of the cluster refuses to {verb} {lock}: {message}")]
    Denied {
        /// On which lock.
        lock: Lock,
        /// What was asked.
        verb: &'static str,
        /// The API server's words.
        message: String,
    },
    /// The namespace is being deleted, and takes no new object.
    #[error("namespace {namespace} is being deleted: {message}")]
    Terminating {
        /// Which one.
        namespace: String,
        /// The API server's words.
        message: String,
    },
    /// A write was applied, and what is stored differs from what was written.
    #[error(
        "the API server stores something else than was written to {object}: {field} was {wrote}, and is {stored}"
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
    #[error("the API server refuses to {verb} {lock}: {message} (HTTP {code})")]
    Rejected {
        /// On which lock.
        lock: Lock,
        /// What was asked.
        verb: &'static str,
        /// The HTTP status.
        code: u16,
        /// The API server's words.
        message: String,
    },
    /// The API server has answered that it cannot do it now.
    #[error("the API server cannot answer now: {message} (HTTP {code})")]
    Unavailable {
        /// The HTTP status.
        code: u16,
        /// The API server's words.
        message: String,
    },
    /// Something has answered that is no Kubernetes API server, or not as one.
    #[error("this is no answer of a Kubernetes API server: {message} (HTTP {code})")]
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
    /// No configuration says where the API server is.
    #[error("no way to reach a cluster was found: {message}")]
    NotConfigured {
        /// What was tried.
        message: String,
    },
    /// The configuration of the API server's address or of the credentials cannot be used.
    #[error("{what}")]
    Configuration {
        /// What is wrong, and in which file. It shows no secret.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// The program that a kubeconfig names to make credentials (`users[].user.exec`) made none.
    #[error("the credential plugin of the kubeconfig, `{command}`, {message}")]
    Plugin {
        /// The program. Its arguments and its environment may hold secrets, so these are left out.
        command: String,
        /// What became of it.
        message: String,
        /// How to install it, where the kubeconfig says that; else empty.
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
    /// The task that does the election's requests has ended, because its runtime has or because of a
    /// bug. Leadership ended with it.
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

    pub(crate) fn invalid(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), hint: hint.into() }
    }

    pub(crate) fn altered(object: impl fmt::Display, altered: Altered) -> Self {
        let Altered { field, wrote, stored } = altered;
        Self::Altered { object: object.to_string(), field, wrote, stored }
    }

    /// Whether the account may not do it: to ask again soon is of no use.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forbidden { .. } | Self::Denied { .. })
    }

    /// Whether it may pass by itself, so that a later try may succeed: the API server cannot be reached or is
    /// overloaded, or something in between answers in its place.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::NotKubernetes { .. } => true,
            Self::Unreachable { message } => {
                !["certificate", "scheme"].iter().any(|lasting| message.contains(lasting))
            }
            _ => false,
        }
    }

    /// What to do about it, in a sentence or a piece of YAML.
    pub fn hint(&self) -> String {
        match self {
            Self::Invalid { hint, .. }
            | Self::Missing { hint, .. }
            | Self::Full { hint, .. }
            | Self::Configuration { hint, .. } => hint.clone(),
            Self::Forbidden { lock, verb: "create", .. } => format!(
                "make the object beforehand, or let the account do it: {}",
                missing_rule(lock, "create")
            ),
            Self::Forbidden { lock, verb: "list", .. } if lock.namespace().is_empty() => {
                format!("name a namespace with -n, or {}", missing_rule(lock, "list"))
            }
            Self::Forbidden { lock, verb: "list", .. } => {
                format!("name the locks, or {}", missing_rule(lock, "list"))
            }
            Self::Forbidden { lock, verb, .. } => missing_rule(lock, verb),
            Self::Unauthorized { .. } => {
                "renew the token or certificate; a Pod's token is renewed in its file by the kubelet"
                    .to_owned()
            }
            Self::Denied { .. } => {
                "no permission helps: exempt the object from the webhook or policy that the message names, or \
                 change that"
                    .to_owned()
            }
            Self::Terminating { .. } => {
                "use another namespace, or wait until this one is gone and make it again".to_owned()
            }
            Self::Altered { object, .. } => format!(
                "find out what changes {object}: kubectl get mutatingwebhookconfigurations,\
                 mutatingadmissionpolicies; or a proxy on the way"
            ),
            Self::Unavailable { message, .. } if message.contains("failed calling webhook") => {
                "a webhook that has to agree does not answer: mend it, or its failurePolicy".to_owned()
            }
            Self::Unavailable { .. } => {
                "try again; if it lasts, ask the server what it misses: kubectl get --raw '/readyz?verbose'"
                    .to_owned()
            }
            Self::NotKubernetes { .. } => {
                "a proxy, a load balancer or another server has answered: check the server's address in the \
                 kubeconfig, and HTTPS_PROXY"
                    .to_owned()
            }
            Self::Rejected { .. } => "the object or the request breaks a rule of the API".to_owned(),
            Self::Unreachable { message } if message.contains("certificate") => {
                "the kubeconfig's certificate-authority (or ca.crt) is not that of this server: was \
                 it made anew since?"
                    .to_owned()
            }
            Self::Unreachable { message } if message.starts_with("the proxy ") => {
                "check the kubeconfig's proxy-url, or without one HTTPS_PROXY; NO_PROXY names the servers that are \
                 asked without a proxy"
                    .to_owned()
            }
            Self::Unreachable { .. } => {
                "check the server's address in the kubeconfig (or KUBERNETES_SERVICE_HOST and _PORT), \
                 and that it is up"
                    .to_owned()
            }
            Self::NotConfigured { .. } => {
                "set KUBECONFIG, or run in a Pod with a service account".to_owned()
            }
            Self::Plugin { hint, .. } => {
                let by_hand = "run it by hand, with the arguments and the environment that \
                               users[].user.exec of the kubeconfig names: it may wait for a sign-in, or for a \
                               server that is away"
                    .to_owned();
                if hint.is_empty() { by_hand } else { format!("{by_hand}\n{hint}") }
            }
            Self::NoWatchdog { .. } => {
                "it needs two threads and one file descriptor: raise the limit on the Pod's processes, or on \
                 open files (ulimit -n)"
                    .to_owned()
            }
            Self::DuplicateIdentity { .. } => {
                "give each replica its own identity, for example its Pod's name and uid".to_owned()
            }
            Self::Work(_) => "the lock was given back; the error is the work's own".to_owned(),
            Self::Stopped { .. } => "start a new candidate".to_owned(),
        }
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

impl From<incumbent_core::TimingError> for Error {
    fn from(error: incumbent_core::TimingError) -> Self {
        Self::invalid(error.to_string(), "one number scales all: set only the lease duration")
    }
}

/// What the verb was tried on: a list has no name.
fn subject(lock: &Lock, verb: &str) -> String {
    match verb {
        "list" => lock.resource().1.to_owned(),
        _ => lock.to_string(),
    }
}

/// Where; a list of all namespaces is of none.
fn place(lock: &Lock) -> String {
    match lock.namespace() {
        "" => "all namespaces".to_owned(),
        namespace => format!("namespace {namespace}"),
    }
}

/// The rule that would allow it, as YAML to put into a Role.
///
/// RBAC cannot restrict `create` to a name.
fn missing_rule(lock: &Lock, verb: &str) -> String {
    let (group, resource) = lock.resource();
    let names = match verb {
        "create" | "list" => String::new(),
        _ => format!("\n  resourceNames: [\"{}\"]", lock.name()),
    };
    let role = match lock.namespace() {
        "" => "ClusterRole".to_owned(),
        namespace => format!("Role of namespace {namespace}"),
    };
    format!(
        "the account needs this rule in a {role}:\n\
         - apiGroups: [\"{group}\"]\n  resources: [\"{resource}\"]{names}\n  verbs: [\"{verb}\"]"
    )
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
        let boxed: Box<dyn std::error::Error> = Box::new(Error::invalid("a", "first\nsecond"));
        assert_eq!(format!("{boxed:?}"), "a\n  hint: first\n        second");
    }
}
