//! An address to listen at, or only its port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// An address, or a port of this machine alone.
pub(crate) fn parse(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<u16>() {
        Ok(port) => Ok((IpAddr::V4(Ipv4Addr::LOCALHOST), port).into()),
        Err(_) => text.parse().map_err(|_| "give a port, or an address and a port".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_one_of_this_machine() {
        assert_eq!(parse("9090").unwrap().to_string(), "127.0.0.1:9090");
        assert_eq!(parse("0.0.0.0:0").unwrap().to_string(), "0.0.0.0:0");
        assert!(parse("everywhere").is_err());
    }
}
