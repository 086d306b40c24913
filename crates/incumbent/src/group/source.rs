//! Where the list of tasks comes from.

use std::collections::BTreeMap;

use incumbent_core::Identity;
use incumbent_core::group::{Kind, Task, TaskName, Wishes};
use serde_json::Value;
use thiserror::Error as ThisError;

/// The tasks of a group.
#[derive(Clone, Debug)]
pub struct Tasks(pub(super) Source);

/// Where the list of tasks comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// The program names them. People may give weights and pins, and freeze the group.
    Named { names: Vec<String>, config: BTreeMap<TaskName, Task>, is_frozen: bool },
    /// People name them. `None` until their list was read.
    ConfigMap { config: Option<BTreeMap<TaskName, Task>>, is_frozen: bool },
    /// Slots or permits. People may give weights and pins to slots, and freeze the group.
    Numbered { kind: Kind, config: BTreeMap<TaskName, Task>, is_frozen: bool },
}

impl Tasks {
    /// Tasks with these names, each of 1 to 253 visible ASCII characters. All members must name the
    /// same tasks.
    ///
    /// If the ConfigMap `GROUP.config` exists, its weights, pins and freeze apply; see
    /// [`config_map`](Self::config_map).
    pub fn named<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        Self(Source::Named { names, config: BTreeMap::new(), is_frozen: false })
    }

    /// The tasks that the ConfigMap `GROUP.config` lists, which people and other programs edit while tasks run. It
    /// needs the label `incumbent.dev/group: GROUP`.
    ///
    /// Its key `tasks` has one task per line, with optional words: `eu`, `us weight=3`, `ap
    /// pin=worker-1`. Until a program has read the list, it leaves the tasks of the table where
    /// they are. If the key `freeze` is `true`, each task stays where it is for as long as its
    /// owner lives. If the text has a mistake, nothing changes: the mistake is logged, and shown as
    /// [`GroupStatus::trouble`](super::GroupStatus::trouble).
    pub fn config_map() -> Self {
        Self(Source::ConfigMap { config: None, is_frozen: false })
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
        Self(Source::Numbered { kind, config: BTreeMap::new(), is_frozen: false })
    }
}

impl Source {
    /// Whether people name the tasks, and their list was not read yet.
    pub(super) fn is_unread(&self) -> bool {
        matches!(self, Self::ConfigMap { config: None, .. })
    }

    /// What is wanted. `None` while that is not known.
    pub(super) fn wishes(&self) -> Option<Wishes> {
        match self {
            Self::ConfigMap { config, is_frozen } => {
                let (tasks, is_frozen) = (config.clone()?, *is_frozen);
                Some(Wishes { kind: Kind::Named, tasks, is_frozen })
            }
            Self::Named { names, config, is_frozen } => {
                let names = names.iter().filter_map(TaskName::new);
                let tasks = names.map(|name| {
                    let task = config.get(&name).cloned().unwrap_or_default();
                    (name, task)
                });
                let (tasks, is_frozen) = (tasks.collect(), *is_frozen);
                Some(Wishes { kind: Kind::Named, tasks, is_frozen })
            }
            Self::Numbered { kind, config, is_frozen } => {
                Some(Wishes { kind: *kind, tasks: config.clone(), is_frozen: *is_frozen })
            }
        }
    }

    /// Adopts what `GROUP.config` says. If it has a mistake, nothing changes.
    pub(super) fn configure(&mut self, object: &Value) -> Result<(), InvalidConfig> {
        let text = |key: &str| object["data"][key].as_str().unwrap_or_default();
        let frozen = match text("freeze").trim() {
            "" | "false" => false,
            "true" => true,
            other => return Err(InvalidConfig::Freeze(other.to_owned())),
        };
        let lines = text("tasks").lines().map(str::trim).filter(|line| !line.is_empty());
        let mut read = BTreeMap::new();
        for line in lines {
            let (name, wanted) = task(line)?;
            if read.insert(name.clone(), wanted).is_some() {
                return Err(InvalidConfig::Duplicate(name));
            }
        }
        if read.len() > MOST_TASKS {
            return Err(InvalidConfig::TooMany(read.len()));
        }
        match self {
            Self::Named { config, is_frozen, .. } | Self::Numbered { config, is_frozen, .. } => {
                (*config, *is_frozen) = (read, frozen);
            }
            Self::ConfigMap { config, is_frozen } => (*config, *is_frozen) = (Some(read), frozen),
        }
        Ok(())
    }
}

/// What is wrong with `GROUP.config`: the key, and the mistake in it.
#[derive(Debug, PartialEq, Eq, ThisError)]
pub(super) enum InvalidConfig {
    #[error("freeze: {0:?} is neither true nor false")]
    Freeze(String),
    #[error("tasks: {0:.40?} names no task that can be stored")]
    Name(String),
    #[error("tasks: {0:?}: not a number above zero")]
    Weight(String),
    #[error("tasks: {0:?} is neither weight=N nor pin=MEMBER")]
    Word(String),
    #[error("tasks: {0} is listed twice")]
    Duplicate(TaskName),
    #[error("tasks: {0} are too many, {MOST_TASKS} are the most: let a task be a range of keys")]
    TooMany(usize),
}

/// One line of the list: `NAME [weight=N] [pin=MEMBER]`.
fn task(line: &str) -> Result<(TaskName, Task), InvalidConfig> {
    let mut words = line.split_whitespace();
    let name = words.next().and_then(TaskName::new);
    let name = name.ok_or_else(|| InvalidConfig::Name(line.to_owned()))?;
    let mut task = Task::default();
    for word in words {
        match word.split_once('=') {
            Some(("weight", weight)) => {
                let weight = weight.parse().ok().filter(|weight| *weight > 0);
                task.weight = weight.ok_or_else(|| InvalidConfig::Weight(word.to_owned()))?;
            }
            Some(("pin", member)) => task.pin = Identity::new(member),
            _ => return Err(InvalidConfig::Word(word.to_owned())),
        }
    }
    Ok((name, task))
}

/// The most tasks that people can name.
pub(super) const MOST_TASKS: usize = 10_000;
