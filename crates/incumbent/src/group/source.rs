//! Where the list of tasks comes from.

use incumbent_core::group::{Kind, TaskName, Wishes};
use serde_json::Value;

use super::config::{Config, InvalidConfig};

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

    /// What is wanted. `None` while that is not known.
    pub(super) fn wishes(&self) -> Option<Wishes> {
        let (kind, config, tasks): (_, _, Vec<TaskName>) = match self {
            Self::ConfigMap { config } => {
                (Kind::Named, config, config.tasks.as_ref()?.keys().cloned().collect())
            }
            Self::Named { names, config } => {
                (Kind::Named, config, names.iter().filter_map(TaskName::new).collect())
            }
            Self::Numbered { kind, config } => (*kind, config, config.named().cloned().collect()),
        };
        let tasks = tasks.into_iter().map(|name| {
            let task = config.task(&name);
            (name, task)
        });
        let (tasks, drained, is_frozen) =
            (tasks.collect(), config.drained.clone(), config.is_frozen);
        Some(Wishes { kind, tasks, drained, is_frozen })
    }

    /// Adopts what `GROUP.config` says. If it has a mistake, nothing changes.
    pub(super) fn configure(&mut self, object: &Value) -> Result<(), InvalidConfig> {
        let mut read = Config::read(object)?;
        match self {
            Self::Named { config, .. } | Self::Numbered { config, .. } => *config = read,
            Self::ConfigMap { config } => {
                // Without the key there is no list. It is not an empty one, by which all tasks would stop.
                read.tasks = read.tasks.or_else(|| config.tasks.take());
                *config = read;
            }
        }
        Ok(())
    }
}
