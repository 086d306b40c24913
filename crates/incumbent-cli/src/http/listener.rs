//! HTTP/1.1 over TCP or a Unix socket, with a limit to everything.

use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::response::Body;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListenAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Where questions come in.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// The socket in the file system; it goes with the listener.
pub(crate) struct SocketFile(PathBuf);

impl Listener {
    pub(crate) async fn open(place: &ListenAddress, mode: u32) -> anyhow::Result<Self> {
        match place {
            ListenAddress::Tcp(address) => {
                let listener = TcpListener::bind(address).await;
                Ok(Self::Tcp(listener.with_context(|| format!("cannot listen on {address}"))?))
            }
            ListenAddress::Unix(path) => {
                let listener = bind(path, mode).await;
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
            Self::Unix(_, file) => format!("unix:{}", file.0.display()),
        })
    }

    /// Lets `answer` answer until the program ends.
    pub(crate) async fn keep<F, A>(self, answer: F)
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
        A: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let accepted = match &self {
                Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(serve(stream, answer.clone(), place))
                }),
                Self::Unix(listener, _) => listener
                    .accept()
                    .await
                    .map(|(stream, _)| tokio::spawn(serve(stream, answer.clone(), place))),
            };
            if accepted.is_err() {
                // Out of file descriptors, say: those that are open have to close first.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn serve<S, F, A>(stream: S, answer: F, place: impl Send)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> A,
    A: Future<Output = Result<Response<Body>, Infallible>>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_headers(MOST_HEADERS)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    // However it ends: whoever wants to know asks again.
    let _ = connection.await;
    drop(place);
}

/// Makes the socket under another name in a folder of its own, so that it never stands there with another
/// mode, and takes the place of one whose process is gone.
async fn bind(path: &Path, mode: u32) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file that is no socket",
            ));
        }
        Ok(_) if UnixStream::connect(path).await.is_ok() => {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(_) => {}
    }
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let folder = tempfile::Builder::new().prefix(".").tempdir_in(parent)?;
    let hidden = folder.path().join("s");
    let listener = UnixListener::bind(&hidden)?;
    std::fs::set_permissions(&hidden, Permissions::from_mode(mode))?;
    std::fs::rename(&hidden, path)?;
    Ok(listener)
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

/// Reads what chmod does.
pub(crate) fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok();
    mode.filter(|mode| *mode <= 0o777).ok_or_else(|| "give a mode like 600 or 0660".to_owned())
}

/// Two hundred that listen to events, and as many short questions as ever come together.
const MOST_CONNECTIONS: usize = 320;

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

    #[test]
    fn a_mode_is_octal_and_has_no_special_bits() {
        assert_eq!((mode("600"), mode("0660")), (Ok(0o600), Ok(0o660)));
        for wrong in ["", "rw", "8", "4755", "-1"] {
            assert!(mode(wrong).is_err(), "{wrong:?}");
        }
    }
}
