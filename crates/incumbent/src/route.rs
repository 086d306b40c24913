//! Showing the rest of the cluster who leads, so that a Service's connections go there.
//!
//! Routing is a hint: it is written after a term has begun and taken back after it has ended, so that for a
//! moment it may show no leader, or the previous one. What protects is the fencing token. All of it is
//! done by a separate task, which no renewal and no release waits for longer than a second.

use std::time::Duration;

use incumbent_core::FencingToken;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::error::Error;
use crate::identity::host_name;
use crate::invalid::InvalidSetting;
use crate::lock::Lock;
use crate::lock_api::LockApi;

mod endpoint_slice;
mod label;
mod marked;

use endpoint_slice::Slice;
use label::Label;
use marked::{Marked, Trouble};

/// How the rest of the cluster finds the leader; see [`Builder::route`](crate::Builder::route).
///
/// Each write carries the uid and resourceVersion that were read, and stores the fencing token in
/// an annotation, so an older leader never overwrites what a newer one has written.
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
    /// A label on the leader's Pod for the selector of a Service: `incumbent.dev/leader-of.NAME:
    /// "true"`, with the lock's name.
    ///
    /// It is set when a term begins and removed when the term ends. If a leader dies, its label
    /// stays until the next leader removes it from all other Pods that have it from an older term.
    /// That leader checks again every ten seconds, so it also finds labels that were written late.
    /// A label without a token next to it belongs to something else, for example the Pod template.
    /// It is left alone, with a warning.
    ///
    /// The account needs `get`, `list` and `patch` on `pods`.
    pub fn label() -> Self {
        Self { target: Target::Label, pod: None, key: None }
    }

    /// An EndpointSlice that contains only the leader's address, for a Service without a selector.
    ///
    /// It is named `SERVICE-leader`, created if it is missing, and emptied when a term ends. The
    /// address is the IP of [`Builder::address`](crate::Builder::address), or else `POD_IP`; the
    /// addresses of all candidates must belong to one IP family. A slice that another program
    /// manages is left alone. Unlike a selector, this does not check whether the Pod is ready, and
    /// a dead leader's address stays until the next leader replaces it.
    ///
    /// The account needs `get`, `create` and `update` on `endpointslices`.
    pub fn endpoint_slice(service: impl Into<String>, port: u16) -> Self {
        let target = Target::EndpointSlice { service: service.into(), port };
        Self { target, pod: None, key: None }
    }

    /// Sets another key for the label and for the annotation with the token.
    pub fn key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// Sets the Pod in which this process runs; for an EndpointSlice, only its namespace matters.
    /// Default: `POD_NAMESPACE` and `POD_NAME`, or else the client's namespace and the host's name.
    pub fn pod(self, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { pod: Some((namespace.into(), name.into())), ..self }
    }

    /// # Errors
    /// If there is no Pod or no address, or if the lock's name does not fit into a label.
    pub(crate) fn start(self, api: &LockApi, address: Option<&str>) -> Result<Routing, Error> {
        let key = self.key.unwrap_or_else(|| key_for(api.lock()));
        checked_key(&key)?;
        let (namespace, pod) = match self.pod {
            Some((namespace, pod)) => (namespace, Some(pod)),
            None => (own_namespace(api), own_pod()),
        };
        let target = match self.target {
            Target::Label => {
                let pod = pod.ok_or(InvalidSetting::RoutePod)?;
                Lock::lease(namespace.as_str(), pod.as_str()).checked()?;
                Shown::Label(Label::new(api.clone(), key, namespace, pod))
            }
            Target::EndpointSlice { service, port } => {
                let own = || std::env::var("POD_IP").ok();
                let address = address.map(str::to_owned).or_else(own);
                let address = address.as_deref().and_then(endpoint_slice::ip);
                let place = (address.ok_or(InvalidSetting::RouteAddress)?, port);
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
    fn marked(&self) -> &Marked {
        match self {
            Self::Label(label) => &label.marked,
            Self::Slice(slice) => &slice.marked,
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

/// One route, kept by a separate task. The route is cleared when this is dropped.
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
    let clock = shown.marked().clock();
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
                    tracing::warn!(lock = %shown.marked().lock(), error, hint, "cannot route to the leader");
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

fn key_for(lock: &Lock) -> String {
    match lock.key() {
        None | Some("leader") => format!("incumbent.dev/leader-of.{}", lock.name()),
        Some(key) => format!("incumbent.dev/leader-of.{}.{key}", lock.name()),
    }
}

fn checked_key(key: &str) -> Result<(), InvalidSetting> {
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
        false => Err(InvalidSetting::RouteKey(key.to_owned())),
    }
}

fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn own_namespace(api: &LockApi) -> String {
    set("POD_NAMESPACE").unwrap_or_else(|| api.requests().own_namespace().to_owned())
}

/// A Pod's host has the Pod's name, unless it is told otherwise.
fn own_pod() -> Option<String> {
    set("POD_NAME").or_else(|| set("HOSTNAME")).or_else(host_name)
}

/// A late write of an older leader, or a change by hand, stands for no longer than this.
const LOOK_PERIOD: Duration = Duration::from_secs(10);

/// For how long it tries to clear a route when its candidate is gone; the next leader does it otherwise.
const PATIENCE: Duration = Duration::from_secs(30);
