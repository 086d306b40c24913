//! What a candidate is called, and what tells it from others of the same name.

use std::env;

use incumbent_core::{Identity, Session};

use crate::clock::Clock;
use crate::invalid::InvalidSetting;

/// The Pod's name and uid where the downward API gives them, else the host's name and a random number.
///
/// Never the bare name: a StatefulSet gives a restarted Pod the name of its predecessor.
pub(crate) fn default() -> Identity {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
    let name = set("POD_NAME").or_else(|| set("HOSTNAME")).or_else(host_name);
    let name = name.unwrap_or_else(|| "candidate".to_owned());
    let suffix = set("POD_UID").unwrap_or_else(|| format!("{:08x}", fastrand::u32(..)));
    Identity::new(format!("{name}_{suffix}")).expect("it is not empty")
}

/// The identity, if people can read it on a terminal.
pub(crate) fn checked(identity: String) -> Result<Identity, InvalidSetting> {
    let readable = !identity.chars().any(char::is_control) && identity.trim() == identity;
    let identity_or_nobody = Identity::new(identity.clone());
    match identity_or_nobody {
        Some(named) if readable && identity.len() <= LONGEST => Ok(named),
        _ => Err(InvalidSetting::Identity(identity)),
    }
}

/// A number that no other process start has. Under a test's clock it is drawn from this thread's generator, so
/// that the test's seed decides it.
pub(crate) fn session(clock: Clock) -> Result<Session, InvalidSetting> {
    if clock.is_tokio() {
        return Ok(Session(fastrand::u128(..)));
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| InvalidSetting::Random(error.to_string()))?;
    Ok(Session(u128::from_le_bytes(bytes)))
}

pub(crate) fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/etc/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

const LONGEST: usize = 253;
