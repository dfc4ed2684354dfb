//! Listening sockets: opening them, and closing them without losing anybody.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::TcpListener;

/// Connections the kernel may keep for an accept loop that is busy. It lowers the number to its
/// own maximum (`net.core.somaxconn`).
const DEFAULT_BACKLOG: u32 = 4_096;

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// The address; port 0 lets the system choose. `[::]` takes IPv4 clients too.
    pub address: SocketAddr,
    /// The kernel's accept queue, in connections. 1 to 65,535, default 4,096.
    pub backlog: u32,
    /// The setting that chose the address, for error messages: `--listen`.
    pub setting: &'static str,
}

impl ListenOptions {
    /// Listens on `address`, which the setting named `setting` chose.
    #[must_use]
    pub fn new(address: SocketAddr, setting: &'static str) -> Self {
        Self { address, backlog: DEFAULT_BACKLOG, setting }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Another process, or another door, has the port.
    #[error("port {} is already in use: choose another with {setting}", address.port())]
    InUse {
        /// The address asked for.
        address: SocketAddr,
        /// The setting that chose it.
        setting: &'static str,
    },
    /// The process may not have the port (ports below 1024 need a privilege).
    #[error(
        "not allowed to listen on {address}: choose a port above 1023 with {setting}, or grant CAP_NET_BIND_SERVICE"
    )]
    NotAllowed {
        /// The address asked for.
        address: SocketAddr,
        /// The setting that chose it.
        setting: &'static str,
    },
    /// The address is none of this machine's.
    #[error("this machine has no address {}: choose one of its own with {setting}, or 0.0.0.0 for all", address.ip())]
    NoSuchAddress {
        /// The address asked for.
        address: SocketAddr,
        /// The setting that chose it.
        setting: &'static str,
    },
    /// A path cannot be listened at.
    #[error("cannot listen at {} ({setting}): {source}; choose another path", path.display())]
    Unix {
        /// The path asked for.
        path: PathBuf,
        /// The setting that chose it.
        setting: &'static str,
        /// What is in the way.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot listen on {address} ({setting})")]
    Io {
        /// The address asked for.
        address: SocketAddr,
        /// The setting that chose it.
        setting: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Opens a listening socket. Must be called within a Tokio runtime.
///
/// # Errors
/// The address is taken, not allowed, not this machine's, or the system has no sockets left.
pub fn bind(options: &ListenOptions) -> Result<TcpListener, ListenError> {
    open(options).map_err(|source| {
        let (address, setting) = (options.address, options.setting);
        match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { address, setting },
            io::ErrorKind::PermissionDenied => ListenError::NotAllowed { address, setting },
            io::ErrorKind::AddrNotAvailable => ListenError::NoSuchAddress { address, setting },
            _ => ListenError::Io { address, setting, source },
        }
    })
}

fn open(options: &ListenOptions) -> io::Result<TcpListener> {
    let address = options.address;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for its predecessor's connections in TIME_WAIT. On Windows the
    // option means something else: it lets two processes steal each other's port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(options.backlog.clamp(1, 65_535)).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Makes the kernel ignore new connections to `listener`, while handshakes already begun finish.
///
/// Closing a listener resets whatever is in its accept queue. The queue can be emptied first, but
/// not atomically with the close; a filter that drops SYN segments closes that gap. A client that
/// comes too late repeats its SYN a second later and is refused cleanly.
#[cfg(target_os = "linux")]
pub(super) fn stop_handshakes(listener: &TcpListener) -> io::Result<()> {
    use socket2::{SockFilter, SockRef};

    // Classic BPF, see linux/bpf_common.h. A TCP socket's filter sees the segment from its header on.
    const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
    const JUMP_IF_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const FLAGS_OFFSET: u32 = 13;
    const SYN: u32 = 0x02;
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_OFFSET),
        SockFilter::new(JUMP_IF_SET, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

/// Other systems have no such filter: a connection may be reset in the instant of the close.
#[cfg(not(target_os = "linux"))]
pub(super) fn stop_handshakes(_listener: &TcpListener) -> io::Result<()> {
    Ok(())
}
