//! Addresses to listen on.

use std::net::{Ipv4Addr, SocketAddr};

/// An address and port; a port alone is on this machine only.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let on_this_machine = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if let Ok(port) = text.trim_start_matches(':').parse() {
        return Ok(on_this_machine(port));
    }
    if let Some(Ok(port)) = text.strip_prefix("localhost:").map(str::parse) {
        return Ok(on_this_machine(port));
    }
    text.parse()
        .map_err(|_| "write an address and a port, for example 127.0.0.1:8080 or [::]:8080".to_owned())
}

/// Where something listens, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionalAddress(pub(crate) Option<SocketAddr>);

/// As [`listen_address`]; `none` or `off` is nowhere.
pub(crate) fn optional_address(text: &str) -> Result<OptionalAddress, String> {
    match text {
        "none" | "off" => Ok(OptionalAddress(None)),
        text => listen_address(text)
            .map(|address| OptionalAddress(Some(address)))
            .map_err(|error| error + ", or none"),
    }
}

/// The same address with another port.
pub(super) fn with_port(address: &str, port: &str) -> Result<String, String> {
    let mut address = listen_address(address)?;
    address.set_port(port.parse().map_err(|_| "write a port, 0 to 65535".to_owned())?);
    Ok(address.to_string())
}
