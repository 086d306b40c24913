//! `incumbent sidecar`: takes part for an application in any language, and answers who leads, or which tasks it owns.
//!
//! It cannot stop the application. The application asks, and each answer expires by itself. So the sidecar releases the
//! leadership when the application says that it has stopped, when it is gone, or when no answer is valid any more.

pub(crate) mod answers;
pub(crate) mod args;
mod events;
mod group;
mod hooks;
mod leader_loop;
mod lifeline;
mod places;
mod routes;
mod status_file;
mod stop_time;

use std::process::ExitCode;

use incumbent::{Candidate, Error, Lock, Overrun, Route, Timing};
use tokio::sync::mpsc;

use self::answers::Answers;
use self::args::Sidecar;
use self::hooks::Hooks;
use self::leader_loop::LeaderLoop;
use self::lifeline::Lifelines;
use self::places::Places;
use self::routes::Routes;
use self::status_file::StatusFile;
use self::stop_time::StopTime;
use crate::http::metrics::Exporter;
use crate::runtime::preflight::look_before;
use crate::runtime::signals::shutdown_signal;

pub(crate) async fn run(args: Sidecar) -> anyhow::Result<ExitCode> {
    match &args.group {
        Some(group) => group::run(&args, group).await,
        None => take_part_in_election(args).await,
    }
}

async fn take_part_in_election(args: Sidecar) -> anyhow::Result<ExitCode> {
    let mut shutdown = Box::pin(shutdown_signal());
    let timing = args.timing.timing()?;
    let (client, namespace) = args.cluster.connect().await?;
    let lock = crate::flags::lock::parse(&namespace, args.lock.as_deref().unwrap_or_default())?;
    let places = Places::open(&args).await?;

    let exporter = Exporter::new();
    let candidate = candidate(&args, timing, client.clone(), lock.clone(), &exporter)?;
    let stop_time = StopTime::of(&timing);
    let answers = Answers::new(&candidate, stop_time.budget);
    let tick = places::tick(&timing);
    let (step_downs, requests) = mpsc::channel(1);
    let lifelines = Lifelines::default();
    let routes = Routes {
        answers: answers.clone(),
        lifelines: lifelines.clone(),
        exporter,
        step_downs,
        tick,
    };
    // All of these end with this function, and take their files along.
    let mut parts = tokio::task::JoinSet::new();
    if let Some(path) = args.status_file.clone() {
        let file = StatusFile::create(path, args.status_mode, &answers)?;
        parts.spawn(file.keep(answers.clone(), tick));
    }
    places.serve(routes, &mut parts)?;
    tokio::spawn(answers.clone().follow());

    let leader_loop = LeaderLoop {
        hooks: hooks(&args, &candidate),
        candidate,
        answers: answers.clone(),
        lifelines,
        requests,
        lifeline: args.lifeline,
        on_term: args.on_term,
        stay_away: timing.lease_duration(),
        stop_time,
    };
    tokio::select! {
        biased;
        () = &mut shutdown => return Ok(ExitCode::SUCCESS),
        looked = look(client, &lock, &answers) => looked?,
    }
    let outcome = leader_loop.run(&mut shutdown).await;
    parts.shutdown().await;
    outcome?;
    Ok(ExitCode::SUCCESS)
}

/// Says at once what will not get better by itself; an API server that is away may come back.
async fn look(client: kube::Client, lock: &Lock, answers: &Answers) -> Result<(), Error> {
    match look_before(client, lock).await {
        Ok(_) => answers.reached(),
        Err(error) if error.is_passing() => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

fn candidate(
    args: &Sidecar,
    timing: Timing,
    client: kube::Client,
    lock: Lock,
    exporter: &Exporter,
) -> Result<Candidate, Error> {
    let mut builder = Candidate::builder(client, lock)
        .timing(timing)
        .token_floor(args.token_floor)
        .priority(args.priority)
        // Its own container can end while the application beside it works on.
        .container(None)
        .events(args.events)
        .metrics(exporter.clone())
        .on_overrun(report);
    if let Some(identity) = &args.identity {
        builder = builder.identity(identity);
    }
    if let Some(address) = &args.address {
        builder = builder.address(address);
    }
    if args.label {
        builder = builder.route(Route::label());
    }
    let candidate = builder.build()?;
    exporter.show(&candidate);
    Ok(candidate)
}

/// The work is in another process, and each answer said in time when it must stop: there is nothing to end here.
fn report(overrun: Overrun) {
    tracing::warn!(lock = %overrun.lock, token = %overrun.token, "the term is over");
}

fn hooks(args: &Sidecar, candidate: &Candidate) -> Hooks {
    let lock = candidate.lock();
    Hooks {
        elected: args.on_elected.clone(),
        lost: args.on_lost.clone(),
        timeout: args.hook_timeout,
        environment: vec![
            ("INCUMBENT_LOCK", lock.to_string()),
            ("INCUMBENT_NAMESPACE", lock.namespace().to_owned()),
            ("INCUMBENT_IDENTITY", candidate.identity().to_owned()),
        ],
        running: None,
    }
}
