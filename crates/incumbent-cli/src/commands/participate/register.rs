//! `incumbent register`: publishes where this process can be reached, for as long as it runs.

use std::process::ExitCode;

use incumbent::{Blackboard, Error, Lock};
use serde_json::{Value, json};

use crate::flags::cluster::Cluster;
use crate::flags::lock::blackboard_text;
use crate::model::format;
use crate::runtime::preflight::patiently;
use crate::runtime::signals::shutdown_signal;
use crate::runtime::{notify, output};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Register {
    /// Which blackboard: configmap/NAME. It has to exist
    #[arg(value_parser = blackboard_text)]
    blackboard: String,
    /// The name of this process, unique on the blackboard
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    name: String,
    /// Where it can be reached
    #[arg(long, value_name = "ADDRESS")]
    address: String,
    #[command(flatten)]
    cluster: Cluster,
}

const HELP: &str = "\
Examples:
  Publish where this Pod can be reached, for as long as the command runs:
    $ incumbent register configmap/peers --name web-0 --address 10.0.0.7:8080
  Find it from elsewhere:
    $ incumbent members configmap/peers web-0

The command prints one JSON object per line: `registered` when others can find the name; `lost` when another process has \
taken it, because this one gave no sign of life for too long; `left` at the end. On SIGTERM it removes the entry. If it is \
killed, others see the name disappear when its last sign of life has expired: after 15 s, or 1.5 s per member if there \
are more than ten. If another living process has the name, the exit code is 6.";

pub(crate) async fn run(args: Register) -> anyhow::Result<ExitCode> {
    let (client, namespace) = args.cluster.connect().await?;
    let lock = Lock::parse(&namespace, &args.blackboard).map_err(Error::from)?;
    let blackboard = Blackboard::on(client, lock.clone());
    let mut end = std::pin::pin!(shutdown_signal());
    loop {
        let board = lock.to_string();
        let register = async || blackboard.register(&args.name, &args.address).await;
        let registered = tokio::select! {
            biased;
            () = &mut end => return Ok(ExitCode::SUCCESS),
            registered = patiently(&board, register) => registered?,
        };
        let mut membership = registered;
        args.tell("registered")?;
        notify::tell("READY=1");
        tokio::select! {
            biased;
            () = &mut end => {
                notify::tell("STOPPING=1");
                membership.leave().await;
                args.tell("left")?;
                return Ok(ExitCode::SUCCESS);
            }
            // This process was silent for so long that another has the name. If that one lives, to register again fails.
            () = membership.lost() => args.tell("lost")?,
        }
    }
}

impl Register {
    fn tell(&self, event: &str) -> anyhow::Result<()> {
        let line: Value = json!({
            "time": jiff::Timestamp::now().to_string(),
            "event": event,
            "blackboard": self.blackboard,
            "name": self.name,
            "address": self.address,
        });
        Ok(output::line(&format::printable_json(&line.to_string()))?)
    }
}
