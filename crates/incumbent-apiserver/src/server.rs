//! The public handle of a server, and its builder.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::auth::{Grant, Tokens};
use crate::counts::Requests;
use crate::fault::{ActiveFault, Fault, Registry};
use crate::features::Features;
use crate::listen::{ListenError, Listening, Transport};
use crate::resources::service_account::SERVICE_ACCOUNT;
use crate::routes::World;
use crate::service::{Identity, Service};
use crate::state::{Clock, Shared};
use crate::status::Status;
use crate::store::Store;
use crate::{random, rbac};

/// A Kubernetes API server in this process; cheap to clone, and all clones are the same server.
#[derive(Clone, Debug)]
pub struct ApiServer {
    shared: Arc<Shared>,
}

impl ApiServer {
    /// A server that contains only the namespaces and cluster roles that every cluster has.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Configures a server.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The token of the administrator, who may do everything.
    pub fn admin_token(&self) -> &str {
        &self.shared.admin_token
    }

    /// A service that acts as the administrator, unless a request has a bearer token.
    pub fn service(&self) -> Service {
        Service::new(self.shared.clone(), Identity::CallerOrAdmin)
    }

    /// A service that sends every request with this token, or without one if it is empty.
    pub fn service_as(&self, token: &str) -> Service {
        Service::new(self.shared.clone(), Identity::Token(token.to_owned()))
    }

    /// Issues a token for a service account. Creates the account and its namespace if they do not exist.
    ///
    /// # Panics
    ///
    /// The namespace or the name is invalid.
    pub fn service_account_token(
        &self,
        namespace: &str,
        name: &str,
        valid_for: Duration,
    ) -> String {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        let metadata = json!({"name": namespace});
        state.ensure(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}), now);
        let metadata = json!({"name": name, "namespace": namespace});
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
        state.ensure(&account, now);
        let World { store, tokens, .. } = &mut state.world;
        let account = store
            .object(SERVICE_ACCOUNT.table, namespace, name)
            .expect("namespace and name are valid names");
        let valid_for = SignedDuration::try_from(valid_for).unwrap_or(SignedDuration::MAX);
        let grant = Grant {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: account.uid().to_owned(),
            expires: now.checked_add(valid_for).unwrap_or(Timestamp::MAX),
        };
        tokens.issue(grant, now)
    }

    /// Creates an object as the administrator, by its `apiVersion` and `kind`.
    ///
    /// A namespaced object without a namespace is created in `default`.
    ///
    /// # Errors
    ///
    /// The refusal that a client would have got.
    pub fn create(&self, object: Value) -> Result<Value, Status> {
        self.shared.lock().create(object, self.shared.now())
    }

    /// Serves on this address until the returned handle is stopped or dropped.
    ///
    /// Port 0 takes any free port. The server can listen on the same address again at once. Its
    /// certificate authority stays the same.
    ///
    /// # Errors
    ///
    /// The address is in use or not allowed.
    pub async fn listen(
        &self,
        address: SocketAddr,
        transport: Transport,
    ) -> Result<Listening, ListenError> {
        Listening::start(&self.shared, address, transport).await
    }

    /// The number of requests so far, by user, verb and answer.
    pub fn requests(&self) -> Requests {
        self.shared.lock().requests.clone()
    }

    /// The number of open watches.
    pub fn open_watches(&self) -> usize {
        self.shared.lock().hub.open()
    }

    /// The injected faults.
    pub fn faults(&self) -> Faults {
        Faults { shared: self.shared.clone() }
    }

    /// Compacts the history: watches and lists that continue from an older version get 410.
    pub fn compact(&self) {
        self.shared.lock().world.store.compact();
    }

    /// Breaks all connections and watches, and stays unreachable for this time, at most a year.
    ///
    /// Objects and tokens stay; the history is compacted, as by [`Self::compact`]. In the meantime
    /// the server's ports are closed, and in-process requests get
    /// [`Disconnected`](crate::Disconnected).
    pub fn restart(&self, down: Duration) {
        self.shared.restart(down);
    }

    /// A copy of all objects and of the latest version.
    pub fn backup(&self) -> Backup {
        Backup(self.shared.lock().world.store.clone())
    }

    /// Restores a backup of this server, as an administrator restores etcd: objects are as they were, the
    /// same versions are assigned again, and all connections and watches break.
    ///
    /// Tokens stay valid.
    pub fn restore(&self, backup: &Backup) {
        self.shared.lock().world.store = backup.0.clone();
        self.shared.restart(Duration::ZERO);
    }
}

impl Default for ApiServer {
    fn default() -> Self {
        Self::new()
    }
}

/// The content of a server at one time; cheap to make and to keep.
#[derive(Clone, Debug)]
pub struct Backup(Store);

/// Settings of an [`ApiServer`].
#[must_use]
pub struct Builder {
    history: usize,
    admin_token: Option<String>,
    clock: Clock,
    seed: Option<u64>,
    features: Features,
}

impl Builder {
    /// The number of changes per resource that watches can replay. Older versions get 410.
    pub fn history(self, changes: usize) -> Self {
        Self { history: changes, ..self }
    }

    /// The administrator's token, instead of a random one.
    pub fn admin_token(self, token: impl Into<String>) -> Self {
        Self { admin_token: Some(token.into()), ..self }
    }

    /// The wall clock, which is written into objects and ends the life of tokens.
    pub fn clock(self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { clock: Box::new(clock), ..self }
    }

    /// The seed of the random choices of faults, which makes a run repeatable. Random by default.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Turns the feature gate `CoordinatedLeaderElection` on or off. It is off by default, as in Kubernetes 1.36.
    ///
    /// While it is off, the server drops the fields `strategy` and `preferredHolder` of a Lease.
    pub fn coordinated_leader_election(mut self, is_on: bool) -> Self {
        self.features.coordinated_leader_election = is_on;
        self
    }

    /// Builds the server.
    #[must_use]
    pub fn build(self) -> ApiServer {
        let admin_token = self.admin_token.unwrap_or_else(random::token);
        let world = World {
            store: Store::new(self.history),
            tokens: Tokens::new(admin_token.clone()),
            features: self.features,
        };
        let faults = Registry::new(self.seed.unwrap_or_else(|| random::below(u64::MAX)));
        let shared = Shared::new(world, faults, admin_token, self.clock);
        let now = shared.now();
        let mut state = shared.lock();
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            let metadata = json!({"name": name});
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
            state.ensure(&namespace, now);
        }
        for object in rbac::bootstrap() {
            state.ensure(&object, now);
        }
        drop(state);
        ApiServer { shared: Arc::new(shared) }
    }
}

impl Default for Builder {
    fn default() -> Self {
        /// A few minutes of a busy election; upstream keeps between 100 and 102,400.
        const HISTORY: usize = 1000;
        let clock = Box::new(Timestamp::now);
        Self {
            history: HISTORY,
            admin_token: None,
            clock,
            seed: None,
            features: Features::default(),
        }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("history", &self.history).finish_non_exhaustive()
    }
}

/// The injected faults of one server. They apply at once, to all clients.
#[derive(Clone, Debug)]
pub struct Faults {
    shared: Arc<Shared>,
}

impl Faults {
    /// Adds a fault. The returned value counts its hits.
    pub fn add(&self, fault: Fault) -> ActiveFault {
        self.shared.add_fault(fault)
    }

    /// The faults that have neither ended nor been removed, oldest first.
    pub fn list(&self) -> Vec<ActiveFault> {
        self.shared.faults.list()
    }

    /// Ends a fault; false if it had ended already.
    pub fn remove(&self, fault: &ActiveFault) -> bool {
        self.shared.faults.remove(fault.id())
    }

    /// Ends all faults, and returns their number.
    pub fn clear(&self) -> usize {
        self.shared.faults.clear()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_do_not_pile_up() {
        let server = ApiServer::new();
        let hour = Duration::from_secs(3600);
        let kept = server.service_account_token("default", "a", 2 * hour);
        for _ in 0..10_050 {
            server.service_account_token("default", "a", hour);
        }
        let state = server.shared.lock();
        assert_eq!(state.world.tokens.count(), 10_000);
        assert!(state.world.tokens.user(&kept, &state.world.store, server.shared.now()).is_some());
    }
}
