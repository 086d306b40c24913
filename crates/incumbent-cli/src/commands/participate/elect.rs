//! `incumbent elect`: takes part in elections, and prints what happens as one JSON object a line.

use std::future::pending;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use incumbent::{
    Candidate, Elections, Error, Leader, Leadership, Lock, Observer, Overrun, Release, Timing,
};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::commands::dev::demo::register;
use crate::flags::candidacy::Candidacy;
use crate::flags::cluster::Cluster;
use crate::flags::duration::duration;
use crate::flags::lock;
use crate::flags::lock::lock_text;
use crate::flags::timing::TimingArgs;
use crate::http::metrics::Exporter;
use crate::runtime::output;
use crate::runtime::preflight::look_patiently;
use crate::runtime::signals::shutdown_signal;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Elect {
    /// What to compete for: lease/NAME or configmap/NAME[:KEY]; can be repeated
    #[arg(long = "lock", value_name = "LOCK", required = true, value_parser = lock_text)]
    locks: Vec<String>,
    /// Run this many candidates for each lock, for load tests
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "metrics_addr", value_parser = clap::value_parser!(u16).range(1..))]
    candidates: u16,
    /// While leading, print an "acting" line this often
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    act_every: Option<Duration>,
    /// While leading, write to the demo's register at this address as fast as it answers
    #[arg(long, value_name = "ADDRESS", hide = true)]
    register: Option<SocketAddr>,
    #[command(flatten)]
    candidacy: Candidacy,
    #[command(flatten)]
    timing: TimingArgs,
    #[command(flatten)]
    cluster: Cluster,
}

const HELP: &str = "\
Examples:
  Take part, and print what happens as one JSON object per line:
    $ incumbent elect --lock lease/scanner
  Try a lock with three candidates, whose leader reports each second:
    $ incumbent elect --lock lease/try --candidates 3 --act-every 1s";

pub(crate) async fn run(args: Elect) -> anyhow::Result<ExitCode> {
    let timing = args.timing.timing()?;
    let set_up = async {
        let (client, namespace) = args.cluster.connect().await?;
        let locks = args.locks.iter().map(|text| lock::parse(&namespace, text));
        let locks = locks.collect::<Result<Vec<_>, _>>()?;
        look_patiently(client.clone(), &locks[0]).await?;
        Ok::<_, Error>((client, locks))
    };
    // One future from here to the end: a signal between two of them would be lost.
    let mut shutdown = Box::pin(shutdown_signal());
    let (client, locks) = tokio::select! {
        biased;
        () = &mut shutdown => return Ok(ExitCode::SUCCESS),
        outcome = set_up => outcome?,
    };

    let exporter = Exporter::at(args.candidacy.metrics_addr).await?;
    let (stop, stopped) = watch::channel(false);
    let mut parts = JoinSet::new();
    for candidate in args.candidates(client, locks, timing, exporter.as_ref())? {
        let act = Act { every: args.act_every, register: args.register };
        parts.spawn(take_part(candidate, act, stopped.clone()));
    }
    let orphaned = async {
        match args.register {
            Some(_) => parent_gone().await,
            None => pending().await,
        }
    };
    let told_to_stop = async {
        tokio::select! {
            () = shutdown => {}
            () = orphaned => {}
        }
    };
    wait_for(parts, stop, told_to_stop).await?;
    Ok(ExitCode::SUCCESS)
}

impl Elect {
    /// All that take part in this process.
    fn candidates(
        &self,
        client: kube::Client,
        locks: Vec<Lock>,
        timing: Timing,
        exporter: Option<&Exporter>,
    ) -> Result<Vec<Candidate>, Error> {
        let elections = Elections::new(client);
        // One watch for all asks for more than one for the only lock.
        let is_many = locks.len() > 1;
        let mut candidates = Vec::new();
        for lock in locks {
            for number in 1..=self.candidates {
                let builder = match is_many {
                    true => elections.candidate(lock.clone()),
                    false => Candidate::builder(elections.client().clone(), lock.clone()),
                };
                let builder = builder.timing(timing).on_overrun(end_unless_paused);
                let mut builder = self.candidacy.apply(builder);
                if let Some(identity) = &self.candidacy.identity
                    && self.candidates > 1
                {
                    builder = builder.identity(format!("{identity}-{number}"));
                }
                if let Some(exporter) = exporter {
                    builder = builder.metrics(exporter.clone());
                }
                let candidate = builder.build()?;
                if let Some(exporter) = exporter {
                    exporter.show(&candidate);
                }
                candidates.push(candidate);
            }
        }
        Ok(candidates)
    }
}

/// Ends this process where its work hangs, say on a full pipe. It writes nothing that could hang as well.
///
/// A process that was paused past its lease gets a moment to notice: all that it does asks its leadership first,
/// and the point is to show that it then does nothing.
fn end_unless_paused(overrun: Overrun) {
    let was_paused = overrun.late_by >= Duration::from_millis(100);
    for _ in 0..if was_paused { 30 } else { 0 } {
        if overrun.work_has_ended() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    if !overrun.work_has_ended() {
        overrun.abort();
    }
}

/// Waits for the candidates. A signal, or the failure of one, makes all stop and release.
async fn wait_for(
    mut parts: JoinSet<anyhow::Result<()>>,
    stop: watch::Sender<bool>,
    told_to_stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let mut first_error = None;
    let mut signal = std::pin::pin!(told_to_stop);
    loop {
        let part = tokio::select! {
            part = parts.join_next() => part,
            () = &mut signal, if !*stop.borrow() => {
                stop.send_replace(true);
                continue;
            }
        };
        match part {
            None => return first_error.map_or(Ok(()), Err),
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => {
                stop.send_replace(true);
                first_error.get_or_insert(error);
            }
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

/// Waits until the demo that started this candidate is gone, however it ended.
async fn parent_gone() {
    #[cfg(unix)]
    {
        let parent = rustix::process::getppid();
        while rustix::process::getppid() == parent {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    #[cfg(not(unix))]
    pending::<()>().await
}

async fn stop_requested(stopped: &mut watch::Receiver<bool>) {
    drop(stopped.wait_for(|stop| *stop).await);
}

/// Takes part until it is stopped or fails, and leaves nothing behind in the lock either way.
async fn take_part(
    mut candidate: Candidate,
    act: Act,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let outcome = lead_and_follow(&mut candidate, act, stopped).await;
    candidate.leave().await;
    outcome
}

async fn lead_and_follow(
    candidate: &mut Candidate,
    act: Act,
    mut stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let reporter = Reporter::of(candidate);
    let mut observer = candidate.observe();
    loop {
        let leadership = tokio::select! {
            biased;
            () = stop_requested(&mut stopped) => return Ok(()),
            leadership = candidate.campaign() => leadership?,
            error = reporter.report_leaders(&mut observer) => return Err(error.into()),
        };
        reporter.leads("leading", &leadership)?;
        let token = leadership.fencing_token().0;
        let is_lost = tokio::select! {
            biased;
            () = stop_requested(&mut stopped) => false,
            _ = leadership.lost() => true,
            _ = leadership.asked_to_hand_over() => false,
            error = act.act(&leadership, &reporter) => return Err(error),
        };
        if is_lost {
            reporter.ended("lost", token, None)?;
            continue;
        }
        // The work has stopped: its future is gone. Only now the lock is released.
        let release = leadership.release().await;
        reporter.ended("released", token, Some(release))?;
    }
}

/// What a leader does in this program.
struct Act {
    every: Option<Duration>,
    register: Option<SocketAddr>,
}

impl Act {
    /// Acts for as long as the leadership is valid, and then waits to be dropped.
    async fn act(&self, leadership: &Leadership, reporter: &Reporter) -> anyhow::Error {
        // Boxed, because most have no register, and would keep room for a connection to it.
        if let Some(register) = self.register {
            let (token, is_valid) = (leadership.fencing_token(), || leadership.is_valid());
            let writing = register::write(register, token, is_valid, &reporter.identity);
            if let Err(error) = Box::pin(writing).await {
                return error.into();
            }
        }
        if let Some(pause) = self.every {
            let mut ticks = tokio::time::interval(pause);
            loop {
                ticks.tick().await;
                if !leadership.is_valid() {
                    break;
                }
                if let Err(error) = reporter.leads("acting", leadership) {
                    return error.into();
                }
            }
        }
        pending().await
    }
}

/// Prints what happens to one candidate.
struct Reporter {
    lock: String,
    identity: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: String,
    event: &'static str,
    lock: &'a str,
    identity: &'a str,
    leader: Option<&'a str>,
    token: Option<u64>,
    valid_for_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<&'static str>,
}

impl Reporter {
    fn of(candidate: &Candidate) -> Self {
        Self { lock: candidate.lock().to_string(), identity: candidate.identity().to_owned() }
    }

    /// Reports what this candidate does as the leader.
    fn leads(&self, event: &'static str, leadership: &Leadership) -> std::io::Result<()> {
        self.print(Line {
            leader: Some(&self.identity),
            valid_for_ms: millis(leadership.valid_for()),
            token: Some(leadership.fencing_token().0),
            ..self.line(event)
        })
    }

    /// Reports whom this candidate follows, until the output fails.
    async fn report_leaders(&self, observer: &mut Observer) -> std::io::Error {
        while let Some(leader) = observer.changed().await {
            let Leader::Known { identity, token, valid_for, .. } = &leader else { continue };
            if identity.as_str() == self.identity {
                continue;
            }
            let line = Line {
                leader: Some(identity.as_str()),
                token: token.map(|token| token.0),
                valid_for_ms: millis(*valid_for),
                ..self.line("following")
            };
            if let Err(error) = self.print(line) {
                return error;
            }
        }
        pending().await
    }

    /// Reports the end of a term, and how the release went where there was one.
    fn ended(
        &self,
        event: &'static str,
        token: u64,
        release: Option<Release>,
    ) -> std::io::Result<()> {
        let release = release.map(|release| match release {
            Release::Done => "done",
            Release::NotHeld => "not-held",
            _ => "left-to-expire",
        });
        let token = Some(token);
        self.print(Line { token, release, valid_for_ms: Some(0), ..self.line(event) })
    }

    fn line(&self, event: &'static str) -> Line<'_> {
        Line {
            time: format!("{:.6}", jiff::Timestamp::now()),
            event,
            lock: &self.lock,
            identity: &self.identity,
            leader: None,
            token: None,
            valid_for_ms: None,
            release: None,
        }
    }

    fn print(&self, line: Line<'_>) -> std::io::Result<()> {
        output::line(&serde_json::to_string(&line)?)
    }
}

/// Nothing where it is for ever, as behind a claim.
fn millis(duration: Duration) -> Option<u64> {
    u64::try_from(duration.as_millis()).ok()
}
