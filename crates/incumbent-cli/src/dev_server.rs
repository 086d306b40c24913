//! `incumbent dev-server`: the small API server, for as long as the command runs.

use std::process::ExitCode;

use anyhow::Context;
use incumbent::Error;
use incumbent_apiserver::{ApiServer, Transport};

use crate::signals::shutdown_signal;
use crate::{args, output};

pub(crate) async fn run(args: args::DevServer) -> anyhow::Result<ExitCode> {
    if !args.listen.ip().is_loopback() && !args.allow_remote {
        return Err(Error::Invalid(incumbent::InvalidSetting::Program {
            what: format!("{} can be reached from other machines", args.listen),
            hint: "this server is for development: add --allow-remote if that is what you want"
                .to_owned(),
        })
        .into());
    }
    let transport = if args.http { Transport::Http } else { Transport::Https };
    let server =
        args.faults.seed.map_or_else(ApiServer::builder, |seed| ApiServer::builder().seed(seed));
    let server = server.coordinated_leader_election(args.coordinated_leader_election).build();
    for fault in args.faults.all() {
        server.faults().add(fault.clone());
        eprintln!("fault: {fault}");
    }
    let listening = server.listen(args.listen, transport).await?;
    if let Some(file) = &args.kubeconfig {
        spare_others(file)?;
        write_private(file, &listening.kubeconfig())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    output::line(&format!("address     {}", listening.url()))?;
    output::line(&format!("token       {}", server.admin_token()))?;
    match &args.kubeconfig {
        Some(file) => output::line(&format!("kubeconfig  {}", file.display()))?,
        None => output::line(&format!("kubeconfig\n{}", listening.kubeconfig().trim_end()))?,
    }
    if let Some(ca) = listening.ca_pem() {
        output::line(&format!("ca\n{}", ca.trim_end()))?;
    }
    if args.http {
        eprintln!(
            "Over plain HTTP kubectl sends no token, and is refused: use curl, or leave out --http."
        );
    }
    eprintln!("Not for production: one process, in memory, everything is lost when it ends.");
    eprintln!(
        "Deployments, Services and policies are stored, and nothing acts on them: no Pods start."
    );
    shutdown_signal().await;
    listening.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// A kubeconfig of somebody else is not overwritten.
fn spare_others(file: &std::path::Path) -> Result<(), Error> {
    let is_others = std::fs::read_to_string(file)
        .is_ok_and(|content| !content.is_empty() && !content.starts_with(MARK));
    match is_others {
        false => Ok(()),
        true => Err(Error::Invalid(incumbent::InvalidSetting::Program {
            what: format!("{} exists, and dev-server did not write it", file.display()),
            hint: "name another file, or remove this one".to_owned(),
        })),
    }
}

/// The first line of each kubeconfig that is written here.
const MARK: &str = "# Written by incumbent";

/// The file holds a token, so only its owner may read it.
pub(crate) fn write_private(file: &std::path::Path, content: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut open = options.open(file)?;
    #[cfg(unix)]
    open.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    open.write_all(format!("{MARK}.\n{content}").as_bytes())
}
