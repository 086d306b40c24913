//! From watches to the objects that are to be reconciled.

use std::fmt::Debug;
use std::hash::Hash;

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt, TryStreamExt};
use kube::runtime::controller::ReconcileRequest;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::task::yield_now;

/// Objects that are to be reconciled, and errors of a watch. It never ends.
pub(super) type Requests<K> = BoxStream<'static, Result<ReconcileRequest<K>, watcher::Error>>;

/// A watch that keeps a cache up to date.
pub(super) fn reflected<K>(
    writer: Writer<K>,
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync,
{
    reflector(writer, watched(api, config))
}

/// A watch that is opened again whenever it ends, with growing pauses after failures.
pub(super) fn watched<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher::watcher(api, config).default_backoff()
}

/// What the events of a watch ask to be reconciled: the objects that `related` names.
///
/// After a list, that is every object of the cache, when the list is complete. An object of the list may be in the cache as
/// it was before until then, and one that was deleted before the list was made is in no event at all.
pub(super) fn requests<K, O>(
    events: impl Stream<Item = watcher::Result<Event<O>>> + Send + 'static,
    related: impl Fn(&O) -> Vec<ObjectRef<K>> + Send + 'static,
    store: Store<K>,
    kind: K::DynamicType,
) -> Requests<K>
where
    K: Resource + Clone + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync,
    O: Send + 'static,
{
    let asked = move |event| match event {
        Event::Apply(object) | Event::Delete(object) => {
            related(&object).into_iter().map(|named| cached(&store, &kind, named)).collect()
        }
        Event::Init | Event::InitApply(_) => Vec::new(),
        Event::InitDone => all(&store, &kind),
    };
    events.map_ok(move |event| in_portions(asked(event))).try_flatten().boxed()
}

/// These, with pauses. The scheduler takes in all that there is before it lets a reconcile begin, which is late for the
/// first of thousands.
pub(super) fn in_portions<K: Resource>(
    objects: Vec<ObjectRef<K>>,
) -> impl Stream<Item = Result<ReconcileRequest<K>, watcher::Error>> {
    stream::iter(objects).enumerate().then(|(number, object)| async move {
        if number % PORTION == PORTION - 1 {
            yield_now().await;
        }
        Ok(object.into())
    })
}

/// An object of the cache by its own name. One without a namespace may be named with that of its child, and would be
/// reconciled twice at a time.
fn cached<K>(store: &Store<K>, kind: &K::DynamicType, named: ObjectRef<K>) -> ObjectRef<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    match store.get(&named) {
        Some(object) => ObjectRef::from_obj_with(&*object, kind.clone()),
        None => named,
    }
}

/// All objects of the cache.
pub(super) fn all<K>(store: &Store<K>, kind: &K::DynamicType) -> Vec<ObjectRef<K>>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    let objects = store.state();
    objects.iter().map(|object| ObjectRef::from_obj_with(&**object, kind.clone())).collect()
}

const PORTION: usize = 64;
