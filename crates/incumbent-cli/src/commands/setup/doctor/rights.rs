//! Which rights an election needs, and for what.

use incumbent::Lock;

/// A verb on a resource of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Right {
    pub(super) verb: &'static str,
    pub(super) group: &'static str,
    pub(super) resource: &'static str,
    /// One object, or all of them.
    pub(super) name: Option<String>,
    pub(super) need: Need,
    /// What does not work without it.
    pub(super) purpose: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nobody can take part without it.
    Always,
    /// Only where the lock does not exist yet.
    ToMake,
    /// It works without, but worse.
    Better,
    /// Only for what one asks for.
    Optional,
}

/// What taking part in this election, looking at it and steering it needs.
pub(super) fn of(lock: &Lock) -> Vec<Right> {
    let (group, resource) = resource(lock);
    let named = |verb, need, purpose| Right {
        name: Some(lock.name().to_owned()),
        ..Right::any(verb, group, resource, need, purpose)
    };
    vec![
        named("get", Need::Always, "without it no candidate can take part"),
        named("update", Need::Always, "without it no candidate can lead"),
        named("watch", Need::Better, "without it candidates poll, which costs requests and time"),
        // RBAC cannot restrict it to a name.
        Right::any("create", group, resource, Need::ToMake, "to make the lock where it is missing"),
        named("patch", Need::Optional, "to ask for a handover or a pause"),
    ]
}

/// What each member of a group needs, because any may become the allocator.
pub(super) fn of_a_group() -> Vec<Right> {
    let kinds = [("coordination.k8s.io", "leases"), ("", "configmaps")].into_iter();
    let rights = kinds.flat_map(|(group, resource)| {
        let right = move |(verb, need, purpose)| Right::any(verb, group, resource, need, purpose);
        [
            ("get", Need::Always, "without it no process can be a member of a group"),
            ("list", Need::Always, "without it no process can be a member of a group"),
            ("watch", Need::Always, "without it no process can be a member of a group"),
            ("create", Need::Always, "without it no process can be a member of a group"),
            ("update", Need::Always, "without it no process can be a member of a group"),
            ("delete", Need::Better, "without it seats and pages that nobody needs stay"),
        ]
        .map(right)
    });
    let steering = Right::any("patch", "", "configmaps", Need::Optional, "to steer a group");
    rights.chain([steering]).collect()
}

/// What the same needs on all Leases of the namespace, where none was named.
pub(super) fn of_all() -> Vec<Right> {
    let purpose = "on each Lease; name one with --lock to check the rights on it";
    let verbs = ["get", "update", "watch", "create"].into_iter();
    verbs
        .map(|verb| Right::any(verb, "coordination.k8s.io", "leases", Need::Optional, purpose))
        .collect()
}

/// What is the same for all locks of a namespace.
pub(super) fn of_namespace() -> Vec<Right> {
    let optional =
        |verb, group, resource, purpose| Right::any(verb, group, resource, Need::Optional, purpose);
    vec![
        optional("list", "coordination.k8s.io", "leases", "to see locks without naming them"),
        optional("list", "", "configmaps", "to see locks without naming them"),
        optional("create", "", "events", "for Events on the lock (--events)"),
        optional("watch", "", "pods", "for the kubelet's reports (--kubelet-reports)"),
    ]
}

/// The API group and the plural name, as rules write them.
pub(super) fn resource(lock: &Lock) -> (&'static str, &'static str) {
    match lock.key() {
        None => ("coordination.k8s.io", "leases"),
        Some(_) => ("", "configmaps"),
    }
}

impl Right {
    fn any(
        verb: &'static str,
        group: &'static str,
        resource: &'static str,
        need: Need,
        purpose: &'static str,
    ) -> Self {
        Self { verb, group, resource, name: None, need, purpose }
    }

    /// As people say it.
    pub(super) fn words(&self) -> String {
        match &self.name {
            Some(name) => format!("{} {}/{name}", self.verb, self.resource),
            None => format!("{} {}", self.verb, self.resource),
        }
    }
}

/// The rules that allow these, to put into a Role: one for each object.
pub(super) fn rules(rights: &[&Right]) -> String {
    let mut groups: Vec<(&Right, Vec<&str>)> = Vec::new();
    for right in rights {
        let is_same = |other: &Right| {
            (other.group, other.resource, &other.name) == (right.group, right.resource, &right.name)
        };
        match groups.iter_mut().find(|(other, _)| is_same(other)) {
            Some((_, verbs)) => verbs.push(right.verb),
            None => groups.push((right, vec![right.verb])),
        }
    }
    let rules = groups.into_iter().map(|(right, verbs)| {
        let names = right.name.as_ref();
        let names =
            names.map(|name| format!("\n  resourceNames: [\"{name}\"]")).unwrap_or_default();
        format!(
            "- apiGroups: [\"{}\"]\n  resources: [\"{}\"]{names}\n  verbs: [\"{}\"]",
            right.group,
            right.resource,
            verbs.join("\", \"")
        )
    });
    rules.collect::<Vec<_>>().join("\n")
}
