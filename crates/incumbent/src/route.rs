//! Showing the rest of the cluster who leads, so that a Service's connections go there.
//!
//! Routing is a hint: it is written after a term has begun and taken back after it has ended, so that for a
//! moment it may show nobody, or the leader of before. What protects is the fencing token. All of it is
//! done by a task of its own, which no renewal and no release waits for longer than a second.

use std::time::Duration;

use http::Method;
use incumbent_core::FencingToken;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::answer::Why;
use crate::api::Api;
use crate::clock::Clock;
use crate::error::Error;
use crate::identity::host_name;
use crate::lock::{Altered, Lock};

mod endpoint_slice;
mod label;

use endpoint_slice::Slice;
use label::Label;

/// How the rest of the cluster finds the leader; see [`Builder::route`](crate::Builder::route).
///
/// Each write carries the uid and resourceVersion of what was read, and leaves the fencing token in an
/// annotation: an older leader never overwrites what a newer one has written.
#[derive(Clone, Debug)]
#[must_use]
pub struct Route {
    target: Target,
    pod: Option<(String, String)>,
    key: Option<String>,
}

#[derive(Clone, Debug)]
enum Target {
    Label,
    EndpointSlice { service: String, port: u16 },
}

impl Route {
    /// A label on the leader's Pod, `incumbent.dev/leader-of.NAME: "true"` with the lock's name, for the
    /// selector of a Service.
    ///
    /// It is set when a term begins and removed when it ends. A leader that dies leaves it behind: the next
    /// one removes it from all other Pods that have it from an older term, and goes on looking every ten
    /// seconds, so that a write that was late is found too. A label without a token beside it is somebody
    /// else's, say the Pod template's, and is left alone with a warning.
    ///
    /// The account needs `get`, `list` and `patch` on `pods`.
    pub fn label() -> Self {
        Self { target: Target::Label, pod: None, key: None }
    }

    /// An EndpointSlice that holds the leader's address alone, for a Service without a selector.
    ///
    /// It is named `SERVICE-leader`, made where it is missing, and emptied when a term ends. The address is the
    /// IP of [`Builder::address`](crate::Builder::address), else `POD_IP`; all candidates' must be of one
    /// family. A slice that somebody else manages is left alone. Unlike a selector, this asks nobody
    /// whether the Pod is ready, and a dead leader's address stands there until the next one's.
    ///
    /// The account needs `get`, `create` and `update` on `endpointslices`.
    pub fn endpoint_slice(service: impl Into<String>, port: u16) -> Self {
        let target = Target::EndpointSlice { service: service.into(), port };
        Self { target, pod: None, key: None }
    }

    /// Another key for the label and for the annotation with the token.
    pub fn key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// The Pod that this process runs in; of an EndpointSlice it says the namespace. Default: `POD_NAMESPACE` and `POD_NAME`, else the client's
    /// namespace and the host's name.
    pub fn pod(self, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { pod: Some((namespace.into(), name.into())), ..self }
    }

    /// # Errors
    /// Where there is no Pod or no address, or the lock's name does not fit into a label.
    pub(crate) fn start(self, api: &Api, address: Option<&str>) -> Result<Routing, Error> {
        let key = self.key.unwrap_or_else(|| key_for(api.lock()));
        checked_key(&key)?;
        let (namespace, pod) = match self.pod {
            Some((namespace, pod)) => (namespace, Some(pod)),
            None => (own_namespace(api), own_pod()),
        };
        let target = match self.target {
            Target::Label => {
                let pod = pod.ok_or_else(no_pod)?;
                Lock::lease(namespace.as_str(), pod.as_str()).checked()?;
                Shown::Label(Label::new(api.clone(), key, namespace, pod))
            }
            Target::EndpointSlice { service, port } => {
                let own = || std::env::var("POD_IP").ok();
                let address = address.map(str::to_owned).or_else(own);
                let address = address.as_deref().and_then(endpoint_slice::ip);
                let place = (address.ok_or_else(no_address)?, port);
                Lock::lease(namespace.as_str(), service.as_str()).checked()?;
                Shown::Slice(Slice::new(api.clone(), key, &namespace, service, place))
            }
        };
        Ok(Routing::start(target))
    }
}

/// What a route is written into.
enum Shown {
    Label(Label),
    Slice(Slice),
}

impl Shown {
    fn lock(&self) -> &Lock {
        match self {
            Self::Label(label) => label.lock(),
            Self::Slice(slice) => slice.lock(),
        }
    }

    fn clock(&self) -> Clock {
        match self {
            Self::Label(label) => label.clock(),
            Self::Slice(slice) => slice.clock(),
        }
    }

    async fn bring_about(&mut self, goal: Goal) -> Result<(), Trouble> {
        match (self, goal) {
            (_, Goal::Nothing) => Ok(()),
            (Self::Label(label), Goal::Shown(token)) => label.show(token).await,
            (Self::Label(label), Goal::Cleared(token)) => label.clear(token).await,
            (Self::Slice(slice), Goal::Shown(token)) => slice.show(token).await,
            (Self::Slice(slice), Goal::Cleared(token)) => slice.clear(token).await,
        }
    }
}

/// One route, kept by a task of its own. The route is cleared when this is dropped.
pub(crate) struct Routing {
    goal: watch::Sender<Goal>,
    settled: watch::Receiver<Goal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// This process has not led.
    Nothing,
    Shown(FencingToken),
    /// The term under this token is over.
    Cleared(FencingToken),
}

impl Routing {
    fn start(shown: Shown) -> Self {
        let (goal, goals) = watch::channel(Goal::Nothing);
        let (settle, settled) = watch::channel(Goal::Nothing);
        tokio::spawn(keep(shown, goals, settle));
        Self { goal, settled }
    }

    /// A term has begun.
    pub(crate) fn show(&self, token: FencingToken) {
        self.goal.send_replace(Goal::Shown(token));
    }

    /// The term has ended; the handle ends when that can be seen from outside.
    pub(crate) fn clear(&self) -> JoinHandle<()> {
        self.goal.send_if_modified(Goal::end);
        let (goal, mut settled) = (*self.goal.borrow(), self.settled.clone());
        tokio::spawn(async move {
            let _ = settled.wait_for(|settled| *settled == goal).await;
        })
    }
}

impl Goal {
    fn end(&mut self) -> bool {
        match *self {
            Self::Shown(token) => *self = Self::Cleared(token),
            Self::Nothing | Self::Cleared(_) => return false,
        }
        true
    }
}

/// Brings about each goal, looks again while a term lasts, and retries what fails.
async fn keep(mut shown: Shown, mut goals: watch::Receiver<Goal>, settle: watch::Sender<Goal>) {
    let mut told = String::new();
    let mut failures = 0;
    let mut is_closed = false;
    let clock = shown.clock();
    let mut gives_up_at = clock.instant();
    loop {
        let mut goal = *goals.borrow_and_update();
        if is_closed {
            goal.end();
        }
        let outcome = tokio::select! {
            biased;
            // What is on its way then may still be applied: what clears a route makes that impossible.
            changed = goals.changed(), if !is_closed => {
                is_closed = changed.is_err();
                gives_up_at = clock.instant() + PATIENCE;
                continue;
            }
            outcome = shown.bring_about(goal) => outcome,
        };
        let pause = match outcome {
            Ok(()) if goal_is_final(goal) => {
                settle.send_replace(goal);
                (told, failures) = (String::new(), 0);
                None
            }
            Ok(()) => {
                (told, failures) = (String::new(), 0);
                Some(LOOK_PERIOD.mul_f64(0.8 + fastrand::f64() / 5.0))
            }
            Err(trouble) => {
                let is_news = told != trouble.message && (!trouble.is_race || failures == 5);
                if is_news {
                    let (error, hint) = (&trouble.message, trouble.hint);
                    tracing::warn!(lock = %shown.lock(), error, hint, "cannot route to the leader");
                    told.clone_from(&trouble.message);
                }
                failures = (failures + 1).min(6);
                Some(trouble.pause(failures))
            }
        };
        if is_closed && (pause.is_none() || clock.instant() >= gives_up_at) {
            return;
        }
        tokio::select! {
            biased;
            changed = goals.changed(), if !is_closed => {
                is_closed = changed.is_err();
                gives_up_at = clock.instant() + PATIENCE;
            }
            () = until(clock, pause) => {}
        }
    }
}

fn goal_is_final(goal: Goal) -> bool {
    !matches!(goal, Goal::Shown(_))
}

async fn until(clock: Clock, pause: Option<Duration>) {
    match pause {
        Some(pause) => clock.sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// Why a route could not be written. All of it is retried.
#[derive(Debug)]
struct Trouble {
    message: String,
    hint: &'static str,
    is_race: bool,
}

impl Trouble {
    /// Somebody else wrote in between: look again.
    fn race() -> Self {
        let (message, hint) = ("others write all the time".to_owned(), "it is tried again");
        Self { message, hint, is_race: true }
    }

    /// It may hide that a newer leader was there.
    fn unreadable(object: &str, annotation: &str, value: &str) -> Self {
        let message = format!(
            "{object} is left alone: its annotation {annotation} is {value:?}, no fencing token"
        );
        Self { message, hint: "find out who wrote it, and remove the annotation", is_race: false }
    }

    fn pause(&self, failures: u32) -> Duration {
        let step =
            if self.is_race { Duration::from_millis(20) } else { Duration::from_millis(500) };
        (step * 2_u32.pow(failures)).min(LOOK_PERIOD).mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// What a leader does about a token that is higher than its own: it leaves the object alone, and says so.
#[derive(Debug, Default)]
struct Overtaken {
    /// Our token, and the highest of those above it that were told of. Each is told of once.
    told: Option<(FencingToken, FencingToken)>,
}

impl Overtaken {
    fn tell(&mut self, lock: &Lock, object: &str, ours: FencingToken, seen: FencingToken) {
        if self.told.is_some_and(|(by, highest)| by == ours && highest >= seen) {
            return;
        }
        self.told = Some((ours, seen));
        let hint = "a newer leader has written it; if there is none, the lock was restored or moved: raise the \
                    token floor above this token, or remove the annotation";
        tracing::warn!(
            %lock, object, token = %ours, seen = %seen, hint,
            "a route shows a higher token than this leader's: it is left alone"
        );
    }
}

/// Sends a request. `None` where there is no such object.
async fn ask(
    api: &Api,
    method: Method,
    path: &str,
    body: Option<&Value>,
    rule: &'static str,
) -> Result<Option<Value>, Trouble> {
    match api.requests().send(method, path, body).await {
        Ok(object) => Ok(Some(object)),
        Err(failure) => match failure.why {
            Why::Gone => Ok(None),
            Why::Conflict => Err(Trouble::race()),
            _ => {
                let code = failure.code.map(|code| format!(" (HTTP {code})")).unwrap_or_default();
                let (message, hint) = (format!("{}{code}", failure.message), failure.hint(rule));
                Err(Trouble { message, hint, is_race: false })
            }
        },
    }
}

/// Sends a write, and compares what is stored at these places with what was written.
async fn write(
    api: &Api,
    (method, path): (Method, &str),
    body: &Value,
    places: &[String],
    rule: &'static str,
) -> Result<(), Trouble> {
    let stored = ask(api, method, path, Some(body), rule).await?;
    let differs = |stored: &Value| places.iter().find_map(|at| Altered::at(at, body, stored));
    match stored.as_ref().and_then(differs) {
        None => Ok(()),
        Some(altered) => {
            let message = Error::altered(path, altered).to_string();
            let hint = "an admission webhook or a proxy changes it: exempt the object";
            Err(Trouble { message, hint, is_race: false })
        }
    }
}

/// The token that an annotation shows, as the text that is no token where it is none.
fn token(object: &Value, annotation: &str) -> Result<Option<FencingToken>, String> {
    let Some(text) = object["metadata"]["annotations"][annotation].as_str() else {
        return Ok(None);
    };
    text.parse().map(|token| Some(FencingToken(token))).map_err(|_| text.to_owned())
}

fn key_for(lock: &Lock) -> String {
    match lock.key() {
        None | Some("leader") => format!("incumbent.dev/leader-of.{}", lock.name()),
        Some(key) => format!("incumbent.dev/leader-of.{}.{key}", lock.name()),
    }
}

fn checked_key(key: &str) -> Result<(), Error> {
    let name = key.rsplit('/').next().unwrap_or_default();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let ends_well = |end: Option<char>| end.is_some_and(|end| end.is_ascii_alphanumeric());
    let is_good = name.len() <= 63
        && ends_well(name.chars().next())
        && ends_well(name.chars().last())
        && key.len() <= 253
        && key.bytes().all(|byte| fits(byte) || byte == b'/')
        && key.matches('/').count() <= 1;
    match is_good {
        true => Ok(()),
        false => Err(Error::invalid(
            format!("{key:?} cannot be a label"),
            "after the slash it has at most 63 letters, digits, '-', '_' and '.': set Route::key",
        )),
    }
}

fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn own_namespace(api: &Api) -> String {
    set("POD_NAMESPACE").unwrap_or_else(|| api.own_namespace().to_owned())
}

/// A Pod's host has the Pod's name, unless it is told otherwise.
fn own_pod() -> Option<String> {
    set("POD_NAME").or_else(|| set("HOSTNAME")).or_else(host_name)
}

fn no_pod() -> Error {
    Error::invalid(
        "no Pod is known to label",
        "set POD_NAME and POD_NAMESPACE by the downward API, or name it by Route::pod",
    )
}

fn no_address() -> Error {
    Error::invalid(
        "no IP address is known for the EndpointSlice",
        "set POD_IP by the downward API, or an IP with or without a port by Builder::address",
    )
}

/// A late write of an older leader, or a change by hand, stands for no longer than this.
const LOOK_PERIOD: Duration = Duration::from_secs(10);

/// For how long it tries to clear a route when its candidate is gone; the next leader does it otherwise.
const PATIENCE: Duration = Duration::from_secs(30);
