//! The names of a kind of object.

/// A kind of object in one version of one API group, by its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Empty for the core group.
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    /// As objects state it: `Lease`.
    pub(crate) name: &'static str,
    /// As paths and rules state it: `leases`.
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) short_names: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub(crate) storage_hash: &'static str,
}

impl Kind {
    /// What most kinds have in common; each states only where it differs.
    pub(crate) const CORE: Self = Self {
        group: "",
        version: "v1",
        name: "",
        plural: "",
        singular: "",
        short_names: &[],
        categories: &[],
        storage_hash: "",
    };

    /// `leases.coordination.k8s.io`, or `configmaps` in the core group.
    pub(crate) fn qualified(&self) -> String {
        qualified(self.plural, self.group)
    }

    /// `coordination.k8s.io/v1`, or `v1` in the core group.
    pub(crate) fn api_version(&self) -> String {
        group_version(self.group, self.version)
    }
}

/// `coordination.k8s.io/v1`, or `v1` in the core group.
pub(crate) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// `leases.coordination.k8s.io`, or `configmaps` in the core group.
pub(crate) fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}
