//! How a candidate takes part, in whatever command it does.

use std::net::SocketAddr;

use incumbent::Builder;

use crate::flags::socket_address;

/// How a candidate takes part, in whatever command it does.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Candidate")]
pub(crate) struct Candidacy {
    /// The name others see [default: the Pod's name and uid, else the host's name and a number]
    #[arg(long, env = "INCUMBENT_IDENTITY", value_name = "ID")]
    pub(crate) identity: Option<String>,
    /// Go ahead of candidates with a lower priority, and take over from a leader with a lower one
    #[arg(long, value_name = "N", default_value = "0", allow_negative_numbers = true)]
    priority: i32,
    /// Publish where this candidate can be reached while it leads
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Take over as soon as the kubelet reports that the leader's container has terminated; all candidates
    /// need it, and the verb watch on pods. Has no effect where a Pod shares a PID namespace
    #[arg(long)]
    kubelet_reports: bool,
    /// Use no fencing token below this: after a move to another cluster, or a restored backup
    #[arg(long, value_name = "N", default_value = "0")]
    token_floor: u64,
    /// Write a Kubernetes Event on the lock when a term begins and ends
    #[arg(long)]
    events: bool,
    /// Serve /metrics for Prometheus at this port of 127.0.0.1, or at this address; port 0 picks a free one
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = socket_address::parse)]
    pub(crate) metrics_addr: Option<SocketAddr>,
}

impl Candidacy {
    pub(crate) fn apply(&self, mut builder: Builder) -> Builder {
        if let Some(identity) = &self.identity {
            builder = builder.identity(identity);
        }
        if let Some(address) = &self.address {
            builder = builder.address(address);
        }
        builder
            .priority(self.priority)
            .kubelet_reports(self.kubelet_reports)
            .token_floor(self.token_floor)
            .events(self.events)
    }

    /// Gives no token below this, nor below what the flag says.
    #[cfg(target_os = "linux")]
    pub(crate) fn raise_token_floor(&mut self, floor: u64) {
        self.token_floor = self.token_floor.max(floor);
    }
}
