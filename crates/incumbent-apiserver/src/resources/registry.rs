//! All stored resources, and the lookup of one.

use super::{
    Resource, config_map, deployment, endpoint_slice, event, flow_control, lease, namespace, pod,
    policy, rbac, service, service_account,
};

/// The groups, each with its only version; the core group first.
pub(crate) const GROUPS: &[(&str, &str)] = &[
    ("", "v1"),
    ("apps", "v1"),
    ("authentication.k8s.io", "v1"),
    ("authorization.k8s.io", "v1"),
    ("coordination.k8s.io", "v1"),
    ("discovery.k8s.io", "v1"),
    ("events.k8s.io", "v1"),
    ("flowcontrol.apiserver.k8s.io", "v1"),
    ("networking.k8s.io", "v1"),
    ("policy", "v1"),
    ("rbac.authorization.k8s.io", "v1"),
];

/// All stored resources.
pub(crate) const RESOURCES: &[&Resource] = &[
    &config_map::CONFIG_MAP,
    &event::CORE_EVENT,
    &namespace::NAMESPACE,
    &pod::POD,
    &service_account::SERVICE_ACCOUNT,
    &service::SERVICE,
    &deployment::DEPLOYMENT,
    &lease::LEASE,
    &endpoint_slice::ENDPOINT_SLICE,
    &event::EVENT,
    &flow_control::FLOW_SCHEMA,
    &flow_control::PRIORITY_LEVEL,
    &policy::NETWORK_POLICY,
    &policy::POD_DISRUPTION_BUDGET,
    &rbac::CLUSTER_ROLE_BINDING,
    &rbac::CLUSTER_ROLE,
    &rbac::ROLE_BINDING,
    &rbac::ROLE,
];

/// The resource with this path. `None` if there is none.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES.iter().copied().find(|resource| {
        let kind = &resource.kind;
        kind.group == group && kind.version == version && kind.plural == plural
    })
}

/// The resource of this kind. `None` if there is none.
pub(crate) fn find_kind(api_version: &str, kind: &str) -> Option<&'static Resource> {
    RESOURCES
        .iter()
        .copied()
        .find(|resource| resource.kind.name == kind && resource.kind.api_version() == api_version)
}
