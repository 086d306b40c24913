//! Which locks to look at.

use super::look::Look;
use crate::error::Error;
use crate::lock::{GROUP_LABEL, Lock, LockKind, check_namespace};

/// Which locks to look at.
#[derive(Clone, Debug)]
pub struct Scope {
    place: Place,
    selector: Option<String>,
    has_nodes: bool,
}

#[derive(Clone, Debug)]
enum Place {
    Locks(Vec<Lock>),
    Namespace(String),
    Everywhere,
    Group { namespace: String, group: String },
}

impl Scope {
    /// This one. `get` on it is enough, and `watch` spares polling.
    pub fn lock(lock: Lock) -> Self {
        Self::locks([lock])
    }

    /// These locks, each with a separate read and watch.
    pub fn locks(locks: impl IntoIterator<Item = Lock>) -> Self {
        Self::at(Place::Locks(locks.into_iter().collect()))
    }

    /// All Leases of a namespace, and its ConfigMaps that carry an election or a claim.
    pub fn namespace(namespace: impl Into<String>) -> Self {
        Self::at(Place::Namespace(namespace.into()))
    }

    /// Those of all namespaces, but for the Leases of nodes: each node of a cluster renews its own every few
    /// seconds, and none is an election.
    pub fn everywhere() -> Self {
        Self::at(Place::Everywhere)
    }

    /// The seats of a group, and the Lease that its allocators compete for.
    pub(crate) fn group(namespace: &str, group: &str) -> Self {
        let (namespace, group) = (namespace.to_owned(), group.to_owned());
        Self::at(Place::Group { namespace, group })
    }

    fn at(place: Place) -> Self {
        Self { place, selector: None, has_nodes: false }
    }

    /// The Leases of nodes as well.
    pub fn node_leases(mut self, on: bool) -> Self {
        self.has_nodes = on;
        self
    }

    /// Of these, the ones whose labels match, as `kubectl -l` writes it.
    pub fn selector(mut self, selector: impl Into<String>) -> Self {
        self.selector = Some(selector.into());
        self
    }

    pub(super) fn looks(&self, client: &kube::Client) -> Result<Vec<Look>, Error> {
        let look_at = |lock: Lock| Ok(Look::at_one(client.clone(), lock.checked()?));
        let namespace = match &self.place {
            Place::Locks(locks) => return locks.iter().cloned().map(look_at).collect(),
            Place::Namespace(namespace) => Some(namespace.as_str()),
            Place::Everywhere => None,
            Place::Group { namespace, group } => {
                let label = format!("{GROUP_LABEL}={group}");
                let (client, kind) = (client.clone(), LockKind::Lease);
                let seats = Look::at_all(client, kind, Some(namespace), Some(&label), None);
                return Ok(vec![look_at(Lock::lease(namespace, group))?, seats]);
            }
        };
        namespace.map(check_namespace).transpose()?;
        let fields = match namespace {
            None if !self.has_nodes => Some("metadata.namespace!=kube-node-lease"),
            _ => None,
        };
        let labels = self.selector.as_deref();
        let look_at = |kind| Look::at_all(client.clone(), kind, namespace, labels, fields);
        Ok(LockKind::ALL.map(look_at).into())
    }
}
