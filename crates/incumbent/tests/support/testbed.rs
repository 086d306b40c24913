//! A namespace of its own for a test: on a server in this process, or on the cluster that
//! `INCUMBENT_TEST_KUBECONFIG` names, where it is removed at the end.

use std::path::PathBuf;
use std::time::Duration;

use http::{Method, Request};
use incumbent::Connect;
use incumbent_apiserver::ApiServer;
use kube::config::{AuthInfo, Kubeconfig};
use serde_json::{Value, json};

pub(crate) struct Testbed {
    pub(crate) namespace: String,
    client: kube::Client,
    place: Place,
}

enum Place {
    Here(ApiServer),
    Elsewhere(PathBuf),
}

impl Testbed {
    pub(crate) async fn new() -> Self {
        let (place, client) = match std::env::var_os("INCUMBENT_TEST_KUBECONFIG") {
            None => {
                let server = ApiServer::new();
                let client = kube::Client::new(server.service(), "default");
                (Place::Here(server), client)
            }
            Some(file) => {
                let client = Connect::default().kubeconfig(&file).client().await.unwrap();
                (Place::Elsewhere(file.into()), client)
            }
        };
        let namespace = format!("incumbent-test-{:016x}", fastrand::u64(..));
        let testbed = Self { namespace, client, place };
        let metadata = json!({ "name": testbed.namespace });
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
        testbed.request(Method::POST, "/api/v1/namespaces", object).await;
        testbed
    }

    pub(crate) fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// A client with the rights of a service account that `rules` allow, in this namespace.
    pub(crate) async fn restricted_client(&self, rules: Value) -> kube::Client {
        let group = "rbac.authorization.k8s.io";
        let (core, rbac) = ("/api/v1", format!("/apis/{group}/v1"));
        let metadata = json!({ "name": "scanner" });
        let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata });
        self.create(core, "serviceaccounts", account).await;
        let version = format!("{group}/v1");
        let role = json!({
            "apiVersion": version, "kind": "Role", "metadata": metadata, "rules": rules,
        });
        self.create(&rbac, "roles", role).await;
        let binding = json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": metadata,
            "subjects": [{
                "kind": "ServiceAccount", "name": "scanner", "namespace": self.namespace,
            }],
            "roleRef": { "apiGroup": group, "kind": "Role", "name": "scanner" },
        });
        self.create(&rbac, "rolebindings", binding).await;
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": { "audiences": [] },
        });
        let review = self.create(core, "serviceaccounts/scanner/token", request).await;
        self.client_with(review["status"]["token"].as_str().unwrap()).await
    }

    /// A client that sends this token.
    pub(crate) async fn client_with(&self, token: &str) -> kube::Client {
        let file = match &self.place {
            Place::Here(server) => return kube::Client::new(server.service_as(token), "default"),
            Place::Elsewhere(file) => file,
        };
        let mut kubeconfig = Kubeconfig::read_from(file).unwrap();
        for named in &mut kubeconfig.auth_infos {
            let token = Some(token.to_owned().into());
            named.auth_info = Some(AuthInfo { token, ..AuthInfo::default() });
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kubeconfig");
        std::fs::write(&file, serde_json::to_vec(&kubeconfig).unwrap()).unwrap();
        // A cluster hears of new roles a moment after it has stored them.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Connect::default().kubeconfig(file).client().await.unwrap()
    }

    /// Creates an object of this namespace.
    pub(crate) async fn create(&self, group: &str, plural: &str, object: Value) -> Value {
        let path = format!("{group}/namespaces/{}/{plural}", self.namespace);
        self.request(Method::POST, &path, object).await
    }

    /// The object `plural/name` of this namespace, as it is stored.
    pub(crate) async fn stored(&self, group: &str, object: &str) -> Value {
        let path = format!("{group}/namespaces/{}/{object}", self.namespace);
        self.request(Method::GET, &path, Value::Null).await
    }

    pub(crate) async fn patch(&self, group: &str, object: &str, patch: Value) -> Value {
        let path = format!("{group}/namespaces/{}/{object}", self.namespace);
        self.request(Method::PATCH, &path, patch).await
    }

    pub(crate) async fn delete(&self, group: &str, object: &str) {
        let path = format!("{group}/namespaces/{}/{object}", self.namespace);
        self.request(Method::DELETE, &path, Value::Null).await;
    }

    async fn request(&self, method: Method, path: &str, body: Value) -> Value {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let kind = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder().method(method).uri(path).header("Content-Type", kind);
        self.client.request(request.body(body).unwrap()).await.unwrap()
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        let Place::Elsewhere(file) = &self.place else { return };
        let (file, path) = (file.clone(), format!("/api/v1/namespaces/{}", self.namespace));
        // A thread of its own: this one may be inside of a runtime.
        let remove = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let client = Connect::default().kubeconfig(file).client().await.unwrap();
                let request = Request::delete(path).body(Vec::new()).unwrap();
                client.request::<Value>(request).await.map(drop)
            })
        };
        if !matches!(std::thread::spawn(remove).join(), Ok(Ok(()))) {
            eprintln!("namespace {} is left over", self.namespace);
        }
    }
}
