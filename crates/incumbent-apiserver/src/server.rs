//! The server as its users hold it, and its settings.

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
    /// A server with nothing in it but the namespaces and cluster roles that every cluster has.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A server with other settings than the usual ones.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The token of the administrator, who may do everything.
    pub fn admin_token(&self) -> &str {
        &self.shared.admin_token
    }

    /// A service that acts as the administrator, unless a request carries a bearer token.
    pub fn service(&self) -> Service {
        Service::new(self.shared.clone(), Identity::CallerOrAdmin)
    }

    /// A service that sends every request with this token; an empty one is no token.
    pub fn service_as(&self, token: &str) -> Service {
        Service::new(self.shared.clone(), Identity::Token(token.to_owned()))
    }

    /// A token for a service account, which is made if it is missing, as is its namespace.
    ///
    /// # Panics
    ///
    /// The namespace or the name is no valid name.
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
    /// An object that has to be in a namespace and names none comes into `default`.
    ///
    /// # Errors
    ///
    /// The refusal that a client would have got.
    pub fn create(&self, object: Value) -> Result<Value, Status> {
        self.shared.lock().create(object, self.shared.now())
    }

    /// Serves on this address until the returned handle is stopped or dropped.
    ///
    /// Port 0 takes any free port. The same address may be listened on again at once; the
    /// certificate authority stays the same as long as the server lives.
    ///
    /// # Errors
    ///
    /// The address is taken or may not be used.
    pub async fn listen(
        &self,
        address: SocketAddr,
        transport: Transport,
    ) -> Result<Listening, ListenError> {
        Listening::start(&self.shared, address, transport).await
    }

    /// How many requests of which kind there were so far, and of whom.
    pub fn requests(&self) -> Requests {
        self.shared.lock().requests.clone()
    }

    /// How many watches are open.
    pub fn open_watches(&self) -> usize {
        self.shared.lock().hub.open()
    }

    /// What goes wrong on purpose.
    pub fn faults(&self) -> Faults {
        Faults { shared: self.shared.clone() }
    }

    /// Forgets all past changes now: what goes on from an older version gets 410.
    pub fn compact(&self) {
        self.shared.lock().world.store.compact();
    }

    /// Breaks all connections and watches, and is gone for so long, at most a year.
    ///
    /// Objects and tokens stay; changes are forgotten, as [`Self::compact`] does it. Ports on
    /// which the server listens are closed meanwhile, and requests in-process get
    /// [`Disconnected`](crate::Disconnected).
    pub fn restart(&self, down: Duration) {
        self.shared.restart(down);
    }

    /// All objects as they are now, and the number of the latest write.
    pub fn backup(&self) -> Backup {
        Backup(self.shared.lock().world.store.clone())
    }

    /// Brings back what a backup of this server holds, as an administrator does with etcd: objects are as
    /// they were, versions are given a second time, and all connections and watches break.
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

/// What a server held at some time; cheap to make and to keep.
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
    /// How many changes of each resource can be replayed; older ones are answered with 410.
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

    /// Where the chance of faults begins, so that a run can be had again; random without it.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Turns the feature gate `CoordinatedLeaderElection` on or off; as in Kubernetes 1.36 it is off by default.
    ///
    /// While it is off, the server drops the fields `strategy` and `preferredHolder` of a Lease.
    pub fn coordinated_leader_election(mut self, is_on: bool) -> Self {
        self.features.coordinated_leader_election = is_on;
        self
    }

    /// The server.
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
        /// Some minutes of a busy election; upstream keeps between 100 and 102,400.
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

/// What goes wrong on purpose in one server: faults, which apply at once and to everybody who asks.
#[derive(Clone, Debug)]
pub struct Faults {
    shared: Arc<Shared>,
}

impl Faults {
    /// Adds a fault; keep what is returned to see how often it hits.
    pub fn add(&self, fault: Fault) -> ActiveFault {
        self.shared.add_fault(fault)
    }

    /// Those that have neither ended nor been removed, oldest first.
    pub fn list(&self) -> Vec<ActiveFault> {
        self.shared.faults.list()
    }

    /// Ends a fault; false if it had ended already.
    pub fn remove(&self, fault: &ActiveFault) -> bool {
        self.shared.faults.remove(fault.id())
    }

    /// Ends all faults, and says how many there were.
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
