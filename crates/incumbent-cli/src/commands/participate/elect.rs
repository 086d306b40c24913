//! `incumbent elect`: takes part in elections, and prints what happens as one JSON object a line.

use std::future::pending;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use incumbent::survey::LockView;
use incumbent::{
    Candidate, Elections, Error, Leader, Leadership, Lock, Observer, Overrun, Release,
};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cli;
use crate::commands::dev::demo::register;
use crate::runtime::output;
use crate::runtime::signals::shutdown_signal;

pub(crate) async fn run(args: cli::Elect) -> anyhow::Result<ExitCode> {
    let timing = args.timing.timing()?;
    let set_up = async {
        let (client, namespace) = args.cluster.connect().await?;
        let locks = args.locks.iter().map(|text| cli::lock(&namespace, text));
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

    let elections = Elections::new(client);
    // One watch for all asks for more than one for the only lock.
    let is_many = locks.len() > 1;
    let exporter = args.candidacy.exporter().await?;

    let (stop, stopped) = watch::channel(false);
    let mut parts = JoinSet::new();
    for lock in locks {
        for number in 1..=args.candidates {
            let builder = match is_many {
                true => elections.candidate(lock.clone()),
                false => Candidate::builder(elections.client().clone(), lock.clone()),
            };
            let builder = builder.timing(timing).on_overrun(end_unless_paused);
            let mut builder = args.candidacy.apply(builder);
            if let Some(identity) = &args.candidacy.identity
                && args.candidates > 1
            {
                builder = builder.identity(format!("{identity}-{number}"));
            }
            let act = Act { every: args.act_every, register: args.register };
            if let Some(exporter) = &exporter {
                builder = builder.metrics(exporter.clone());
            }
            let candidate = builder.build()?;
            if let Some(exporter) = &exporter {
                exporter.show(&candidate);
            }
            parts.spawn(take_part(candidate, act, stopped.clone()));
        }
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

/// A candidate retries for as long as it runs. A person who starts one wants to know at once that it cannot
/// work.
pub(crate) async fn look_before(
    client: kube::Client,
    lock: &Lock,
) -> Result<Option<LockView>, Error> {
    match LockView::read(client, lock.clone()).await {
        Ok(view) => Ok(Some(view)),
        Err(Error::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same for what runs long: it waits for an API server that is away or overloaded.
pub(crate) async fn look_patiently(
    client: kube::Client,
    lock: &Lock,
) -> Result<Option<LockView>, Error> {
    patiently(&lock.to_string(), async || look_before(client.clone(), lock).await).await
}

/// Tries until it works, or fails in a way that does not pass by itself. Logs each trouble once.
pub(crate) async fn patiently<T>(
    lock: &str,
    work: impl AsyncFn() -> Result<T, Error>,
) -> Result<T, Error> {
    let (mut told, mut pause) = (String::new(), FIRST_PAUSE);
    loop {
        let error = match work().await {
            Err(error) if error.is_passing() => error,
            outcome => return outcome,
        };
        let text = error.to_string();
        if told != text {
            tracing::warn!(lock, error = text, hint = error.hint(), "cannot begin yet: will retry");
            told = text;
        }
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

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
        // The work has stopped: its future is gone. Only now the lock is given back.
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
        if let Some(register) = self.register
            && let Err(error) =
                Box::pin(register::write(register, leadership, &reporter.identity)).await
        {
            return error.into();
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
