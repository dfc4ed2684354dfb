//! Where the servers are, who we are to them, and how long they may take.
//!
//! No error and no `Display` or `Debug` repeats what was written: a password that is not percent-encoded can end up in
//! any part of an address.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

mod layout;
mod url;

pub use layout::{Groups, Layout};

/// Connections to one server from one process, at most.
pub const MAX_CONNECTIONS: usize = 20;
/// Servers or Sentinels that settings can name, at most.
pub(crate) const MAX_SERVERS: usize = 100;
/// The name under which connections appear in `CLIENT LIST`.
pub(crate) const CLIENT_NAME: &str = "tidegate";

const DEFAULT_CONNECTIONS: usize = 2;
const DEFAULT_CALL_DEADLINE: Duration = Duration::from_millis(100);
const MIN_CALL_DEADLINE: Duration = Duration::from_millis(1);
const MAX_CALL_DEADLINE: Duration = Duration::from_secs(10);
const DEFAULT_KEY_PREFIX: &str = "t";
/// The longest key prefix, in bytes.
const MAX_KEY_PREFIX: usize = 32;

/// Where a server listens.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// A name or an IP address (IPv6 without brackets), and a port.
    Tcp {
        /// The name or the IP address.
        host: Arc<str>,
        /// The port, 1 to 65535.
        port: u16,
    },
    /// A socket in the file system.
    Unix(Arc<Path>),
}

/// Which servers hold the buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Servers {
    /// One server.
    Single(Address),
    /// The primary that these Sentinels name.
    Sentinel {
        /// The Sentinels, at least one.
        sentinels: Vec<Address>,
        /// The name of the primary's group.
        primary: Arc<str>,
    },
    /// The nodes of a Cluster.
    Cluster {
        /// Nodes to ask for the others, at least one.
        seeds: Vec<Address>,
    },
}

/// Why settings are refused. The text never repeats what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The address does not begin with a scheme that is known.
    #[error(
        "a Redis address begins with redis://, rediss://, redis+cluster://, rediss+cluster://, redis+sentinel://, \
         rediss+sentinel://, unix:// or redis+unix://"
    )]
    Scheme,
    /// What stands before the `@`.
    #[error("the login must be user:password@ or :password@, and special characters in it %-encoded")]
    Login,
    /// A host or its port.
    #[error(
        "server {0} must be host, host:port or [IPv6]:port with a port from 1 to 65535; \
         special characters in a password must be %-encoded"
    )]
    Server(usize),
    /// The number of servers does not suit the scheme.
    #[error("{0}")]
    ServerCount(&'static str),
    /// What follows the servers.
    #[error("{0}")]
    Path(&'static str),
    /// What follows the question mark.
    #[error("{0}")]
    Parameter(&'static str),
    /// A value out of its range.
    #[error("{0}")]
    Range(&'static str),
}

/// How to reach the store: parsed from an address, refined by the `with_…` methods.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisSettings {
    servers: Servers,
    login: Option<Login>,
    sentinel_login: Option<Login>,
    database: u16,
    tls: Option<TlsSettings>,
    connections: usize,
    call_deadline: Duration,
    connect_timeout: Option<Duration>,
    key_prefix: Arc<str>,
    layout: Layout,
}

/// A user and its password. `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    /// `None` is the user `default`, in the form that servers before 6.0 understand.
    pub(crate) user: Option<Arc<str>>,
    pub(crate) password: Arc<str>,
}

/// TLS is spoken, and the server's certificate is always checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    /// The certificates (PEM) to trust instead of the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

impl RedisSettings {
    /// Settings from an address:
    ///
    /// | address | servers |
    /// | --- | --- |
    /// | `redis://user:password@host:6379/0` | one server; `rediss://` over TLS |
    /// | `unix:///run/redis.sock?db=1` | one server on a socket; also `redis+unix://` |
    /// | `redis+sentinel://a:26379,b:26379/mymaster/0` | the primary of `mymaster`; also `rediss+sentinel://` |
    /// | `redis+cluster://a:6379,b:6379` | a Cluster; also `rediss+cluster://` |
    ///
    /// The login is `user:password@` or `:password@`. Parameters after `?`: `db`, `connections`, `deadline_ms`,
    /// `connect_timeout_ms`, `prefix`, `layout`, `ca_file` (TLS), `sentinel_user` and `sentinel_password`.
    ///
    /// # Errors
    ///
    /// What is wrong with the address, without repeating any of it.
    pub fn parse(address: &str) -> Result<Self, SettingsError> {
        url::parse(address)
    }

    /// One server without a password, as `REDIS_HOST` and `REDIS_PORT` name it.
    ///
    /// # Errors
    ///
    /// The host is empty or no host, or the port is 0.
    pub fn from_host_port(host: &str, port: u16) -> Result<Self, SettingsError> {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if port == 0 || !url::is_host(host) {
            return Err(SettingsError::Server(1));
        }
        Ok(Self::new(Servers::Single(Address::tcp(host, port))))
    }

    fn new(servers: Servers) -> Self {
        Self {
            servers,
            login: None,
            sentinel_login: None,
            database: 0,
            tls: None,
            connections: DEFAULT_CONNECTIONS,
            call_deadline: DEFAULT_CALL_DEADLINE,
            connect_timeout: None,
            key_prefix: DEFAULT_KEY_PREFIX.into(),
            layout: Layout::default(),
        }
    }

    /// Connections to each server, 1 to [`MAX_CONNECTIONS`]; 2 unless set: fewer carry larger batches, which cost the server less.
    ///
    /// # Errors
    ///
    /// The number is out of range.
    pub fn with_connections(mut self, connections: usize) -> Result<Self, SettingsError> {
        if connections == 0 || connections > MAX_CONNECTIONS {
            return Err(SettingsError::Range("connections must be 1 to 20"));
        }
        self.connections = connections;
        Ok(self)
    }

    /// The time for a call, from asking to the reply, 1 ms to 10 s; 100 ms unless set.
    ///
    /// # Errors
    ///
    /// The time is out of range, or below a connect timeout that was set.
    pub fn with_call_deadline(mut self, deadline: Duration) -> Result<Self, SettingsError> {
        if !(MIN_CALL_DEADLINE..=MAX_CALL_DEADLINE).contains(&deadline) {
            return Err(SettingsError::Range("the call deadline must be 1 ms to 10 s"));
        }
        self.call_deadline = deadline;
        self.timeouts_checked()
    }

    /// The time for a connection with TLS, login and survey; the call deadline unless set.
    ///
    /// # Errors
    ///
    /// The time is below 1 ms or above the call deadline.
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Result<Self, SettingsError> {
        self.connect_timeout = Some(timeout);
        self.timeouts_checked()
    }

    fn timeouts_checked(self) -> Result<Self, SettingsError> {
        match self.connect_timeout {
            Some(timeout) if timeout < MIN_CALL_DEADLINE || timeout > self.call_deadline => {
                Err(SettingsError::Range("the connect timeout must be 1 ms up to the call deadline"))
            }
            _ => Ok(self),
        }
    }

    /// What every key begins with, at most 32 bytes; `t` unless set. Installations that share a server differ in it.
    ///
    /// # Errors
    ///
    /// The prefix is too long, or holds a brace (they choose the slot in a Cluster), a blank or a control character.
    pub fn with_key_prefix(mut self, prefix: &str) -> Result<Self, SettingsError> {
        if prefix.len() > MAX_KEY_PREFIX {
            return Err(SettingsError::Range("the key prefix must be at most 32 bytes"));
        }
        if prefix.contains(|c: char| matches!(c, '{' | '}') || c.is_whitespace() || c.is_control()) {
            return Err(SettingsError::Range(
                "the key prefix must be without braces, blanks and control characters",
            ));
        }
        self.key_prefix = prefix.into();
        Ok(self)
    }

    /// How buckets are laid out in the store; plain unless set.
    #[must_use]
    pub const fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// Trusts the certificates in this PEM file instead of the system's. The file is read when a connection is set up.
    ///
    /// # Errors
    ///
    /// The address does not ask for TLS.
    pub fn with_ca_file(mut self, file: impl Into<PathBuf>) -> Result<Self, SettingsError> {
        match &mut self.tls {
            Some(tls) => tls.ca_file = Some(file.into()),
            None => {
                return Err(SettingsError::Parameter("a CA file needs an address that begins with rediss"));
            }
        }
        Ok(self)
    }

    /// Which servers hold the buckets.
    #[must_use]
    pub const fn servers(&self) -> &Servers {
        &self.servers
    }

    /// The number of the logical database, 0 in a Cluster.
    #[must_use]
    pub const fn database(&self) -> u16 {
        self.database
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Connections to each server.
    #[must_use]
    pub const fn connections(&self) -> usize {
        self.connections
    }

    /// The time for a call.
    #[must_use]
    pub const fn call_deadline(&self) -> Duration {
        self.call_deadline
    }

    /// The time for a connection, at most the call deadline.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout.unwrap_or(self.call_deadline)
    }

    /// What every key begins with.
    #[must_use]
    pub fn key_prefix(&self) -> &str {
        &self.key_prefix
    }

    /// How buckets are laid out in the store.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    pub(crate) const fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    pub(crate) const fn sentinel_login(&self) -> Option<&Login> {
        self.sentinel_login.as_ref()
    }

    pub(crate) const fn tls(&self) -> Option<&TlsSettings> {
        self.tls.as_ref()
    }
}

// === impl Address ===

impl Address {
    /// The address of a TCP server.
    #[must_use]
    pub fn tcp(host: impl Into<Arc<str>>, port: u16) -> Self {
        Self::Tcp { host: host.into(), port }
    }

    /// The address of a socket in the file system.
    #[must_use]
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Self::Unix(path.as_ref().into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl RedisSettings ===

impl fmt::Display for RedisSettings {
    /// The address, with `***@` for a login and without parameters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls() { "rediss" } else { "redis" };
        let login = if self.login.is_some() { "***@" } else { "" };
        match &self.servers {
            Servers::Single(Address::Unix(path)) => {
                write!(f, "unix://{login}{}?db={}", path.display(), self.database)
            }
            Servers::Single(address) => write!(f, "{scheme}://{login}{address}/{}", self.database),
            Servers::Sentinel { sentinels, primary } => {
                write!(f, "{scheme}+sentinel://{login}{}/{primary}/{}", Listed(sentinels), self.database)
            }
            Servers::Cluster { seeds } => write!(f, "{scheme}+cluster://{login}{}", Listed(seeds)),
        }
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("address", &format_args!("{self}"))
            .field("tls", &self.tls)
            .field("connections", &self.connections)
            .field("call_deadline", &self.call_deadline)
            .field("connect_timeout", &self.connect_timeout())
            .field("key_prefix", &self.key_prefix)
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(***)")
    }
}

struct Listed<'a>(&'a [Address]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{address}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
