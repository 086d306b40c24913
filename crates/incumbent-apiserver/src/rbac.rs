//! Authorization: roles, and the users that are bound to them.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::auth::{AUTHENTICATED, MASTERS, UNAUTHENTICATED, User};
use crate::object::{Object, text, text_at};
use crate::resources::Resource;
pub(crate) use crate::resources::rbac::GROUP;
use crate::resources::rbac::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING};
use crate::schema::Fields;
use crate::store::Store;

/// An action to authorize.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access<'a> {
    Resource {
        verb: &'a str,
        group: &'a str,
        resource: &'a str,
        subresource: &'a str,
        /// Empty for the whole cluster.
        namespace: &'a str,
        /// Empty for a whole collection.
        name: &'a str,
    },
    Path {
        verb: &'a str,
        path: &'a str,
    },
}

/// The decision, with upstream's reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allowed { reason: String },
    Denied { reason: String },
}

/// Decides by all bindings that name the user or one of the user's groups.
pub(crate) fn decide(store: &Store, user: &User, access: Access<'_>) -> Decision {
    if user.is_in(MASTERS) {
        return Decision::Allowed { reason: String::new() };
    }
    let namespace = match access {
        Access::Resource { namespace, .. } => namespace,
        Access::Path { .. } => "",
    };
    let mut errors = Vec::new();
    for binding in bindings(store, namespace) {
        let Some(subject) = subject_of(binding, user) else { continue };
        match role_of(store, binding) {
            Err(error) => errors.push(error),
            Ok(role) if allows(role, access) => {
                return Decision::Allowed { reason: reason(binding, role, subject) };
            }
            Ok(_) => {}
        }
    }
    let reason = match errors.as_slice() {
        [] => String::new(),
        [only] => format!("RBAC: {only}"),
        several => format!("RBAC: [{}]", several.join(", ")),
    };
    Decision::Denied { reason }
}

/// All rules that apply to the user in this namespace.
pub(crate) fn rules<'a>(store: &'a Store, user: &User, namespace: &str) -> Vec<&'a Value> {
    let bound = bindings(store, namespace).filter(|binding| subject_of(binding, user).is_some());
    let roles = bound.filter_map(|binding| role_of(store, binding).ok());
    roles.flat_map(rules_of).collect()
}

/// Whether a user may write this role or binding.
///
/// # Errors
///
/// The role would grant rights that the user does not have.
pub(crate) fn may_grant(
    store: &Store,
    user: &User,
    resource: &Resource,
    fields: &Fields,
) -> Result<(), String> {
    let namespace = text(fields, "namespace");
    let is_binding = fields.contains_key("roleRef");
    let (verb, plural, name) = match (is_binding, text_at(fields, "/roleRef/kind")) {
        (false, _) => ("escalate", resource.kind.plural, text(fields, "name")),
        (true, "Role") => ("bind", ROLE.kind.plural, text_at(fields, "/roleRef/name")),
        (true, _) => ("bind", CLUSTER_ROLE.kind.plural, text_at(fields, "/roleRef/name")),
    };
    let on_role =
        Access::Resource { verb, group: GROUP, resource: plural, subresource: "", namespace, name };
    if matches!(decide(store, user, on_role), Decision::Allowed { .. }) {
        return Ok(());
    }
    let given: Vec<&Value> = if is_binding {
        let role_namespace = if plural == ROLE.kind.plural { namespace } else { "" };
        let table = if plural == ROLE.kind.plural { ROLE.table } else { CLUSTER_ROLE.table };
        let role = store.object(table, role_namespace, name);
        let role = role.ok_or_else(|| format!("{plural}.{GROUP} {name:?} not found"))?;
        rules_of(role).collect()
    } else {
        fields.get("rules").and_then(Value::as_array).into_iter().flatten().collect()
    };
    let own = rules(store, user, namespace);
    let missing: Vec<String> =
        given.into_iter().filter(|rule| !covers(&own, rule)).map(compact).collect();
    match missing.as_slice() {
        [] => Ok(()),
        missing => Err(format!(
            "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently \
             held:\n{}",
            user.name,
            user.groups,
            missing.join("\n")
        )),
    }
}

/// Whether the rules together allow all that this rule allows.
fn covers(own: &[&Value], rule: &Value) -> bool {
    let list = |name: &str| texts(rule, name).collect::<Vec<_>>();
    let any_allows = |access| own.iter().any(|own| rule_allows(own, access));
    let names = list("resourceNames");
    let names = if names.is_empty() { vec![""] } else { names };
    list("verbs").into_iter().all(|verb| {
        list("nonResourceURLs").into_iter().all(|path| any_allows(Access::Path { verb, path }))
            && list("apiGroups").into_iter().all(|group| {
                list("resources").into_iter().all(|whole| {
                    let (resource, subresource) = whole.split_once('/').unwrap_or((whole, ""));
                    names.iter().all(|name| {
                        let namespace = "";
                        any_allows(Access::Resource {
                            verb,
                            group,
                            resource,
                            subresource,
                            namespace,
                            name,
                        })
                    })
                })
            })
    })
}

/// A rule as upstream's messages show it.
fn compact(rule: &Value) -> String {
    let parts = [
        ("APIGroups", "apiGroups"),
        ("Resources", "resources"),
        ("NonResourceURLs", "nonResourceURLs"),
        ("ResourceNames", "resourceNames"),
        ("Verbs", "verbs"),
    ];
    let parts = parts.into_iter().filter_map(|(shown, name)| {
        let list: Vec<&str> = texts(rule, name).collect();
        (!list.is_empty()).then(|| format!("{shown}:{list:?}"))
    });
    format!("{{{}}}", parts.collect::<Vec<_>>().join(", "))
}

fn texts<'a>(rule: &'a Value, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let list = rule.get(name).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

/// The roles that every cluster has, as far as clients of this server need them.
pub(crate) fn bootstrap() -> Vec<Value> {
    let everything = json!([
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]);
    let reviews = json!([
        {"apiGroups": ["authorization.k8s.io"], "verbs": ["create"],
            "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]},
        {"apiGroups": ["authentication.k8s.io"], "verbs": ["create"],
            "resources": ["selfsubjectreviews"]},
    ]);
    let paths = |paths: &[&str]| json!([{"nonResourceURLs": paths, "verbs": ["get"]}]);
    let discovery = paths(&[
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
    ]);
    let public = paths(&["/healthz", "/livez", "/readyz", "/version", "/version/"]);
    [
        ("cluster-admin", everything, &[MASTERS][..]),
        ("system:basic-user", reviews, &[AUTHENTICATED]),
        ("system:discovery", discovery, &[AUTHENTICATED]),
        ("system:public-info-viewer", public, &[AUTHENTICATED, UNAUTHENTICATED]),
    ]
    .into_iter()
    .flat_map(|(name, rules, groups)| {
        let subjects: Vec<Value> = groups
            .iter()
            .map(|group| json!({"kind": "Group", "apiGroup": GROUP, "name": group}))
            .collect();
        let metadata = json!({
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        });
        let describe = |resource: &Resource, mut object: Value| {
            object["apiVersion"] = json!(resource.kind.api_version());
            object["kind"] = json!(resource.kind.name);
            object
        };
        let role = json!({"metadata": metadata, "rules": rules});
        let role_ref = json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": name});
        let binding = json!({"metadata": metadata, "roleRef": role_ref, "subjects": subjects});
        [describe(&CLUSTER_ROLE, role), describe(&CLUSTER_ROLE_BINDING, binding)]
    })
    .collect()
}

/// A binding in a namespace grants nothing outside that namespace.
fn bindings<'a>(store: &'a Store, namespace: &str) -> impl Iterator<Item = &'a Arc<Object>> {
    let wanted = Some(namespace).filter(|namespace| !namespace.is_empty());
    let local = wanted.map(|namespace| store.objects(ROLE_BINDING.table, Some(namespace)));
    store.objects(CLUSTER_ROLE_BINDING.table, None).chain(local.into_iter().flatten())
}

/// The bound subject, as the reason names it.
fn subject_of(binding: &Object, user: &User) -> Option<String> {
    let subjects = binding.fields().get("subjects")?.as_array()?;
    subjects.iter().find_map(|subject| {
        let text = |name: &str| subject.get(name).and_then(Value::as_str).unwrap_or_default();
        let name = text("name");
        match text("kind") {
            "User" if name == user.name => Some(format!("User {name:?}")),
            "Group" if user.is_in(name) => Some(format!("Group {name:?}")),
            "ServiceAccount" => {
                let namespace = text("namespace");
                let full = format!("system:serviceaccount:{namespace}:{name}");
                (full == user.name).then(|| format!("ServiceAccount \"{name}/{namespace}\""))
            }
            _ => None,
        }
    })
}

fn role_of<'a>(store: &'a Store, binding: &Object) -> Result<&'a Object, String> {
    let name = text_at(binding.fields(), "/roleRef/name");
    let (resource, namespace) = match text_at(binding.fields(), "/roleRef/kind") {
        "Role" => (&ROLE, binding.namespace()),
        _ => (&CLUSTER_ROLE, ""),
    };
    let role = store.object(resource.table, namespace, name);
    role.map(AsRef::as_ref)
        .ok_or_else(|| format!("{}.{GROUP} {name:?} not found", resource.kind.singular))
}

fn reason(binding: &Object, role: &Object, subject: String) -> String {
    let kind = |object: &Object| text_at(object.fields(), "/kind").to_owned();
    let bound = match binding.namespace() {
        "" => binding.name().to_owned(),
        namespace => format!("{}/{namespace}", binding.name()),
    };
    let (binding, role_kind) = (kind(binding), kind(role));
    format!("RBAC: allowed by {binding} {bound:?} of {role_kind} {:?} to {subject}", role.name())
}

fn rules_of(role: &Object) -> impl Iterator<Item = &Value> {
    role.fields().get("rules").and_then(Value::as_array).into_iter().flatten()
}

fn allows(role: &Object, access: Access<'_>) -> bool {
    rules_of(role).any(|rule| rule_allows(rule, access))
}

fn rule_allows(rule: &Value, access: Access<'_>) -> bool {
    let list = |name: &str| texts(rule, name);
    let has = |name: &str, wanted: &str| list(name).any(|value| value == "*" || value == wanted);
    match access {
        Access::Resource { verb, group, resource, subresource, name, .. } => {
            let resources = || list("resources");
            let is_wanted = if subresource.is_empty() {
                has("resources", resource)
            } else {
                resources().any(|rule| match rule.split_once('/') {
                    None => rule == "*",
                    Some((of, sub)) => sub == subresource && (of == "*" || of == resource),
                })
            };
            let named = list("resourceNames").next().is_none()
                || list("resourceNames").any(|allowed| allowed == name);
            has("verbs", verb) && has("apiGroups", group) && is_wanted && named
        }
        Access::Path { verb, path } => {
            let is_wanted = |rule: &str| match rule.strip_suffix('*') {
                Some(start) => path.starts_with(start),
                None => rule == path,
            };
            has("verbs", verb) && list("nonResourceURLs").any(is_wanted)
        }
    }
}
