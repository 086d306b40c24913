//! Serves over TCP, with or without TLS.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::TlsAcceptor;

use crate::certificates::{Authority, CertificateError};
use crate::service::{Identity, Service};
use crate::state::Shared;

/// The protocol that the server listens for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain HTTP. Some clients send no token over it.
    Http,
    /// HTTPS, with a certificate from the server's own authority.
    Https,
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another process uses the address.
    #[error("{address} is in use; choose another port, or port 0 for any free one")]
    InUse {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The system does not allow this address.
    #[error("{address} may not be used; ports below 1024 are often reserved")]
    NotAllowed {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// Another error of the system.
    #[error("cannot listen on {address}")]
    Io {
        /// The address that was asked for.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The server has no certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// A listening server, which stops when this value is dropped.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    transport: Transport,
    ca_pem: Option<String>,
    admin_token: String,
    /// Dropping it ends the task as well.
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Listening {
    pub(crate) async fn start(
        shared: &Arc<Shared>,
        address: SocketAddr,
        transport: Transport,
    ) -> Result<Self, ListenError> {
        let (tls, ca_pem) = match transport {
            Transport::Http => (None, None),
            Transport::Https => {
                let authority = authority(shared)?;
                let config = Arc::new(authority.server_config(address.ip())?);
                (Some(TlsAcceptor::from(config)), Some(authority.pem()))
            }
        };
        let cannot = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { address },
            io::ErrorKind::PermissionDenied => ListenError::NotAllowed { address },
            _ => ListenError::Io { address, source },
        };
        // Sets SO_REUSEADDR on Unix, so the port can be reopened right after an outage.
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let (stop, stopped) = oneshot::channel();
        let service = Service::new(shared.clone(), Identity::Caller);
        let outages = shared.faults.outages();
        let listening = Listener { address, tls, service, outages };
        let task = tokio::spawn(listening.keep(listener, stopped));
        let admin_token = shared.admin_token.clone();
        Ok(Self { address, transport, ca_pem, admin_token, stop, task })
    }

    /// The address that it listens on, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL by which clients on this machine reach it.
    pub fn url(&self) -> String {
        let scheme = match self.transport {
            Transport::Http => "http",
            Transport::Https => "https",
        };
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("{scheme}://{address}")
    }

    /// The certificate authority to trust, as PEM. `None` without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// A kubeconfig that connects as the administrator.
    pub fn kubeconfig(&self) -> String {
        let mut cluster = json!({"server": self.url()});
        if let Some(ca) = &self.ca_pem {
            cluster["certificate-authority-data"] = json!(STANDARD.encode(ca));
        }
        let (name, user) = ("incumbent", "admin");
        // All values are JSON, which is YAML as well.
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: {name}\n  cluster: {cluster}\n\
             users:\n- name: {user}\n  user: {}\ncontexts:\n- name: {name}\n  context: {}\n\
             current-context: {name}\n",
            json!({"token": self.admin_token}),
            json!({"cluster": name, "user": user}),
        )
    }

    /// Writes the files that a Pod has in `/var/run/secrets/kubernetes.io/serviceaccount`.
    ///
    /// # Errors
    ///
    /// The directory cannot be created or written.
    pub fn write_service_account(
        &self,
        directory: impl AsRef<Path>,
        namespace: &str,
        token: &str,
    ) -> io::Result<()> {
        let directory = directory.as_ref();
        fs::create_dir_all(directory)?;
        write_secret(&directory.join("token"), token)?;
        fs::write(directory.join("namespace"), namespace)?;
        fs::write(directory.join("ca.crt"), self.ca_pem().unwrap_or_default())
    }

    /// Closes the listener, all connections and all watches at once, as an outage does.
    ///
    /// The [`ApiServer`](crate::ApiServer) keeps its objects and can listen again.
    pub async fn stop(self) {
        // An error means that the task has ended already.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

fn authority(shared: &Shared) -> Result<&Authority, CertificateError> {
    if let Some(authority) = shared.authority.get() {
        return Ok(authority);
    }
    let new = Authority::new()?;
    Ok(shared.authority.get_or_init(|| new))
}

/// How long a client may be silent before its first request, or in a handshake.
const PATIENCE: Duration = Duration::from_secs(30);

/// The time between attempts while file descriptors run out, or another process uses the port.
const PAUSE: Duration = Duration::from_millis(50);

/// The most connections at a time, to bound memory; upstream has no limit.
const MOST_CONNECTIONS: usize = 8192;

/// What a listener needs to serve, and to reopen its port after an outage.
struct Listener {
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    service: Service,
    outages: watch::Receiver<Option<Instant>>,
}

impl Listener {
    /// Serves until it is stopped, and closes the port during each outage.
    async fn keep(mut self, listener: TcpListener, mut stopped: oneshot::Receiver<()>) {
        self.outages.mark_unchanged();
        let mut listener = Some(listener);
        while let Some(open) = listener.take() {
            let mut connections = JoinSet::new();
            tokio::select! {
                biased;
                _ = &mut stopped => {}
                () = accept(&open, &mut connections, &self.tls, &self.service) => {}
                // This never fails, because `service` keeps the sender alive.
                _ = self.outages.changed() => {
                    drop(open);
                    connections.shutdown().await;
                    listener = tokio::select! {
                        _ = &mut stopped => None,
                        listener = self.reopen() => Some(listener),
                    };
                    continue;
                }
            }
            drop(open);
            connections.shutdown().await;
        }
    }

    /// Reopens the port after the outage, as soon as it is free.
    async fn reopen(&mut self) -> TcpListener {
        loop {
            // Another restart in the meantime moves the end.
            loop {
                let until = *self.outages.borrow_and_update();
                let Some(until) = until.filter(|until| Instant::now() < *until) else { break };
                tokio::select! {
                    () = sleep_until(until) => {}
                    _ = self.outages.changed() => {}
                }
            }
            match TcpListener::bind(self.address).await {
                Ok(listener) => return listener,
                Err(error) => {
                    tracing::warn!(address = %self.address, %error, "cannot reopen the port")
                }
            }
            sleep(PAUSE).await;
        }
    }
}

/// Accepts and serves connections; never returns.
async fn accept(
    listener: &TcpListener,
    connections: &mut JoinSet<()>,
    tls: &Option<TlsAcceptor>,
    service: &Service,
) {
    loop {
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(_) if connections.len() >= MOST_CONNECTIONS => {
                tracing::debug!("too many connections: closing one");
            }
            Ok((stream, _)) => {
                connections.spawn(connection(stream, tls.clone(), service.clone()));
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, service: Service) {
    // Otherwise an event could wait until the previous one is acknowledged.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    match tls {
        None => serve(stream, service).await,
        Some(tls) => match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
            Ok(Ok(stream)) => serve(stream, service).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake timed out"),
        },
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, service: Service) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    // Pings detect a client that disappeared without closing the connection.
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PATIENCE);
    let begun = Arc::new(AtomicBool::new(false));
    let service = TowerToHyperService::new(Noted { service, begun: begun.clone() });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = &mut connection => served,
        () = sleep(PATIENCE) => match begun.load(Ordering::Relaxed) {
            true => connection.await,
            // The builder has no timeout for the bytes that distinguish HTTP/1 from HTTP/2.
            false => return tracing::debug!("a client sent no request in time"),
        },
    };
    if let Err(error) = served {
        tracing::debug!(error, "a connection broke");
    }
}

/// Records that the first request has arrived.
#[derive(Clone)]
struct Noted {
    service: Service,
    begun: Arc<AtomicBool>,
}

impl<R> tower_service::Service<R> for Noted
where
    Service: tower_service::Service<R>,
{
    type Response = <Service as tower_service::Service<R>>::Response;
    type Error = <Service as tower_service::Service<R>>::Error;
    type Future = <Service as tower_service::Service<R>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.begun.store(true, Ordering::Relaxed);
        self.service.call(request)
    }
}

#[cfg(unix)]
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;

    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(text.as_bytes())
}

#[cfg(not(unix))]
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    fs::File::create(path)?.write_all(text.as_bytes())
}
