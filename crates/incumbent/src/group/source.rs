//! Where the list of tasks comes from.

use std::collections::BTreeSet;

use incumbent_core::group::{Kind, TaskName, Wishes};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::{Api, Resource};
use serde_json::Value;

use super::config::{Config, InvalidConfig, revision};
use super::objects::Objects;

/// The tasks of a group.
#[derive(Clone, Debug)]
pub struct Tasks(pub(super) Source);

/// Where the list of tasks comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// The program names them. People may give weights and pins, drain members, and freeze the group.
    Named { names: Vec<String>, config: Config },
    /// People name them. There are no tasks in it until their list was read.
    ConfigMap { config: Config },
    /// Objects, stored as named tasks. People may give weights and pins, drain members, and freeze the group. `None` until
    /// they were listed.
    Objects { objects: Objects, names: Option<BTreeSet<TaskName>>, config: Config },
    /// Slots or permits. People may give weights and pins to slots, drain members, and freeze the group.
    Numbered { kind: Kind, config: Config },
}

impl Tasks {
    /// Tasks with these names, each of 1 to 253 visible ASCII characters. All members must name the
    /// same tasks.
    ///
    /// If the ConfigMap `GROUP.config` exists, its weights, pins, drained members and freeze apply; see
    /// [`config_map`](Self::config_map).
    pub fn named<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        Self(Source::Named { names, config: Config::default() })
    }

    /// The tasks that the ConfigMap `GROUP.config` lists, which people and other programs edit while tasks run. It
    /// needs the label `incumbent.dev/group: GROUP`.
    ///
    /// Its key `tasks` has one task per line, with optional words: `eu`, `us weight=3`, `ap
    /// pin=worker-1`. Until a program has read the list, it leaves the tasks of the table where
    /// they are. If the key `freeze` is `true`, each task stays where it is for as long as its
    /// owner lives. The keys `pins`, with a task and a member per line, and `drain`, with a member
    /// per line, are what [`GroupControl`](super::GroupControl) writes. If the text has a mistake,
    /// nothing changes: the mistake is logged, and shown as
    /// [`GroupStatus::trouble`](super::GroupStatus::trouble).
    pub fn config_map() -> Self {
        Self(Source::ConfigMap { config: Config::default() })
    }

    /// One task for each Kubernetes object of the kind `K` that `api` reaches and that `selector`, a label selector, matches; an
    /// empty one matches all. The name of a task is `NAMESPACE/NAME`, or `NAME` if the kind has no namespaces. If that is longer than
    /// 253 characters, it is the uid of the object.
    ///
    /// When an object is created, it gets an owner; when it is deleted, its task is revoked. An object that is deleted and
    /// created again under its name is the same task. Of more than 10,000 objects, the newest have no owner, which
    /// [`GroupStatus::trouble`](super::GroupStatus::trouble) says.
    ///
    /// Only the allocator and the next ones list the objects, and only their metadata, by the client of `api`. So
    /// [`GroupStatus::tasks`](super::GroupStatus::tasks) is `None` in other members. As long as no list succeeds, the tasks of
    /// the table stay where they are. The account of each member needs [`policy_rules`](Self::policy_rules). Weights, pins
    /// and freeze apply as for [`named`](Self::named) tasks.
    ///
    /// To reconcile the objects, use `controller::Controller::share_until`, for which the crate needs the feature
    /// `controller`.
    pub fn objects<K: Resource>(api: Api<K>, selector: impl AsRef<str>) -> Self {
        Self::selected(api, Some(selector.as_ref()), None)
    }

    /// The same, for objects that match both selectors.
    pub(crate) fn selected<K: Resource>(
        api: Api<K>,
        labels: Option<&str>,
        fields: Option<&str>,
    ) -> Self {
        Self(Source::Objects {
            objects: Objects::new(api, labels, fields),
            names: None,
            config: Config::default(),
        })
    }

    /// The rules that the account of each member needs for these tasks, in addition to
    /// [`Group::policy_rules`](super::Group::policy_rules): to list and watch the objects that they are. Put them into a Role of
    /// the objects' namespace, or into a ClusterRole for objects of all namespaces.
    pub fn policy_rules(&self) -> Vec<PolicyRule> {
        self.0.objects().map(Objects::policy_rule).into_iter().collect()
    }

    /// Slots for any number of keys: tasks with the names `0` up to `slots - 1`, at most 16,384.
    ///
    /// Each key belongs to the slot that [`slot_of`] says, as in Redis Cluster. Choose about ten slots for each member that the
    /// group may ever have: their number is fixed when the table is created, and every member obeys that number.
    ///
    /// [`slot_of`]: super::slot_of
    pub fn slots(slots: u16) -> Self {
        Self::numbered(Kind::Slots(slots))
    }

    /// A semaphore: tasks with the names `0` up to `permits - 1`, at most 16,384, of which each member owns one at most.
    ///
    /// The members that joined first own them. A member keeps its permit until it leaves, drains or dies; then the member
    /// that has waited longest gets it.
    pub fn permits(permits: u16) -> Self {
        Self::numbered(Kind::Permits(permits))
    }

    fn numbered(kind: Kind) -> Self {
        Self(Source::Numbered { kind, config: Config::default() })
    }
}

impl Source {
    /// Whether people name the tasks, and their list was not read yet.
    pub(super) fn is_unread(&self) -> bool {
        matches!(self, Self::ConfigMap { config } if config.tasks.is_none())
    }

    /// The objects that the tasks are.
    pub(super) fn objects(&self) -> Option<&Objects> {
        match self {
            Self::Objects { objects, .. } => Some(objects),
            _ => None,
        }
    }

    /// Adopts a list of the objects. Returns whether it is news.
    pub(super) fn list(&mut self, listed: BTreeSet<TaskName>) -> bool {
        match self {
            Self::Objects { names, .. } if names.as_ref() != Some(&listed) => {
                *names = Some(listed);
                true
            }
            _ => false,
        }
    }

    /// What is wanted. `None` while that is not known.
    pub(super) fn wishes(&self) -> Option<Wishes> {
        let (kind, config, tasks): (_, _, Vec<TaskName>) = match self {
            Self::ConfigMap { config } => {
                (Kind::Named, config, config.tasks.as_ref()?.keys().cloned().collect())
            }
            Self::Named { names, config } => {
                (Kind::Named, config, names.iter().filter_map(TaskName::new).collect())
            }
            Self::Objects { names, config, .. } => {
                (Kind::Named, config, names.as_ref()?.iter().cloned().collect())
            }
            Self::Numbered { kind, config } => (*kind, config, config.named().cloned().collect()),
        };
        let tasks = tasks.into_iter().map(|name| {
            let task = config.task(&name);
            (name, task)
        });
        let (tasks, drained, is_frozen) =
            (tasks.collect(), config.drained.clone(), config.is_frozen);
        // Programs that reconcile objects often start before there are any.
        let may_grow = matches!(self, Self::Objects { .. });
        Some(Wishes { kind, tasks, drained, is_frozen, may_grow })
    }

    /// Adopts what `GROUP.config` says, unless a newer version was read. If it has a mistake, nothing changes. Returns
    /// whether this is the newest version.
    pub(super) fn configure(&mut self, object: &Value) -> Result<bool, InvalidConfig> {
        let is_list_needed = matches!(self, Self::ConfigMap { .. });
        let (Self::Named { config, .. }
        | Self::Objects { config, .. }
        | Self::Numbered { config, .. }
        | Self::ConfigMap { config }) = self;
        // A list may come from a cache that lags behind. It must not bring an earlier wish back.
        if revision(object) < config.revision {
            return Ok(false);
        }
        config.revision = revision(object);
        let mut read = Config::read(object)?;
        if is_list_needed {
            // Without the key there is no list. It is not an empty one, by which all tasks would stop.
            read.tasks = read.tasks.or_else(|| config.tasks.take());
        }
        *config = read;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A list from a cache that lags behind shows an earlier version after a newer one.
    #[test]
    fn an_earlier_version_of_what_people_ask_for_does_not_come_back() {
        for Tasks(mut source) in
            [Tasks::named(["eu"]), Tasks::config_map(), Tasks::slots(1), Tasks::permits(1)]
        {
            let version = |revision: u64, freeze: &str| {
                let metadata = json!({ "uid": "u", "resourceVersion": revision.to_string() });
                json!({ "metadata": metadata, "data": { "freeze": freeze, "tasks": "eu" } })
            };
            let is_frozen = |source: &Source| source.wishes().unwrap().is_frozen;
            assert_eq!(source.configure(&version(5, "true")), Ok(true));
            assert_eq!(source.configure(&version(7, "false")), Ok(true));
            assert_eq!(source.configure(&version(5, "true")), Ok(false));
            assert!(!is_frozen(&source));
            assert_eq!(source.configure(&version(7, "false")), Ok(true), "the same, again");
            assert!(source.configure(&version(9, "yes")).is_err());
            assert_eq!(source.configure(&version(8, "true")), Ok(false), "older than the mistake");
            assert_eq!(source.configure(&version(10, "true")), Ok(true));
            assert!(is_frozen(&source));
        }
    }
}
