//! Where the API server is, and the client that elections use.

mod credentials;
mod kubeconfig;
mod plugin;
mod proxy;
mod transport;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use serde_json::Value;

pub(crate) use self::transport::Through;

use self::credentials::{TokenFile, WithToken, bearer};
use self::kubeconfig::Files;
use self::proxy::Proxy;
use crate::error::Error;
use crate::invalid::InvalidSetting;

/// How to find the API server, and with which credentials.
///
/// By default, it does what `kubectl` does: it reads the files in `KUBECONFIG`, or else
/// `~/.kube/config`; if there is neither, it uses the Pod's service account. Missing files in the
/// list are ignored, but at least one must exist. It uses a proxy if there is one: the kubeconfig's
/// `proxy-url`, or else `HTTPS_PROXY`, unless `NO_PROXY` names the API server or the server is on
/// this machine.
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
    /// What is in a kubeconfig's `user` and takes the place of what is there.
    auth: serde_json::Map<String, Value>,
}

/// Connects as `kubectl` does, or, in a Pod without a kubeconfig, as its service account.
///
/// # Errors
/// [`Error::NotConfigured`] if neither names the API server.
pub async fn connect() -> Result<kube::Client, Error> {
    Connect::default().client().await
}

impl Connect {
    /// Reads this kubeconfig.
    pub fn kubeconfig(mut self, file: impl Into<PathBuf>) -> Self {
        self.kubeconfig = Some(file.into());
        self
    }

    /// Uses this context of the kubeconfig instead of the current one.
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }

    /// Connects as in a Pod: with the files `token`, `ca.crt` and `namespace` in this folder, to
    /// the server that `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT` name.
    pub fn service_account_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.service_account_dir = Some(folder.into());
        self
    }

    /// Uses this cluster of the kubeconfig instead of the context's.
    pub fn cluster(mut self, cluster: impl Into<String>) -> Self {
        self.cluster = Some(cluster.into());
        self
    }

    /// Uses this user of the kubeconfig instead of the context's.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Connects to the API server at this address, such as `https://10.0.0.1:6443`.
    pub fn server(mut self, server: impl Into<String>) -> Self {
        self.server = Some(server.into());
        self
    }

    /// Does not verify the server's certificate. An attacker in between can then read and change
    /// everything.
    pub fn insecure_skip_tls_verify(mut self, on: bool) -> Self {
        self.insecure_skip_tls_verify = on;
        self
    }

    /// Trusts servers whose certificate is signed by one in this file.
    pub fn certificate_authority(mut self, file: impl Into<PathBuf>) -> Self {
        self.certificate_authority = Some(file.into());
        self
    }

    /// Expects this name in the server's certificate.
    pub fn tls_server_name(mut self, name: impl Into<String>) -> Self {
        self.tls_server_name = Some(name.into());
        self
    }

    /// Sets how long the kubeconfig's credential plugin may take before it is killed. Default: one
    /// minute, or five if it can ask at a terminal. A token is renewed while the old one is still
    /// valid; each attempt may take 20 s, or this time limit if that is shorter.
    pub fn plugin_timeout(mut self, timeout: Duration) -> Self {
        self.plugin_timeout = Some(timeout);
        self
    }

    /// Sends this bearer token.
    pub fn token(self, token: &str) -> Self {
        self.auth("token", token)
    }

    /// Sends the client certificate in this file.
    pub fn client_certificate(self, file: &Path) -> Self {
        self.auth("client-certificate", &file.display().to_string())
    }

    /// Uses the private key in this file for the client certificate.
    pub fn client_key(self, file: &Path) -> Self {
        self.auth("client-key", &file.display().to_string())
    }

    /// Sends requests as this user. The account needs the permission `impersonate`.
    pub fn impersonate(self, user: &str) -> Self {
        self.auth("as", user)
    }

    /// Sends requests as a member of these groups. Requires [`impersonate`](Self::impersonate).
    pub fn impersonate_groups(mut self, groups: &[String]) -> Self {
        self.auth.insert("as-groups".to_owned(), groups.into());
        self
    }

    fn auth(mut self, field: &str, value: &str) -> Self {
        self.auth.insert(field.to_owned(), value.into());
        self
    }

    /// Creates a client with the settings that an election needs: no retries without its knowledge,
    /// a time limit for connecting, and connections that do not delay requests. In addition, each
    /// request has its own deadline.
    ///
    /// # Errors
    /// [`Error::NotConfigured`] if nothing names the API server, [`Error::Configuration`]
    /// if the configuration cannot be used, and [`Error::Plugin`] if the kubeconfig's credential
    /// plugin returns no credential in time.
    pub async fn client(self) -> Result<kube::Client, Error> {
        let found = self.find()?;
        let proxy = match &found.proxy_url {
            Some(url) => Some(Proxy::parse(url, "the kubeconfig's proxy-url")?),
            None => {
                Proxy::of_environment(&found.config.cluster_url, |name| std::env::var(name).ok())?
            }
        };
        let config = for_elections(found.config);
        let build = |config: kube::Config| build(config, proxy.as_ref());
        plugin::client(config, self.plugin_timeout, build).await
    }

    /// The URL of the API server.
    ///
    /// # Errors
    /// Those of [`client`](Self::client).
    pub async fn address(self) -> Result<String, Error> {
        let config = self.find()?.config;
        Ok(config.cluster_url.to_string().trim_end_matches('/').to_owned())
    }

    /// The names of the contexts in the kubeconfig, or in all files of `KUBECONFIG`.
    ///
    /// # Errors
    /// [`Error::NotConfigured`] and [`Error::Configuration`] if there is no kubeconfig
    /// that can be read.
    pub fn contexts(&self) -> Result<Vec<String>, Error> {
        let kubeconfig = match &self.kubeconfig {
            Some(file) => kubeconfig::read(file)?,
            None => Files::find().read()?,
        };
        Ok(kubeconfig.contexts.into_iter().map(|context| context.name).collect())
    }

    fn find(&self) -> Result<Found, Error> {
        if let Some(folder) = &self.service_account_dir {
            return self.with_overrides(service_account(folder)?.into());
        }
        if let Some(file) = &self.kubeconfig {
            let name = file.display().to_string();
            return self.with_overrides(self.chosen(&kubeconfig::read(file)?, &name)?);
        }
        let files = Files::find();
        // A kubeconfig that is there but broken is an error: the Pod's own cluster may be another one.
        if !files.are_there() && in_pod() {
            return self.with_overrides(service_account(Path::new(IN_POD))?.into());
        }
        match &self.server {
            Some(server) if !files.are_there() => {
                self.with_overrides(kube::Config::new(address(server)?).into())
            }
            _ => self.with_overrides(self.chosen(&files.read()?, &files.name())?),
        }
    }

    fn chosen(&self, kubeconfig: &Kubeconfig, name: &str) -> Result<Found, Error> {
        let Self { context, cluster, user, .. } = self.clone();
        let options = KubeConfigOptions { context, cluster, user };
        let mut config = kubeconfig::config(kubeconfig, &options, name);
        if let (Err(_), Some(server), true) = (&config, &self.server, is_empty(kubeconfig)) {
            config = Ok((kube::Config::new(address(server)?), None));
        }
        let (config, proxy_url) = config?;
        Ok(Found { config, proxy_url })
    }

    fn with_overrides(&self, found: Found) -> Result<Found, Error> {
        Ok(Found { config: self.override_in(found.config)?, ..found })
    }

    /// What was said by itself counts more than what the kubeconfig says.
    fn override_in(&self, mut config: kube::Config) -> Result<kube::Config, Error> {
        if let Some(server) = &self.server {
            config.cluster_url = address(server)?;
        }
        if self.insecure_skip_tls_verify {
            config.accept_invalid_certs = true;
            (config.root_cert, config.root_cert_file) = (None, None);
        }
        if let Some(file) = &self.certificate_authority {
            kubeconfig::trust_file(&mut config, file, "--certificate-authority")?;
        }
        config.tls_server_name = self.tls_server_name.clone().or(config.tls_server_name);
        if self.auth.is_empty() {
            return Ok(config);
        }
        // By way of JSON, in which a kubeconfig's rules for secrets are kept.
        let given: AuthInfo = serde_json::from_value(Value::Object(self.auth.clone()))
            .expect("each field was set as what it is");
        credentials::check(&given, "that was given")?;
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
    address
        .filter(|address| address.scheme().is_some() && address.host().is_some())
        .ok_or_else(|| InvalidSetting::Server(server.to_owned()).into())
}

/// What a client is made of.
struct Found {
    config: kube::Config,
    /// The kubeconfig's own, which counts whatever the environment says.
    proxy_url: Option<String>,
}

impl From<kube::Config> for Found {
    fn from(config: kube::Config) -> Self {
        Self { config, proxy_url: None }
    }
}

fn build(mut config: kube::Config, proxy: Option<&Proxy>) -> Result<kube::Client, Error> {
    let auth = &mut config.auth_info;
    let Some(file) = auth.token_file.take() else { return transport::client(&config, proxy) };
    let token = Arc::new(TokenFile::read(file.into(), auth.token.take().as_ref())?);
    let client = transport::client(&config, proxy)?;
    let namespace = client.default_namespace().to_owned();
    Ok(kube::Client::new(WithToken { client, token }, namespace))
}

/// What a Pod's files and environment say.
fn service_account(folder: &Path) -> Result<kube::Config, Error> {
    let setting = |name: &str| {
        std::env::var(name).map_err(|_| Error::NotConfigured {
            message: format!("{name} is not set, which in a Pod says where the API server is"),
        })
    };
    let (host, port) = (setting("KUBERNETES_SERVICE_HOST")?, setting("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let text = |file: &str| {
        let file = folder.join(file);
        std::fs::read_to_string(&file).map_err(|error| Error::NotConfigured {
            message: format!("{}: {error}", file.display()),
        })
    };
    let token = folder.join("token");
    bearer(text("token")?.trim()).map_err(|why| InvalidSetting::PodToken {
        file: token.display().to_string(),
        why: why.as_str(),
    })?;
    let namespace = text("namespace")?;
    text("ca.crt")?;
    let mut config = kube::Config::new(address(&format!("https://{host}:{port}"))?);
    kubeconfig::trust_file(&mut config, &folder.join("ca.crt"), "the service account's ca.crt")?;
    config.auth_info.token_file = Some(token.display().to_string());
    if !namespace.trim().is_empty() {
        config.default_namespace = namespace.trim().to_owned();
    }
    Ok(config)
}

/// One that says nothing of servers, so that what was given by itself is all there is.
fn is_empty(kubeconfig: &Kubeconfig) -> bool {
    kubeconfig.clusters.is_empty() && kubeconfig.contexts.is_empty()
}

fn in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// Where the kubelet puts what a Pod needs.
const IN_POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Longer than any healthy connection needs; a request's own deadline may be shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
