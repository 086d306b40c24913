//! Kubeconfig files: which ones, what they say together, and whether that can be used. By client-go's rules.
//!
//! `kube` reads a file and finds what its relative paths mean. What several files come to, what is missing, and
//! which file is at fault is decided here. No error shows a secret.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{
    AuthInfo, Cluster, Context, ExecAuthCluster, KubeConfigOptions, Kubeconfig, KubeconfigError,
};

use super::{address, credentials};
use crate::error::Error;

/// The files that `KUBECONFIG` names, or the one in the home folder.
pub(super) enum Files {
    Named(Vec<PathBuf>),
    InHome(PathBuf),
    Nowhere,
}

impl Files {
    pub(super) fn find() -> Self {
        let named = std::env::var_os("KUBECONFIG").unwrap_or_default();
        let mut seen = HashSet::new();
        let files = std::env::split_paths(&named).filter(|file| !file.as_os_str().is_empty());
        let files: Vec<_> = files.filter(|file| seen.insert(file.clone())).collect();
        let in_home = || std::env::home_dir().map(|home| home.join(".kube/config"));
        match in_home().filter(|_| files.is_empty()) {
            _ if !files.is_empty() => Self::Named(files),
            Some(file) if file.exists() => Self::InHome(file),
            _ => Self::Nowhere,
        }
    }

    pub(super) fn are_there(&self) -> bool {
        !matches!(self, Self::Nowhere)
    }

    /// For people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Named(files) => {
                let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
                names.join(":")
            }
            Self::InHome(file) => file.display().to_string(),
            Self::Nowhere => {
                "KUBECONFIG names no file, and ~/.kube/config does not exist".to_owned()
            }
        }
    }

    /// What they say together. The first to say something counts; a file that is missing says nothing, but not
    /// all may be missing: a program that was told where to look must not look elsewhere.
    pub(super) fn read(&self) -> Result<Kubeconfig, Error> {
        let (files, may_miss) = match self {
            Self::Named(files) => (files.as_slice(), files.len() > 1),
            Self::InHome(file) => (std::slice::from_ref(file), false),
            Self::Nowhere => (&[][..], false),
        };
        let mut whole: Option<Kubeconfig> = None;
        for file in files {
            if may_miss && !file.exists() {
                continue;
            }
            let next = read(file)?;
            whole = Some(match whole {
                Some(earlier) => earlier.merge(next).map_err(|error| unreadable(file, &error))?,
                None => next,
            });
        }
        whole.ok_or_else(|| Error::NotConfigured {
            message: match self {
                Self::Nowhere => self.name(),
                _ => format!("none of the files that KUBECONFIG names exists: {}", self.name()),
            },
        })
    }
}

/// One file. What is set to nothing is not set.
pub(super) fn read(file: &Path) -> Result<Kubeconfig, Error> {
    let mut kubeconfig = Kubeconfig::read_from(file).map_err(|error| unreadable(file, &error))?;
    unset_if_empty(&mut kubeconfig.current_context);
    Ok(kubeconfig)
}

fn unreadable(file: &Path, error: &KubeconfigError) -> Error {
    let file = file.display();
    match error {
        KubeconfigError::ReadConfig(error, _) => {
            Error::NotConfigured { message: format!("{file}: {error}") }
        }
        KubeconfigError::Parse(error) => Error::configuration(
            format!("{file} is not a kubeconfig in YAML: {}", without_text(error)),
            format!("kubectl shows more: kubectl config view --kubeconfig {file}"),
        ),
        error => Error::configuration(
            format!("{file}: {error}"),
            "the files of one list have the same kind and apiVersion",
        ),
    }
}

/// Where, and of which kind. Not what is there: that may be a token.
pub(crate) fn without_text(error: &serde_saphyr::Error) -> String {
    let inner = error.without_snippet();
    let kind = inner.to_string();
    let kind = kind.lines().next().unwrap_or_default();
    let kind = kind.split(['"', '\'', '`']).next().unwrap_or_default();
    let kind = kind.trim_start_matches("error: ").trim_end().trim_end_matches(':');
    match error.location() {
        Some(at) if !kind.contains("line ") => {
            format!("line {}, column {}: {kind}", at.line(), at.column())
        }
        _ => kind.to_owned(),
    }
}

/// The configuration that one context comes to, and its `proxy-url`. `name` is for people: which files.
pub(super) fn config(
    kubeconfig: &Kubeconfig,
    options: &KubeConfigOptions,
    name: &str,
) -> Result<(kube::Config, Option<String>), Error> {
    let parts = Parts::of(kubeconfig, options, name)?;
    let server = parts.cluster.server.as_deref().ok_or_else(|| {
        Error::configuration(
            format!("{name}: the cluster {:?} has no server", parts.cluster_name),
            "kubectl config set-cluster NAME --server=https://10.0.0.1:6443",
        )
    })?;
    let mut config = kube::Config::new(address(server)?);
    if let Some(namespace) = parts.namespace {
        config.default_namespace = namespace;
    }
    config.accept_invalid_certs = parts.cluster.insecure_skip_tls_verify == Some(true);
    config.tls_server_name.clone_from(&parts.cluster.tls_server_name);
    config.disable_compression = parts.cluster.disable_compression == Some(true);
    trust(&mut config, &parts.cluster, &parts.cluster_name)?;
    config.auth_info = parts.user;
    if let Some(exec) = config.auth_info.exec.as_mut().filter(|exec| exec.provide_cluster_info) {
        let info = ExecAuthCluster::try_from(&parts.cluster);
        exec.cluster = Some(info.map_err(|error| {
            Error::configuration(
                format!(
                    "the cluster {:?} cannot be described to the credential plugin: {error}",
                    parts.cluster_name
                ),
                "compare it with what kubectl uses: kubectl config view --minify",
            )
        })?);
    }
    credentials::check(&config.auth_info, &parts.user_name)?;
    Ok((config, parts.cluster.proxy_url))
}

/// What a context names.
struct Parts {
    cluster: Cluster,
    cluster_name: String,
    user: AuthInfo,
    user_name: String,
    namespace: Option<String>,
}

impl Parts {
    fn of(kubeconfig: &Kubeconfig, options: &KubeConfigOptions, name: &str) -> Result<Self, Error> {
        let missing = |kind: &str, wanted: &str| {
            Error::configuration(
                format!("{name}: the {kind} {wanted:?} does not exist"),
                format!("list what there is: kubectl config get-{kind}s"),
            )
        };
        let context_name = options.context.as_ref().or(kubeconfig.current_context.as_ref());
        let context = match context_name {
            Some(wanted) => {
                let found = kubeconfig.contexts.iter().find(|context| context.name == *wanted);
                let context = found.and_then(|found| found.context.clone());
                context.ok_or_else(|| missing("context", wanted))?
            }
            None if options.cluster.is_some() => Context::default(),
            None => {
                return Err(Error::configuration(
                    format!("{name}: no current-context is set"),
                    "name one: kubectl config use-context NAME",
                ));
            }
        };
        let cluster_name = options.cluster.clone().unwrap_or(context.cluster);
        let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == cluster_name);
        let mut cluster = cluster
            .and_then(|found| found.cluster.clone())
            .ok_or_else(|| missing("cluster", &cluster_name))?;
        unset_if_no_file(&mut cluster.certificate_authority);
        for text in [
            &mut cluster.server,
            &mut cluster.certificate_authority_data,
            &mut cluster.proxy_url,
            &mut cluster.tls_server_name,
        ] {
            unset_if_empty(text);
        }
        // A context without a user shows no credentials.
        let user_name = options.user.clone().or(context.user).unwrap_or_default();
        let user = kubeconfig.auth_infos.iter().find(|user| user.name == user_name);
        let user = match user.map(|found| found.auth_info.clone().unwrap_or_default()) {
            None if user_name.is_empty() => AuthInfo::default(),
            None => return Err(missing("user", &user_name)),
            Some(user) => user,
        };
        let mut namespace = context.namespace;
        unset_if_empty(&mut namespace);
        Ok(Self { cluster, cluster_name, user: credentials::set(user), user_name, namespace })
    }
}

/// Believes the certificates that the cluster names.
fn trust(config: &mut kube::Config, cluster: &Cluster, name: &str) -> Result<(), Error> {
    if let Some(data) = &cluster.certificate_authority_data {
        let of = format!("certificate-authority-data of the cluster {name:?}");
        config.root_cert = Some(certificates(&decoded(data, &of)?, &of)?);
    } else if let Some(file) = &cluster.certificate_authority {
        trust_file(
            config,
            Path::new(file),
            &format!("certificate-authority of the cluster {name:?}"),
        )?;
    }
    if config.accept_invalid_certs && config.root_cert.is_some() {
        return Err(Error::configuration(
            format!(
                "the cluster {name:?} has both a certificate-authority and insecure-skip-tls-verify"
            ),
            "remove one of the two",
        ));
    }
    Ok(())
}

/// Believes the certificates in this file, which is read again when it is renewed.
pub(super) fn trust_file(config: &mut kube::Config, file: &Path, of: &str) -> Result<(), Error> {
    let named = format!("{of}, {}", file.display());
    config.root_cert = Some(certificates(&contents(file, of)?, &named)?);
    config.root_cert_file = Some(file.to_owned());
    Ok(())
}

fn certificates(bytes: &[u8], of: &str) -> Result<Vec<Vec<u8>>, Error> {
    let blocks = pem::parse_many(bytes).unwrap_or_default();
    let certificates = blocks.into_iter().filter(|block| block.tag() == "CERTIFICATE");
    let certificates: Vec<_> = certificates.map(pem::Pem::into_contents).collect();
    match certificates.is_empty() {
        true => Err(Error::configuration(
            format!("{of}: there is no certificate in PEM"),
            "it begins with -----BEGIN CERTIFICATE-----",
        )),
        false => Ok(certificates),
    }
}

/// Reads a file that a kubeconfig names.
pub(super) fn contents(file: &Path, of: &str) -> Result<Vec<u8>, Error> {
    fs::read(file).map_err(|error| {
        Error::configuration(
            format!("{of}, {}: {error}", file.display()),
            "check the path; one that is relative begins at the folder of its kubeconfig",
        )
    })
}

/// As Go decodes it: line breaks within are nothing.
pub(super) fn decoded(data: &str, of: &str) -> Result<Vec<u8>, Error> {
    let data: String = data.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    STANDARD.decode(data).map_err(|_| {
        Error::configuration(format!("{of} is not base64"), "encode the file: base64 -w0 FILE")
    })
}

/// An empty path stands for none; `kube` has put the folder in front of it.
pub(super) fn unset_if_no_file(path: &mut Option<String>) {
    *path =
        path.take().filter(|path| !path.is_empty() && !path.ends_with(std::path::MAIN_SEPARATOR));
}

pub(super) fn unset_if_empty(text: &mut Option<String>) {
    if text.as_ref().is_some_and(String::is_empty) {
        *text = None;
    }
}
