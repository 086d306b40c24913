//! A sidecar that is a member of a group: it tells its application which tasks it owns, and until when.

mod book;
mod directory;
mod events;
mod health;
mod member_loop;
mod news;
mod own_tasks;
mod routes;

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use incumbent::{Group, GroupBuilder, Lock, Timing};
use tokio::sync::watch;

use self::directory::Directory;
use self::health::Health;
use self::member_loop::MemberLoop;
use self::own_tasks::{Facts, OwnTasks};
use self::routes::Routes;
use super::args::{Lifeline, Sidecar};
use super::lifeline::Lifelines;
use super::places::{self, Places};
use super::report;
use crate::http::metrics::Exporter;
use crate::runtime::preflight::look_patiently;
use crate::runtime::signals::shutdown_signal;

pub(crate) async fn run(args: &Sidecar, name: &str) -> anyhow::Result<ExitCode> {
    let shutdown = Box::pin(shutdown_signal());
    let timing = args.timing.timing()?;
    let (client, namespace) = args.cluster.connect().await?;
    let places = Places::open(args).await?;

    let exporter = Exporter::new();
    let (healthy, health) = watch::channel(args.lifeline == Lifeline::Optional);
    let group = member(args, timing, Group::builder(client.clone(), &namespace, name))
        .health(health)
        .metrics(exporter.clone())
        .build()?;
    exporter.show_group(group.handle());
    let lifelines = Lifelines::default();
    let tasks = OwnTasks::new(Facts {
        group: name.to_owned(),
        namespace: namespace.clone(),
        member: group.member().to_owned(),
        timing,
        lifelines: lifelines.clone(),
        needs_lifeline: args.lifeline == Lifeline::Required,
    });
    let given_back = watch::Sender::new(0);
    let health = Health {
        lifelines: lifelines.clone(),
        lifeline: args.lifeline,
        given_back: given_back.subscribe(),
        stay_away: timing.lease_duration(),
        healthy,
    };
    let routes = routes(args, timing, &group, &tasks, exporter, given_back);
    let looks = look(client, Lock::lease(&namespace, name), Arc::clone(&routes.was_reached));
    // All of these end with this function.
    let mut parts = tokio::task::JoinSet::new();
    places.serve(routes, &mut parts)?;
    parts.spawn(health.keep());
    let member_loop = MemberLoop { group, tasks, lifelines, on_term: args.on_term };
    let outcome = tokio::select! {
        outcome = member_loop.run(shutdown) => outcome,
        never = looks => match never {},
    };
    parts.shutdown().await;
    outcome?;
    Ok(ExitCode::SUCCESS)
}

fn routes(
    args: &Sidecar,
    timing: Timing,
    group: &Group,
    tasks: &OwnTasks,
    exporter: Exporter,
    given_back: watch::Sender<u64>,
) -> Routes {
    let shared = &args.membership.shared;
    Routes {
        tasks: tasks.clone(),
        directory: Directory::new(group.handle(), tasks.clone(), shared.are_slots()),
        exporter,
        given_back: shared.are_permits().then_some(given_back),
        was_reached: Arc::new(AtomicBool::new(false)),
        tick: places::tick(&timing),
    }
}

fn member(args: &Sidecar, timing: Timing, builder: GroupBuilder) -> GroupBuilder {
    let builder = args
        .membership
        .apply(builder)
        .timing(timing)
        // Its own container can end while the application beside it works on.
        .container(None)
        .events(args.events)
        .on_overrun(report);
    match &args.address {
        Some(address) => builder.address(address),
        None => builder,
    }
}

/// Says when the API server has answered. What will not get better by itself, the group says.
async fn look(client: kube::Client, lock: Lock, was_reached: Arc<AtomicBool>) -> Infallible {
    let looked = look_patiently(client, &lock).await;
    was_reached.store(looked.is_ok(), Ordering::Relaxed);
    std::future::pending().await
}
