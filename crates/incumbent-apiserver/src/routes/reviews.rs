//! Reviews of users and permissions, and tokens for service accounts.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::body::decode_review;
use super::read::existing;
use super::{Call, Location, World};
use crate::answer::Answer;
use crate::auth::{Grant, User};
use crate::cause::Cause;
use crate::object::{at, map_mut, text_at};
use crate::rbac::{Access, Decision, decide, rules};
use crate::request::Verb;
use crate::resources::review::{Review, TOKEN_REQUEST};
use crate::schema::Fields;
use crate::status::Status;
use crate::store::Store;
use crate::time;

pub(super) fn respond(
    world: &mut World,
    call: &mut Call,
    review: &Review,
) -> Result<Answer, Status> {
    if call.target.verb != Verb::Create {
        return Err(Status::method_not_allowed());
    }
    call.require_known_type()?;
    let fields = decode_review(call.body.take(), review)?;
    let (metadata, status) = match review.kind.name {
        "SelfSubjectReview" => {
            let metadata = json!({"creationTimestamp": time::seconds(call.now)});
            (metadata, json!({"userInfo": user_info(&call.user)}))
        }
        "TokenReview" => (json!({}), token_review(world, call, &fields)),
        "SelfSubjectRulesReview" => (json!({}), rules_review(&world.store, &call.user, &fields)?),
        "SubjectAccessReview" => {
            let status = access_review(&world.store, &named_user(&fields)?, &fields)?;
            (json!({}), status)
        }
        _ => (json!({}), access_review(&world.store, &call.user, &fields)?),
    };
    let mut answer = json!({
        "kind": review.kind.name, "apiVersion": review.kind.api_version(), "metadata": metadata,
        "status": status,
    });
    if let Some(spec) = fields.get("spec") {
        answer["spec"] = spec.clone();
    }
    Ok(Answer::json(201, answer))
}

/// Issues a token for a service account.
pub(super) fn token(
    world: &mut World,
    call: &mut Call,
    location: &Location,
) -> Result<Answer, Status> {
    const GROUP: &str = "authentication.k8s.io";
    if call.target.verb != Verb::Create {
        return Err(Status::method_not_allowed());
    }
    call.require_known_type()?;
    let mut fields = decode_review(call.body.take(), &TOKEN_REQUEST)?;
    let account = existing(&world.store, location)?.clone();
    let spec = map_mut(&mut fields, "spec");
    let seconds = spec.get("expirationSeconds").and_then(Value::as_i64).unwrap_or(3600);
    check_expiration(location.name(), seconds)?;
    if spec.get("audiences").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        spec.insert("audiences".to_owned(), json!([AUDIENCE]));
    }
    spec.entry("boundObjectRef").or_insert(Value::Null);
    spec.insert("expirationSeconds".to_owned(), seconds.into());
    let expires = call.now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(call.now);
    let grant = Grant {
        namespace: account.namespace().to_owned(),
        name: account.name().to_owned(),
        uid: account.uid().to_owned(),
        expires,
    };
    let token = world.tokens.issue(grant, call.now);
    Ok(Answer::json(
        201,
        json!({
            "kind": "TokenRequest", "apiVersion": format!("{GROUP}/v1"),
            "metadata": {
                "name": account.name(), "namespace": account.namespace(), "uid": account.uid(),
                "creationTimestamp": time::seconds(call.now),
            },
            "spec": fields.get("spec"),
            "status": {"token": token, "expirationTimestamp": time::seconds(expires)},
        }),
    ))
}

/// The audience of this server's tokens, the usual one of a cluster.
const AUDIENCE: &str = "https://kubernetes.default.svc";

fn check_expiration(name: &str, seconds: i64) -> Result<(), Status> {
    let why = match seconds {
        ..600 => "may not specify a duration less than 10 minutes",
        600..=4_294_967_296 => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let cause = Cause::invalid("spec.expirationSeconds", &json!(seconds), why);
    Err(Status::invalid("authentication.k8s.io", "TokenRequest", name, vec![cause]))
}

fn access_review(store: &Store, user: &User, fields: &Fields) -> Result<Value, Status> {
    let resource = at(fields, "/spec/resourceAttributes");
    let path = at(fields, "/spec/nonResourceAttributes");
    if resource.is_some() == path.is_some() {
        let given = resource.unwrap_or(&Value::Null);
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        let cause = Cause::invalid("spec.resourceAttributes", given, why);
        // Upstream names no kind here.
        return Err(Status::invalid("authorization.k8s.io", "", "", vec![cause]));
    }
    let attributes = resource.or(path).unwrap_or(&Value::Null);
    let text = |name: &str| attributes.get(name).and_then(Value::as_str).unwrap_or_default();
    let access = match resource {
        Some(_) => Access::Resource {
            verb: text("verb"),
            group: text("group"),
            resource: text("resource"),
            subresource: text("subresource"),
            namespace: text("namespace"),
            name: text("name"),
        },
        None => Access::Path { verb: text("verb"), path: text("path") },
    };
    let (allowed, reason) = match decide(store, user, access) {
        Decision::Allowed { reason } => (true, reason),
        Decision::Denied { reason } => (false, reason),
    };
    let mut status = json!({"allowed": allowed});
    if !reason.is_empty() {
        status["reason"] = json!(reason);
    }
    Ok(status)
}

/// The rules that apply to a user in a namespace.
fn rules_review(store: &Store, user: &User, fields: &Fields) -> Result<Value, Status> {
    let namespace = text_at(fields, "/spec/namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let (mut resource_rules, mut path_rules) = (Vec::new(), Vec::new());
    for rule in rules(store, user, namespace) {
        if rule.get("nonResourceURLs").is_some() {
            path_rules.push(rule);
        } else {
            resource_rules.push(rule);
        }
    }
    Ok(json!({
        "resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": false,
    }))
}

/// The user that a SubjectAccessReview names.
fn named_user(fields: &Fields) -> Result<User, Status> {
    let groups = at(fields, "/spec/groups").and_then(Value::as_array);
    let groups: Vec<String> =
        groups.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let name = text_at(fields, "/spec/user").to_owned();
    if name.is_empty() && groups.is_empty() {
        let why = "at least one of user or group must be specified";
        let cause = Cause::invalid("spec.user", &json!(name), why);
        return Err(Status::invalid("authorization.k8s.io", "", "", vec![cause]));
    }
    Ok(User { name, groups, ..User::default() })
}

fn token_review(world: &World, call: &Call, fields: &Fields) -> Value {
    match world.tokens.user(text_at(fields, "/spec/token"), &world.store, call.now) {
        Some(user) => json!({
            "authenticated": true, "user": user_info(&user), "audiences": [AUDIENCE],
        }),
        None => json!({"user": {}, "error": "invalid bearer token"}),
    }
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    if let Some(credential) = &user.credential {
        info["extra"] = json!({"authentication.kubernetes.io/credential-id": [credential]});
    }
    info
}
