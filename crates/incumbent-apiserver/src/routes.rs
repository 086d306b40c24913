//! Answers requests. Pure: the state, the user and the time are arguments.

mod apply;
mod body;
mod delete;
mod discovery;
mod impersonate;
mod last_applied;
mod options;
mod patch_kind;
mod read;
mod reviews;
mod write;

use jiff::Timestamp;

use crate::answer::Answer;
use crate::auth::{Impersonation, Tokens, User};
use crate::features::Features;
use crate::form::Form;
use crate::protobuf;
use crate::rbac::{Access, Decision, decide};
use crate::request::{Place, ResourcePath, Target, Verb};
use crate::resources::namespace::NAMESPACE;
use crate::resources::registry::{GROUPS, find};
use crate::resources::{Part, Resource, STATUS, review};
use crate::selector::parse_fields;
use crate::status::Status;
use crate::store::Store;

pub(crate) use body::Body;

/// The objects, the tokens and the settings that requests read and change.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) tokens: Tokens,
    pub(crate) features: Features,
}

/// A request of an authenticated user.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) target: Target,
    /// The representation of the answer.
    pub(crate) form: Form,
    pub(crate) user: User,
    pub(crate) impersonation: Impersonation,
    pub(crate) body: Body,
    /// Without parameters; empty if the request has no content type.
    pub(crate) content_type: String,
    /// The `User-Agent` header.
    pub(crate) agent: String,
    pub(crate) now: Timestamp,
}

impl Call {
    /// Refuses unknown content types. A body without one is read as JSON.
    fn require_known_type(&self) -> Result<(), Status> {
        match self.content_type.as_str() {
            "" | "application/json" | "application/yaml" | protobuf::MEDIA_TYPE => Ok(()),
            _ => Err(Status::unsupported_body()),
        }
    }
}

/// Answers a request.
///
/// # Errors
///
/// The request is refused, in upstream's words.
pub(crate) fn respond(world: &mut World, mut call: Call) -> Result<Answer, Status> {
    impersonate::impersonate(world, &mut call)?;
    let path = match &call.target.place {
        Place::Resource(path) => path.clone(),
        Place::Other => {
            authorize_path(world, &call)?;
            return discovery::respond(&call.target, call.form);
        }
    };
    authorize(world, &call, &path)?;
    if let Some(review) = review::find(&path.group, &path.version, &path.plural) {
        return reviews::respond(world, &mut call, review);
    }
    match find(&path.group, &path.version, &path.plural) {
        Some(resource) => on_resource(world, call, &Location { resource, path }),
        None if GROUPS.contains(&(&path.group, &path.version)) => Err(Status::no_such_resource()),
        None => Ok(Answer::page_not_found()),
    }
}

/// The object or collection that a request names.
#[derive(Clone, Debug)]
struct Location {
    resource: &'static Resource,
    path: ResourcePath,
}

impl Location {
    fn name(&self) -> &str {
        &self.path.name
    }

    /// Empty for cluster-scoped objects.
    fn namespace(&self) -> &str {
        if self.resource.is_namespaced() { &self.path.namespace } else { "" }
    }
}

fn on_resource(world: &mut World, mut call: Call, location: &Location) -> Result<Answer, Status> {
    let Location { resource, path } = location;
    let is_outside = resource.is_namespaced() && path.namespace.is_empty();
    let is_inside = !resource.is_namespaced()
        && !path.namespace.is_empty()
        && (resource.table != NAMESPACE.table || path.namespace != path.name);
    if is_inside || (is_outside && !path.name.is_empty()) {
        return Err(Status::no_such_resource());
    }
    let part = match path.subresource.as_str() {
        "" => Part::Main,
        name if name == STATUS.name && resource.subresource(name).is_some() => Part::Status,
        "token" if resource.subresource("token").is_some() => {
            return reviews::token(world, &mut call, location);
        }
        "eviction" if resource.subresource("eviction").is_some() => {
            return delete::evict(world, &mut call, location);
        }
        _ => return Err(Status::no_such_resource()),
    };
    let answer = match (call.target.verb, part) {
        (Verb::Get, _) => read::get(world, &call, location),
        (Verb::List, _) => read::list(world, &call, location),
        (Verb::Watch, _) => read::watch(world, &call, location),
        (Verb::Create, Part::Main) if path.name.is_empty() && !is_outside => {
            write::create(world, &mut call, location)
        }
        (Verb::Update, _) if !path.name.is_empty() => {
            write::update(world, &mut call, location, part)
        }
        (Verb::Patch, _) if !path.name.is_empty() && apply::is_apply(&call) => {
            apply::apply(world, &mut call, location, part)
        }
        (Verb::Patch, _) if !path.name.is_empty() => write::patch(world, &mut call, location, part),
        (Verb::Delete, Part::Main) => delete::one(world, &mut call, location),
        (Verb::DeleteCollection, Part::Main)
            if !is_outside && resource.verbs().contains(&"deletecollection") =>
        {
            delete::collection(world, &mut call, location)
        }
        _ => Err(Status::method_not_allowed()),
    }?;
    let is_write = matches!(call.target.verb, Verb::Create | Verb::Update | Verb::Patch);
    let is_real = is_write && part == Part::Main && call.target.query.text("dryRun").is_none();
    Ok(if is_real { answer.with_note(only_stored(resource)) } else { answer })
}

/// Warns clients that a cluster would act on such an object and this server does not.
fn only_stored(resource: &Resource) -> Option<String> {
    let (kind, only_stored) = (resource.kind.name, resource.only_stored);
    let is_stored = !only_stored.is_empty();
    is_stored.then(|| format!("this development server only stores a {kind}: {only_stored}"))
}

fn authorize_path(world: &World, call: &Call) -> Result<(), Status> {
    let (verb, path) = (call.target.verb.as_str(), call.target.path.as_str());
    match decide(&world.store, &call.user, Access::Path { verb, path }) {
        Decision::Allowed { .. } => Ok(()),
        Decision::Denied { .. } => Err(Status::forbidden_path(&call.user.name, verb, path)),
    }
}

fn authorize(world: &World, call: &Call, path: &ResourcePath) -> Result<(), Status> {
    authorize_as(world, call, path, call.target.verb)
}

fn authorize_as(world: &World, call: &Call, path: &ResourcePath, verb: Verb) -> Result<(), Status> {
    let selected = selected_name(call, path);
    let name = selected.as_deref().unwrap_or(&path.name);
    require(world, &call.user, verb.as_str(), path, name)
}

/// Refuses a request that no rule allows, in upstream's words.
fn require(
    world: &World,
    user: &User,
    verb: &str,
    path: &ResourcePath,
    name: &str,
) -> Result<(), Status> {
    let access = Access::Resource {
        verb,
        group: &path.group,
        resource: &path.plural,
        subresource: &path.subresource,
        namespace: &path.namespace,
        name,
    };
    let Decision::Denied { reason } = decide(&world.store, user, access) else {
        return Ok(());
    };
    let ResourcePath { group, namespace, plural, subresource, .. } = path;
    let resource = match subresource.as_str() {
        "" => plural.clone(),
        subresource => format!("{plural}/{subresource}"),
    };
    let place = match namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let user = &user.name;
    let mut what =
        format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {place}");
    if !reason.is_empty() {
        what = format!("{what}: {reason}");
    }
    Err(Status::forbidden(group, plural, name, &what))
}

/// A list or watch that selects one object by name is authorized as access to that object.
fn selected_name(call: &Call, path: &ResourcePath) -> Option<String> {
    if !matches!(call.target.verb, Verb::List | Verb::Watch) {
        return None;
    }
    let resource = find(&path.group, &path.version, &path.plural)?;
    let fields = parse_fields(call.target.query.text("fieldSelector")?, resource).ok()?;
    let selection = crate::selector::Selection { fields, ..Default::default() };
    selection.name().map(str::to_owned)
}
