//! Aggregated discovery: all groups with all their resources in two answers, `/api` and `/apis`.

use serde_json::{Value, json};

use crate::resources::review::{REVIEWS, Review};
use crate::resources::{GROUPS, RESOURCES, Resource, Subresource};

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
    let stored = RESOURCES.iter().filter(|resource| resource.group == group);
    let reviews = REVIEWS.iter().filter(|review| review.group == group);
    let resources: Vec<Value> =
        stored.map(|resource| resource_json(resource)).chain(reviews.map(review_json)).collect();
    let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
    let version = json!({"version": version, "resources": resources, "freshness": "Current"});
    json!({"metadata": metadata, "versions": [version]})
}

fn resource_json(resource: &Resource) -> Value {
    let kind = (resource.group, resource.version, resource.kind);
    let mut json = json!({
        "resource": resource.plural, "responseKind": kind_json(kind),
        "scope": if resource.is_namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": resource.verbs(),
    });
    let lists = [("shortNames", resource.short_names), ("categories", resource.categories)];
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
        "resource": review.plural, "responseKind": kind_json((review.group, "v1", review.kind)),
        "scope": "Cluster", "singularResource": review.singular, "verbs": ["create"],
    })
}

fn kind_json((group, version, kind): (&str, &str, &str)) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}
