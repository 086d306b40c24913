//! Feature gates: fields that a real server drops until an operator turns their gate on.

use crate::object::at;
use crate::resources::Resource;
use crate::resources::lease::LEASE;
use crate::schema::Fields;

/// Which feature gates are on. All are off by default, as in Kubernetes 1.36.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    pub(crate) coordinated_leader_election: bool,
}

impl Features {
    /// Removes the fields whose gate is off, unless the old object has them.
    pub(crate) fn drop_disabled(
        self,
        resource: &Resource,
        fields: &mut Fields,
        old: Option<&Fields>,
    ) {
        if self.coordinated_leader_election || resource.table != LEASE.table {
            return;
        }
        let had = |name: &str| old.is_some_and(|old| at(old, &format!("/spec/{name}")).is_some());
        let Some(spec) = fields.get_mut("spec").and_then(|spec| spec.as_object_mut()) else {
            return;
        };
        spec.retain(|name, _| !matches!(&**name, "strategy" | "preferredHolder") || had(name));
    }
}
