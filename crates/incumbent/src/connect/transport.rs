//! The way to the API server: one kind of TCP connection, through a proxy or not, with TLS or not.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use tower_layer::Layer;
use tower_service::Service;

use super::proxy::Proxy;
use crate::error::root_cause;
use crate::error::{BoxError, Error};

/// A client as `kube` makes it, but with the connections of this module, and without retries.
pub(super) fn client(config: &kube::Config, proxy: Option<&Proxy>) -> Result<kube::Client, Error> {
    let connector = Connector::new(config, proxy)?;
    let mut connector = TimeoutConnector::new(secured(config, connector)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let http = Http(legacy::Client::builder(TokioExecutor::new()).build(connector));
    let headers = config.extra_headers_layer().map_err(|error| unusable(&error))?;
    let (base, http) = (config.base_uri_layer(), headers.layer(http));
    let namespace = config.default_namespace.as_str();
    Ok(match config.auth_layer().map_err(|error| unusable(&error))? {
        Some(credentials) => kube::Client::new(base.layer(credentials.layer(http)), namespace),
        None => kube::Client::new(base.layer(http), namespace),
    })
}

/// A TCP connection. There is no other way to make one here, so what it sets holds for all of them.
fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    // With Nagle's algorithm the first request would wait behind the end of the TLS handshake until the server
    // acknowledges that, which it delays by some 40 ms.
    tcp.set_nodelay(true);
    tcp
}

#[cfg(feature = "rustls-tls")]
type Secured<C> = hyper_rustls::HttpsConnector<C>;
#[cfg(not(feature = "rustls-tls"))]
type Secured<C> = C;

/// Speaks TLS on top where the address says so.
#[cfg(feature = "rustls-tls")]
fn secured<C>(config: &kube::Config, connector: C) -> Result<Secured<C>, Error> {
    config.rustls_https_connector_with_connector(connector).map_err(|error| unusable(&error))
}

#[cfg(not(feature = "rustls-tls"))]
fn secured<C>(config: &kube::Config, connector: C) -> Result<Secured<C>, Error> {
    match config.cluster_url.scheme_str() {
        Some("http") => Ok(connector),
        _ => Err(Error::configuration(
            "this program was built without TLS",
            "enable the feature rustls-tls of incumbent, or build the kube::Client yourself",
        )),
    }
}

fn unusable(error: &dyn std::error::Error) -> Error {
    Error::configuration(
        format!("the credentials or certificates cannot be used: {}", root_cause(error)),
        "compare them with what kubectl uses: kubectl config view --minify",
    )
}

/// What a connection to a proxy is: the proxy may speak TLS itself.
type Stream = <Secured<HttpConnector> as Service<Uri>>::Response;

/// Opens connections on which the server can be spoken to.
#[derive(Clone)]
struct Connector {
    way: Way,
    /// For people.
    proxy: Option<Arc<str>>,
}

#[derive(Clone)]
enum Way {
    Directly(HttpConnector),
    Tunnel(Tunnel<Secured<HttpConnector>>),
    Socks(SocksV5<HttpConnector>),
}

impl Connector {
    fn new(config: &kube::Config, proxy: Option<&Proxy>) -> Result<Self, Error> {
        let Some(proxy) = proxy else { return Ok(Self { way: Way::Directly(tcp()), proxy: None }) };
        let address = proxy.address.clone();
        let way = match (&proxy.login, proxy.is_socks()) {
            (None, true) => Way::Socks(SocksV5::new(address, tcp())),
            (Some((name, password)), true) => {
                Way::Socks(SocksV5::new(address, tcp()).with_auth(name.clone(), password.clone()))
            }
            (login, false) => {
                let tunnel = Tunnel::new(address, to_proxy(config, proxy)?);
                Way::Tunnel(match login.as_ref().and_then(basic) {
                    Some(header) => tunnel.with_auth(header),
                    None => tunnel,
                })
            }
        };
        Ok(Self { way, proxy: Some(proxy.to_string().into()) })
    }
}

#[cfg(feature = "rustls-tls")]
fn to_proxy(config: &kube::Config, _: &Proxy) -> Result<Secured<HttpConnector>, Error> {
    secured(config, tcp())
}

#[cfg(not(feature = "rustls-tls"))]
fn to_proxy(_: &kube::Config, proxy: &Proxy) -> Result<Secured<HttpConnector>, Error> {
    match proxy.address.scheme_str() {
        Some("http") => Ok(tcp()),
        _ => Err(Error::configuration(
            format!("this program was built without TLS, and cannot speak to the proxy {proxy}"),
            "enable the feature rustls-tls of incumbent",
        )),
    }
}

fn basic((name, password): &(String, String)) -> Option<HeaderValue> {
    use base64::Engine;

    let login = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
    let mut header = HeaderValue::try_from(format!("Basic {login}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.way {
            Way::Directly(tcp) => tcp.poll_ready(context).map_err(Into::into),
            Way::Tunnel(tunnel) => tunnel.poll_ready(context).map_err(Into::into),
            Way::Socks(socks) => socks.poll_ready(context).map_err(Into::into),
        }
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let proxy = self.proxy.clone();
        match &mut self.way {
            Way::Directly(tcp) => {
                let connection = tcp.call(server);
                Box::pin(async move { Ok(connection.await?.into()) })
            }
            Way::Tunnel(tunnel) => {
                let connection = tunnel.call(server);
                Box::pin(async move { connection.await.map_err(|error| named(proxy, &error)) })
            }
            Way::Socks(socks) => {
                let connection = socks.call(server);
                Box::pin(async move {
                    Ok(connection.await.map_err(|error| named(proxy, &error))?.into())
                })
            }
        }
    }
}

/// One error, so that a search for the root cause finds the proxy's name.
fn named(proxy: Option<Arc<str>>, error: &dyn std::error::Error) -> BoxError {
    let proxy = proxy.unwrap_or_default();
    format!("the proxy {proxy} does not connect: {}", root_cause(error)).into()
}

/// hyper's client, with errors that are boxed as those of the layers around it.
#[derive(Clone)]
struct Http(legacy::Client<TimeoutConnector<Secured<Connector>>, Body>);

impl Service<Request<Body>> for Http {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move { answer.await.map_err(Into::into) })
    }
}

/// A client as a service: what is put around it keeps the client's connections and settings.
#[derive(Clone)]
pub(crate) struct Through(pub(crate) kube::Client);

impl Service<Request<Body>> for Through {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let client = self.0.clone();
        Box::pin(async move { client.send(request).await.map_err(Into::into) })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Says yes to whatever it is asked, as a proxy does: by HTTP, or by SOCKS.
    async fn says_yes() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut asker, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut bytes = [0; 256];
                    while let Ok(1..) = asker.read(&mut bytes).await {
                        let yes: &[u8] = match bytes[..2] {
                            [5, 1] if bytes[2] == 0 && bytes[3] == 0 => b"\x05\x00",
                            [5, 1] => b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00",
                            _ => b"HTTP/1.1 200 OK\r\n\r\n",
                        };
                        bytes = [0; 256];
                        asker.write_all(yes).await.unwrap();
                    }
                });
            }
        });
        address
    }

    #[cfg(feature = "rustls-tls")]
    fn tcp_of(stream: Stream) -> TcpStream {
        match stream {
            hyper_rustls::MaybeHttpsStream::Http(tcp) => tcp.into_inner(),
            hyper_rustls::MaybeHttpsStream::Https(_) => panic!("no TLS was asked for"),
        }
    }

    #[cfg(not(feature = "rustls-tls"))]
    fn tcp_of(stream: Stream) -> TcpStream {
        stream.into_inner()
    }

    #[tokio::test]
    async fn no_request_waits_for_an_acknowledgement_whichever_way_the_connection_is_made() {
        let address = says_yes().await;
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        for proxy in [None, Some("http"), Some("socks5"), Some("socks5h")] {
            let proxy = proxy.map(|scheme| format!("{scheme}://{address}"));
            let proxy = proxy.map(|proxy| Proxy::parse(&proxy, "the test").unwrap());
            let mut connector = Connector::new(&config, proxy.as_ref()).unwrap();
            let stream = connector.call(config.cluster_url.clone()).await.unwrap();
            assert!(tcp_of(stream).nodelay().unwrap(), "through {proxy:?}");
        }
    }

    #[tokio::test]
    async fn a_proxy_that_does_not_connect_is_named() {
        let config = kube::Config::new("http://example.org".parse().unwrap());
        for proxy in ["http://jane:s3cret@127.0.0.1:1", "socks5://127.0.0.1:1"] {
            let proxy = Proxy::parse(proxy, "the test").unwrap();
            let mut connector = Connector::new(&config, Some(&proxy)).unwrap();
            let error = connector.call(config.cluster_url.clone()).await.err().unwrap().to_string();
            assert!(error.contains(&format!("the proxy {proxy} does not connect: ")), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
