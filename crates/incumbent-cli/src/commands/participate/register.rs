//! `incumbent register`: publishes where this process can be reached, for as long as it runs.

use std::process::ExitCode;
use std::time::Duration;

use incumbent::{Blackboard, Error, Lock, Membership};
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
        let mut registering = std::pin::pin!(patiently(&board, register));
        let mut membership = tokio::select! {
            biased;
            () = &mut end => return args.give_up(registering).await,
            registered = &mut registering => registered?,
        };
        args.tell("registered")?;
        notify::tell("READY=1");
        tokio::select! {
            biased;
            () = &mut end => {
                return args.leave(membership).await;
            }
            // This process was silent for so long that another has the name. If that one lives, to register again fails.
            () = membership.lost() => args.tell("lost")?,
        }
    }
}

impl Register {
    /// Ends while it registers. Its write may be on the way, and the entry would stay until it expires: so a short time is
    /// left for the answer.
    async fn give_up(
        &self,
        registering: impl Future<Output = Result<Membership, Error>>,
    ) -> anyhow::Result<ExitCode> {
        match tokio::time::timeout(ON_THE_WAY, registering).await {
            Ok(Ok(membership)) => self.leave(membership).await,
            Ok(Err(_)) | Err(_) => Ok(ExitCode::SUCCESS),
        }
    }

    async fn leave(&self, membership: Membership) -> anyhow::Result<ExitCode> {
        notify::tell("STOPPING=1");
        membership.leave().await;
        self.tell("left")?;
        Ok(ExitCode::SUCCESS)
    }

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

/// An API server that answers at all mostly does so in this time, and a Pod has thirty seconds to end.
const ON_THE_WAY: Duration = Duration::from_secs(3);
