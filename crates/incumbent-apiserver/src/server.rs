//! The server's state, and the handle that people hold.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::answer::Payload;
use crate::auth::{Grant, Impersonation, Tokens, User};
use crate::certificates::Authority;
use crate::fault::{ActiveFault, Fault, Registry};
use crate::features::Features;
use crate::form::Form;
use crate::intake::Intake;
use crate::listen::{ListenError, Listening, Transport};
use crate::request::{Place, Query, ResourcePath, Target, Verb};
use crate::resources::Resource;
use crate::resources::registry::find_kind;
use crate::resources::service_account::SERVICE_ACCOUNT;
use crate::routes::{Body, Call, World, respond};
use crate::service::{Identity, Service};
use crate::status::Status;
use crate::store::Store;
use crate::watch::Hub;
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
        Listening::start(self, address, transport).await
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

    /// Answers requests by the tokens that they carry.
    pub(crate) fn service_for_callers(&self) -> Service {
        Service::new(self.shared.clone(), Identity::Caller)
    }

    pub(crate) fn outages(&self) -> watch::Receiver<Option<Instant>> {
        self.shared.faults.outages()
    }

    pub(crate) fn authority(&self) -> &OnceLock<Authority> {
        &self.shared.authority
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
        let now = (self.clock)();
        let world = World {
            store: Store::new(self.history),
            tokens: Tokens::new(admin_token.clone()),
            features: self.features,
        };
        let mut state = State { world, hub: Hub::default(), requests: Requests::default() };
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            let metadata = json!({"name": name});
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
            state.ensure(&namespace, now);
        }
        for object in rbac::bootstrap() {
            state.ensure(&object, now);
        }
        let (state, authority) = (Mutex::new(state), OnceLock::new());
        let faults = Registry::new(self.seed.unwrap_or_else(|| random::below(u64::MAX)));
        let (clock, intake) = (self.clock, Intake::default());
        let shared = Shared { state, faults, intake, authority, admin_token, clock };
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

type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// What all services and listeners of a server have in common.
pub(crate) struct Shared {
    /// A plain mutex: it is held for microseconds, never over an await, and never while JSON of
    /// a size that matters is read or written.
    state: Mutex<State>,
    pub(crate) faults: Registry,
    pub(crate) intake: Intake,
    /// Made by the first listener that needs it.
    authority: OnceLock<Authority>,
    admin_token: String,
    clock: Clock,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked, panicked over one request; the store is whole between its calls.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(crate) fn add_fault(&self, fault: Fault) -> ActiveFault {
        let active = self.faults.add(fault);
        self.lock().hub.let_go(|scope| active.fault().cuts(scope));
        active
    }

    pub(crate) fn restart(&self, down: Duration) {
        self.faults.restart(down.min(LONGEST_OUTAGE));
        let mut state = self.lock();
        state.world.store.compact();
        state.hub.let_go(|_| true);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// So that it can be added to any time.
const LONGEST_OUTAGE: Duration = Duration::from_secs(365 * 86_400);

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

/// Everything that changes.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) world: World,
    pub(crate) hub: Hub,
    pub(crate) requests: Requests,
}

impl State {
    /// Answers a request and tells all watchers what it changed.
    pub(crate) fn respond(&mut self, call: Call) -> Result<crate::answer::Answer, Status> {
        let answer = respond(&mut self.world, call);
        for (table, change) in self.world.store.take_fresh() {
            self.hub.tell(table, &change);
        }
        answer
    }

    fn create(&mut self, object: Value, now: Timestamp) -> Result<Value, Status> {
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind) = (text("/apiVersion"), text("/kind"));
        let resource = find_kind(api_version, kind).ok_or_else(|| {
            let why = format!("no kind {kind:?} is registered for version {api_version:?}");
            Status::bad_request(why)
        })?;
        let namespace = match text("/metadata/namespace") {
            "" => "default",
            namespace => namespace,
        };
        let target = collection(resource, if resource.is_namespaced() { namespace } else { "" });
        let content_type = String::new();
        let body = Body::Json(object);
        let agent = "incumbent-apiserver".to_owned();
        let impersonation = Impersonation::default();
        let user = User::admin();
        let form = Form::Json;
        let call = Call { target, form, user, impersonation, body, content_type, agent, now };
        match self.respond(call)?.payload {
            Payload::Object(resource, object) => {
                Ok(serde_json::from_slice(&resource.json(&object)).unwrap_or_default())
            }
            _ => Ok(Value::Null),
        }
    }

    /// Creates what is not there yet; whoever calls this knows that it is valid.
    fn ensure(&mut self, object: &Value, now: Timestamp) {
        if let Err(status) = self.create(object.clone(), now) {
            tracing::debug!(%status, "not created");
        }
    }
}

fn collection(resource: &Resource, namespace: &str) -> Target {
    let path = ResourcePath {
        group: resource.kind.group.to_owned(),
        version: resource.kind.version.to_owned(),
        namespace: namespace.to_owned(),
        plural: resource.kind.plural.to_owned(),
        ..ResourcePath::default()
    };
    let (path, place) = (String::new(), Place::Resource(path));
    Target { verb: Verb::Create, path, query: Query::default(), place }
}

/// Counts of requests, by user, verb and the code of the answer.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    counts: HashMap<String, BTreeMap<(Verb, u16), u64>>,
}

impl Requests {
    /// All requests.
    pub fn total(&self) -> u64 {
        self.count(|_, _| true)
    }

    /// The requests of everybody with this verb.
    pub fn of(&self, verb: Verb) -> u64 {
        self.count(|asked, _| asked == verb)
    }

    /// The requests of everybody that got an answer with this code, such as 409 for a conflict.
    pub fn answered(&self, code: u16) -> u64 {
        self.count(|_, answered| answered == code)
    }

    /// The requests of one user, such as `admin` or `system:serviceaccount:default:candidate`.
    pub fn by(&self, user: &str) -> Self {
        let own = self.counts.get_key_value(user);
        let counts = own.map(|(user, counts)| (user.clone(), counts.clone()));
        Self { counts: counts.into_iter().collect() }
    }

    /// Each user, verb and code with its count, in the order of the users' names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Verb, u16, u64)> {
        let mut users: Vec<_> = self.counts.iter().collect();
        users.sort_unstable();
        users.into_iter().flat_map(|(user, counts)| {
            counts.iter().map(|(&(verb, code), &count)| (user.as_str(), verb, code, count))
        })
    }

    pub(crate) fn record(&mut self, user: &str, verb: Verb, code: u16) {
        /// Users that are told apart; whoever comes later is one of many.
        const MOST_USERS: usize = 10_000;
        let is_new = !self.counts.contains_key(user);
        let user = if is_new && self.counts.len() >= MOST_USERS { "" } else { user };
        if !self.counts.contains_key(user) {
            self.counts.insert(user.to_owned(), BTreeMap::new());
        }
        if let Some(counts) = self.counts.get_mut(user) {
            *counts.entry((verb, code)).or_default() += 1;
        }
    }

    fn count(&self, is_meant: impl Fn(Verb, u16) -> bool) -> u64 {
        let all = self.counts.values().flatten();
        all.filter(|((verb, code), _)| is_meant(*verb, *code)).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_for_any_number_of_users_in_bounded_space() {
        let mut requests = Requests::default();
        for user in 0..30_000 {
            requests.record(&user.to_string(), Verb::Get, 200);
            requests.record("0", Verb::Update, 409);
        }
        assert!(requests.counts.len() <= 10_001);
        assert_eq!((requests.total(), requests.of(Verb::Get)), (60_000, 30_000));
        assert_eq!((requests.answered(409), requests.answered(500)), (30_000, 0));
        assert_eq!(requests.by("0").of(Verb::Update), 30_000);
    }

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
