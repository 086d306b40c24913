//! Where the API server is, and the client that elections use.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster,
    NamedContext,
};

use serde_json::Value;

use crate::error::Error;
use crate::plugin;
use crate::requests::root_cause;

/// Where to find the API server and who to be there.
///
/// By default as `kubectl` finds it: `KUBECONFIG`, else `~/.kube/config`; and where there is neither, the
/// Pod's service account.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Connect {
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    cluster: Option<String>,
    user: Option<String>,
    service_account_dir: Option<PathBuf>,
    server: Option<String>,
    insecure_skip_tls_verify: bool,
    certificate_authority: Option<PathBuf>,
    tls_server_name: Option<String>,
    plugin_timeout: Option<Duration>,
    /// What stands in a kubeconfig's `user` and takes the place of what is there.
    auth: serde_json::Map<String, Value>,
}

/// Connects as `kubectl` does, or, in a Pod without a kubeconfig, as its service account.
///
/// # Errors
/// [`Error::NotConfigured`] where neither says where the API server is.
pub async fn connect() -> Result<kube::Client, Error> {
    Connect::default().client().await
}

impl Connect {
    /// Reads this kubeconfig.
    pub fn kubeconfig(mut self, file: impl Into<PathBuf>) -> Self {
        self.kubeconfig = Some(file.into());
        self
    }

    /// Takes this context of the kubeconfig instead of its current one.
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }

    /// Connects as a Pod does, with the files `token`, `ca.crt` and `namespace` of this folder and the
    /// server that `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT` name.
    pub fn service_account_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.service_account_dir = Some(folder.into());
        self
    }

    /// Takes this cluster of the kubeconfig instead of its context's.
    pub fn cluster(mut self, cluster: impl Into<String>) -> Self {
        self.cluster = Some(cluster.into());
        self
    }

    /// Takes this user of the kubeconfig instead of its context's.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Asks the API server at this address: `https://10.0.0.1:6443`.
    pub fn server(mut self, server: impl Into<String>) -> Self {
        self.server = Some(server.into());
        self
    }

    /// Believes that the server is who it should be, whatever certificate it shows. Somebody in between can
    /// then read and change everything.
    pub fn insecure_skip_tls_verify(mut self, on: bool) -> Self {
        self.insecure_skip_tls_verify = on;
        self
    }

    /// Believes a server whose certificate is signed by one in this file.
    pub fn certificate_authority(mut self, file: impl Into<PathBuf>) -> Self {
        self.certificate_authority = Some(file.into());
        self
    }

    /// Expects this name in the server's certificate.
    pub fn tls_server_name(mut self, name: impl Into<String>) -> Self {
        self.tls_server_name = Some(name.into());
        self
    }

    /// How long the kubeconfig's credential plugin may take before it is killed. By default a minute, and five
    /// where it can ask at a terminal. A token is renewed while the old one still lasts, with 20 s for each
    /// attempt, or less where this is less.
    pub fn plugin_timeout(mut self, timeout: Duration) -> Self {
        self.plugin_timeout = Some(timeout);
        self
    }

    /// Shows this bearer token.
    pub fn token(self, token: &str) -> Self {
        self.auth("token", token)
    }

    /// Shows the certificate of this file.
    pub fn client_certificate(self, file: &Path) -> Self {
        self.auth("client-certificate", &file.display().to_string())
    }

    /// Proves that the certificate is one's own with the key in this file.
    pub fn client_key(self, file: &Path) -> Self {
        self.auth("client-key", &file.display().to_string())
    }

    /// Asks in the name of this user, as one who is allowed to `impersonate` may.
    pub fn impersonate(self, user: &str) -> Self {
        self.auth("as", user)
    }

    /// Asks as a member of these groups. Needs [`impersonate`](Self::impersonate).
    pub fn impersonate_groups(mut self, groups: &[String]) -> Self {
        self.auth.insert("as-groups".to_owned(), groups.into());
        self
    }

    fn auth(mut self, field: &str, value: &str) -> Self {
        self.auth.insert(field.to_owned(), value.into());
        self
    }

    /// A client with the settings that an election needs: no retries behind its back, and a bound on
    /// connecting. Each request has a deadline of its own on top of that.
    ///
    /// # Errors
    /// [`Error::NotConfigured`] where a file is missing, or says nothing that can be used, and
    /// [`Error::Plugin`] where the kubeconfig's credential plugin makes no credential in time.
    pub async fn client(self) -> Result<kube::Client, Error> {
        let patience = self.plugin_timeout;
        let config = for_elections(self.override_in(self.clone().config().await?)?);
        let build = |config| kube::Client::try_from(config).map_err(|error| not_configured(&error));
        plugin::client(config, patience, build).await
    }

    /// Where the API server is, as a URL.
    ///
    /// # Errors
    /// Those of [`client`](Self::client).
    pub async fn address(self) -> Result<String, Error> {
        let config = self.override_in(self.clone().config().await?)?;
        Ok(config.cluster_url.to_string().trim_end_matches('/').to_owned())
    }

    async fn config(self) -> Result<kube::Config, Error> {
        let Self { context, cluster, user, .. } = self;
        let options = KubeConfigOptions { context, cluster, user };
        if let Some(folder) = self.service_account_dir {
            let mut config = from_kubeconfig(service_account(&folder)?, &options).await?;
            config.root_cert_file = Some(folder.join("ca.crt"));
            return Ok(config);
        }
        if let Some(file) = self.kubeconfig {
            let kubeconfig =
                Kubeconfig::read_from(&file).map_err(|error| Error::NotConfigured {
                    message: format!("{}: {}", file.display(), root_cause(&error)),
                })?;
            return from_kubeconfig(kubeconfig, &options).await;
        }
        // A kubeconfig that is there but broken is an error: the Pod's own cluster may be another one.
        if in_pod() && !has_kubeconfig() {
            return kube::Config::incluster().map_err(|error| not_configured(&error));
        }
        if let Some(server) = self.server.filter(|_| !has_kubeconfig()) {
            return Ok(kube::Config::new(address(&server)?));
        }
        let config = kube::Config::from_kubeconfig(&options).await;
        config.map_err(|error| Error::NotConfigured {
            message: format!("{}: {}", kubeconfig_name(), root_cause(&error)),
        })
    }

    /// What was said by itself counts more than what the kubeconfig says.
    fn override_in(&self, mut config: kube::Config) -> Result<kube::Config, Error> {
        if let Some(server) = &self.server {
            config.cluster_url = address(server)?;
        }
        if let Some(file) = &self.certificate_authority {
            config.root_cert = None;
            config.root_cert_file = Some(file.clone());
        }
        config.accept_invalid_certs |= self.insecure_skip_tls_verify;
        config.tls_server_name = self.tls_server_name.clone().or(config.tls_server_name);
        if self.auth.is_empty() {
            return Ok(config);
        }
        // By way of JSON, in which a kubeconfig's rules for secrets are kept.
        let given: AuthInfo = serde_json::from_value(Value::Object(self.auth.clone()))
            .map_err(|error| not_configured(&error))?;
        let auth = &mut config.auth_info;
        if given.token.is_some() || given.client_certificate.is_some() {
            *auth = AuthInfo {
                impersonate: auth.impersonate.take(),
                impersonate_groups: auth.impersonate_groups.take(),
                ..AuthInfo::default()
            };
            auth.token = given.token;
            auth.client_certificate = given.client_certificate;
        }
        auth.client_key = given.client_key.or_else(|| auth.client_key.take());
        auth.impersonate = given.impersonate.or_else(|| auth.impersonate.take());
        auth.impersonate_groups =
            given.impersonate_groups.or_else(|| auth.impersonate_groups.take());
        Ok(config)
    }
}

fn for_elections(mut config: kube::Config) -> kube::Config {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = None;
    config
}

fn address(server: &str) -> Result<http::Uri, Error> {
    let address: Option<http::Uri> = server.parse().ok();
    address.filter(|address| address.scheme().is_some() && address.host().is_some()).ok_or_else(
        || {
            Error::invalid(
                format!("{server:?} is no address of an API server"),
                "write it like https://10.0.0.1:6443",
            )
        },
    )
}

async fn from_kubeconfig(
    kubeconfig: Kubeconfig,
    options: &KubeConfigOptions,
) -> Result<kube::Config, Error> {
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, options).await;
    config.map_err(|error| not_configured(&error))
}

/// What a Pod's files and environment say, in the form of a kubeconfig.
fn service_account(folder: &Path) -> Result<Kubeconfig, Error> {
    let setting = |name: &str| {
        std::env::var(name).map_err(|_| Error::NotConfigured {
            message: format!("{name} is not set, which in a Pod says where the API server is"),
        })
    };
    let (host, port) = (setting("KUBERNETES_SERVICE_HOST")?, setting("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let token = std::fs::read_to_string(folder.join("token")).unwrap_or_default();
    if token.trim() != token || token.is_empty() && folder.join("token").exists() {
        return Err(Error::invalid(
            format!("{} is empty or holds a line break", folder.join("token").display()),
            "write the token and nothing else: printf %s \"$TOKEN\" > token",
        ));
    }
    for file in ["token", "ca.crt", "namespace"] {
        let file = folder.join(file);
        std::fs::metadata(&file).map_err(|error| Error::NotConfigured {
            message: format!("{}: {error}", file.display()),
        })?;
    }
    let namespace = std::fs::read_to_string(folder.join("namespace")).unwrap_or_default();
    let name = "pod".to_owned();
    let path = |file: &str| Some(folder.join(file).display().to_string());
    Ok(Kubeconfig {
        clusters: vec![NamedCluster {
            name: name.clone(),
            cluster: Some(Cluster {
                server: Some(format!("https://{host}:{port}")),
                certificate_authority: path("ca.crt"),
                ..Cluster::default()
            }),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: name.clone(),
            auth_info: Some(AuthInfo { token_file: path("token"), ..AuthInfo::default() }),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: name.clone(),
            context: Some(Context {
                cluster: name.clone(),
                user: Some(name.clone()),
                namespace: Some(namespace.trim().to_owned()),
                ..Context::default()
            }),
            ..NamedContext::default()
        }],
        current_context: Some(name),
        ..Kubeconfig::default()
    })
}

fn in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

fn kubeconfig_name() -> String {
    let named = std::env::var("KUBECONFIG").ok().filter(|files| !files.is_empty());
    named.unwrap_or_else(|| "~/.kube/config".to_owned())
}

fn has_kubeconfig() -> bool {
    let in_home = std::env::home_dir().map(|home| home.join(".kube/config"));
    std::env::var_os("KUBECONFIG").is_some_and(|files| !files.is_empty())
        || in_home.is_some_and(|file| file.exists())
}

fn not_configured(error: &dyn std::error::Error) -> Error {
    Error::NotConfigured { message: root_cause(error) }
}

/// Longer than any healthy connection needs; a request's own deadline may be shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_for_elections_retries_nothing_and_bounds_the_connecting_alone() {
        let config = for_elections(kube::Config::new("https://127.0.0.1:6443".parse().unwrap()));
        assert!(
            !config.default_retry,
            "a renewal that is sent again later may land after its term"
        );
        assert_eq!(config.connect_timeout, Some(CONNECT_TIMEOUT));
        assert_eq!(config.read_timeout, None, "a watch may be silent for long");
    }
}
