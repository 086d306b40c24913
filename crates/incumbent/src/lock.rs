//! The lock: which Kubernetes object it is.

use std::fmt;

use thiserror::Error as ThisError;

mod altered;
mod codec;
mod container;
mod seat;
mod waitlist;

pub(crate) use altered::{Altered, annotation as annotation_pointer, escaped as escaped_pointer};
pub(crate) use codec::{
    HIGHEST_FLOOR, KEYED_RECORD_ANNOTATION, RECORD_ANNOTATION, TERM_ANNOTATION, version,
};
pub(crate) use waitlist::{HAND_OVER_TO, PAUSED};

/// The Kubernetes object that candidates compete for. Ordered by namespace, kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lock {
    namespace: String,
    kind: Kind,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Lease,
    /// The Lease `GROUP.MEMBER`. Each write of a record puts the group's label on it.
    Seat,
    ConfigMap {
        key: String,
    },
}

/// Which kind of object a lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockKind {
    /// A Lease.
    Lease,
    /// A ConfigMap.
    ConfigMap,
}

/// The object of a request: one lock, or all objects of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// One lock.
    Lock(Lock),
    /// All of a kind, in one namespace or in all.
    All {
        /// Which kind.
        kind: LockKind,
        /// In which namespace. `None` for all.
        namespace: Option<String>,
    },
    /// The objects of a kind that belong to a group: its seats, or its table and its list of tasks.
    Group {
        /// Which kind.
        kind: LockKind,
        /// In which namespace.
        namespace: String,
        /// Which group.
        group: String,
    },
    /// The objects that are the tasks of a group.
    Objects {
        /// The plural name of their kind, and its API group, as kubectl writes them: `configmaps`, `deployments.apps`.
        kind: String,
        /// In which namespace. `None` for all.
        namespace: Option<String>,
    },
}

/// Why a lock cannot be named like this.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum InvalidLock {
    /// The text has no slash.
    #[error("{0:?} names no lock")]
    Form(String),
    /// The text names a kind other than Lease and ConfigMap.
    #[error("{0:?} names no lock")]
    Kind(String),
    /// Kubernetes accepts no such namespace.
    #[error("{0:?} is not a valid namespace")]
    Namespace(String),
    /// Kubernetes accepts no such name.
    #[error("{0:?} is not a valid name of an object")]
    Name(String),
    /// Kubernetes accepts no such key.
    #[error("{0:?} is not a valid key of a ConfigMap")]
    Key(String),
    /// The names of annotations contain the key, and this key cannot be part of one.
    #[error("{0:?} cannot be the key of an election")]
    ElectionKey(String),
}

impl Lock {
    /// The Lease `name` in `namespace`: what client-go and most others use.
    pub fn lease(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: Kind::Lease, namespace: namespace.into(), name: name.into() }
    }

    /// The ConfigMap `name` in `namespace`, with the holder's name under `data.leader`.
    pub fn config_map(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        let kind = Kind::ConfigMap { key: DEFAULT_KEY.to_owned() };
        Self { kind, namespace: namespace.into(), name: name.into() }
    }

    /// The same ConfigMap, with the holder's name under `data.<key>`. Does nothing to a Lease.
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        if let Kind::ConfigMap { key: old } = &mut self.kind {
            *old = key.into();
        }
        self
    }

    /// The Lease of a member of a group, whose name has no dot.
    pub(crate) fn seat(namespace: &str, group: &str, member: &str) -> Self {
        Self { kind: Kind::Seat, ..Self::lease(namespace, format!("{group}.{member}")) }
    }

    /// The group whose seat it is.
    pub(crate) fn group(&self) -> Option<&str> {
        let group = self.name.split('.').next();
        group.filter(|_| self.kind == Kind::Seat)
    }

    pub(crate) fn of_kind(kind: LockKind, namespace: &str, name: &str) -> Self {
        match kind {
            LockKind::Lease => Self::lease(namespace, name),
            LockKind::ConfigMap => Self::config_map(namespace, name),
        }
    }

    /// Reads `lease/NAME` or `configmap/NAME[:KEY]`, as the command line writes it.
    ///
    /// # Errors
    /// If the text has another form, or a name that Kubernetes would refuse.
    pub fn parse(namespace: &str, text: &str) -> Result<Self, InvalidLock> {
        let (kind, name) =
            text.split_once('/').ok_or_else(|| InvalidLock::Form(text.to_owned()))?;
        let lock = match kind {
            "lease" | "leases" => Self::lease(namespace, name),
            "configmap" | "configmaps" | "cm" => match name.split_once(':') {
                Some((name, key)) => Self::config_map(namespace, name).with_key(key),
                None => Self::config_map(namespace, name),
            },
            _ => return Err(InvalidLock::Kind(text.to_owned())),
        };
        lock.checked()
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of the object.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key of the ConfigMap that shows the holder's name; `None` for a Lease.
    pub fn key(&self) -> Option<&str> {
        match &self.kind {
            Kind::Lease | Kind::Seat => None,
            Kind::ConfigMap { key } => Some(key),
        }
    }

    /// The kind of the object.
    pub fn kind(&self) -> LockKind {
        match self.kind {
            Kind::Lease | Kind::Seat => LockKind::Lease,
            Kind::ConfigMap { .. } => LockKind::ConfigMap,
        }
    }

    pub(crate) fn checked(self) -> Result<Self, InvalidLock> {
        check_namespace(&self.namespace)?;
        if !is_name(&self.name, 253) {
            return Err(InvalidLock::Name(self.name));
        }
        if let Some(key) = self.key() {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if key.is_empty() || key.len() > 253 || !key.bytes().all(fits) {
                return Err(InvalidLock::Key(key.to_owned()));
            }
        }
        Ok(self)
    }

    /// Whether an election can be held under this key: its annotations are named after it.
    pub(crate) fn checked_for_election(self) -> Result<Self, InvalidLock> {
        let lock = self.checked()?;
        let ends_well = |key: &str| key.ends_with(|last: char| last.is_ascii_alphanumeric());
        match lock.key() {
            Some(key) if key.len() > LONGEST_ELECTION_KEY || !ends_well(key) => {
                Err(InvalidLock::ElectionKey(key.to_owned()))
            }
            _ => Ok(lock),
        }
    }

    pub(crate) fn collection_path(&self) -> String {
        self.kind().collection_path(Some(&self.namespace))
    }

    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.collection_path(), self.name)
    }
}

impl LockKind {
    pub(crate) const ALL: [Self; 2] = [Self::Lease, Self::ConfigMap];

    /// The API group, empty for the core group, and the plural name, as RBAC rules write them.
    pub(crate) fn group_and_plural(self) -> (&'static str, &'static str) {
        match self {
            Self::Lease => ("coordination.k8s.io", "leases"),
            Self::ConfigMap => ("", "configmaps"),
        }
    }

    /// All objects of the kind, in this namespace or in all.
    pub(crate) fn collection_path(self, namespace: Option<&str>) -> String {
        let api = match self {
            Self::Lease => "/apis/coordination.k8s.io/v1",
            Self::ConfigMap => "/api/v1",
        };
        let plural = self.group_and_plural().1;
        match namespace {
            Some(namespace) => format!("{api}/namespaces/{namespace}/{plural}"),
            None => format!("{api}/{plural}"),
        }
    }
}

impl Resource {
    /// Its kind, if locks are of that kind.
    pub fn lock_kind(&self) -> Option<LockKind> {
        match self {
            Self::Lock(lock) => Some(lock.kind()),
            Self::All { kind, .. } | Self::Group { kind, .. } => Some(*kind),
            Self::Objects { .. } => None,
        }
    }

    /// The API group and the plural name, as RBAC rules write them.
    pub(crate) fn group_and_plural(&self) -> (&str, &str) {
        match self {
            Self::Lock(lock) => lock.kind().group_and_plural(),
            Self::All { kind, .. } | Self::Group { kind, .. } => kind.group_and_plural(),
            Self::Objects { kind, .. } => {
                let (plural, group) = kind.split_once('.').unwrap_or((kind, ""));
                (group, plural)
            }
        }
    }

    /// Its namespace. `None` for all namespaces.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Lock(lock) => Some(lock.namespace()),
            Self::All { namespace, .. } | Self::Objects { namespace, .. } => namespace.as_deref(),
            Self::Group { namespace, .. } => Some(namespace),
        }
    }
}

impl InvalidLock {
    /// What to do about it, in a sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Form(_) => "write lease/NAME or configmap/NAME[:KEY]",
            Self::Kind(_) => "the kind is lease or configmap",
            Self::Namespace(_) | Self::Name(_) => {
                "a name has lower case letters, digits, '-' and '.', and begins and ends with a \
                 letter or digit"
            }
            Self::Key(_) => "a key has letters, digits, '-', '_' and '.'",
            Self::ElectionKey(_) => {
                "it has at most 50 characters, and a letter or digit at its end"
            }
        }
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Lease | Kind::Seat => write!(f, "lease/{}", self.name),
            Kind::ConfigMap { key } if key == DEFAULT_KEY => write!(f, "configmap/{}", self.name),
            Kind::ConfigMap { key } => write!(f, "configmap/{}:{key}", self.name),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock(lock) => write!(f, "{lock}"),
            Self::All { kind, .. } => f.write_str(kind.group_and_plural().1),
            Self::Group { kind, group, .. } => {
                write!(f, "{} of group {group}", kind.group_and_plural().1)
            }
            Self::Objects { kind, .. } => f.write_str(kind),
        }
    }
}

impl From<&Lock> for Resource {
    fn from(lock: &Lock) -> Self {
        Self::Lock(lock.clone())
    }
}

/// The label of all objects that belong to a group.
pub(crate) const GROUP_LABEL: &str = "incumbent.dev/group";

const DEFAULT_KEY: &str = "leader";

/// The name of an annotation has at most 63 characters, of which `record.` takes some.
const LONGEST_ELECTION_KEY: usize = 50;

pub(crate) fn check_namespace(namespace: &str) -> Result<(), InvalidLock> {
    match is_name(namespace, 63) {
        true => Ok(()),
        false => Err(InvalidLock::Namespace(namespace.to_owned())),
    }
}

fn is_name(name: &str, longest: usize) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !name.is_empty()
        && name.len() <= longest
        && name.split('.').all(|label| {
            label.bytes().all(|byte| inner(byte) || byte == b'-')
                && label.bytes().next().is_some_and(inner)
                && label.bytes().last().is_some_and(inner)
        })
}

#[cfg(test)]
mod tests;
