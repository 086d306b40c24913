//! Controllers of kube-rs that reconcile under a lock, or share their objects with other replicas.
//!
//! A [`Controller`] watches objects of one kind, and keeps them in a cache, in every replica and all the time. Which
//! objects it reconciles depends on how it is run:
//!
//! - [`run_until`](Controller::run_until): the leader of an election reconciles all objects, and the other replicas only
//!   keep their caches up to date.
//! - [`share_until`](Controller::share_until): each member of a [`Group`](crate::Group) reconciles the objects that it
//!   owns, and no others.
//!
//! This module needs the feature `controller`. The types of an object's watch and of the [`Action`] after a reconcile are
//! those of kube-rs.
//!
//! ```no_run
//! use incumbent::controller::{Action, Controller, watcher};
//! use incumbent::k8s_openapi::api::core::v1::ConfigMap;
//! use incumbent::kube::Api;
//! use incumbent::{BoxError, Candidate, Lock, connect, shutdown_signal};
//!
//! # async fn greet(client: &incumbent::kube::Client, object: &ConfigMap) -> Result<(), BoxError> { Ok(()) }
//! #[tokio::main]
//! async fn main() -> Result<(), BoxError> {
//!     let shutdown = shutdown_signal();
//!     let client = connect().await?;
//!     let mut candidate =
//!         Candidate::builder(client.clone(), Lock::lease("default", "greeter")).build()?;
//!     let gated = candidate.write_gate().client(client.clone()); // writes only while this process leads
//!     let labelled = watcher::Config::default().labels("example.com/greet");
//!     Controller::<ConfigMap>::new(Api::default_namespaced(client), labelled)
//!         .run_until(&mut candidate, shutdown, |object, _leadership| {
//!             let gated = gated.clone();
//!             async move {
//!                 greet(&gated, &object).await?;
//!                 Ok(Action::await_change())
//!             }
//!         })
//!         .await?;
//!     Ok(())
//! }
//! ```

use std::fmt::Debug;
use std::hash::Hash;

use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

mod leading;
mod reconciling;
mod sharing;
mod watches;

#[doc(no_inline)]
pub use kube::runtime::controller::Action;
#[doc(no_inline)]
pub use kube::runtime::watcher;

use self::watches::{Requests, requests};
use crate::group::Tasks;

/// Watches objects of the kind `K`, and reconciles them when they change.
///
/// Each reconcile is a task of its own on the current tokio runtime. No two reconciles of one object run at the same time
/// in this process. A reconcile that returns an error is logged, and repeated after a pause: one second at first, twice as
/// long each time, at most one minute.
///
/// All caches are lists and watches of kube-rs. Its account needs the verbs `list` and `watch` on each kind.
#[must_use = "a controller does nothing until it runs"]
pub struct Controller<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    tasks: Tasks,
    kind: K::DynamicType,
    store: Store<K>,
    watches: Vec<Requests<K>>,
    concurrency: u16,
}

impl<K> Controller<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Unpin + Send + Sync,
{
    /// Watches the objects of `api` that `config` selects.
    pub fn new(api: Api<K>, config: watcher::Config) -> Self
    where
        K::DynamicType: Default,
    {
        Self::new_with(api, config, K::DynamicType::default())
    }

    /// The same for a kind that is known only at run time, such as
    /// [`DynamicObject`](kube::core::DynamicObject).
    pub fn new_with(api: Api<K>, config: watcher::Config, kind: K::DynamicType) -> Self {
        let writer = Writer::new(kind.clone());
        let store = writer.as_reader();
        let tasks = Tasks::selected(
            api.clone(),
            config.label_selector.as_deref(),
            config.field_selector.as_deref(),
        );
        let own = kind.clone();
        let itself = move |object: &K| vec![ObjectRef::from_obj_with(object, own.clone())];
        let events = watches::reflected(writer, api, config);
        let watches = vec![requests(events, itself, store.clone(), kind.clone())];
        Self { tasks, kind, store, watches, concurrency: CONCURRENCY }
    }

    /// Also watches objects that belong to a `K` by an owner reference. When one changes or is deleted, its owner is
    /// reconciled.
    ///
    /// To watch only their metadata, pass an `Api<PartialObjectMeta<Child>>`.
    pub fn owns<Child>(self, api: Api<Child>, config: watcher::Config) -> Self
    where
        Child: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let kind = self.kind.clone();
        self.watches(api, config, move |child: &Child| {
            let namespace = child.namespace();
            let owners = child.owner_references().iter();
            let owner =
                |owner| ObjectRef::from_owner_ref(namespace.as_deref(), owner, kind.clone());
            owners.filter_map(owner).collect::<Vec<_>>()
        })
    }

    /// Also watches other objects. When one changes or is deleted, the objects that `related` names are reconciled.
    pub fn watches<Other, I>(
        mut self,
        api: Api<Other>,
        config: watcher::Config,
        related: impl Fn(&Other) -> I + Send + 'static,
    ) -> Self
    where
        Other: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        I: IntoIterator<Item = ObjectRef<K>>,
    {
        let related = move |other: &Other| related(other).into_iter().collect();
        let events = watches::watched(api, config);
        self.watches.push(requests(events, related, self.store.clone(), self.kind.clone()));
        self
    }

    /// Sets how many objects are reconciled at the same time; zero means all of them. Default: 16.
    pub fn concurrency(self, concurrency: u16) -> Self {
        Self { concurrency, ..self }
    }

    /// The cache of this controller. It is filled once the controller runs.
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// The objects of this controller as the tasks of a group, for [`share_until`](Self::share_until).
    pub fn tasks(&self) -> Tasks {
        self.tasks.clone()
    }
}

/// So many reconciles wait for the API server at the same time without a crowd of requests at the start of a term.
const CONCURRENCY: u16 = 16;

/// The programs of the guide compile.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/controllers.md")]
struct ControllersPage;
