//! The part of OpenAPI that kubectl reads: that the server validates fields, which fields there are, and how lists
//! are merged.

use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::resources::Resource;
use crate::resources::registry::{GROUPS, RESOURCES};
use crate::resources::review::REVIEWS;
use crate::schema::{ListMerge, Shape, Struct};

/// The URL of each group's document.
pub(super) fn index() -> Value {
    let paths = GROUPS.iter().map(|(group, version)| {
        let path = path(group, version);
        (path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}")}))
    });
    json!({"paths": paths.collect::<Map<String, Value>>()})
}

/// The document of one group.
pub(super) fn group(group: &str, version: &str) -> Answer {
    if !GROUPS.contains(&(group, version)) {
        return Answer::page_not_found();
    }
    let resources = || RESOURCES.iter().filter(|resource| resource.kind.group == group);
    let mut paths: Map<String, Value> = resources().map(|resource| patch_of(resource)).collect();
    // kubectl looks for PATCH even on kinds that can only be created.
    paths.extend(REVIEWS.iter().filter(|review| review.kind.group == group).map(|review| {
        let kind = json!({"group": group, "version": version, "kind": review.kind.name});
        let path = format!("/{}/{}", path(group, version), review.kind.plural);
        (path, json!({"patch": operation(&kind)}))
    }));
    let schemas: Map<String, Value> = resources().map(|resource| schema_of(resource)).collect();
    Answer::json(
        200,
        json!({
            "openapi": "3.0.0", "info": {"title": "incumbent-apiserver", "version": "v1"},
            "paths": paths, "components": {"schemas": schemas},
        }),
    )
}

/// The path of PATCH. kubectl leaves validation to a server whose PATCH has the parameter `fieldValidation`.
fn patch_of(resource: &Resource) -> (String, Value) {
    let namespace = if resource.is_namespaced() { "/namespaces/{namespace}" } else { "" };
    let path = format!(
        "/{}{namespace}/{}/{{name}}",
        path(resource.kind.group, resource.kind.version),
        resource.kind.plural
    );
    (path, json!({"patch": operation(&kind_of(resource))}))
}

fn operation(kind: &Value) -> Value {
    let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    let parameters = ["dryRun", "fieldManager", "fieldValidation"].map(parameter);
    json!({
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-group-version-kind": kind,
    })
}

fn schema_of(resource: &Resource) -> (String, Value) {
    let mut schema = object(resource.schema);
    for name in ["apiVersion", "kind"] {
        schema["properties"][name] = json!({"type": "string"});
    }
    schema["x-kubernetes-group-version-kind"] = json!([kind_of(resource)]);
    let group = resource.kind.group.split('.').next().filter(|group| !group.is_empty());
    let group = group.unwrap_or("core");
    (format!("io.k8s.api.{group}.{}.{}", resource.kind.version, resource.kind.name), schema)
}

fn kind_of(resource: &Resource) -> Value {
    json!({"group": resource.kind.group, "version": resource.kind.version, "kind": resource.kind.name})
}

fn object(of: &Struct) -> Value {
    let named = of.fields.iter().filter(|field| !field.is_embedded());
    let properties = named.map(|field| (field.name.to_owned(), value(&field.shape)));
    json!({"type": "object", "properties": properties.collect::<Map<String, Value>>()})
}

fn value(shape: &Shape) -> Value {
    match shape {
        Shape::Any => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Int32 => json!({"type": "integer", "format": "int32"}),
        Shape::Int64 => json!({"type": "integer", "format": "int64"}),
        Shape::String => json!({"type": "string"}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        Shape::Time | Shape::MicroTime => json!({"type": "string", "format": "date-time"}),
        Shape::Quantity => json!({"type": "string"}),
        Shape::IntOrString => json!({"type": "string", "format": "int-or-string"}),
        Shape::Map(item) => json!({"type": "object", "additionalProperties": value(item)}),
        Shape::List(item, how) => list(item, *how),
        Shape::Object(of) => object(of),
        Shape::Atomic(inner) => value(inner),
    }
}

/// The merge rules of a list, by which kubectl computes patches.
fn list(item: &Shape, how: ListMerge) -> Value {
    let mut list = json!({"type": "array", "items": value(item)});
    if !matches!(how, ListMerge::Replace) {
        list["x-kubernetes-patch-strategy"] = json!("merge");
    }
    if let ListMerge::Key(key) | ListMerge::Keys(key, _) = how {
        list["x-kubernetes-patch-merge-key"] = json!(key);
    }
    list
}

fn path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}
