//! The lock as people and other people's programs see it: an object, and the record in it.

use serde_json::{Value, json};

use crate::lock::Lock;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Lease,
    ConfigMap,
}

impl Kind {
    pub(super) fn lock(self) -> Lock {
        match self {
            Self::Lease => Lock::lease("default", "lock"),
            Self::ConfigMap => Lock::config_map("default", "lock"),
        }
    }

    /// Who holds the lock; nobody where this is empty.
    pub(super) fn holder(self, lock: &Value) -> String {
        let path = match self {
            Self::Lease => "/spec/holderIdentity",
            Self::ConfigMap => "/data/leader",
        };
        lock.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// What programs that know nothing of us read.
    pub(super) fn record(self, lock: &Value) -> Value {
        match self {
            Self::Lease => lock["spec"].clone(),
            Self::ConfigMap => {
                let text = lock["metadata"]["annotations"][RECORD].as_str().unwrap_or("null");
                serde_json::from_str(text).unwrap_or_default()
            }
        }
    }

    /// A part of the object that says `record`, as such programs write it: nothing else changes.
    pub(super) fn saying(self, record: &Value) -> Value {
        match self {
            Self::Lease => json!({ "spec": record }),
            Self::ConfigMap => {
                json!({ "metadata": { "annotations": { RECORD: record.to_string() } } })
            }
        }
    }

    /// A whole object that says it.
    pub(super) fn object(self, record: &Value) -> Value {
        let (version, kind) = match self {
            Self::Lease => ("coordination.k8s.io/v1", "Lease"),
            Self::ConfigMap => ("v1", "ConfigMap"),
        };
        let mut object = self.saying(record);
        object["apiVersion"] = version.into();
        object["kind"] = kind.into();
        object["metadata"]["name"] = "lock".into();
        object
    }

    pub(super) fn collection(self) -> &'static str {
        match self {
            Self::Lease => "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            Self::ConfigMap => "/api/v1/namespaces/default/configmaps",
        }
    }

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Lease => "/apis/coordination.k8s.io/v1/namespaces/default/leases/lock",
            Self::ConfigMap => "/api/v1/namespaces/default/configmaps/lock",
        }
    }
}

/// Where client-go's ConfigMap lock kept its record.
const RECORD: &str = "control-plane.alpha.kubernetes.io/leader";

/// The term of ours that the lock names, as it is written.
pub(super) fn term(lock: &Value) -> Value {
    let term = lock["metadata"]["annotations"]["incumbent.dev/term"].as_str();
    serde_json::from_str(term.unwrap_or("null")).unwrap_or_default()
}

/// What an object, sent or received, says of a term and of its own version. It is not parsed: this is asked of
/// all that comes over a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Says {
    pub(super) token: Option<u64>,
    pub(super) revision: Option<u64>,
    /// How often a backup had been restored when the server said so.
    pub(super) history: u32,
}

impl Says {
    pub(super) fn read(bytes: &[u8]) -> Self {
        Self {
            token: number_after(bytes, b"\\\"token\\\":"),
            revision: number_after(bytes, b"\"resourceVersion\":\""),
            history: 0,
        }
    }
}

fn number_after(bytes: &[u8], key: &[u8]) -> Option<u64> {
    let first = key[0];
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == first) {
        let at = from + at;
        if bytes[at..].starts_with(key) {
            let digits = bytes[at + key.len()..].iter().take_while(|byte| byte.is_ascii_digit());
            let number = digits.fold(0_u64, |sum, digit| {
                sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))
            });
            return Some(number);
        }
        from = at + 1;
    }
    None
}
