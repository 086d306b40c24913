//! The path, the query and the verb of a request, which are read before its body.

use http::request::Parts;
use http::{HeaderMap, Method, header};
use percent_encoding::percent_decode_str;

/// What upstream's `RequestInfo` contains.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) verb: Verb,
    pub(crate) path: String,
    pub(crate) query: Query,
    pub(crate) place: Place,
}

/// What a path refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `/api/v1/namespaces/n/configmaps/c`; whether the resource exists is not known yet.
    Resource(ResourcePath),
    /// Everything else, such as `/version`.
    Other,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    /// Empty for the whole cluster.
    pub(crate) namespace: String,
    pub(crate) plural: String,
    /// Empty for the collection.
    pub(crate) name: String,
    pub(crate) subresource: String,
}

/// Kubernetes' verbs, by which rules allow requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Verb {
    /// Reads one object, or a path outside the resources.
    Get,
    /// Reads a collection.
    List,
    /// Watches a collection.
    Watch,
    /// `POST`.
    Create,
    /// `PUT`.
    Update,
    /// `PATCH`.
    Patch,
    /// Deletes one object.
    Delete,
    /// Deletes a collection.
    DeleteCollection,
    /// Any other HTTP method.
    Other,
}

impl Verb {
    /// The name that rules use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Other => "other",
        }
    }

    fn of(method: &Method, place: &Place, query: &Query) -> Self {
        let path = match place {
            Place::Resource(path) => Some(path),
            Place::Other => None,
        };
        let is_collection = path.is_some_and(|path| path.name.is_empty());
        match *method {
            Method::GET if is_collection && query.flag("watch") => Self::Watch,
            Method::GET if is_collection => Self::List,
            Method::GET => Self::Get,
            Method::HEAD if path.is_none() => Self::Get,
            Method::POST => Self::Create,
            Method::PUT => Self::Update,
            Method::PATCH => Self::Patch,
            Method::DELETE if is_collection => Self::DeleteCollection,
            Method::DELETE => Self::Delete,
            _ => Self::Other,
        }
    }
}

impl Target {
    pub(crate) fn new(head: &Parts) -> Self {
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let path = head.uri.path().to_owned();
        let place = parse_path(&path).map_or(Place::Other, Place::Resource);
        Self { verb: Verb::of(&head.method, &place, &query), path, query, place }
    }
}

/// The plural of the kind that contains namespaced objects.
pub(crate) const NAMESPACES: &str = "namespaces";

/// The parameters after the question mark.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = form_urlencoded::parse(text.as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// The first value of this name. `None` if it is empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether the parameter is present and, as upstream reads a boolean, neither `0` nor `false`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.is_some_and(|(_, value)| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// # Errors
    ///
    /// The value is not a number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, String> {
        let parse = |text: &str| {
            text.parse().map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
        };
        self.text(name).map(parse).transpose()
    }
}

/// The token of an `Authorization` header.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Parses the path of a resource. `None` if it is another path.
fn parse_path(path: &str) -> Option<ResourcePath> {
    let parts = path.split('/').filter(|part| !part.is_empty());
    let parts: Vec<_> = parts.map(|part| percent_decode_str(part).decode_utf8_lossy()).collect();
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        [] => return None,
        [NAMESPACES, namespace, rest @ ..]
            if !rest.is_empty() && !is_namespace_subresource(rest) =>
        {
            (*namespace, rest)
        }
        rest => ("", rest),
    };
    let part = |index: usize| rest.get(index).copied().unwrap_or_default().to_owned();
    Some(ResourcePath {
        group: group.to_owned(),
        version: version.to_owned(),
        namespace: namespace.to_owned(),
        plural: part(0),
        name: part(1),
        subresource: rest.get(2..).unwrap_or_default().join("/"),
    })
    .map(|path| {
        if path.plural == NAMESPACES && path.namespace.is_empty() {
            inside_itself(path)
        } else {
            path
        }
    })
}

fn is_namespace_subresource(rest: &[&str]) -> bool {
    matches!(rest, ["status" | "finalize"])
}

/// Access to a namespace object is decided by the rules inside that namespace.
fn inside_itself(path: ResourcePath) -> ResourcePath {
    ResourcePath { namespace: path.name.clone(), ..path }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Option<[String; 5]> {
        let ResourcePath { group, namespace, plural, name, subresource, .. } = parse_path(text)?;
        Some([group, namespace, plural, name, subresource])
    }

    fn parts(parts: [&str; 5]) -> Option<[String; 5]> {
        Some(parts.map(str::to_owned))
    }

    #[test]
    fn a_path_names_group_namespace_resource_and_object() {
        let lease = "/apis/coordination.k8s.io/v1/namespaces/n/leases/l";
        assert_eq!(path(lease), parts(["coordination.k8s.io", "n", "leases", "l", ""]));
        assert_eq!(path("/api/v1/configmaps"), parts(["", "", "configmaps", "", ""]));
        assert_eq!(path("/api/v1/namespaces"), parts(["", "", "namespaces", "", ""]));
        assert_eq!(path("/api/v1/namespaces/n"), parts(["", "n", "namespaces", "n", ""]));
        let status = "/api/v1/namespaces/n/pods/p/status";
        assert_eq!(path(status), parts(["", "n", "pods", "p", "status"]));
        let namespace = "/api/v1/namespaces/n/status";
        assert_eq!(path(namespace), parts(["", "n", "namespaces", "n", "status"]));
        assert_eq!(path("/api/v1"), None);
        assert_eq!(path("/version"), None);
    }

    #[test]
    fn percent_encoding_is_decoded_and_invalid_encoding_is_kept() {
        let name = |text| parse_path(&format!("/api/v1/namespaces/n/pods/{text}")).unwrap().name;
        assert_eq!(name("a%20b%2"), "a b%2");
        assert_eq!(name("%zz%+1"), "%zz%+1");
        assert_eq!(name("%ff"), "\u{fffd}");
        assert_eq!(Query::parse("&a=b%20c+d%ff&").text("a"), Some("b c d\u{fffd}"));
    }

    #[test]
    fn a_flag_is_set_unless_it_says_no() {
        let query = Query::parse("watch=1&a=false&b=0&c&labelSelector=x%3Dy");
        assert!(query.flag("watch") && query.flag("c"));
        assert!(!query.flag("a") && !query.flag("b") && !query.flag("none"));
        assert_eq!(query.text("labelSelector"), Some("x=y"));
    }
}
