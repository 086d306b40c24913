//! A place for elections: a namespace of its own, on a server of our own or on the cluster that
//! `INCUMBENT_TEST_KUBECONFIG` names.

use std::path::{Path, PathBuf};
use std::process::Command;

use incumbent::Connect;
use kube::config::Kubeconfig;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::proxy::Proxy;
use super::{Cluster, incumbent};

pub(crate) struct Testbed {
    pub(crate) namespace: String,
    kubeconfig: Kubeconfig,
    folder: TempDir,
    client: kube::Client,
    runtime: tokio::runtime::Runtime,
    /// Ours, where no other is named; it goes with the test.
    _own: Option<Cluster>,
}

impl Testbed {
    pub(crate) fn start() -> Self {
        let (own, file) = match std::env::var_os("INCUMBENT_TEST_KUBECONFIG") {
            Some(file) => (None, PathBuf::from(file)),
            None => {
                let own = Cluster::start();
                let file = own.kubeconfig();
                (Some(own), file)
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(Connect::default().kubeconfig(&file).client()).unwrap();
        let kubeconfig = Kubeconfig::read_from(&file).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let namespace = format!("incumbent-test-{}", unique(folder.path()));
        let testbed = Self { namespace, kubeconfig, folder, client, runtime, _own: own };
        let metadata = json!({ "name": testbed.namespace });
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
        testbed.request("POST", "/api/v1/namespaces", Some(namespace));
        testbed
    }

    /// The binary with these arguments, split at spaces, in this namespace.
    pub(crate) fn command(&self, arguments: &str, proxy: Option<&Proxy>) -> Command {
        let mut command = incumbent(arguments);
        command.arg("--namespace").arg(&self.namespace);
        command.arg("--kubeconfig").arg(self.kubeconfig_through(proxy));
        command
    }

    /// A kubeconfig, which leads through this proxy.
    pub(crate) fn kubeconfig_through(&self, proxy: Option<&Proxy>) -> PathBuf {
        let mut kubeconfig = self.kubeconfig.clone();
        let port = proxy.map_or(0, |proxy| proxy.address().port());
        if let Some(proxy) = proxy {
            let (host, _) = self.server();
            for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut())
            {
                cluster.server = Some(format!("https://{}", proxy.address()));
                if host != "127.0.0.1" {
                    cluster.tls_server_name.get_or_insert_with(|| host.clone());
                }
            }
        }
        let file = self.folder.path().join(format!("kubeconfig-{port}"));
        // JSON is YAML.
        std::fs::write(&file, serde_json::to_vec(&kubeconfig).unwrap()).unwrap();
        file
    }

    /// A proxy to the server.
    pub(crate) fn proxy(&self) -> Proxy {
        Proxy::to(self.server())
    }

    fn server(&self) -> (String, u16) {
        let context = self.kubeconfig.current_context.as_ref();
        let context = self.kubeconfig.contexts.iter().find(|named| Some(&named.name) == context);
        let cluster =
            context.and_then(|named| named.context.as_ref()).map(|context| &context.cluster);
        let cluster = self.kubeconfig.clusters.iter().find(|named| Some(&named.name) == cluster);
        let cluster = cluster.and_then(|named| named.cluster.as_ref()).unwrap();
        let server: http::Uri = cluster.server.as_ref().unwrap().parse().unwrap();
        let port = server.port_u16().unwrap_or(443);
        (server.host().unwrap().trim_matches(['[', ']']).to_owned(), port)
    }

    /// The lock, as `kind/name`, as it is stored.
    pub(crate) fn stored(&self, lock: &str) -> Value {
        self.request("GET", &self.path(lock), None)
    }

    /// Merges this into the lock.
    pub(crate) fn patch(&self, lock: &str, patch: Value) -> Value {
        self.request("PATCH", &self.path(lock), Some(patch))
    }

    fn path(&self, lock: &str) -> String {
        let (group, plural, name) = match lock.split_once('/').unwrap() {
            ("lease", name) => ("apis/coordination.k8s.io/v1", "leases", name),
            ("configmap", name) => ("api/v1", "configmaps", name),
            _ => panic!("{lock}"),
        };
        format!("/{group}/namespaces/{}/{plural}/{name}", self.namespace)
    }

    fn request(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let kind =
            if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", kind)
            .body(body.map_or_else(Vec::new, |body| body.to_string().into_bytes()))
            .unwrap();
        self.runtime.block_on(self.client.request(request)).unwrap()
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        let request = http::Request::delete(path).body(Vec::new()).unwrap();
        let gone: Result<Value, _> = self.runtime.block_on(self.client.request(request));
        if let Err(error) = gone {
            eprintln!("namespace {} is left over: {error}", self.namespace);
        }
    }
}

/// A temporary folder's name is unique on this machine; the number of this process makes it so for others.
fn unique(folder: &Path) -> String {
    let name = folder.file_name().unwrap().to_string_lossy().to_lowercase();
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{}-{name}", std::process::id())
}
