//! Where to connect to and who we are there.

use std::sync::Arc;

use tokio::time::Instant;

use super::tls::Tls;
use super::{ClusterMap, ConnectError, Link, Sentinels};
use crate::settings::{Address, Login, RedisSettings, Servers};

/// Who we are to a server.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) login: Option<Login>,
    pub(super) database: u16,
    pub(super) tls: Option<Tls>,
}

/// Makes connections to one server: a fixed one, or whichever the Sentinels name at that time. Clones share what they
/// know.
#[derive(Clone, Debug)]
pub struct Connector {
    target: Target,
    identity: Arc<Identity>,
    timeout: std::time::Duration,
}

#[derive(Clone, Debug)]
enum Target {
    Fixed(Address),
    Sentinels(Arc<Sentinels>),
}

/// The connectors that settings ask for.
#[derive(Clone, Debug)]
pub enum Topology {
    /// One primary at a time: every connection goes to it.
    Primary(Connector),
    /// A connector for each node, from [`ClusterMap::connector`].
    Cluster(Arc<ClusterMap>),
}

impl Topology {
    /// Reads the certificates to trust; connects nowhere.
    ///
    /// # Errors
    ///
    /// TLS is asked for and the certificates to trust cannot be read.
    pub fn new(settings: &RedisSettings) -> Result<Self, ConnectError> {
        let tls = settings.tls().map(Tls::new).transpose()?;
        let identity = Arc::new(Identity {
            login: settings.login().cloned(),
            database: settings.database(),
            tls: tls.clone(),
        });
        let connector = |target| Connector {
            target,
            identity: Arc::clone(&identity),
            timeout: settings.connect_timeout(),
        };
        Ok(match settings.servers() {
            Servers::Single(address) => Self::Primary(connector(Target::Fixed(address.clone()))),
            Servers::Sentinel { sentinels, primary } => {
                let identity = Identity { login: settings.sentinel_login().cloned(), database: 0, tls };
                let sentinels = Sentinels::new(sentinels.clone(), Arc::clone(primary), identity);
                Self::Primary(connector(Target::Sentinels(Arc::new(sentinels))))
            }
            Servers::Cluster { seeds } => {
                let connectors = seeds.iter().map(|seed| connector(Target::Fixed(seed.clone()))).collect();
                Self::Cluster(Arc::new(ClusterMap::new(connectors)))
            }
        })
    }
}

impl Connector {
    /// The same for another server.
    pub(super) fn at(&self, address: Address) -> Self {
        Self { target: Target::Fixed(address), identity: Arc::clone(&self.identity), timeout: self.timeout }
    }

    /// The server, if it is a fixed one.
    #[must_use]
    pub const fn address(&self) -> Option<&Address> {
        match &self.target {
            Target::Fixed(address) => Some(address),
            Target::Sentinels(_) => None,
        }
    }

    /// The time for a connection.
    pub(super) const fn timeout(&self) -> std::time::Duration {
        self.timeout
    }

    /// A new connection to a primary, logged in and surveyed, within the connect timeout of the settings.
    ///
    /// # Errors
    ///
    /// There is none in that time, or the server is no primary, or refuses us.
    pub async fn connect(&self) -> Result<Link, ConnectError> {
        let deadline = Instant::now() + self.timeout;
        let address = match &self.target {
            Target::Fixed(address) => address.clone(),
            Target::Sentinels(sentinels) => sentinels.primary(deadline).await?,
        };
        let mut link = Link::open(&address, &self.identity, deadline).await?;
        link.survey(deadline).await?;
        if link.may_be_primary() {
            return Ok(link);
        }
        if let Target::Sentinels(sentinels) = &self.target {
            sentinels.distrust();
        }
        Err(ConnectError::NotPrimary(address.to_string()))
    }

    /// A new connection to any node, replica or not, only logged in.
    pub(super) async fn open(&self, deadline: Instant) -> Result<Link, ConnectError> {
        match &self.target {
            Target::Fixed(address) => Link::open(address, &self.identity, deadline).await,
            Target::Sentinels(sentinels) => {
                Link::open(&sentinels.primary(deadline).await?, &self.identity, deadline).await
            }
        }
    }
}
