//! What the members of a group need in the cluster. The library says which rights these are.

use incumbent::Group;
use incumbent::k8s_openapi::api::rbac::v1::PolicyRule;

use super::model::{
    Contest, Document, PODS, Resource, Usage, account, deployment, events_rule, flow_rule,
    flow_schema, pod, priority_level, role, role_binding, rule,
};
use super::yaml::{Node, Part, Switch, map, part, text, texts};

/// All objects, in the order in which to create them. `tasks` is the flag that says what the tasks are.
pub(super) fn documents(usage: Usage, tasks: &str, command: &[String]) -> Vec<Document> {
    let of = |file, only, object| Document { file, only, object };
    let rights = Group::policy_rules();
    let events = events_rule("Events on the table: what the allocator has assigned, and warnings.");
    let rules = rights.iter().map(right).chain([events, reports_rule()]);
    let flows = rights.iter().map(|right| flow_rule(resource(right), verbs(right)));
    vec![
        of("account", Some(Switch::Account), account()),
        of("role", None, role(rules.collect())),
        of("role-binding", None, role_binding()),
        of("priority-level", Some(Switch::FlowSchema), priority_level()),
        of("flow-schema", Some(Switch::FlowSchema), flow_schema(flows.collect())),
        of(
            "deployment",
            Some(Switch::Workload),
            deployment(Some(strategy()), pod(usage, Contest::Group(tasks), command)),
        ),
    ]
}

fn right(right: &PolicyRule) -> Part {
    let (group, kind) = resource(right);
    rule((group, kind), &[], verbs(right)).note(match kind {
        "leases" => {
            "The members' seats, and the Lease that allocators compete for. RBAC cannot limit list,\n\
             watch and create to names, and the names of seats contain those of Pods."
        }
        _ => {
            "The table, and the list of tasks. If the tasks are Kubernetes objects, also add a rule with\n\
             list and watch on their kind; for all namespaces, in a ClusterRole."
        }
    })
}

/// Each rule of a group is for one kind.
fn resource(right: &PolicyRule) -> Resource<'_> {
    (only(right.api_groups.as_deref()), only(right.resources.as_deref()))
}

fn only(texts: Option<&[String]>) -> &str {
    texts.and_then(<[String]>::first).map_or("", String::as_str)
}

fn verbs(right: &PolicyRule) -> Node {
    texts(right.verbs.iter().map(String::as_str))
}

fn reports_rule() -> Part {
    rule(PODS, &[], texts(["watch"]))
        .only(Switch::KubeletReports)
        .note("The Pods of the members: what the kubelet reports of a dead one frees its tasks.")
}

fn strategy() -> Part {
    let update = map([part("maxUnavailable", Node::Raw("0"))]);
    let strategy = map([part("type", text("RollingUpdate")), part("rollingUpdate", update)]);
    part("strategy", strategy).note(
        "A new Pod runs before an old one stops, so that each task moves little more than once.",
    )
}
