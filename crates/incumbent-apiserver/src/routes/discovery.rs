//! Discovery: versions, groups and resources; and the health of the server.

mod aggregated;
mod openapi;

use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::form::Form;
use crate::kind::group_version;
use crate::request::{Target, Verb};
use crate::resources::registry::{GROUPS, RESOURCES};
use crate::resources::review::REVIEWS;
use crate::resources::{Resource, Subresource};
use crate::status::Status;

pub(super) fn respond(target: &Target, form: Form) -> Result<Answer, Status> {
    let parts: Vec<&str> = target.path.split('/').filter(|part| !part.is_empty()).collect();
    let answer = match parts.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => Answer::text(200, "ok"),
        ["version"] => Answer::json(200, version()),
        ["api"] if form == Form::Discovery => Answer::json(200, aggregated::core()),
        ["apis"] if form == Form::Discovery => Answer::json(200, aggregated::groups()),
        ["api"] => Answer::json(200, core_versions()),
        ["api", version] => resources("", version),
        ["apis"] => Answer::json(200, groups()),
        ["apis", name] => GROUPS
            .iter()
            .find(|(group, _)| group == name && !group.is_empty())
            .map_or_else(Answer::page_not_found, |(group, version)| {
                Answer::json(200, described(group_json(group, version), "APIGroup"))
            }),
        ["apis", group, version] if !group.is_empty() => resources(group, version),
        ["openapi", "v3"] => Answer::json(200, openapi::index()),
        ["openapi", "v3", "api", version] => openapi::group("", version),
        ["openapi", "v3", "apis", group, version] => openapi::group(group, version),
        _ => Answer::page_not_found(),
    };
    match target.verb {
        Verb::Get => Ok(answer),
        _ if answer.code == 404 => Ok(answer),
        _ => Err(Status::method_not_allowed()),
    }
}

/// The version of the server whose answers were recorded as transcripts.
const MINOR: u32 = 36;

fn version() -> Value {
    json!({
        "major": "1", "minor": MINOR.to_string(),
        "gitVersion": format!("v1.{MINOR}.0+incumbent"),
        "gitCommit": "", "gitTreeState": "", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

fn groups() -> Value {
    let named = GROUPS.iter().filter(|(group, _)| !group.is_empty());
    let groups: Vec<Value> =
        named.map(|(group, version)| Value::Object(group_json(group, version))).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn group_json(group: &str, version: &str) -> Map<String, Value> {
    let version = json!({"groupVersion": group_version(group, version), "version": version});
    [("name", json!(group)), ("versions", json!([version])), ("preferredVersion", version)]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn described(mut object: Map<String, Value>, kind: &str) -> Value {
    object.insert("kind".to_owned(), kind.into());
    object.insert("apiVersion".to_owned(), "v1".into());
    object.into()
}

fn resources(group: &str, version: &str) -> Answer {
    if !GROUPS.contains(&(group, version)) {
        return Answer::page_not_found();
    }
    let mut list: Vec<Value> = Vec::new();
    for resource in RESOURCES.iter().filter(|resource| resource.kind.group == group) {
        list.push(resource_json(resource));
        let subresources = resource.subresources.iter();
        list.extend(subresources.map(|subresource| subresource_json(resource, subresource)));
    }
    for review in REVIEWS.iter().filter(|review| review.kind.group == group) {
        list.push(json!({
            "name": review.kind.plural, "singularName": review.kind.singular, "namespaced": false,
            "kind": review.kind.name, "verbs": ["create"],
        }));
    }
    let mut answer = json!({
        "kind": "APIResourceList", "groupVersion": group_version(group, version),
        "resources": list,
    });
    // The core group's list has no apiVersion, for historical reasons.
    if !group.is_empty() {
        answer["apiVersion"] = json!("v1");
    }
    Answer::json(200, answer)
}

fn resource_json(resource: &Resource) -> Value {
    let mut json = json!({
        "name": resource.kind.plural, "singularName": resource.kind.singular,
        "namespaced": resource.is_namespaced(), "kind": resource.kind.name, "verbs": resource.verbs(),
        "storageVersionHash": resource.kind.storage_hash,
    });
    if !resource.kind.short_names.is_empty() {
        json["shortNames"] = json!(resource.kind.short_names);
    }
    if !resource.kind.categories.is_empty() {
        json["categories"] = json!(resource.kind.categories);
    }
    json
}

fn subresource_json(resource: &Resource, subresource: &Subresource) -> Value {
    let mut json = json!({
        "name": format!("{}/{}", resource.kind.plural, subresource.name), "singularName": "",
        "namespaced": resource.is_namespaced(), "kind": resource.kind.name, "verbs": subresource.verbs,
    });
    if let Some((group, version, kind)) = subresource.shows {
        json["group"] = json!(group);
        json["version"] = json!(version);
        json["kind"] = json!(kind);
    }
    json
}
