//! The lock as people and other people's programs see it: an object, and the record in it.

use http::{Method, Request};
use incumbent::Lock;
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Lease,
    ConfigMap,
}

impl Kind {
    pub(crate) fn lock(self) -> Lock {
        match self {
            Self::Lease => Lock::lease("default", "lock"),
            Self::ConfigMap => Lock::config_map("default", "lock"),
        }
    }

    /// Who holds the lock; nobody where this is empty.
    pub(crate) fn holder(self, lock: &Value) -> String {
        let path = match self {
            Self::Lease => "/spec/holderIdentity",
            Self::ConfigMap => "/data/leader",
        };
        lock.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// What programs that know nothing of us read.
    pub(crate) fn record(self, lock: &Value) -> Value {
        match self {
            Self::Lease => lock["spec"].clone(),
            Self::ConfigMap => {
                let text = lock["metadata"]["annotations"][RECORD].as_str().unwrap_or("null");
                serde_json::from_str(text).unwrap_or_default()
            }
        }
    }

    /// A part of the object that says `record`, as such programs write it: nothing else changes.
    pub(crate) fn saying(self, record: &Value) -> Value {
        match self {
            Self::Lease => json!({ "spec": record }),
            Self::ConfigMap => {
                json!({ "metadata": { "annotations": { RECORD: record.to_string() } } })
            }
        }
    }

    fn collection(self) -> &'static str {
        match self {
            Self::Lease => "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            Self::ConfigMap => "/api/v1/namespaces/default/configmaps",
        }
    }
}

/// Where client-go's ConfigMap lock kept its record.
const RECORD: &str = "control-plane.alpha.kubernetes.io/leader";

/// Somebody's way to the lock.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) kind: Kind,
    pub(crate) client: kube::Client,
}

impl Access {
    pub(crate) async fn read(&self) -> Result<Value, kube::Error> {
        self.request(Method::GET, &Value::Null).await
    }

    pub(crate) async fn delete(&self) -> Result<Value, kube::Error> {
        self.request(Method::DELETE, &Value::Null).await
    }

    /// Whatever version there is.
    pub(crate) async fn patch(&self, patch: &Value) -> Result<Value, kube::Error> {
        self.request(Method::PATCH, patch).await
    }

    /// Exactly the version that the patch names.
    pub(crate) async fn patch_version(
        &self,
        mut patch: Value,
        read: &Value,
    ) -> Result<Value, kube::Error> {
        patch["metadata"]["resourceVersion"] = read["metadata"]["resourceVersion"].clone();
        self.patch(&patch).await
    }

    async fn request(&self, method: Method, body: &Value) -> Result<Value, kube::Error> {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/lock", self.kind.collection()))
            .header("Content-Type", "application/merge-patch+json")
            .body(body)
            .expect("it is well formed");
        self.client.request(request).await
    }

    pub(crate) async fn create(&self, record: &Value) -> Result<Value, kube::Error> {
        let (version, kind) = match self.kind {
            Kind::Lease => ("coordination.k8s.io/v1", "Lease"),
            Kind::ConfigMap => ("v1", "ConfigMap"),
        };
        let mut object = self.kind.saying(record);
        object["apiVersion"] = version.into();
        object["kind"] = kind.into();
        object["metadata"]["name"] = "lock".into();
        let request = Request::post(self.kind.collection())
            .header("Content-Type", "application/json")
            .body(object.to_string().into_bytes())
            .expect("it is well formed");
        self.client.request(request).await
    }
}
