//! How much room a ConfigMap has for the records of tasks that run once, and what may be cleared away: pure.
//!
//! The record of a task stands under `data`, at its key with `.once` behind it. Its election takes three more
//! places while it is needed: the key itself, and two annotations. Kubernetes allows 1 MiB for all values and
//! 256 KiB for all annotations, so elections that are no longer needed are cleared away.

use serde_json::{Map, Value};

/// Where the record of the task under `key` stands.
pub(super) fn record_key(key: &str) -> String {
    format!("{key}{SUFFIX}")
}

/// Where the election under `key` keeps its token.
pub(super) fn term_annotation(key: &str) -> String {
    match key {
        DEFAULT_KEY => "incumbent.dev/term".to_owned(),
        key => format!("incumbent.dev/term.{key}"),
    }
}

/// What one ConfigMap holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// How many tasks have ended.
    pub records: usize,
    data: usize,
    annotations: usize,
    all: usize,
}

impl Capacity {
    /// Of this ConfigMap.
    pub fn of(object: &Value) -> Self {
        let texts = |of: &Value| -> Vec<(usize, usize)> {
            let texts = of.as_object().into_iter().flatten();
            texts.map(|(key, value)| (key.len(), value.as_str().map_or(0, str::len))).collect()
        };
        let annotations = texts(&object["metadata"]["annotations"]);
        Self {
            records: records(object).len(),
            data: texts(&object["data"]).into_iter().map(|(_, value)| value).sum(),
            annotations: annotations.into_iter().map(|(key, value)| key + value).sum(),
            all: object.to_string().len(),
        }
    }

    /// Whether an election and a record of `length` bytes fit in.
    pub(super) fn has_room_for(&self, length: usize) -> bool {
        self.data + length <= DATA_LIMIT
            && self.annotations + AN_ELECTION <= ANNOTATIONS_LIMIT
            && self.all + length + AN_ELECTION <= ALL_LIMIT
    }

    /// How much of what it may hold is taken, in percent: of the limit that comes first.
    pub fn percent(&self) -> usize {
        let of = |taken: usize, limit: usize| taken * 100 / limit;
        of(self.data, DATA_LIMIT)
            .max(of(self.annotations, ANNOTATIONS_LIMIT))
            .max(of(self.all, ALL_LIMIT))
    }
}

/// Clears away the elections of tasks that have ended, where nobody holds them, waits, or has asked for
/// anything. The election of `own` stays.
///
/// A candidate that comes later finds a free lock, and its token is higher all the same: it begins at the
/// object's resourceVersion, which has risen since, and above the token of the record.
pub(super) fn sweep(object: &mut Value, own: &str) {
    let vacant: Vec<_> = records(object)
        .into_iter()
        .filter(|key| key != own && key != DEFAULT_KEY && is_vacant(object, key))
        .collect();
    for key in vacant {
        remove(&mut object["metadata"]["annotations"], &term_annotation(&key));
        remove(&mut object["metadata"]["annotations"], &format!("incumbent.dev/record.{key}"));
        remove(&mut object["data"], &key);
    }
}

/// The keys of the tasks that have ended.
fn records(object: &Value) -> Vec<String> {
    let data = object["data"].as_object().into_iter().flatten();
    data.filter_map(|(key, text)| {
        let key = key.strip_suffix(SUFFIX)?;
        let record: Value = serde_json::from_str(text.as_str()?).ok()?;
        let has_ended = matches!(record["state"].as_str()?, "done" | "failed" | "in-doubt");
        has_ended.then(|| key.to_owned())
    })
    .collect()
}

/// Whether nobody holds the election under `key`, and nothing else is said of it. What cannot be understood is
/// not vacant.
fn is_vacant(object: &Value, key: &str) -> bool {
    let annotations = &object["metadata"]["annotations"];
    let named = |name: &str| &annotations[format!("incumbent.dev/{name}.{key}")];
    let said = |name: &str| match named(name) {
        Value::Null => Some(Map::new()),
        text => serde_json::from_str(text.as_str()?).ok(),
    };
    let (Some(record), Some(term)) = (said("record"), said("term")) else { return false };
    let is_empty =
        |value: Option<&Value>| matches!(value.map(Value::as_str), None | Some(Some("")));
    let nobody_waits =
        ["waitlist", "hand-over-to", "cordon"].iter().all(|name| named(name).is_null());
    nobody_waits
        && is_empty(record.get("holderIdentity"))
        && !term.contains_key("session")
        && !term.contains_key("identity")
        && is_empty(object["data"].get(key))
}

fn remove(from: &mut Value, name: &str) {
    from.as_object_mut().and_then(|all| all.remove(name));
}

const SUFFIX: &str = ".once";

/// Its annotations are those of other programs, too.
const DEFAULT_KEY: &str = "leader";

/// Kubernetes' own: of all values under `data`; and of all annotations, with their names.
const DATA_LIMIT: usize = 1 << 20;
const ANNOTATIONS_LIMIT: usize = 256 << 10;

/// What etcd takes as one object, by default. As JSON it is a little longer than etcd's own form.
const ALL_LIMIT: usize = 3 << 19;

/// The annotations of one election with its leader and a full line, all with long names.
const AN_ELECTION: usize = 4096;

/// Longer than a Pod's name and uid.
pub(super) const LONG_IDENTITY: usize = 120;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A task under `key` that has ended, with the election that a leader has released.
    fn ended(object: &mut Value, key: &str) {
        object["data"][key] = "".into();
        object["data"][record_key(key)] = json!({ "state": "done" }).to_string().into();
        let record = json!({ "holderIdentity": "", "leaderTransitions": 1 }).to_string();
        let annotations = &mut object["metadata"]["annotations"];
        annotations[format!("incumbent.dev/record.{key}")] = record.into();
        annotations[term_annotation(key)] = json!({ "token": 7 }).to_string().into();
    }

    #[test]
    fn what_an_ended_task_has_left_of_its_election_is_cleared_away() {
        let mut object = json!({});
        ended(&mut object, "a");
        ended(&mut object, "own");
        let mut swept = object.clone();
        sweep(&mut swept, "own");
        let mut expected = json!({});
        ended(&mut expected, "own");
        expected["data"]["a.once"] = object["data"]["a.once"].clone();
        assert_eq!(swept, expected);
        assert_eq!(Capacity::of(&swept).records, 2);
    }

    #[test]
    fn an_election_that_is_held_waited_for_or_steered_stays() {
        let held = json!({ "holderIdentity": "john" }).to_string();
        let term = json!({ "token": 7, "session": "1", "identity": "john" }).to_string();
        let running = json!({ "state": "running" }).to_string();
        let annotation = |name: &str| format!("/metadata/annotations/incumbent.dev~1{name}.a");
        let touched = [
            (annotation("record"), held.as_str()),
            (annotation("record"), "{"),
            (annotation("term"), &term),
            (annotation("waitlist"), "[]"),
            (annotation("hand-over-to"), "*"),
            (annotation("cordon"), "*"),
            ("/data/a".to_owned(), "john"),
            ("/data/a.once".to_owned(), &running),
        ];
        for (place, text) in touched {
            let mut object = json!({});
            ended(&mut object, "a");
            let (parent, name) = place.rsplit_once('/').unwrap();
            object.pointer_mut(parent).unwrap()[name.replace("~1", "/")] = text.into();
            let mut swept = object.clone();
            sweep(&mut swept, "own");
            assert_eq!(swept, object, "{place}: {text}");
        }
    }

    #[test]
    fn each_of_the_limits_counts() {
        let of = |data: usize, annotations: usize| {
            Capacity::of(&json!({
                "data": { "a": "x".repeat(data) },
                "metadata": { "annotations": { "a": "x".repeat(annotations) } },
            }))
        };
        assert!(of(DATA_LIMIT - 200, 0).has_room_for(200));
        assert!(!of(DATA_LIMIT - 199, 0).has_room_for(200));
        assert!(of(0, ANNOTATIONS_LIMIT - AN_ELECTION - 1).has_room_for(200));
        assert!(!of(0, ANNOTATIONS_LIMIT - AN_ELECTION).has_room_for(200));
        assert_eq!(of(DATA_LIMIT / 2, ANNOTATIONS_LIMIT / 4).percent(), 50);
        assert_eq!(of(DATA_LIMIT / 4, ANNOTATIONS_LIMIT / 2).percent(), 50);
    }
}
