//! What the Rust programs of the benchmark have in common: flags, lines of output, and how they end.
//!
//! It knows nothing of Kubernetes, so that each contender brings its own client. A program says who
//! takes part and when that one believes to lead; the rest is the same for all: one line a moment, of
//! JSON, with the time on the boot-time clock, which all processes of a machine share.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// What can go wrong in a program whose only user is the benchmark.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What a contender is told.
#[derive(Clone, Debug)]
pub struct Flags {
    /// Where the API server is.
    pub kubeconfig: PathBuf,
    /// The namespace of the locks.
    pub namespace: String,
    /// The name of the lock; of several, with a number at its end.
    pub lock: String,
    /// The name others see; of several candidates, with a number at its end.
    pub identity: String,
    /// How long others wait after a renewal.
    pub lease_duration: Duration,
    /// While leading, a line this often; none without it.
    pub act_every: Option<Duration>,
    /// Take part in so many elections.
    pub elections: usize,
    /// With so many candidates in each.
    pub candidates: usize,
    /// Where the lock is a group: how many tasks its members share.
    pub tasks: usize,
    /// Whether these are slots; otherwise each has a name.
    pub slots: bool,
    /// And the version that they say they run.
    pub version: String,
}

impl Flags {
    /// Reads `--name value` pairs.
    ///
    /// # Errors
    /// A flag is missing, unknown, or no number where it has to be one.
    pub fn parse() -> Result<Self, Error> {
        let mut given = HashMap::new();
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} has no value"))?;
            given.insert(name, value);
        }
        let mut take =
            |name: &str, default: &str| given.remove(name).unwrap_or_else(|| default.to_owned());
        let millis: u64 = take("--act-every-ms", "5").parse()?;
        let flags = Self {
            kubeconfig: take("--kubeconfig", "").into(),
            namespace: take("--namespace", "default"),
            lock: take("--lock", "x"),
            identity: take("--identity", "x"),
            lease_duration: Duration::from_secs(take("--lease-duration", "15").parse()?),
            act_every: (millis > 0).then_some(Duration::from_millis(millis)),
            elections: take("--elections", "1").parse()?,
            candidates: take("--candidates", "1").parse()?,
            tasks: take("--tasks", "0").parse()?,
            slots: take("--slots", "false").parse()?,
            version: take("--version", ""),
        };
        match given.into_keys().next() {
            None => Ok(flags),
            Some(unknown) => Err(format!("{unknown} is no flag of a contender").into()),
        }
    }

    /// How often to try where a contender leaves that to its user: as client-go does it by
    /// convention, 2 s for a lease of 15 s.
    pub fn retry_period(&self) -> Duration {
        self.lease_duration * 2 / 15
    }

    /// How long before the end of its lease to renew it, where a contender asks that: at two thirds of
    /// the lease, so that one failure costs nothing.
    pub fn renew_grace(&self) -> Duration {
        self.lease_duration / 3
    }
}

/// One candidate of one election.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The name of the lock.
    pub lock: String,
    /// The name of the candidate.
    pub identity: String,
    act_every: Option<Duration>,
    leads: Arc<AtomicBool>,
    leave: watch::Sender<bool>,
}

impl Seat {
    /// Waits until the candidate shall leave the election.
    pub async fn asked_to_leave(&self) {
        // The sender is in `self`, so the wait does not fail.
        let _ = self.leave.subscribe().wait_for(|leave| *leave).await;
    }

    /// Prints a line.
    pub fn report(&self, event: &str) {
        report(event, &self.identity, &self.lock);
    }

    /// Does what a leader does in these programs, for as long as this future is polled: acts while it
    /// believes to lead. Says when it begins, and when it is dropped.
    pub async fn lead(&self, mut believes_to_lead: impl FnMut() -> bool) {
        self.leads.store(true, Ordering::Relaxed);
        self.report("leading");
        let _stopped = Stopped(self);
        let Some(every) = self.act_every else { return std::future::pending().await };
        let mut ticks = tokio::time::interval(every);
        // Who was stopped has missed some, and makes up for none of them.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            if believes_to_lead() {
                self.report("acting");
            }
        }
    }

    /// The same, each time that `state` comes to say that this candidate leads, until it says otherwise.
    pub async fn lead_as_told<T>(&self, mut state: watch::Receiver<T>, leads: impl Fn(&T) -> bool) {
        while state.wait_for(|state| leads(state)).await.is_ok() {
            let now = state.clone();
            tokio::select! {
                _ = state.wait_for(|state| !leads(state)) => {}
                () = self.lead(|| leads(&now.borrow())) => {}
            }
        }
        std::future::pending().await
    }
}

struct Stopped<'a>(&'a Seat);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.leads.store(false, Ordering::Relaxed);
        self.0.report("stopped");
    }
}

/// Lets all candidates take part until each has left.
///
/// SIGTERM asks all of them to leave, SIGUSR1 the one that leads.
///
/// # Errors
/// That of the first candidate that fails.
pub async fn run<F>(flags: &Flags, take_part: impl Fn(Seat) -> F) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let (mut term, mut usr1) =
        (signal(SignalKind::terminate())?, signal(SignalKind::user_defined1())?);
    let seats = seats(flags);
    let mut parts: JoinSet<_> = seats.iter().cloned().map(take_part).collect();
    loop {
        tokio::select! {
            part = parts.join_next() => match part {
                None => return Ok(()),
                Some(outcome) => outcome??,
            },
            () = received(&mut term) => seats.iter().for_each(|seat| {
                seat.leave.send_replace(true);
            }),
            () = received(&mut usr1) => seats.iter().for_each(|seat| {
                seat.leave.send_if_modified(|leave| {
                    *leave |= seat.leads.load(Ordering::Relaxed);
                    *leave
                });
            }),
        }
    }
}

async fn received(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending().await
    }
}

fn seats(flags: &Flags) -> Vec<Seat> {
    let numbered = |name: &str, number: usize, of: usize| match of {
        1 => name.to_owned(),
        _ => format!("{name}-{number}"),
    };
    let each = |election: usize| {
        (0..flags.candidates).map(move |candidate| Seat {
            lock: numbered(&flags.lock, election, flags.elections),
            identity: numbered(&flags.identity, candidate, flags.candidates),
            act_every: flags.act_every,
            leads: Arc::default(),
            leave: watch::Sender::new(false),
        })
    };
    (0..flags.elections).flat_map(each).collect()
}

/// Prints a line: what happened, when, to whom.
pub fn report(event: &str, identity: &str, lock: &str) {
    let at = boot_time();
    let (seconds, micros) = (at.as_secs(), at.subsec_micros());
    let line = format!(
        "{{\"at\":{seconds}.{micros:06},\"event\":\"{event}\",\"identity\":\"{identity}\",\
         \"lock\":\"{lock}\"}}\n"
    );
    // Who does not listen any more does not want to know.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

/// The time since the machine started.
pub fn boot_time() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
