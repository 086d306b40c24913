//! The representation that a client asks for: JSON, YAML, metadata only, or a table to print.

use bytes::Bytes;
use http::{HeaderMap, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::list::List;
use crate::object::{Object, to_json};
use crate::request::{Target, Verb};
use crate::resources::Resource;
use crate::table::{Included, partial, table};
use crate::yaml;

/// The representation that the `Accept` header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Yaml,
    Table(Included),
    /// The metadata of each object, without the fields of its kind.
    Metadata,
    /// All groups and their resources in one answer.
    Discovery,
}

impl Form {
    /// The first representation in the header that the server supports.
    pub(crate) fn wanted(headers: &HeaderMap, target: &Target) -> Option<Self> {
        let is_root = matches!(target.path.trim_end_matches('/'), "/api" | "/apis");
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        accept.unwrap_or_default().split(',').find_map(|wanted| {
            let mut parts = wanted.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let parameters: Vec<&str> = parts.filter(|part| !part.starts_with("q=")).collect();
            let is_json = matches!(media, "application/json" | "application/*" | "*/*" | "");
            let shape = |name| parameters.iter().find_map(|part| part.strip_prefix(name));
            match (shape("as="), media) {
                (None, "application/yaml") => Some(Self::Yaml),
                (None, _) if is_json => Some(Self::Json),
                (Some("Table"), _) if is_json && shape("v=") == Some("v1") => {
                    Some(Self::Table(Included::wanted(&target.query)))
                }
                (Some(kind), _) if is_json && is_partial(kind, target.verb) => {
                    matches!(shape("v="), Some("v1" | "v1beta1")).then_some(Self::Metadata)
                }
                (Some("APIGroupDiscoveryList"), _) if is_json && shape("v=") == Some("v2") => {
                    is_root.then_some(Self::Discovery)
                }
                _ => None,
            }
        })
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::Table(_) | Self::Metadata => "application/json",
            Self::Yaml => "application/yaml",
            Self::Discovery => {
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            }
        }
    }

    pub(crate) fn object(self, resource: &Resource, object: &Object, now: Timestamp) -> Bytes {
        match self {
            Self::Table(included) => {
                table(resource, &[object], object.version(), None, included, now)
            }
            Self::Metadata => to_json(&partial(object.fields())),
            form => form.json(resource.json(object)),
        }
    }

    pub(crate) fn list(self, list: &List, now: Timestamp) -> Bytes {
        match self {
            Self::Table(included) => {
                let objects: Vec<&Object> = list.items.iter().map(AsRef::as_ref).collect();
                table(list.resource, &objects, list.version, list.next.as_ref(), included, now)
            }
            Self::Metadata => {
                let items: Vec<_> = list.items.iter().map(|item| partial(item.fields())).collect();
                to_json(&json!({
                    "kind": PARTIAL_LIST, "apiVersion": "meta.k8s.io/v1",
                    "metadata": list.metadata(), "items": items,
                }))
            }
            form => form.json(list.to_json()),
        }
    }

    /// Converts an answer that is JSON or YAML only.
    pub(crate) fn json(self, json: Bytes) -> Bytes {
        match self {
            Self::Json | Self::Table(_) | Self::Metadata | Self::Discovery => json,
            Self::Yaml => {
                let value: Value = serde_json::from_slice(&json).unwrap_or_default();
                yaml::write(&value).into()
            }
        }
    }
}

/// Whether this kind of metadata answer fits the verb.
fn is_partial(kind: &str, verb: Verb) -> bool {
    kind == if verb == Verb::List { PARTIAL_LIST } else { PARTIAL }
}

const PARTIAL: &str = "PartialObjectMetadata";
const PARTIAL_LIST: &str = "PartialObjectMetadataList";

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &'static str) -> Option<Form> {
        wanted_at("/api/v1/configmaps", accept)
    }

    fn wanted_at(path: &str, accept: &'static str) -> Option<Form> {
        let request = http::Request::get(path).header(header::ACCEPT, accept).body(()).unwrap();
        let (head, ()) = request.into_parts();
        Form::wanted(&head.headers, &Target::new(&head))
    }

    #[test]
    fn the_first_form_that_there_is_wins() {
        let table = Some(Form::Table(Included::Metadata));
        assert_eq!(wanted("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"), table);
        assert_eq!(wanted("application/json;as=Table;v=v0,application/json"), Some(Form::Json));
        assert_eq!(wanted("application/vnd.kubernetes.protobuf, */*;q=0.8"), Some(Form::Json));
        assert_eq!(wanted("application/yaml"), Some(Form::Yaml));
        assert_eq!(wanted("text/csv"), None);
        assert_eq!(wanted(""), Some(Form::Json));
    }

    #[test]
    fn metadata_alone_is_told_in_the_shape_of_what_was_asked() {
        let one = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        let list = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(wanted(list), Some(Form::Metadata));
        assert_eq!(wanted_at("/api/v1/namespaces/a/configmaps/b", one), Some(Form::Metadata));
        assert_eq!(wanted_at("/api/v1/configmaps?watch=1", one), Some(Form::Metadata));
        assert_eq!(wanted(one), None);
        assert_eq!(wanted_at("/api/v1/configmaps?watch=1", list), None);
    }

    #[test]
    fn all_groups_at_once_are_told_where_there_are_groups() {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                      application/json";
        assert_eq!(wanted_at("/apis", accept), Some(Form::Discovery));
        assert_eq!(wanted_at("/apis/coordination.k8s.io", accept), Some(Form::Json));
    }
}
