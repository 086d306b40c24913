//! Clients of `Connect` on real sockets.

#![cfg(target_os = "linux")]

use std::net::SocketAddr;
use std::path::Path;

use incumbent::Connect;
use incumbent_apiserver::{ApiServer, Listening, Transport};
use rustix::net::{getpeername, sockopt::tcp_nodelay};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// Whether Nagle's algorithm is off, for each socket of this process that is connected to this address.
fn sockets_to(address: SocketAddr) -> Vec<bool> {
    let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let number: i32 = entry.unwrap().file_name().to_str().unwrap().parse().unwrap();
        let Ok(file) = pidfd_getfd(&own, number, PidfdGetfdFlags::empty()) else { continue };
        let peer = getpeername(&file).ok().flatten().and_then(|peer| peer.try_into().ok());
        if peer == Some(address) {
            found.push(tcp_nodelay(&file).unwrap());
        }
    }
    found
}

/// A proxy that opens each tunnel that it is asked for.
async fn proxy() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(near.read_u8().await?);
                }
                let head = String::from_utf8(head).unwrap();
                let far = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
                let mut far = TcpStream::connect(far).await?;
                near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
                copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    address
}

fn kubeconfig(folder: &Path, listening: &Listening, proxy: Option<SocketAddr>) -> Connect {
    let mut text = listening.kubeconfig();
    if let Some(proxy) = proxy {
        text =
            text.replace("\"server\":", &format!("\"proxy-url\":\"http://{proxy}\",\"server\":"));
    }
    let file = folder.join("kubeconfig");
    std::fs::write(&file, text).unwrap();
    Connect::default().kubeconfig(file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_first_request_of_a_client_waits_for_an_acknowledgement_of_the_handshake() {
    let folder = tempfile::tempdir().unwrap();
    for transport in [Transport::Https, Transport::Http] {
        let server = ApiServer::new();
        let listening = server.listen("127.0.0.1:0".parse().unwrap(), transport).await.unwrap();
        for proxy in [None, Some(proxy().await)] {
            let client = kubeconfig(folder.path(), &listening, proxy).client().await.unwrap();
            client.apiserver_version().await.unwrap();
            let sockets = sockets_to(proxy.unwrap_or_else(|| listening.address()));
            assert_eq!(sockets, [true], "{transport:?} through {proxy:?}");
        }
    }
}
