//! A register that refuses writes of the past: what the demo's candidates write to while they believe to
//! lead, and so the witness of who led when.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use incumbent::{Clock, FencingToken};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

/// Writes to the register for as long as `is_valid` says so, as fast as it answers.
pub(crate) async fn write(
    register: SocketAddr,
    token: FencingToken,
    is_valid: impl Fn() -> bool,
    identity: &str,
) -> io::Result<()> {
    let stream = tokio::net::TcpStream::connect(register).await?;
    stream.set_nodelay(true)?;
    let mut stream = tokio::io::BufReader::new(stream);
    let clock = Clock::system();
    let mut answer = String::new();
    loop {
        // Read before the question, so that the answer is never older than it says.
        let asked_at = clock.instant().since_start().as_nanos();
        if !is_valid() {
            return Ok(());
        }
        let write = format!("{token} {asked_at} {identity}\n");
        stream.get_mut().write_all(write.as_bytes()).await?;
        answer.clear();
        if stream.read_line(&mut answer).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the register is gone"));
        }
    }
}

/// What the register saw of one term.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObservedTerm {
    pub(crate) identity: String,
    /// When its leader first and last believed to lead, on the clock that all processes share.
    pub(crate) first_belief: Duration,
    pub(crate) last_belief: Duration,
    /// When its first and last write arrived and was taken.
    pub(crate) first_write: Option<Duration>,
    pub(crate) last_write: Option<Duration>,
    pub(crate) accepted: u64,
    /// Writes that carried an older token than one seen before.
    pub(crate) refused: u64,
    /// Writes under this token by another than the one that wrote first.
    pub(crate) of_others: u64,
}

/// The register's server side. Separate threads, so that it and the API server do not slow each other.
#[derive(Clone, Default)]
pub(crate) struct Register {
    /// By token. A plain mutex: nobody waits for anything while holding it.
    terms: Arc<Mutex<BTreeMap<u64, ObservedTerm>>>,
    /// How long each write takes at least, in microseconds.
    pace: Arc<AtomicU64>,
}

impl Register {
    /// Starts it on a free port of this address.
    pub(crate) fn start(address: IpAddr) -> io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind((address, 0))?;
        let address = listener.local_addr()?;
        let register = Self::default();
        let server = register.clone();
        thread::Builder::new().name("register".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let register = server.clone();
                // A candidate that is killed in the middle of a line is nothing to report.
                let serve = move || drop(register.serve(&stream));
                drop(thread::Builder::new().name("register".to_owned()).spawn(serve));
            }
        })?;
        Ok((register, address))
    }

    /// Takes so long for each write from now on, and so slows down whoever writes: it need not keep a
    /// processor busy.
    pub(crate) fn take_it_easy(&self, pace: Duration) {
        let micros = u64::try_from(pace.as_micros()).unwrap_or(u64::MAX);
        self.pace.store(micros, Ordering::Relaxed);
    }

    /// All terms, by token.
    pub(crate) fn terms(&self) -> BTreeMap<u64, ObservedTerm> {
        self.lock().clone()
    }

    /// The newest term that has written, with its token.
    pub(crate) fn newest(&self) -> Option<(u64, ObservedTerm)> {
        self.lock().last_key_value().map(|(token, term)| (*token, term.clone()))
    }

    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut writer = stream.try_clone()?;
        for line in BufReader::new(stream).lines() {
            thread::sleep(Duration::from_micros(self.pace.load(Ordering::Relaxed)));
            let answer = if self.take(&line?) { "taken\n" } else { "refused\n" };
            writer.write_all(answer.as_bytes())?;
        }
        Ok(())
    }

    /// Takes a write unless a newer token was seen.
    fn take(&self, line: &str) -> bool {
        let mut words = line.splitn(3, ' ');
        let (Some(token), Some(asked_at), Some(identity)) =
            (parse(words.next()), parse(words.next()), words.next())
        else {
            return false;
        };
        let asked_at = Duration::from_nanos(asked_at);
        let now = Clock::system().instant().since_start();
        let mut terms = self.lock();
        let is_current = terms.last_key_value().is_none_or(|(newest, _)| token >= *newest);
        let term = terms.entry(token).or_insert_with(|| ObservedTerm {
            identity: identity.to_owned(),
            first_belief: asked_at,
            ..ObservedTerm::default()
        });
        term.last_belief = term.last_belief.max(asked_at);
        term.of_others += u64::from(term.identity != identity);
        match is_current {
            true => {
                term.accepted += 1;
                term.first_write.get_or_insert(now);
                term.last_write = Some(now);
            }
            false => term.refused += 1,
        }
        is_current
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, ObservedTerm>> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(word: Option<&str>) -> Option<u64> {
    word?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_with_an_older_token_is_refused_and_counted() {
        let register = Register::default();
        assert!(register.take("5 1000 alpha"));
        assert!(register.take("5 2000 alpha"));
        assert!(register.take("9 3000 beta"));
        assert!(!register.take("5 2500 alpha"));
        let terms = register.terms();
        assert_eq!((terms[&5].accepted, terms[&5].refused), (2, 1));
        assert_eq!(terms[&5].last_belief, Duration::from_nanos(2500));
        assert_eq!((terms[&9].accepted, terms[&9].refused), (1, 0));
    }

    #[test]
    fn a_second_writer_under_one_token_is_noticed() {
        let register = Register::default();
        assert!(register.take("5 1000 alpha"));
        assert!(register.take("5 2000 beta"));
        assert_eq!(register.terms()[&5].of_others, 1);
    }

    #[test]
    fn nonsense_is_refused_and_changes_nothing() {
        let register = Register::default();
        for line in ["", "x", "1", "1 2", "-1 2 alpha", "99999999999999999999 1 alpha"] {
            assert!(!register.take(line), "{line:?}");
        }
        assert!(register.terms().is_empty());
    }
}
