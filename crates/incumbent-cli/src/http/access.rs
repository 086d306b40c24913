//! Who may ask what.
//!
//! On loopback every process of the Pod or machine can ask, and so can a web page that a browser there has
//! open: by its own name that it lets point to 127.0.0.1. So names are not answered to. What changes
//! anything needs a secret, or a Unix socket whose mode says who may use it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri, header};
use incumbent::{Error, InvalidSetting};
use subtle::ConstantTimeEq;

use super::listener::ListenAddress;

/// What this listener asks of a request.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// Who may use the socket may do all.
    Socket,
    Tcp {
        hosts: Vec<String>,
        token_file: Option<PathBuf>,
    },
    /// Probes and metrics, which change nothing and name no candidate: any client that can reach the port.
    Probes,
}

/// Why not.
pub(crate) type Refusal = (StatusCode, &'static str);

/// As a layer around all routes: answers only those who ask by a name of ours.
pub(crate) async fn by_own_name(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    access.check_host(request.uri(), request.headers())?;
    Ok(next.run(request).await)
}

/// As a layer around what changes anything: answers only those who know the secret.
pub(crate) async fn with_secret(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    access.check_change(request.headers())?;
    Ok(next.run(request).await)
}

impl Access {
    /// The rules of a listener at this address. One that other machines can reach has to be allowed.
    pub(crate) fn of(
        address: &ListenAddress,
        allow_remote: bool,
        hosts: &[String],
        token_file: Option<&PathBuf>,
    ) -> anyhow::Result<Self> {
        match address {
            #[cfg(unix)]
            ListenAddress::Unix(_) => Ok(Self::Socket),
            ListenAddress::Tcp(address) if !address.ip().is_loopback() && !allow_remote => {
                anyhow::bail!(Error::Invalid(InvalidSetting::Program {
                    what: format!("{address} can be reached from other machines"),
                    hint: "add --allow-remote, or listen on 127.0.0.1".to_owned(),
                }))
            }
            ListenAddress::Tcp(_) => {
                token_file.map(secret).transpose()?;
                Ok(Self::Tcp { hosts: hosts.to_owned(), token_file: token_file.cloned() })
            }
        }
    }

    /// Refuses a request that came by a name that is not ours.
    pub(crate) fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let Self::Tcp { hosts, .. } = self else { return Ok(()) };
        let mut named = headers.get_all(header::HOST).iter();
        let (first, second) = (named.next(), named.next());
        let first = first.and_then(|host| host.to_str().ok());
        let in_uri = uri.authority().is_none_or(|authority| is_ours(authority.as_str(), hosts));
        match first {
            Some(host) if second.is_none() && in_uri && is_ours(host, hosts) => Ok(()),
            _ => Err((
                StatusCode::MISDIRECTED_REQUEST,
                "ask by address or as localhost, or see --allow-host\n",
            )),
        }
    }

    /// Refuses a change by somebody who does not know the secret.
    pub(crate) fn check_change(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let shown = headers.get(header::AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
        self.check_secret(bearer(shown).unwrap_or_default())
    }

    /// The same, however it was shown.
    pub(crate) fn check_secret(&self, shown: &[u8]) -> Result<(), Refusal> {
        let file = match self {
            Self::Socket => return Ok(()),
            Self::Probes | Self::Tcp { token_file: None, .. } => {
                return Err((
                    StatusCode::FORBIDDEN,
                    "this needs --token-file, or --listen unix:PATH\n",
                ));
            }
            Self::Tcp { token_file: Some(file), .. } => file,
        };
        // Read each time, for a Secret that is mounted is renewed in place.
        let Ok(secret) = secret(file) else {
            return Err((StatusCode::INTERNAL_SERVER_ERROR, "the token file cannot be read\n"));
        };
        match bool::from(shown.ct_eq(secret.as_bytes())) {
            true => Ok(()),
            false => Err((
                StatusCode::UNAUTHORIZED,
                "this needs the secret: Authorization: Bearer SECRET\n",
            )),
        }
    }
}

/// What `Authorization` shows under this scheme, whose name has no case (RFC 9110, 11.1).
fn bearer(shown: &[u8]) -> Option<&[u8]> {
    let (scheme, secret) = shown.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(secret)
}

fn secret(file: &PathBuf) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the token file {}", file.display()))?;
    let secret = text.trim();
    anyhow::ensure!(
        secret.len() >= SHORTEST_SECRET,
        "the token file {} has less than {SHORTEST_SECRET} characters",
        file.display()
    );
    Ok(secret.to_owned())
}

/// Whether a host, with or without a port, is an address, which cannot be made to point elsewhere, or a name
/// of ours.
fn is_ours(host: &str, names: &[String]) -> bool {
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let has_port = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return has_port && address.parse::<Ipv6Addr>().is_ok();
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let mut ours = names.iter().map(String::as_str).chain(["localhost"]);
    is_port(port)
        && (name.parse::<Ipv4Addr>().is_ok() || ours.any(|ours| ours.eq_ignore_ascii_case(name)))
}

const SHORTEST_SECRET: usize = 16;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of_tcp() -> Access {
        Access::Tcp { hosts: vec!["sidecar".to_owned()], token_file: None }
    }

    fn with_host(host: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(host).unwrap())])
    }

    #[test]
    fn addresses_are_answered_to_and_names_are_not() {
        let uri = Uri::from_static("/");
        for ours in [
            "127.0.0.1",
            "127.0.0.1:4040",
            "[::1]:4040",
            "[::1]",
            "localhost",
            "LOCALHOST:1",
            "Sidecar:80",
        ] {
            assert!(of_tcp().check_host(&uri, &with_host(ours)).is_ok(), "{ours}");
        }
        for other in [
            "evil.example",
            "evil.example:4040",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "",
            ":80",
            "evil:127.0.0.1",
            "[::1",
            "127.0.0.1:x",
        ] {
            assert!(of_tcp().check_host(&uri, &with_host(other)).is_err(), "{other}");
        }
        assert!(of_tcp().check_host(&uri, &HeaderMap::new()).is_err());
        let absolute = Uri::from_static("http://evil.example/");
        assert!(of_tcp().check_host(&absolute, &with_host("127.0.0.1")).is_err());
    }

    #[test]
    fn without_a_secret_nothing_changes_over_tcp() {
        assert!(of_tcp().check_change(&HeaderMap::new()).is_err());
        assert!(Access::Probes.check_change(&HeaderMap::new()).is_err());
        assert!(Access::Socket.check_change(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn a_secret_is_compared_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let address = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
        let access = || Access::of(&address, false, &[], Some(&file));
        let (start, access) = (&access, access().unwrap());
        let with = |value: &str| {
            HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
        };
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            assert!(access.check_change(&with(&format!("{scheme} 0123456789abcdef"))).is_ok());
        }
        for wrong in [
            "Bearer 0123456789abcdeg",
            "Bearer 0123456789abcde",
            "Bearer ",
            "0123456789abcdef",
            "Bearer 0123456789abcdef0",
        ] {
            assert!(access.check_change(&with(wrong)).is_err(), "{wrong}");
        }
        std::fs::write(&file, "").unwrap();
        assert!(start().is_err());
        assert!(access.check_change(&with("Bearer ")).is_err());
    }
}
