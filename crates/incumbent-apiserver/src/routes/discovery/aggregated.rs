//! Aggregated discovery: all groups and their resources in two answers, `/api` and `/apis`.

use serde_json::{Value, json};

use crate::resources::registry::{GROUPS, RESOURCES};
use crate::resources::review::{REVIEWS, Review};
use crate::resources::{Resource, Subresource};

pub(super) fn core() -> Value {
    list(|group| group.is_empty())
}

pub(super) fn groups() -> Value {
    list(|group| !group.is_empty())
}

fn list(is_wanted: fn(&str) -> bool) -> Value {
    let wanted = GROUPS.iter().filter(|(group, _)| is_wanted(group));
    let items: Vec<Value> = wanted.map(|(group, version)| group_json(group, version)).collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": items,
    })
}

fn group_json(group: &str, version: &str) -> Value {
    let stored = RESOURCES.iter().filter(|resource| resource.kind.group == group);
    let reviews = REVIEWS.iter().filter(|review| review.kind.group == group);
    let resources: Vec<Value> =
        stored.map(|resource| resource_json(resource)).chain(reviews.map(review_json)).collect();
    let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
    let version = json!({"version": version, "resources": resources, "freshness": "Current"});
    json!({"metadata": metadata, "versions": [version]})
}

fn resource_json(resource: &Resource) -> Value {
    let kind = (resource.kind.group, resource.kind.version, resource.kind.name);
    let mut json = json!({
        "resource": resource.kind.plural, "responseKind": kind_json(kind),
        "scope": if resource.is_namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": resource.kind.singular, "verbs": resource.verbs(),
    });
    let lists =
        [("shortNames", resource.kind.short_names), ("categories", resource.kind.categories)];
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        json[name] = json!(list);
    }
    let inner = |subresource: &Subresource| {
        json!({
            "subresource": subresource.name, "verbs": subresource.verbs,
            "responseKind": kind_json(subresource.shows.unwrap_or(kind)),
        })
    };
    if !resource.subresources.is_empty() {
        json["subresources"] = resource.subresources.iter().map(inner).collect();
    }
    json
}

fn review_json(review: &Review) -> Value {
    json!({
        "resource": review.kind.plural, "responseKind": kind_json((review.kind.group, review.kind.version, review.kind.name)),
        "scope": "Cluster", "singularResource": review.kind.singular, "verbs": ["create"],
    })
}

fn kind_json((group, version, kind): (&str, &str, &str)) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}
