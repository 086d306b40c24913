//! Kubernetes objects as the tasks of a group: which ones there are.

use std::collections::BTreeMap;
use std::time::Duration;

use incumbent_core::Instant;
use incumbent_core::group::TaskName;
use k8s_openapi::api::rbac::v1::PolicyRule;
#[cfg(feature = "controller")]
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::config::MOST_TASKS;
use super::note::{Note, Shown, Sight};
use super::watching::{Pace, Selection, follow};
use crate::clock::Clock;
use crate::lock::Resource;
use crate::requests::Requests;
use crate::rights;

/// Which objects are the tasks.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    requests: Requests,
    /// The path of all of them.
    collection: String,
    /// What the path is followed by, of which the API server makes the selection.
    filter: String,
}

/// The task that an object is: `NAMESPACE/NAME`, or `NAME` if its kind has no namespaces. It is the uid if the name has no
/// room in a page.
///
/// It is not the uid of every object, so that people can read the table. An object that is deleted and created again under
/// its name is the same task: its owner sees the new one in its cache.
#[cfg(feature = "controller")]
pub(crate) fn task_of(object: &ObjectMeta) -> Option<TaskName> {
    named(object.namespace.as_deref(), object.name.as_deref()?, object.uid.as_deref())
}

fn named(namespace: Option<&str>, name: &str, uid: Option<&str>) -> Option<TaskName> {
    let whole = match namespace {
        Some(namespace) => TaskName::new(format!("{namespace}/{name}")),
        None => TaskName::new(name),
    };
    whole.or_else(|| TaskName::new(uid?))
}

impl Objects {
    pub(super) fn new<K: kube::Resource>(
        api: Api<K>,
        labels: Option<&str>,
        fields: Option<&str>,
    ) -> Self {
        let selector = |key: &str, selector: Option<&str>| {
            let selector = selector.filter(|selector| !selector.is_empty())?;
            Some(format!("&{key}={}", utf8_percent_encode(selector, NON_ALPHANUMERIC)))
        };
        let filters = [selector("labelSelector", labels), selector("fieldSelector", fields)];
        Self {
            collection: api.resource_url().to_owned(),
            filter: filters.into_iter().flatten().collect(),
            requests: Requests::new(api.into_client()).of_metadata(),
        }
    }

    /// What the account of each member needs in order to list them.
    pub(super) fn policy_rule(&self) -> PolicyRule {
        let (group, plural, _) = self.parts();
        rights::rule((group, plural), None, &["list", "watch"])
    }

    /// What errors call them.
    pub(super) fn resource(&self) -> Resource {
        let (group, plural, namespace) = self.parts();
        let kind = match group {
            "" => plural.to_owned(),
            group => format!("{plural}.{group}"),
        };
        Resource::Objects { kind, namespace: namespace.map(str::to_owned) }
    }

    /// The API group, the plural name and the namespace in `/apis/GROUP/VERSION[/namespaces/NAMESPACE]/PLURAL`, or in
    /// `/api/v1` with what follows.
    fn parts(&self) -> (&str, &str, Option<&str>) {
        let parts: Vec<&str> = self.collection.trim_matches('/').split('/').collect();
        let (group, rest) = match parts.as_slice() {
            ["apis", group, _, rest @ ..] => (*group, rest),
            ["api", _, rest @ ..] => ("", rest),
            rest => ("", rest),
        };
        match rest {
            ["namespaces", namespace, plural] => (group, plural, Some(namespace)),
            rest => (group, rest.last().copied().unwrap_or_default(), None),
        }
    }

    /// Tells which objects there are until the driver is gone.
    pub(super) async fn look(
        self,
        clock: Clock,
        pace: Pace,
        notes: mpsc::WeakUnboundedSender<Note>,
    ) {
        let (sender, mut shown) = mpsc::unbounded_channel();
        let selection = Selection {
            collection: self.collection,
            filter: self.filter,
            // From the store: a list that a server has made of its cache may lack objects whose tasks already run.
            list: "limit=500",
            keep: identifying,
        };
        let requests = self.requests.timed(clock);
        tokio::spawn(follow(requests, clock, selection, pace, sender.downgrade(), |shown| shown));
        let mut known = Known::default();
        loop {
            let due = known.tell_at;
            let until = async {
                match due {
                    Some(moment) => clock.sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            let sight = tokio::select! {
                biased;
                () = until => {
                    known.tell_at = None;
                    Some(known.sight())
                }
                Some(shown) = shown.recv() => known.learn(clock.instant(), shown),
            };
            let Some(notes) = notes.upgrade().filter(|notes| !notes.is_closed()) else { return };
            if let Some(sight) = sight {
                let _ = notes.send(Note::Objects(sight));
            }
        }
    }
}

/// The objects that are known.
#[derive(Default)]
struct Known {
    /// By namespace and name: when it was created, and the task that it is.
    objects: BTreeMap<(String, String), (String, TaskName)>,
    /// When the tasks are to be told next.
    tell_at: Option<Instant>,
}

impl Known {
    /// Adopts what a list or a watch shows. Returns what is to be told at once.
    fn learn(&mut self, now: Instant, shown: Shown) -> Option<Sight> {
        match shown {
            Shown::Listed(_, objects) => {
                self.objects = objects.iter().filter_map(known).collect();
                self.tell_at = None;
                return Some(self.sight());
            }
            Shown::Present(object) => {
                let (key, object) = known(&object)?;
                if self.objects.insert(key, object.clone()) != Some(object) {
                    self.tell_soon(now);
                }
            }
            Shown::Gone(object, _) => {
                if self.objects.remove(&known(&object)?.0).is_some() {
                    self.tell_soon(now);
                }
            }
            Shown::Refused(verb, failure) => return Some(Sight::Refused(verb, failure)),
            Shown::Opened => return Some(Sight::Opened),
            Shown::Alive => {}
        }
        None
    }

    /// Many changes at a time are one: each changes the whole table.
    fn tell_soon(&mut self, now: Instant) {
        self.tell_at.get_or_insert(now + GATHERING);
    }

    /// The tasks. Of too many objects, those that have existed for longest: a new one pushes out none that has an owner.
    fn sight(&self) -> Sight {
        let mut objects: Vec<_> = self.objects.iter().collect();
        objects.sort_by_key(|(key, (created, _))| (created, *key));
        let left_out = objects.len().saturating_sub(MOST_TASKS);
        let tasks = objects.into_iter().take(MOST_TASKS).map(|(_, (_, task))| task.clone());
        Sight::Listed(tasks.collect(), left_out)
    }
}

/// The metadata that [`known`] reads. The rest, above all `managedFields`, takes many times its memory.
fn identifying(mut object: Value) -> Value {
    let mut kept = Map::new();
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        kept.insert(field.to_owned(), object["metadata"][field].take());
    }
    json!({ "metadata": kept })
}

type Keyed = ((String, String), (String, TaskName));

fn known(object: &Value) -> Option<Keyed> {
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str()?;
    let namespace = metadata["namespace"].as_str();
    let task = named(namespace, name, metadata["uid"].as_str())?;
    let created = metadata["creationTimestamp"].as_str().unwrap_or_default();
    let key = (namespace.unwrap_or_default().to_owned(), name.to_owned());
    Some((key, (created.to_owned(), task)))
}

/// How long changes are gathered before the allocator is told.
const GATHERING: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
