//! What people want of a group: the text of `GROUP.config`.

use std::collections::{BTreeMap, BTreeSet};

use incumbent_core::Identity;
use incumbent_core::group::{Task, TaskName};
use serde_json::Value;
use thiserror::Error as ThisError;

use crate::lock::version;

/// What `GROUP.config` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Config {
    /// The tasks that it lists, each with its weight and pin. `None` if it has no list, which is not an empty one.
    pub(super) tasks: Option<BTreeMap<TaskName, Task>>,
    /// The members that should own these tasks. They count more than a pin in the list.
    pub(super) pins: BTreeMap<TaskName, Identity>,
    /// Members that should get no tasks, and give theirs to others.
    pub(super) drained: BTreeSet<Identity>,
    /// Whether tasks stay where they are for as long as their owner lives.
    pub(super) is_frozen: bool,
    /// The version of the object that says so; zero if there was none.
    pub(super) revision: u64,
}

/// The key of the list.
pub(super) const TASKS: &str = "tasks";
/// The key of the pins: `TASK MEMBER` on each line.
pub(super) const PINS: &str = "pins";
/// The key of the drained members: one on each line.
pub(super) const DRAIN: &str = "drain";
/// The key of `true` or `false`.
pub(super) const FREEZE: &str = "freeze";

impl Config {
    /// What this object says.
    pub(super) fn read(object: &Value) -> Result<Self, InvalidConfig> {
        let text = |key: &str| object["data"][key].as_str();
        let is_frozen = match text(FREEZE).unwrap_or_default().trim() {
            "" | "false" => false,
            "true" => true,
            other => return Err(InvalidConfig::Freeze(other.to_owned())),
        };
        Ok(Self {
            tasks: text(TASKS).map(listed).transpose()?,
            pins: pinned(text(PINS).unwrap_or_default())?,
            drained: drained(text(DRAIN).unwrap_or_default())?,
            is_frozen,
            revision: revision(object),
        })
    }

    /// What is asked for this task.
    pub(super) fn task(&self, name: &TaskName) -> Task {
        let listed = self.tasks.as_ref().and_then(|tasks| tasks.get(name)).cloned();
        let mut task = listed.unwrap_or_default();
        if let Some(member) = self.pins.get(name) {
            task.pin = Some(member.clone());
        }
        task
    }

    /// The tasks that it names, in the list or by a pin.
    pub(super) fn named(&self) -> impl Iterator<Item = &TaskName> {
        let listed = self.tasks.iter().flat_map(BTreeMap::keys);
        listed.chain(self.pins.keys()).collect::<BTreeSet<_>>().into_iter()
    }
}

/// The version of an object; zero if it states none.
pub(super) fn revision(object: &Value) -> u64 {
    version(object).map_or(0, |version| version.revision)
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

fn listed(text: &str) -> Result<BTreeMap<TaskName, Task>, InvalidConfig> {
    let mut read = BTreeMap::new();
    for line in lines(text) {
        let (name, wanted) = task(line)?;
        if read.insert(name.clone(), wanted).is_some() {
            return Err(InvalidConfig::Duplicate(name));
        }
    }
    if read.len() > MOST_TASKS {
        return Err(InvalidConfig::TooMany(read.len()));
    }
    Ok(read)
}

fn pinned(text: &str) -> Result<BTreeMap<TaskName, Identity>, InvalidConfig> {
    let mut pins = BTreeMap::new();
    for line in lines(text) {
        let mut words = line.split_whitespace();
        let pin = (words.next().and_then(TaskName::new), words.next().and_then(Identity::new));
        let (Some(task), Some(member), None) = (pin.0, pin.1, words.next()) else {
            return Err(InvalidConfig::Pin(line.to_owned()));
        };
        if pins.insert(task.clone(), member).is_some() {
            return Err(InvalidConfig::PinnedTwice(task));
        }
    }
    Ok(pins)
}

fn drained(text: &str) -> Result<BTreeSet<Identity>, InvalidConfig> {
    let member = |line: &str| {
        let is_one = !line.contains(char::is_whitespace);
        Identity::new(line).filter(|_| is_one).ok_or_else(|| InvalidConfig::Drain(line.to_owned()))
    };
    lines(text).map(member).collect()
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
    #[error("tasks: {0:?} names no member")]
    Member(String),
    #[error("tasks: {0:?} is neither weight=N nor pin=MEMBER")]
    Word(String),
    #[error("tasks: {0:.80?} says the same twice")]
    Twice(String),
    #[error("tasks: {0} is listed twice")]
    Duplicate(TaskName),
    #[error("tasks: {0} are too many, {MOST_TASKS} are the most: let a task be a range of keys")]
    TooMany(usize),
    #[error("pins: {0:.80?} is not a task and a member")]
    Pin(String),
    #[error("pins: {0} is pinned twice")]
    PinnedTwice(TaskName),
    #[error("drain: {0:.80?} is not the name of a member")]
    Drain(String),
}

/// One line of the list: `NAME [weight=N] [pin=MEMBER]`.
fn task(line: &str) -> Result<(TaskName, Task), InvalidConfig> {
    let mut words = line.split_whitespace();
    let name = words.next().and_then(TaskName::new);
    let name = name.ok_or_else(|| InvalidConfig::Name(line.to_owned()))?;
    let (mut task, mut keys) = (Task::default(), BTreeSet::new());
    for word in words {
        let (key, value) =
            word.split_once('=').ok_or_else(|| InvalidConfig::Word(word.to_owned()))?;
        match key {
            "weight" => {
                let weight = value.parse().ok().filter(|weight| *weight > 0);
                task.weight = weight.ok_or_else(|| InvalidConfig::Weight(word.to_owned()))?;
            }
            "pin" => {
                let member = Identity::new(value);
                task.pin = Some(member.ok_or_else(|| InvalidConfig::Member(word.to_owned()))?);
            }
            _ => return Err(InvalidConfig::Word(word.to_owned())),
        }
        if !keys.insert(key) {
            return Err(InvalidConfig::Twice(line.to_owned()));
        }
    }
    Ok((name, task))
}

/// The most tasks that people can name.
pub(super) const MOST_TASKS: usize = 10_000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(data: &Value) -> Result<Config, InvalidConfig> {
        Config::read(&json!({ "data": data }))
    }

    fn name(name: &str) -> TaskName {
        TaskName::new(name).unwrap()
    }

    #[test]
    fn a_pin_of_its_own_counts_more_than_one_in_the_list() {
        let data = json!({ "tasks": "eu pin=a weight=3\nus pin=a", "pins": " eu  b \n\n7 c" });
        let config = read(&data).unwrap();
        assert_eq!(config.task(&name("eu")), Task { weight: 3, pin: Identity::new("b") });
        assert_eq!(config.task(&name("us")).pin, Identity::new("a"));
        assert_eq!(config.task(&name("7")).pin, Identity::new("c"));
        assert_eq!(config.task(&name("none")), Task::default());
        let named: Vec<_> = config.named().map(TaskName::as_str).collect();
        assert_eq!(named, ["7", "eu", "us"]);
    }

    #[test]
    fn no_list_is_not_an_empty_list() {
        assert_eq!(read(&json!({ "drain": "a\nb" })).unwrap().tasks, None);
        assert_eq!(read(&json!({ "tasks": "" })).unwrap().tasks, Some(BTreeMap::new()));
        assert_eq!(read(&json!({ "drain": "b\na" })).unwrap().drained.len(), 2);
    }

    #[test]
    fn a_mistake_names_its_key() {
        for (data, error) in [
            (json!({ "pins": "eu" }), "pins: \"eu\" is not a task and a member"),
            (json!({ "pins": "eu a b" }), "pins: \"eu a b\" is not a task and a member"),
            (json!({ "pins": "eu a\neu b" }), "pins: eu is pinned twice"),
            (json!({ "drain": "a b" }), "drain: \"a b\" is not the name of a member"),
            (json!({ "freeze": "yes" }), "freeze: \"yes\" is neither true nor false"),
            (json!({ "tasks": "eu\neu" }), "tasks: eu is listed twice"),
            (json!({ "tasks": "eu pin=" }), "tasks: \"pin=\" names no member"),
            (json!({ "tasks": "eu pin=a pin=b" }), "tasks: \"eu pin=a pin=b\" says the same twice"),
            (json!({ "tasks": "eu heavy" }), "tasks: \"heavy\" is neither weight=N nor pin=MEMBER"),
        ] {
            assert_eq!(read(&data).unwrap_err().to_string(), error);
        }
    }
}
