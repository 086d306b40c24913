//! What all services and listeners of one server share: the state under its lock, the faults, and the clock.

use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::answer::{Answer, Payload};
use crate::auth::{Impersonation, User};
use crate::certificates::Authority;
use crate::counts::Requests;
use crate::fault::{ActiveFault, Fault, Registry};
use crate::form::Form;
use crate::hub::Hub;
use crate::intake::Intake;
use crate::request::{Place, Query, ResourcePath, Target, Verb};
use crate::resources::Resource;
use crate::resources::registry::find_kind;
use crate::routes::{Body, Call, World, respond};
use crate::status::Status;

/// The wall clock, which sets the times in objects and the expiry of tokens.
pub(crate) type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// The shared part of one server.
pub(crate) struct Shared {
    /// A plain mutex: it is held for microseconds, never across an await, and never while large
    /// JSON is parsed or written.
    state: Mutex<State>,
    pub(crate) faults: Registry,
    pub(crate) intake: Intake,
    /// Created by the first listener that needs it.
    pub(crate) authority: OnceLock<Authority>,
    pub(crate) admin_token: String,
    clock: Clock,
}

impl Shared {
    pub(crate) fn new(world: World, faults: Registry, admin_token: String, clock: Clock) -> Self {
        let state = State { world, hub: Hub::default(), requests: Requests::default() };
        let (state, intake, authority) = (Mutex::new(state), Intake::default(), OnceLock::new());
        Self { state, faults, intake, authority, admin_token, clock }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic happened while one request was handled; between its calls the store is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(crate) fn add_fault(&self, fault: Fault) -> ActiveFault {
        let active = self.faults.add(fault);
        self.lock().hub.close(|scope| active.fault().cuts(scope));
        active
    }

    pub(crate) fn restart(&self, down: Duration) {
        self.faults.restart(down.min(LONGEST_OUTAGE));
        let mut state = self.lock();
        state.world.store.compact();
        state.hub.close(|_| true);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// The longest outage; short enough to be added to any time.
const LONGEST_OUTAGE: Duration = Duration::from_secs(365 * 86_400);

/// The mutable part of a server.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) world: World,
    pub(crate) hub: Hub,
    pub(crate) requests: Requests,
}

impl State {
    /// Answers a request, and sends its changes to all watchers.
    pub(crate) fn respond(&mut self, call: Call) -> Result<Answer, Status> {
        let answer = respond(&mut self.world, call);
        for (table, change) in self.world.store.take_fresh() {
            self.hub.publish(table, &change);
        }
        answer
    }

    /// Creates an object as the administrator.
    ///
    /// # Errors
    ///
    /// The refusal that a client would have got.
    pub(crate) fn create(&mut self, object: Value, now: Timestamp) -> Result<Value, Status> {
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

    /// Creates a valid object, unless it exists.
    pub(crate) fn ensure(&mut self, object: &Value, now: Timestamp) {
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
