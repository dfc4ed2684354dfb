//! Ports that nobody else takes while a server is down.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::ops::Range;

/// Where leased ports begin; well-known servers are below.
const FIRST: u16 = 20_000;
/// Attempts before giving up: a machine has not so many servers.
const ATTEMPTS: u32 = 1_000;

/// A TCP port of 127.0.0.1 for one server, kept over its restarts.
///
/// The lease is the UDP socket of the same number: the server can bind its TCP port, while other leases, in this process
/// and in others, see that the number is taken. Leased ports lie below those the system gives to outgoing
/// connections, so none of these takes the port while the server is down.
#[derive(Debug)]
pub struct PortLease {
    port: u16,
    _lease: UdpSocket,
}

impl PortLease {
    /// A port on which nobody listens.
    ///
    /// # Panics
    ///
    /// Panics where a thousand ports in a row are taken.
    pub fn new() -> Self {
        let range = range();
        for _ in 0..ATTEMPTS {
            let port = fastrand::u16(range.clone());
            let Ok(lease) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else { continue };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Self { port, _lease: lease };
            }
        }
        panic!("no free port in {range:?}");
    }

    /// The number.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port on 127.0.0.1.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }
}

impl Default for PortLease {
    fn default() -> Self {
        Self::new()
    }
}

/// The ports to choose from: up to the system's own range, or all where that begins too low.
fn range() -> Range<u16> {
    let system = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first_of_system =
        system.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768);
    if first_of_system > FIRST + 1_000 { FIRST..first_of_system } else { FIRST..60_000 }
}
