//! A TCP proxy on loopback between one client and the server, which can be cut like a cable.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// While it is cut, nothing passes in either direction, and nobody is told. What was under way arrives
/// when it is mended, late.
pub(crate) struct Proxy {
    address: SocketAddr,
    cable: Arc<Cable>,
}

#[derive(Default)]
struct Cable {
    is_cut: Mutex<bool>,
    mended: Condvar,
}

impl Cable {
    fn wait_until_whole(&self) {
        drop(self.mended.wait_while(self.is_cut.lock().unwrap(), |is_cut| *is_cut).unwrap());
    }
}

impl Proxy {
    /// A proxy to this host and port.
    pub(crate) fn to(server: (String, u16)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let cable = Arc::new(Cable::default());
        let of_listener = cable.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let (server, cable) = (server.clone(), of_listener.clone());
                std::thread::spawn(move || connect(near, &server, &cable));
            }
        });
        Self { address, cable }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn cut(&self) {
        *self.cable.is_cut.lock().unwrap() = true;
    }

    pub(crate) fn mend(&self) {
        *self.cable.is_cut.lock().unwrap() = false;
        self.cable.mended.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.mend();
    }
}

fn connect(near: TcpStream, server: &(String, u16), cable: &Arc<Cable>) {
    cable.wait_until_whole();
    let Ok(far) = TcpStream::connect((server.0.as_str(), server.1)) else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (Ok(near_again), Ok(far_again)) = (near.try_clone(), far.try_clone()) else { return };
    let back = cable.clone();
    std::thread::spawn(move || pass(far_again, near_again, &back));
    pass(near, far, cable);
}

fn pass(mut from: TcpStream, mut to: TcpStream, cable: &Cable) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        cable.wait_until_whole();
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    cable.wait_until_whole();
    let _ = (to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read));
}
