//! Service. This server only stores it; it gets no address.

use serde_json::{Value, json};

use super::label_selector;
use super::pod_template::maps;
use super::{Deletion, Part, Resource, STATUS, USUAL, types};
use crate::cause::Cause;
use crate::column::{Column, Shown, cell};
use crate::kind::Kind;
use crate::object::{at, map_mut, text_at};
use crate::schema::{Fields, Shape};
use crate::validate::NameRule;

pub(crate) const SERVICE: Resource = Resource {
    kind: Kind {
        name: "Service",
        plural: "services",
        singular: "service",
        short_names: &["svc"],
        categories: &["all"],
        storage_hash: "0/CO1lhkEBI=",
        ..Kind::CORE
    },
    subresources: &[STATUS],
    table: "services",
    schema: types::core::SERVICE,
    name_rule: NameRule::Label,
    deletion: Deletion::AtOnceShown,
    only_stored: "it gets no address, and nothing listens",
    columns: COLUMNS,
    default,
    prepare_create: |fields| {
        let status = Shape::Object(types::core::SERVICE_STATUS).zero();
        fields.insert("status".to_owned(), status);
    },
    prepare_update,
    validate,
    ..USUAL
};

const COLUMNS: &[Column] = &[
    Column {
        shown: Shown::Text,
        name: "Type",
        description: "type determines how the Service is exposed. Defaults to ClusterIP. Valid \
                      options are ExternalName, ClusterIP, NodePort, and LoadBalancer. \
                      \"ClusterIP\" allocates a cluster-internal IP address for load-balancing \
                      to endpoints. Endpoints are determined by the selector or if that is not \
                      specified, by manual construction of an Endpoints object or EndpointSlice \
                      objects. If clusterIP is \"None\", no virtual IP is allocated and the \
                      endpoints are published as a set of endpoints rather than a virtual IP. \
                      \"NodePort\" builds on ClusterIP and allocates a port on every node which \
                      routes to the same endpoints as the clusterIP. \"LoadBalancer\" builds on \
                      NodePort and creates an external load-balancer (if supported in the \
                      current cloud) which routes to the same endpoints as the clusterIP. \
                      \"ExternalName\" aliases this service to the specified externalName. \
                      Several other fields do not apply to ExternalName services. More info: \
                      https://kubernetes.io/docs/concepts/services-networking/service/#publishing-services-service-types",
        cell: |fields, _| cell(fields, "/spec/type"),
    },
    Column {
        shown: Shown::Text,
        name: "Cluster-IP",
        description: "clusterIP is the IP address of the service and is usually assigned \
                      randomly. If an address is specified manually, is in-range (as per system \
                      configuration), and is not in use, it will be allocated to the service; \
                      otherwise creation of the service will fail. This field may not be \
                      changed through updates unless the type field is also being changed to \
                      ExternalName (which requires this field to be blank) or the type field is \
                      being changed from ExternalName (in which case this field may optionally \
                      be specified, as describe above).  Valid values are \"None\", empty \
                      string (\"\"), or a valid IP address. Setting this to \"None\" makes a \
                      \"headless service\" (no virtual IP), which is useful when direct \
                      endpoint connections are preferred and proxying is not required.  Only \
                      applies to types ClusterIP, NodePort, and LoadBalancer. If this field is \
                      specified when creating a Service of type ExternalName, creation will \
                      fail. This field will be wiped when updating a Service to type \
                      ExternalName. More info: \
                      https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies",
        cell: |fields, _| match text_at(fields, "/spec/clusterIP") {
            "" => "<none>".into(),
            address => address.into(),
        },
    },
    Column {
        shown: Shown::Text,
        name: "External-IP",
        description: "externalIPs is a list of IP addresses for which nodes in the cluster will \
                      also accept traffic for this service.  These IPs are not managed by \
                      Kubernetes.  The user is responsible for ensuring that traffic arrives at \
                      a node with this IP.  A common example is external load-balancers that \
                      are not part of the Kubernetes system.",
        cell: |fields, _| {
            let addresses = at(fields, "/spec/externalIPs").and_then(Value::as_array);
            let addresses: Vec<_> =
                addresses.into_iter().flatten().filter_map(Value::as_str).collect();
            match (text_at(fields, "/spec/type"), addresses.is_empty()) {
                ("ExternalName", _) => cell(fields, "/spec/externalName"),
                ("LoadBalancer", true) => "<pending>".into(),
                (_, true) => "<none>".into(),
                (_, false) => addresses.join(",").into(),
            }
        },
    },
    Column {
        shown: Shown::Text,
        name: "Port(s)",
        description: "The list of ports that are exposed by this service. More info: \
                      https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies",
        cell: |fields, _| {
            let shown: Vec<_> = ports(fields).map(shown_port).collect();
            if shown.is_empty() { "<none>".into() } else { shown.join(",").into() }
        },
    },
    Column {
        shown: Shown::Wide,
        name: "Selector",
        description: "Route service traffic to pods with label keys and values matching this \
                      selector. If empty or not present, the service is assumed to have an \
                      external process managing its endpoints, which Kubernetes will not \
                      modify. Only applies to types ClusterIP, NodePort, and LoadBalancer. \
                      Ignored if type is ExternalName. More info: \
                      https://kubernetes.io/docs/concepts/services-networking/service/",
        cell: |fields, _| {
            let selector = json!({"matchLabels": at(fields, "/spec/selector")});
            match label_selector::shown(Some(&selector)).as_str() {
                "" => "<none>".into(),
                shown => shown.into(),
            }
        },
    },
];

fn ports(fields: &Fields) -> impl Iterator<Item = &Value> {
    at(fields, "/spec/ports").and_then(Value::as_array).into_iter().flatten()
}

fn shown_port(port: &Value) -> String {
    let protocol = port["protocol"].as_str().unwrap_or_default();
    match port["nodePort"].as_i64() {
        Some(node) => format!("{}:{node}/{protocol}", port["port"]),
        None => format!("{}/{protocol}", port["port"]),
    }
}

fn default(fields: &mut Fields) {
    let spec = map_mut(fields, "spec");
    spec.entry("type").or_insert_with(|| json!("ClusterIP"));
    spec.entry("sessionAffinity").or_insert_with(|| json!("None"));
    for port in maps(spec.get_mut("ports")) {
        port.entry("protocol").or_insert_with(|| json!("TCP"));
        let number = port.get("port").cloned().unwrap_or(Value::Null);
        let target = port.entry("targetPort").or_insert_with(|| json!(0));
        if *target == 0 || *target == "" {
            *target = number;
        }
    }
    if spec["type"] == "ExternalName" {
        return;
    }
    let has_address = spec.get("clusterIP").is_some_and(|address| *address != "");
    if let (true, Some(address)) = (has_address, spec.get("clusterIP").cloned()) {
        spec.entry("clusterIPs").or_insert_with(|| json!([address]));
    }
    for (name, value) in [
        ("internalTrafficPolicy", json!("Cluster")),
        ("ipFamilies", json!(["IPv4"])),
        ("ipFamilyPolicy", json!("SingleStack")),
    ] {
        spec.entry(name).or_insert(value);
    }
}

fn prepare_update(fields: &mut Fields, old: &Fields, part: Part) {
    let kept = if part == Part::Main { "status" } else { "spec" };
    fields.insert(kept.to_owned(), old.get(kept).cloned().unwrap_or_else(|| json!({})));
    // A replace without an address keeps the old one.
    for name in ["clusterIP", "clusterIPs"] {
        let before = at(old, &format!("/spec/{name}")).cloned();
        let spec = map_mut(fields, "spec");
        if let (false, Some(before)) = (spec.contains_key(name), before) {
            spec.insert(name.to_owned(), before);
        }
    }
}

fn validate(fields: &Fields, _old: Option<&Fields>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let is_bare = text_at(fields, "/spec/clusterIP") == "None"
        || text_at(fields, "/spec/type") == "ExternalName";
    let many = ports(fields).count();
    if many == 0 && !is_bare {
        causes.push(Cause::required("spec.ports", ""));
    }
    for (index, port) in ports(fields).enumerate() {
        let field = |name: &str| format!("spec.ports[{index}].{name}");
        if many > 1 && port["name"].as_str().unwrap_or_default().is_empty() {
            causes.push(Cause::required(field("name"), ""));
        }
        for name in ["port", "targetPort"] {
            let is_port = |number: &i64| (1..=65_535).contains(number);
            if let Some(number) = port[name].as_i64().filter(|number| !is_port(number)) {
                let why = "must be between 1 and 65535, inclusive";
                causes.push(Cause::invalid(field(name), &number.into(), why));
            }
        }
    }
    causes
}
