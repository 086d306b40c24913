//! `incumbent pause` and `resume`: who shall not lead.

use std::process::ExitCode;

use incumbent::survey::{LockView, Registration};
use incumbent::{ElectionControl, Identity};

use crate::args::lock_text;
use crate::cluster::Operator;
use crate::consent::Consent;
use crate::{exit, output, row};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Pause {
    /// Which lock: NAME for a Lease, lease/NAME or configmap/NAME[:KEY]
    #[arg(value_parser = lock_text)]
    lock: String,
    /// Keep only this one from leading; may be given many times
    #[arg(long = "candidate", value_name = "ID")]
    candidates: Vec<String>,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    operator: Operator,
}

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Resume {
    /// Which lock: NAME for a Lease, lease/NAME or configmap/NAME[:KEY]
    #[arg(value_parser = lock_text)]
    lock: String,
    /// Let only this one lead again; may be given many times [default: all]
    #[arg(long = "candidate", value_name = "ID")]
    candidates: Vec<String>,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    operator: Operator,
}

const HELP: &str = "\
A leader that is paused stops its work and gives the lock back. A candidate that is paused does not acquire it, \
also when nobody leads, until somebody resumes the election. A pause binds by name: a Pod that is started again \
has another name, unless you gave it one. Other programs' candidates do not know of a pause, and continue.";

pub(crate) async fn run(args: Pause) -> anyhow::Result<ExitCode> {
    let (client, view) = args.operator.look(&args.lock).await?;
    let everybody = || Identity::new("*").expect("it is a name");
    let names: Vec<_> = match args.candidates.as_slice() {
        [] => vec![everybody()],
        names => names.iter().filter_map(Identity::new).collect(),
    };
    if !args.consent.given(&what_a_pause_does(&view, &names))? {
        return Ok(ExitCode::from(exit::NO));
    }
    let control = ElectionControl::new(client, view.lock.clone())?.dry_run(args.consent.dry_run);
    let view = args.operator.within(control.pause(&names)).await?;
    tell(&view)
}

pub(crate) async fn resume(args: Resume) -> anyhow::Result<ExitCode> {
    let (client, view) = args.operator.look(&args.lock).await?;
    let names: Vec<_> = match args.candidates.as_slice() {
        [] => view.paused.clone(),
        names => names.iter().filter_map(Identity::new).collect(),
    };
    let what = match view.paused.as_slice() {
        [] => format!("{}: nobody is paused", view.lock),
        _ => format!("{}: {} may lead again", view.lock, listed(&names)),
    };
    if !args.consent.given(&what)? {
        return Ok(ExitCode::from(exit::NO));
    }
    let control = ElectionControl::new(client, view.lock.clone())?.dry_run(args.consent.dry_run);
    let view = args.operator.within(control.resume(&names)).await?;
    tell(&view)
}

fn what_a_pause_does(view: &LockView, names: &[Identity]) -> String {
    let is_meant =
        |holder: &String| names.iter().any(|name| name.as_str() == "*" || name.as_str() == holder);
    let leader = view.holder.as_ref().filter(|holder| is_meant(holder));
    let then = match (leader.map(|name| row::name(name)), view.registration) {
        (Some(holder), Registration::Term) => {
            format!("; {holder} stops its work and gives the lock back")
        }
        (Some(holder), _) => format!("; {holder} does not know of that, and goes on"),
        (None, _) => String::new(),
    };
    format!("{}: {} shall not lead{then}", view.lock, listed(names))
}

fn listed(names: &[Identity]) -> String {
    let names = names.iter().map(|name| match name.as_str() {
        "*" => "everybody".to_owned(),
        name => row::name(name),
    });
    names.collect::<Vec<_>>().join(", ")
}

fn tell(view: &LockView) -> anyhow::Result<ExitCode> {
    let state = match view.paused.as_slice() {
        [] => "nobody is paused".to_owned(),
        names => format!("paused: {}", listed(names)),
    };
    output::line(&format!("{}: {state}", view.lock))?;
    Ok(ExitCode::SUCCESS)
}
