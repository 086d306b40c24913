//! What people ask of a group from outside.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use incumbent_core::Identity;
use incumbent_core::group::TaskName;
use serde_json::{Value, json};

use super::config::{Config, DRAIN, FREEZE, PINS};
use super::store::Store;
use super::survey::check_name;
use super::view::ConfigView;
use crate::answer::{Failure, Why};
use crate::error::Error;
use crate::invalid::InvalidSetting;
use crate::lock::{Altered, GROUP_LABEL, Lock, LockKind};
use crate::requests::Requests;

/// Asks the members of one group to move tasks, or to leave them where they are.
///
/// These are requests, written into the ConfigMap `GROUP.config` next to the list of tasks, which stays as it is. Every
/// allocator obeys them. They decide where tasks should run, and nothing else: no task gets an owner before the earlier
/// one has released it. The account needs the verbs `get`, `patch` and `create` on ConfigMaps.
#[derive(Clone, Debug)]
pub struct GroupControl {
    store: Store,
    is_dry_run: bool,
}

impl GroupControl {
    /// Creates requests to the members of the group `name`.
    ///
    /// # Errors
    /// If a group cannot have that name.
    pub fn new(
        client: kube::Client,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Result<Self, Error> {
        let (namespace, name) = (namespace.into(), name.into());
        check_name(&name)?;
        Lock::lease(&namespace, &name).checked().map_err(InvalidSetting::Lock)?;
        Ok(Self { store: Store::new(Requests::new(client), namespace, name), is_dry_run: false })
    }

    /// Lets the API server check each request without storing it.
    #[must_use]
    pub fn dry_run(self, on: bool) -> Self {
        Self { is_dry_run: on, ..self }
    }

    /// Moves the tasks of these members to others, and gives them no more, in addition to members that are drained
    /// already. If no member is left that takes tasks, they stay where they are.
    ///
    /// # Errors
    /// If a name is that of no member, if `GROUP.config` has a mistake or lacks the group's label, or if the request
    /// cannot be written.
    pub async fn drain(&self, members: &[Identity]) -> Result<ConfigView, Error> {
        members.iter().try_for_each(|member| self.check_member(member))?;
        self.edit(DRAIN, |config| lines(config.drained.iter().chain(members))).await
    }

    /// Lets these members have tasks again. If `GROUP.config` was deleted, it is created: members that run obey what they
    /// read before, and this holds for all that is taken back.
    ///
    /// # Errors
    /// Those of [`drain`](Self::drain).
    pub async fn resume(&self, members: &[Identity]) -> Result<ConfigView, Error> {
        self.edit(DRAIN, |config| {
            lines(config.drained.iter().filter(|member| !members.contains(member)))
        })
        .await
    }

    /// Asks that `member` owns `task`. The pin has no effect while that member is absent, drains or leaves.
    ///
    /// # Errors
    /// Those of [`drain`](Self::drain), or if no task can have that name.
    pub async fn pin(&self, task: &str, member: &Identity) -> Result<ConfigView, Error> {
        let task = self.task(task)?;
        self.check_member(member)?;
        self.edit(PINS, |config| {
            let mut pins = config.pins.clone();
            pins.insert(task.clone(), member.clone());
            written(&pins)
        })
        .await
    }

    /// Takes the pin of `task` back. A pin in the list of tasks stays, and counts again.
    ///
    /// # Errors
    /// Those of [`pin`](Self::pin).
    pub async fn unpin(&self, task: &str) -> Result<ConfigView, Error> {
        let task = self.task(task)?;
        self.edit(PINS, |config| {
            let mut pins = config.pins.clone();
            pins.remove(&task);
            written(&pins)
        })
        .await
    }

    /// With `true`, each task stays where it is for as long as its owner lives; with `false`, tasks move again.
    ///
    /// # Errors
    /// Those of [`drain`](Self::drain), except that it names no member.
    pub async fn freeze(&self, on: bool) -> Result<ConfigView, Error> {
        self.edit(FREEZE, |_| on.then(|| "true".to_owned())).await
    }

    fn task(&self, name: &str) -> Result<TaskName, InvalidSetting> {
        TaskName::new(name).ok_or_else(|| InvalidSetting::TaskName(name.to_owned()))
    }

    /// A member is a part of the name of its seat.
    fn check_member(&self, member: &Identity) -> Result<(), InvalidSetting> {
        match self.store.seat(member.as_str()).checked() {
            Ok(_) => Ok(()),
            Err(_) => Err(InvalidSetting::MemberName(member.to_string())),
        }
    }

    /// Replaces one key of exactly the version that was read; of a newer one, again. Creates an object that does not exist.
    async fn edit(
        &self,
        key: &str,
        value: impl Fn(&Config) -> Option<String>,
    ) -> Result<ConfigView, Error> {
        let mut tries = 0;
        loop {
            let config = Lock::config_map(self.store.namespace(), self.store.config_name());
            let (method, path, body) = match self.store.requests().read(&config.path()).await {
                Ok(object) => {
                    let value = value(&self.readable(&object)?);
                    (Method::PATCH, config.path(), patch(&object, key, value))
                }
                // Running members still obey what they read last. So also a request to take something back is written.
                Err(failure) if failure.why == Why::Gone => {
                    let value = value(&Config::default());
                    (Method::POST, config.collection_path(), self.created(key, value))
                }
                Err(failure) => return Err(self.failed(failure, "get")),
            };
            let verb = if method == Method::PATCH { "patch" } else { "create" };
            let dry_run = if self.is_dry_run { "?dryRun=All" } else { "" };
            let path = format!("{path}{dry_run}");
            tries += 1;
            match self.store.requests().send(method, &path, Some(&body)).await {
                Ok(stored) => {
                    let altered = Altered::at(&format!("/data/{key}"), &body, &stored);
                    let altered = altered.map(|altered| Error::altered(&config, altered));
                    let view = || ConfigView::of(stored.into(), self.store.group());
                    return altered.map_or_else(|| Ok(view()), Err);
                }
                Err(failure) if failure.why == Why::Conflict && tries < MOST_TRIES => {}
                Err(failure) => return Err(self.failed(failure, verb)),
            }
        }
    }

    /// What the members read in it. Where they read nothing, no request would reach them.
    fn readable(&self, object: &Value) -> Result<Config, Error> {
        let (name, namespace) = (self.store.config_name(), self.store.namespace());
        let group = self.store.group();
        if !self.store.has_label(object) {
            let what = format!(
                "configmap/{name} has no label {GROUP_LABEL}={group}, so no member of the group reads it"
            );
            let hint = format!(
                "if it is meant for this group: kubectl label --namespace {namespace} configmap {name} \
                 {GROUP_LABEL}={group}"
            );
            return Err(Error::Foreign { what, hint });
        }
        Config::read(object).map_err(|mistake| {
            let what = format!("configmap/{name} has a mistake, so no member reads it: {mistake}");
            let hint = format!("correct it: kubectl edit --namespace {namespace} configmap {name}");
            Error::Invalid(InvalidSetting::Program { what, hint })
        })
    }

    fn created(&self, key: &str, value: Option<String>) -> Value {
        let data: BTreeMap<&str, String> = value.into_iter().map(|value| (key, value)).collect();
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self.store.config_name(),
                "namespace": self.store.namespace(),
                "labels": { GROUP_LABEL: self.store.group() },
            },
            "data": data,
        })
    }

    fn failed(&self, failure: Failure, verb: &'static str) -> Error {
        failure.into_error(self.store.resource(LockKind::ConfigMap), verb)
    }
}

/// Without a value, the key is removed.
fn patch(object: &Value, key: &str, value: Option<String>) -> Value {
    let metadata = &object["metadata"];
    json!({
        "metadata": { "uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"] },
        "data": { key: value },
    })
}

/// One line for each member, or nothing.
fn lines<'a>(members: impl Iterator<Item = &'a Identity>) -> Option<String> {
    let members: BTreeSet<&str> = members.map(Identity::as_str).collect();
    let lines: String = members.into_iter().map(|member| format!("{member}\n")).collect();
    (!lines.is_empty()).then_some(lines)
}

/// One line for each pin, or nothing.
fn written(pins: &BTreeMap<TaskName, Identity>) -> Option<String> {
    let lines: String = pins.iter().map(|(task, member)| format!("{task} {member}\n")).collect();
    (!lines.is_empty()).then_some(lines)
}

/// Another person may edit the list at the same moment; ten times in a row is another trouble.
const MOST_TRIES: u32 = 10;
