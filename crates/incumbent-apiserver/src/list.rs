//! One page of a collection.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::object::{Item, Object, to_json};
use crate::resources::Resource;

/// A page of a collection, as it was at one version.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) resource: &'static Resource,
    pub(crate) items: Vec<Arc<Object>>,
    pub(crate) version: u64,
    pub(crate) next: Option<NextPage>,
}

/// Where the next page begins.
#[derive(Debug)]
pub(crate) struct NextPage {
    pub(crate) token: String,
    /// Unknown when a selector filters the collection.
    pub(crate) remaining: Option<usize>,
}

impl List {
    pub(crate) fn metadata(&self) -> Value {
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if let Some(next) = &self.next {
            metadata["continue"] = json!(next.token);
            if let Some(remaining) = next.remaining {
                metadata["remainingItemCount"] = json!(remaining);
            }
        }
        metadata
    }

    pub(crate) fn to_json(&self) -> Bytes {
        let converted: Vec<_>;
        let items: Vec<Item<'_>> = match self.resource.conversion {
            None => self.items.iter().map(|object| Item(object.fields())).collect(),
            Some(conversion) => {
                let convert = |object: &Arc<Object>| (conversion.from_stored)(object.fields());
                converted = self.items.iter().map(convert).collect();
                converted.iter().map(Item).collect()
            }
        };
        to_json(&ListJson {
            kind: format!("{}List", self.resource.kind.name),
            api_version: self.resource.kind.api_version(),
            metadata: self.metadata(),
            items,
        })
    }
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct ListJson<'a> {
    kind: String,
    api_version: String,
    metadata: Value,
    items: Vec<Item<'a>>,
}
