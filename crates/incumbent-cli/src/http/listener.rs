//! HTTP/1.1 over TCP or a Unix socket, with a limit to everything.

#[cfg(unix)]
pub(crate) mod socket_file;

use std::net::{IpAddr, SocketAddr};
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

#[cfg(unix)]
use self::socket_file::SocketFile;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListenAddress {
    Tcp(SocketAddr),
    #[cfg(unix)]
    Unix(PathBuf),
}

/// What one listener has room for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    connections: usize,
    /// For how long a connection may last, which then serves one request. `None` where events are listened to.
    lifetime: Option<Duration>,
}

impl Limits {
    /// Two hundred that listen to events, and as many short questions as ever come together.
    pub(crate) const EVENTS: Self = Self { connections: 320, lifetime: None };

    /// A Prometheus or two, and somebody with curl. A scrape takes milliseconds; a connection that says nothing
    /// must not keep its place.
    pub(crate) const SCRAPES: Self =
        Self { connections: 8, lifetime: Some(Duration::from_secs(10)) };
}

/// Where requests come in.
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, SocketFile),
}

impl Listener {
    pub(crate) async fn open(place: &ListenAddress, mode: u32) -> anyhow::Result<Self> {
        match place {
            ListenAddress::Tcp(address) => {
                let listener = TcpListener::bind(address).await;
                Ok(Self::Tcp(listener.with_context(|| format!("cannot listen on {address}"))?))
            }
            #[cfg(unix)]
            ListenAddress::Unix(path) => {
                let listener = socket_file::bind(path, mode).await;
                let listener =
                    listener.with_context(|| format!("cannot listen on {}", path.display()))?;
                Ok(Self::Unix(listener, SocketFile(path.clone())))
            }
        }
    }

    /// Where it is, as a URL or as `unix:PATH`.
    pub(crate) fn place(&self) -> anyhow::Result<String> {
        Ok(match self {
            Self::Tcp(listener) => format!("http://{}", listener.local_addr()?),
            #[cfg(unix)]
            Self::Unix(_, file) => format!("unix:{}", file.0.display()),
        })
    }

    /// Answers by these routes until the program ends.
    pub(crate) async fn serve(self, routes: Router, limits: Limits) {
        let places = Arc::new(Semaphore::new(limits.connections));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let accepted = match &self {
                Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(answer(stream, routes.clone(), limits, place))
                }),
                #[cfg(unix)]
                Self::Unix(listener, _) => listener
                    .accept()
                    .await
                    .map(|(stream, _)| tokio::spawn(answer(stream, routes.clone(), limits, place))),
            };
            if accepted.is_err() {
                // Out of file descriptors, say: those that are open have to close first.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer<S>(stream: S, routes: Router, limits: Limits, place: impl Send)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .keep_alive(limits.lifetime.is_none())
        .max_headers(MOST_HEADERS)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    // However it ends: whoever wants to know asks again.
    match limits.lifetime {
        None => drop(connection.await),
        Some(lifetime) => drop(tokio::time::timeout(lifetime, connection).await),
    }
    drop(place);
}

/// Reads `ADDRESS:PORT` or `unix:PATH`.
pub(crate) fn place(text: &str) -> Result<ListenAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.is_empty() {
            true => Err("give the socket's path, as in unix:/run/incumbent/socket".to_owned()),
            false => Ok(ListenAddress::Unix(path.into())),
        };
    }
    let address = match text.strip_prefix("localhost:") {
        Some(port) => port.parse().ok().map(|port| (IpAddr::from([127, 0, 0, 1]), port).into()),
        None => text.parse().ok(),
    };
    address.map(ListenAddress::Tcp).ok_or_else(|| "give ADDRESS:PORT or unix:PATH".to_owned())
}

/// Also how long a connection may be kept that asks nothing more.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// curl sends four, a browser fifteen.
const MOST_HEADERS: usize = 32;

/// The least that hyper allows.
const LARGEST_HEAD: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_listens_at_an_address_or_at_a_path() {
        let tcp = |text: &str| Ok(ListenAddress::Tcp(text.parse().unwrap()));
        assert_eq!(place("127.0.0.1:1"), tcp("127.0.0.1:1"));
        assert_eq!(place("localhost:1"), tcp("127.0.0.1:1"));
        assert_eq!(place("[::1]:1"), tcp("[::1]:1"));
        assert_eq!(place("unix:/a b"), Ok(ListenAddress::Unix("/a b".into())));
        for wrong in ["", "unix:", "4040", "localhost:x", "example.com:80"] {
            assert!(place(wrong).is_err(), "{wrong:?}");
        }
    }
}
