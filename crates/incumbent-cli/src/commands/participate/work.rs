//! `incumbent work`: runs a command for each task of a group that this process owns.
//!
//! Each command has its own guardian, like that of `incumbent run`, which ends the command in time, whatever happens to
//! this process. A task is released only when nothing of its command is left.

pub(crate) mod args;
mod commands;
mod failures;

use std::process::ExitCode;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use incumbent::{Error, Group, Lock};
use tokio::sync::mpsc;

use crate::commands::participate::guarded::{
    End, Guardians, Signals, ends_by_default, look_at_reach,
};
use crate::http::metrics::Exporter;
use crate::runtime::descendants::adopt_orphans;
use crate::runtime::{exit, notify, preflight};
use commands::Commands;

pub(crate) async fn run(args: args::Work) -> ExitCode {
    match try_run(&args).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => exit::report_as_wrapper(&error),
    }
}

async fn try_run(args: &args::Work) -> anyhow::Result<u8> {
    // Before anything else: from here on a signal ends this process in order.
    let mut signals = Signals::listen()?;
    adopt_orphans()?;
    let (containment, gaps) = look_at_reach(args.allow_privilege_escalation);
    for gap in gaps {
        tracing::warn!("{}; {}", gap.what, gap.hint);
    }
    let guardians = Guardians::default();
    let exporter = Exporter::at(args.metrics_addr).await?;
    let (group, namespace) = tokio::select! {
        joined = join(args, &guardians, exporter.as_ref()) => joined?,
        () = told_to_end(&mut signals) => return Ok(0),
    };
    let commands = Commands::new(args, &group, namespace, containment, guardians)?;
    Ok(share(group, &commands, signals).await?)
}

/// Connects, and takes part in the group.
async fn join(
    args: &args::Work,
    guardians: &Guardians,
    exporter: Option<&Exporter>,
) -> Result<(Group, String), Error> {
    let timing = args.timing.timing()?;
    let (client, namespace) = args.cluster.connect().await?;
    let lock = Lock::lease(&namespace, &args.group);
    preflight::look_patiently(client.clone(), &lock).await?;
    let mut builder = args
        .membership
        .apply(Group::builder(client, &namespace, &args.group))
        .timing(timing)
        .kubelet_reports(args.kubelet_reports)
        .events(args.events)
        .on_overrun(guardians.on_overrun());
    if let Some(address) = &args.address {
        builder = builder.address(address);
    }
    if let Some(exporter) = exporter {
        builder = builder.metrics(exporter.clone());
    }
    let group = builder.build()?;
    if let Some(exporter) = exporter {
        exporter.show_group(group.handle());
    }
    Ok((group, namespace))
}

/// Runs the command for each task while it is this member's, until a signal asks to end; then stops them all, and
/// leaves. A member with a permit leaves when its command has ended, and the exit code is that of the command.
async fn share(
    mut group: Group,
    commands: &Commands<'_>,
    mut signals: Signals,
) -> Result<u8, Error> {
    let mut running = FuturesUnordered::new();
    let mut relays: Vec<mpsc::UnboundedSender<i32>> = Vec::new();
    let (mut is_leaving, mut outcome) = (false, Ok(0));
    notify::tell("READY=1");
    while !is_leaving || !running.is_empty() {
        notify::tell(&format!("STATUS=running {} tasks of group {}", running.len(), group.name()));
        let leaves = tokio::select! {
            biased;
            signal = signals.next() => {
                relays.retain(|relay| relay.send(signal).is_ok());
                ends_by_default(signal)
            }
            assigned = group.next_task() => match assigned {
                Ok(task) if is_leaving => {
                    drop(task);
                    false
                }
                Ok(task) => {
                    let (relay, relayed) = Signals::relayed();
                    relays.retain(|relay| !relay.is_closed());
                    relays.push(relay);
                    running.push(commands.run(task, relayed));
                    false
                }
                Err(error) => {
                    outcome = outcome.and(Err(error));
                    true
                }
            },
            Some(ended) = running.next() => {
                let code = ended.filter(|_| !is_leaving).map(End::code);
                outcome = outcome.map(|before| code.unwrap_or(before));
                code.is_some()
            }
        };
        if leaves && !is_leaving {
            is_leaving = true;
            notify::tell("STOPPING=1");
            // At once, so that others get each task as soon as its command has stopped, also where one takes long.
            group.begin_to_leave();
        }
    }
    group.leave().await;
    outcome
}

async fn told_to_end(signals: &mut Signals) {
    while !ends_by_default(signals.next().await) {}
}
