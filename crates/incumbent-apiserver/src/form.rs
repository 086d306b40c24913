//! The form in which a client wants its answer: JSON, YAML, or a table to print.

use bytes::Bytes;
use http::{HeaderMap, header};
use jiff::Timestamp;
use serde_json::Value;

use crate::answer::{List, object_json};
use crate::object::Object;
use crate::request::Query;
use crate::resources::Resource;
use crate::table::{Included, table};
use crate::yaml;

/// What the `Accept` header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Yaml,
    Table(Included),
}

impl Form {
    /// The first form in the header that there is.
    pub(crate) fn wanted(headers: &HeaderMap, query: &Query) -> Option<Self> {
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
                    Some(Self::Table(Included::wanted(query)))
                }
                _ => None,
            }
        })
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::Table(_) => "application/json",
            Self::Yaml => "application/yaml",
        }
    }

    pub(crate) fn object(self, resource: &Resource, object: &Object, now: Timestamp) -> Bytes {
        match self {
            Self::Table(included) => {
                table(resource, &[object], object.version(), None, included, now)
            }
            form => form.json(object_json(resource, object)),
        }
    }

    pub(crate) fn list(self, list: &List, now: Timestamp) -> Bytes {
        match self {
            Self::Table(included) => {
                let objects: Vec<&Object> = list.items.iter().map(AsRef::as_ref).collect();
                table(list.resource, &objects, list.version, list.next.as_ref(), included, now)
            }
            form => form.json(list.to_json()),
        }
    }

    /// What has one form only, but for its spelling.
    pub(crate) fn json(self, json: Bytes) -> Bytes {
        match self {
            Self::Json | Self::Table(_) => json,
            Self::Yaml => {
                let value: Value = serde_json::from_slice(&json).unwrap_or_default();
                yaml::write(&value).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &'static str) -> Option<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, header::HeaderValue::from_static(accept));
        Form::wanted(&headers, &Query::default())
    }

    #[test]
    fn the_first_form_that_there_is_wins() {
        let table = Some(Form::Table(Included::Metadata));
        assert_eq!(wanted("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"), table);
        assert_eq!(wanted("application/json;as=Table;v=v0,application/json"), Some(Form::Json));
        assert_eq!(wanted("application/vnd.kubernetes.protobuf, */*;q=0.8"), Some(Form::Json));
        assert_eq!(wanted("application/yaml"), Some(Form::Yaml));
        assert_eq!(wanted("text/csv"), None);
        assert_eq!(Form::wanted(&HeaderMap::new(), &Query::default()), Some(Form::Json));
    }
}
