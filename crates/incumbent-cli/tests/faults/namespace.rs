//! Hosts of their own, as network namespaces, where root allows.

use std::process::{Command, Stdio};

use super::arena::{Arena, run};
use super::support::{Cluster, peers};

/// One host: a network namespace with a cable to the bridge that the server is on.
pub(crate) struct Network {
    name: String,
    /// The end of its cable on this side.
    cable: String,
}

impl Network {
    /// The command, inside of this namespace.
    pub(crate) fn inside(&self, command: Command) -> Command {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.name]).arg(command.get_program());
        inside.args(command.get_args()).stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// Plugs the cable in, or pulls it out.
    pub(crate) fn set(&self, is_up: bool) {
        let state = if is_up { "up" } else { "down" };
        assert!(run(&format!("ip link set {} {state}", self.cable)));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        run(&format!("ip netns delete {}", self.name));
        run(&format!("ip link delete {}", self.cable));
    }
}

/// Hosts on one bridge, and what makes each; none where namespaces may not be made.
pub(crate) struct Hosts {
    id: u32,
    pub(crate) bridge: Bridge,
    pub(crate) cluster: Cluster,
}

impl Hosts {
    pub(crate) fn new(which: u32) -> Option<Self> {
        // A /24 of 198.18.0.0/15, which is set aside for tests, and names of this test's own.
        let id = (std::process::id() * 2 + which) % 250;
        let (bridge, net) = (format!("inc{id}"), format!("198.18.{id}"));
        let made = run(&format!("ip link add {bridge} type bridge"))
            && run(&format!("ip address add {net}.1/24 dev {bridge}"))
            && run(&format!("ip link set {bridge} up"));
        if !made {
            peers::missing("a network namespace", "making one needs root and iproute2");
            return None;
        }
        let cluster = Cluster::start_on(format!("{net}.1:0").parse().unwrap());
        Some(Self { id, bridge: Bridge(bridge), cluster })
    }

    pub(crate) fn host(id: u32, number: usize) -> Network {
        host(&format!("inc{id}"), &format!("198.18.{id}"), id, number)
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }
}

/// An arena of three hosts; none where namespaces may not be made.
pub(crate) fn arena(fault: &'static str) -> Option<Arena> {
    let hosts = Hosts::new(0)?;
    let id = hosts.id();
    let mut arena =
        Arena::build(fault, hosts.cluster, false, |number| Some(Hosts::host(id, number)));
    arena.bridge = Some(hosts.bridge);
    Some(arena)
}

fn host(bridge: &str, net: &str, id: u32, number: usize) -> Network {
    let (name, cable) = (format!("inc{id}n{number}"), format!("inc{id}c{number}"));
    let far = format!("inc{id}f{number}");
    for command in [
        format!("ip netns add {name}"),
        format!("ip link add {cable} type veth peer name {far} netns {name}"),
        format!("ip link set {cable} master {bridge} up"),
        format!("ip -n {name} address add {net}.{}/24 dev {far}", number + 2),
        format!("ip -n {name} link set {far} up"),
        format!("ip -n {name} link set lo up"),
    ] {
        assert!(run(&command), "{command}");
    }
    Network { name, cable }
}

/// Goes with the test.
pub(crate) struct Bridge(String);

impl Drop for Bridge {
    fn drop(&mut self) {
        run(&format!("ip link delete {}", self.0));
    }
}
