//! EndpointSlice: the addresses behind a Service. This server only stores it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::{Resource, USUAL, types};
use crate::cause::Cause;
use crate::column::{Column, Shown, cell};
use crate::kind::Kind;
use crate::object::{at, metadata_mut, text_at};
use crate::schema::Fields;
use crate::validate::MetadataRules;

pub(crate) const ENDPOINT_SLICE: Resource = Resource {
    kind: Kind {
        group: "discovery.k8s.io",
        name: "EndpointSlice",
        plural: "endpointslices",
        singular: "endpointslice",
        storage_hash: "Nx3SIv6I0mE=",
        ..Kind::CORE
    },
    table: "endpointslices",
    schema: types::discovery::ENDPOINT_SLICE,
    metadata_rules: MetadataRules::Plain,
    columns: &[
        Column {
            shown: Shown::Text,
            name: "AddressType",
            description: "addressType specifies the type of address carried by this EndpointSlice.",
            cell: |fields, _| cell(fields, "/addressType"),
        },
        Column {
            shown: Shown::Text,
            name: "Ports",
            description: "ports specifies the list of network ports exposed by each endpoint in this \
                          slice.",
            cell: |fields, _| {
                listed(
                    entries(fields, "ports").filter_map(|port| Some(port.get("port")?.to_string())),
                )
            },
        },
        Column {
            shown: Shown::Text,
            name: "Endpoints",
            description: "endpoints is a list of unique endpoints in this slice.",
            cell: |fields, _| {
                let endpoints = entries(fields, "endpoints").flat_map(addresses);
                listed(endpoints.filter_map(Value::as_str).map(str::to_owned))
            },
        },
    ],
    default,
    prepare_create,
    prepare_update,
    validate,
    ..USUAL
};

fn entries<'a>(fields: &'a Fields, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    fields.get(list).and_then(Value::as_array).into_iter().flatten()
}

fn addresses(endpoint: &Value) -> impl Iterator<Item = &Value> {
    endpoint["addresses"].as_array().into_iter().flatten()
}

/// A list as kubectl shows it: the first three items, and the number of the rest.
fn listed(items: impl Iterator<Item = String>) -> Value {
    let items: Vec<_> = items.collect();
    match items.len() {
        0 => "<unset>".into(),
        1..=3 => items.join(",").into(),
        many => format!("{} + {} more...", items[..3].join(","), many - 3).into(),
    }
}

fn default(fields: &mut Fields) {
    let ports = fields.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        port.entry("name").or_insert_with(|| json!(""));
        port.entry("protocol").or_insert_with(|| json!("TCP"));
    }
}

fn prepare_create(fields: &mut Fields) {
    metadata_mut(fields).insert("generation".to_owned(), 1.into());
}

/// Changed labels count as a new generation, because proxies depend on them.
fn prepare_update(fields: &mut Fields, old: &Fields, _part: super::Part) {
    let before = at(old, "/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
    let parts = ["/addressType", "/endpoints", "/ports", "/metadata/labels"];
    let is_same = parts.iter().all(|part| at(fields, part) == at(old, part));
    let generation = if is_same { before } else { before + 1 };
    metadata_mut(fields).insert("generation".to_owned(), generation.into());
}

/// Upstream's `ValidateEndpointSlice`, as far as addresses and ports go.
fn validate(fields: &Fields, old: Option<&Fields>) -> Vec<Cause> {
    let kind = text_at(fields, "/addressType");
    let mut causes = Vec::new();
    match kind {
        "" => causes.push(Cause::required("addressType", "")),
        kind if !KINDS.contains(&kind) => {
            causes.push(Cause::unsupported("addressType", &json!(kind), &KINDS));
        }
        _ => {}
    }
    if old.is_some_and(|old| text_at(old, "/addressType") != kind) {
        causes.push(Cause::invalid("addressType", &json!(kind), "field is immutable"));
    }
    for (index, endpoint) in entries(fields, "endpoints").enumerate() {
        endpoint_causes(&mut causes, kind, &format!("endpoints[{index}]"), endpoint);
    }
    let mut names = BTreeSet::new();
    for (index, port) in entries(fields, "ports").enumerate() {
        let name = port["name"].as_str().unwrap_or_default();
        if !names.insert(name) {
            causes.push(Cause::duplicate(format!("ports[{index}].name"), &json!(name)));
        }
        if let Some(number) = port["port"].as_i64().filter(|port| !(1..=65_535).contains(port)) {
            let why = "must be between 1 and 65535, inclusive";
            causes.push(Cause::invalid(format!("ports[{index}].port"), &json!(number), why));
        }
        let protocol = port["protocol"].as_str().unwrap_or_default();
        if !PROTOCOLS.contains(&protocol) {
            let field = format!("ports[{index}].protocol");
            causes.push(Cause::unsupported(field, &json!(protocol), &PROTOCOLS));
        }
    }
    causes
}

fn endpoint_causes(causes: &mut Vec<Cause>, kind: &str, field: &str, endpoint: &Value) {
    if addresses(endpoint).next().is_none() {
        let why = "must contain at least 1 address";
        causes.push(Cause::required(format!("{field}.addresses"), why));
    }
    for (index, address) in addresses(endpoint).enumerate() {
        let parsed = address.as_str().unwrap_or_default().parse::<IpAddr>();
        let why = match (kind, parsed) {
            ("IPv4", Ok(IpAddr::V4(_))) | ("IPv6", Ok(IpAddr::V6(_))) => continue,
            ("IPv4", _) => "must be an IPv4 address",
            ("IPv6", _) => "must be an IPv6 address",
            _ => continue,
        };
        causes.push(Cause::invalid(format!("{field}.addresses[{index}]"), address, why));
    }
}

const KINDS: [&str; 3] = ["IPv4", "IPv6", "FQDN"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
