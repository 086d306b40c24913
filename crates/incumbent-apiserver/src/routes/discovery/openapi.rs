//! As much OpenAPI as kubectl looks for: that the server validates fields by itself.

use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::resources::{GROUPS, RESOURCES, Resource};

/// Where the document of each group is.
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
    let resources = RESOURCES.iter().filter(|resource| resource.group == group);
    let paths: Map<String, Value> = resources.map(|resource| patch_of(resource)).collect();
    Answer::json(
        200,
        json!({
            "openapi": "3.0.0", "info": {"title": "incumbent-apiserver", "version": "v1"},
            "paths": paths, "components": {"schemas": {}},
        }),
    )
}

/// kubectl leaves validation to a server whose PATCH has this parameter.
fn patch_of(resource: &Resource) -> (String, Value) {
    let namespace = if resource.is_namespaced() { "/namespaces/{namespace}" } else { "" };
    let path = format!(
        "/{}{namespace}/{}/{{name}}",
        path(resource.group, resource.version),
        resource.plural
    );
    let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    let parameters = ["dryRun", "fieldManager", "fieldValidation"].map(parameter);
    let operation = json!({
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-group-version-kind": {
            "group": resource.group, "version": resource.version, "kind": resource.kind,
        },
    });
    (path, json!({"patch": operation}))
}

fn path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}
