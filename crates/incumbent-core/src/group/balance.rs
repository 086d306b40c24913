//! Stub until the real one is merged.
use super::table::TaskName;
use crate::identity::Identity;
use crate::record::FencingToken;
use std::collections::BTreeMap;
/// A member as the balance sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    pub name: Identity,
    pub capacity: u32,
    pub version: String,
    pub joined: FencingToken,
    pub takes_tasks: bool,
}
/// What is asked for of one task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    pub weight: u32,
    pub pin: Option<Identity>,
}
impl Default for Task {
    fn default() -> Self {
        Self { weight: 1, pin: None }
    }
}
pub fn balance(
    workers: &[Worker],
    tasks: &BTreeMap<TaskName, Task>,
    current: &BTreeMap<TaskName, Identity>,
    may_move: bool,
) -> BTreeMap<TaskName, Identity> {
    let mut load: BTreeMap<&Identity, usize> =
        workers.iter().filter(|w| w.takes_tasks).map(|w| (&w.name, 0)).collect();
    let mut out = BTreeMap::new();
    for t in tasks.keys() {
        if let Some(o) = current.get(t).filter(|o| load.contains_key(o)) {
            *load.get_mut(o).unwrap() += 1;
            out.insert(t.clone(), o.clone());
        }
    }
    for t in tasks.keys() {
        if !out.contains_key(t) {
            if let Some((n, l)) = load.iter_mut().min_by_key(|(_, l)| **l) {
                *l += 1;
                out.insert(t.clone(), (*n).clone());
            }
        }
    }
    if may_move {
        loop {
            let (Some(max), Some(min)) = (
                load.iter().max_by_key(|(_, l)| **l).map(|(n, l)| (*n, *l)),
                load.iter().min_by_key(|(_, l)| **l).map(|(n, l)| (*n, *l)),
            ) else {
                break;
            };
            if max.1 - min.1 <= 1 {
                break;
            }
            let t = out.iter().find(|(_, o)| *o == max.0).map(|(t, _)| t.clone()).unwrap();
            out.insert(t, min.0.clone());
            *load.get_mut(max.0).unwrap() -= 1;
            *load.get_mut(min.0).unwrap() += 1;
        }
    }
    out
}
