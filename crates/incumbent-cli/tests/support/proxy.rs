//! A TCP proxy on loopback between one client and the server, whose cable can be damaged.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Passes on what it gets, as the state of its cable lets it. What was under way arrives when the cable is
/// mended, late.
pub(crate) struct Proxy {
    address: SocketAddr,
    cable: Arc<Cable>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Whole,
    /// Nothing passes in either direction, and nobody is told.
    Cut,
    /// Requests pass, and nothing comes back.
    AnswersHeld,
    /// Each piece comes so much later.
    Slow(Duration),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    There,
    Back,
}

#[derive(Default)]
struct Cable {
    state: Mutex<State>,
    changed: Condvar,
    /// Those that are open, each by a number of its own.
    connections: Mutex<BTreeMap<u64, (TcpStream, TcpStream)>>,
    latest: AtomicU64,
}

impl Cable {
    fn pass(&self, direction: Direction) {
        let is_held = |state: &mut State| match state {
            State::Cut => true,
            State::AnswersHeld => direction == Direction::Back,
            State::Whole | State::Slow(_) => false,
        };
        let state = *self.changed.wait_while(self.state.lock().unwrap(), is_held).unwrap();
        if let State::Slow(delay) = state {
            std::thread::sleep(delay);
        }
    }

    fn connect(self: &Arc<Self>, near: TcpStream, server: &(String, u16)) -> std::io::Result<()> {
        self.pass(Direction::There);
        let far = TcpStream::connect((server.0.as_str(), server.1))?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let number = self.latest.fetch_add(1, Ordering::Relaxed);
        let both = (near.try_clone()?, far.try_clone()?);
        self.connections.lock().unwrap().insert(number, both);
        let (near_again, far_again, cable) = (near.try_clone()?, far.try_clone()?, self.clone());
        let back = std::thread::spawn(move || cable.carry(far_again, near_again, Direction::Back));
        self.carry(near, far, Direction::There);
        let _ = back.join();
        // Or a test of many connections runs out of file descriptors.
        self.connections.lock().unwrap().remove(&number);
        Ok(())
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream, direction: Direction) {
        let mut bytes = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            self.pass(direction);
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        self.pass(direction);
        let _ = (to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read));
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
                std::thread::spawn(move || cable.connect(near, &server));
            }
        });
        Self { address, cable }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set(&self, state: State) {
        *self.cable.state.lock().unwrap() = state;
        self.cable.changed.notify_all();
    }

    pub(crate) fn cut(&self) {
        self.set(State::Cut);
    }

    pub(crate) fn mend(&self) {
        self.set(State::Whole);
    }

    /// Closes all connections: one direction, or both.
    pub(crate) fn close(&self, how: Shutdown) {
        let connections = std::mem::take(&mut *self.cable.connections.lock().unwrap());
        for (near, far) in connections.into_values() {
            let _ = (near.shutdown(how), (how == Shutdown::Both).then(|| far.shutdown(how)));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.mend();
    }
}
