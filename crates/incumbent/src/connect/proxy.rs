//! Which proxy is on the way to the API server: by client-go's rules, which are those of Go's `httpproxy`.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use ipnet::IpNet;
use percent_encoding::percent_decode_str;

use crate::error::Error;

/// A proxy, with the credentials for it.
#[derive(Clone)]
pub(super) struct Proxy {
    /// Without the name and password.
    pub(super) address: Uri,
    pub(super) login: Option<(String, String)>,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.address.to_string().trim_end_matches('/'))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Proxy {
    /// The proxy that the environment names for this server, unless `NO_PROXY` or the server's own address says
    /// that none is used. It has no say where a kubeconfig has a `proxy-url`.
    pub(super) fn of_environment(
        server: &Uri,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, Error> {
        let set = |names: [&'static str; 2]| {
            names
                .into_iter()
                .find_map(|name| Some((name, variable(name).filter(|value| !value.is_empty())?)))
        };
        let named = match server.scheme_str() {
            Some("http") => set(["HTTP_PROXY", "http_proxy"]),
            _ => set(["HTTPS_PROXY", "https_proxy"]),
        };
        let Some((name, address)) = named else { return Ok(None) };
        let no_proxy = set(["NO_PROXY", "no_proxy"]).map_or_else(String::new, |(_, list)| list);
        match goes_directly(server, &no_proxy) {
            true => Ok(None),
            false => Self::parse(&address, name).map(Some),
        }
    }

    /// `named_in` is for people: where the address was found.
    pub(super) fn parse(text: &str, named_in: &str) -> Result<Self, Error> {
        let text = text.trim();
        // Without a scheme, the proxy speaks HTTP.
        let address = match text.contains("://") {
            true => text.parse::<Uri>(),
            false => format!("http://{text}").parse(),
        };
        let refused = |why: &str| {
            Error::configuration(
                format!("the proxy that {named_in} names cannot be used: {why}"),
                "write it like http://proxy.example.org:3128; https, socks5 and socks5h are understood, too",
            )
        };
        let address = address.map_err(|_| refused("it is not a URL"))?;
        let (Some(scheme), Some(authority)) = (address.scheme(), address.authority()) else {
            return Err(refused("it names no host"));
        };
        let default_port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            // Either way the proxy looks up the server's name, as with Go.
            "socks5" | "socks5h" => 1080,
            other => return Err(refused(&format!("{other} is not a protocol for a proxy"))),
        };
        let (host, port) = (authority.host(), authority.port_u16().unwrap_or(default_port));
        let login = authority.as_str().rsplit_once('@').map(|(login, _)| login);
        let bare = format!("{host}:{port}").parse::<Authority>();
        let bare = bare.map_err(|_| refused("it names no host"))?;
        let address = at(scheme.clone(), bare).map_err(|_| refused("it is not a URL"))?;
        Ok(Self { address, login: login.map(decoded) })
    }

    pub(super) fn is_socks(&self) -> bool {
        self.address.scheme_str().is_some_and(|scheme| scheme.starts_with("socks"))
    }
}

fn at(scheme: Scheme, authority: Authority) -> Result<Uri, http::Error> {
    let root = PathAndQuery::from_static("/");
    Uri::builder().scheme(scheme).authority(authority).path_and_query(root).build()
}

fn decoded(login: &str) -> (String, String) {
    let (name, password) = login.split_once(':').unwrap_or((login, ""));
    let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    (decode(name), decode(password))
}

/// Whether requests to this server use no proxy. What makes no sense in the list is passed over.
fn goes_directly(server: &Uri, no_proxy: &str) -> bool {
    let host = server.host().unwrap_or_default().to_ascii_lowercase();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = server.port_u16().unwrap_or_else(|| match server.scheme_str() {
        Some("http") => 80,
        _ => 443,
    });
    let address = host.parse::<IpAddr>().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    let entries = no_proxy.split(',').map(|entry| entry.trim().to_ascii_lowercase());
    entries.filter(|entry| !entry.is_empty()).any(|entry| match address {
        _ if entry == "*" => true,
        Some(address) => matches_address(&entry, address, port),
        None => matches_name(&entry, host, port),
    })
}

/// A network, or an address with or without a port.
fn matches_address(entry: &str, address: IpAddr, port: u16) -> bool {
    if let Ok(network) = entry.parse::<IpNet>() {
        return network.contains(&address);
    }
    let (host, only_port) = split_port(entry);
    let is_same = host.parse::<IpAddr>().is_ok_and(|host| host == address);
    is_same && only_port.is_none_or(|only| only == port.to_string())
}

/// `example.org` is that name and all below it, `.example.org` and `*.example.org` only those below it.
fn matches_name(entry: &str, name: &str, port: u16) -> bool {
    let (pattern, only_port) = split_port(entry);
    if pattern.is_empty() || only_port.is_some_and(|only| only != port.to_string()) {
        return false;
    }
    let pattern = pattern.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(pattern);
    match pattern.starts_with('.') {
        true => name.ends_with(pattern),
        false => {
            name == pattern || name.strip_suffix(pattern).is_some_and(|rest| rest.ends_with('.'))
        }
    }
}

/// `host:port` and `[address]:port`. An IPv6 address without brackets has no port.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) if host.ends_with(']') || !host.contains(':') => (host, Some(port)),
        _ => (entry, None),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(server: &str, variables: &[(&str, &str)]) -> Result<Option<String>, Error> {
        let look_up = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let proxy = Proxy::of_environment(&server.parse().unwrap(), look_up)?;
        Ok(proxy.map(|proxy| proxy.to_string()))
    }

    #[test]
    fn no_proxy_is_compared_with_the_api_server_by_the_rules_of_go() {
        for (server, no_proxy, directly) in [
            // The cases of golang.org/x/net/http/httpproxy, and those in which others went wrong.
            ("https://localhost", "", true),
            ("https://127.0.0.1:6443", "", true),
            ("https://127.0.0.2", "", true),
            ("https://[::1]", "", true),
            ("https://example.com", "", false),
            ("https://10.0.0.1:6443", "127.0.0.9", false),
            ("https://10.0.0.1:6443", "10.0.0.1", true),
            ("https://10.0.0.1:6443", "10.0.0.1:6443", true),
            ("https://10.0.0.1:6443", "10.0.0.1:443", false),
            ("https://10.0.0.1", "10.0.0.1:443", true),
            ("https://10.9.8.7:6443", "10.0.0.0/8", true),
            ("https://11.9.8.7:6443", "10.0.0.0/8", false),
            ("https://[fd00::7]:6443", "fd00::/8", true),
            ("https://[fd00::7]:6443", "fd00::7", true),
            ("https://[fd00::7]:6443", "[fd00::7]:6443", true),
            ("https://[fd00::7]:6443", "[fd00::7]:443", false),
            ("https://10.0.0.1", " 10.0.0.2 , , [::1], 10.0.0.0/99,10.0.0.1", true),
            ("https://10.0.0.1", "*", true),
            ("https://10.0.0.1", "localhost,.svc,10.0.0.0/8", true),
            ("https://api.example.org", "example.org", true),
            ("https://example.org", "example.org", true),
            ("https://API.Example.ORG", "eXample.org", true),
            ("https://badexample.org", "example.org", false),
            ("https://api.example.org", ".example.org", true),
            ("https://example.org", ".example.org", false),
            ("https://api.example.org", "*.example.org", true),
            ("https://example.org", "*.example.org", false),
            ("https://api.example.org:6443", "example.org:6443", true),
            ("https://api.example.org:6443", "example.org:443", false),
            ("https://kubernetes.default.svc", "localhost,.svc", true),
            ("https://example.org", ":443", false),
            ("https://example.org", ",,,", false),
        ] {
            let variables = [("HTTPS_PROXY", "http://10.1.1.1:3128"), ("NO_PROXY", no_proxy)];
            let proxy = chosen(server, &variables).unwrap();
            assert_eq!(proxy.is_none(), directly, "{server} with NO_PROXY={no_proxy}");
        }
    }

    #[test]
    fn the_first_variable_that_is_not_empty_counts_and_of_its_own_scheme() {
        let proxy = |server: &str, variables: &[_]| chosen(server, variables).unwrap();
        let (secure, plain) = ("https://example.org", "http://example.org");
        let both = [("HTTPS_PROXY", ""), ("https_proxy", "http://a:1")];
        assert_eq!(proxy(secure, &both).as_deref(), Some("http://a:1"));
        assert_eq!(proxy(plain, &both), None);
        let both = [("HTTP_PROXY", "http://a:1"), ("ALL_PROXY", "http://b:1")];
        assert_eq!(proxy(secure, &both), None);
        assert_eq!(proxy(plain, &both).as_deref(), Some("http://a:1"));
        let lower = [("HTTPS_PROXY", "http://a:1"), ("no_proxy", "example.org"), ("NO_PROXY", "")];
        assert_eq!(proxy(secure, &lower), None);
    }

    #[test]
    fn a_proxy_is_understood_with_or_without_a_scheme_and_shown_without_its_password() {
        for (text, shown) in [
            ("10.1.1.1:3128", "http://10.1.1.1:3128"),
            ("proxy", "http://proxy:80"),
            ("https://proxy/", "https://proxy:443"),
            ("socks5://proxy", "socks5://proxy:1080"),
            ("socks5h://proxy:1", "socks5h://proxy:1"),
            ("http://jane:se%40cret@proxy:1", "http://proxy:1"),
            ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
        ] {
            let proxy = Proxy::parse(text, "HTTPS_PROXY").unwrap();
            assert_eq!(format!("{proxy} {proxy:?}"), format!("{shown} {shown}"));
        }
        let login = Proxy::parse("http://jane:se%40cret@proxy:1", "HTTPS_PROXY").unwrap().login;
        assert_eq!(login, Some(("jane".to_owned(), "se@cret".to_owned())));
        for wrong in ["ftp://proxy", "http://", "http://a b", "jane:secret@"] {
            let error = Proxy::parse(wrong, "HTTPS_PROXY").unwrap_err().to_string();
            assert!(error.contains("HTTPS_PROXY") && !error.contains("secret"), "{wrong}: {error}");
        }
    }
}
