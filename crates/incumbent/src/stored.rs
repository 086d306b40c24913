//! The lock's object as the server has it.

use incumbent_core::Version;
use serde_json::Value;

use crate::lock::version;

/// The object at one version, to base the next write on. Kept as text, which takes a tenth of the memory
/// that parsed JSON does: a process may take part in thousands of elections.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    version: Version,
    text: Box<str>,
}

impl Stored {
    /// `None` where the object is none of Kubernetes'.
    ///
    /// `managedFields` are left out: a server keeps those of an object that is sent without.
    pub(crate) fn new(mut object: Value) -> Option<Self> {
        let version = version(&object).ok()?;
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        Some(Self { version, text: object.to_string().into() })
    }

    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    pub(crate) fn object(&self) -> Value {
        serde_json::from_str(&self.text).expect("it was written as JSON")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_kept_without_what_the_server_knows_by_itself() {
        let metadata = json!({
            "name": "a", "uid": "u", "resourceVersion": "7", "managedFields": [{ "manager": "x" }],
        });
        let stored = Stored::new(json!({ "metadata": metadata, "other": 1 })).unwrap();
        assert_eq!(stored.version().revision, 7);
        let kept = json!({ "name": "a", "uid": "u", "resourceVersion": "7" });
        assert_eq!(stored.object(), json!({ "metadata": kept, "other": 1 }));
    }
}
