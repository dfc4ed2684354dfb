//! How a server is set up.

use std::path::PathBuf;

/// What a server is told; without more it keeps its data in memory only.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    pub(super) kind: Kind,
    pub(super) settings: Vec<(String, String)>,
    pub(super) password: Option<String>,
    pub(super) acl: Option<Acl>,
    pub(super) unix_socket: Option<&'static str>,
    pub(super) tls: Option<TlsFiles>,
}

/// What a process of the same binary is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Data,
    ClusterNode,
    Sentinel,
}

/// Users, and who of them looks into the server.
#[derive(Clone, Debug)]
pub(super) struct Acl {
    pub(super) file: String,
    pub(super) user: String,
    pub(super) password: String,
}

/// The files of a TLS server, as PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority that signs certificates.
    pub authority: PathBuf,
}

impl RedisOptions {
    /// Nothing but the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a line of the configuration file, for example `("maxmemory", "10mb")`; it overrides the defaults.
    #[must_use]
    pub fn setting(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// Requires this password of everyone; replicas and sentinels know it.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Uses these lines as the file of users; the tests look into the server as `user`, who must be allowed all.
    #[must_use]
    pub fn acl(mut self, lines: &str, user: &str, password: &str) -> Self {
        self.acl = Some(Acl { file: lines.to_owned(), user: user.to_owned(), password: password.to_owned() });
        self
    }

    /// Listens on a Unix socket too.
    #[must_use]
    pub fn unix_socket(mut self) -> Self {
        self.unix_socket = Some("redis.sock");
        self
    }

    /// Listens on a second port with TLS too; clients need no certificate unless `tls-auth-clients` is set.
    #[must_use]
    pub fn tls(mut self, files: TlsFiles) -> Self {
        self.tls = Some(files);
        self
    }

    pub(super) fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }
}
