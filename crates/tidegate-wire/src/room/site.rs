//! The hosts a room stands in front of: visitors are sent back to them, and passes hold for them.
//!
//! Hosts are compared whole, port included, as a browser would read them: lower case, international names in their
//! ASCII form, default ports left out. There are no patterns: `*.example` would also be everybody's who gets a name
//! below it.

use std::fmt;
use std::sync::Arc;

use url::Url;

use crate::check::shown;

#[cfg(test)]
mod tests;

/// Most hosts of a room.
pub const MAX_SITE_HOSTS: usize = 16;
/// Most bytes of all hosts of a room together: passes carry them, and a browser keeps 4 KiB in a cookie.
pub const MAX_SITE_HOSTS_BYTES: usize = 1024;
/// Longest host with its port, in bytes.
pub const MAX_HOST_BYTES: usize = 255;

/// How a host is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Encrypted.
    Https,
    /// In the clear: for development.
    Http,
}

/// A host as a browser reads it, with its port unless that is the scheme's own: `shop.example`, `[2001:db8::1]:8443`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteHost(Arc<str>);

/// The hosts that a pass holds for; at most [`MAX_SITE_HOSTS`] and [`MAX_SITE_HOSTS_BYTES`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audience(Vec<SiteHost>);

/// The hosts that visitors may be sent to, besides the one that serves the page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts(Vec<(Scheme, SiteHost)>);

/// Why a list of hosts is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// Not a host.
    #[error(
        "{0} is no host: write `shop.example`, `shop.example:8443` or `http://localhost:3000`, without a path"
    )]
    NotAHost(String),
    /// A pattern.
    #[error("{0} is a pattern: name every host in full")]
    Pattern(String),
    /// More than [`MAX_SITE_HOSTS`], or more than [`MAX_SITE_HOSTS_BYTES`] together.
    #[error("at most {MAX_SITE_HOSTS} hosts with {MAX_SITE_HOSTS_BYTES} characters together")]
    TooMany,
}

// === impl Scheme ===

impl Scheme {
    /// `https` or `http`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}

// === impl SiteHost ===

impl SiteHost {
    /// Reads a host with or without a port; `scheme` says which port goes without saying.
    ///
    /// # Errors
    /// [`SiteError::NotAHost`] or [`SiteError::Pattern`].
    pub fn parse(text: &str, scheme: Scheme) -> Result<Self, SiteError> {
        let not_a_host = || SiteError::NotAHost(shown(text));
        let foreign = |c: char| c.is_control() || c.is_whitespace() || "/\\?#@%".contains(c);
        // International names are longer in Unicode than MAX_HOST_BYTES only if they are too long in ASCII, too.
        if text.is_empty() || text.len() > MAX_HOST_BYTES || text.contains(foreign) {
            return Err(not_a_host());
        }
        if text.contains('*') {
            return Err(SiteError::Pattern(shown(text)));
        }
        let url = Url::parse(&format!("{}://{text}/", scheme.as_str())).map_err(|_| not_a_host())?;
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(not_a_host());
        }
        Self::of_url(&url).ok_or_else(not_a_host)
    }

    /// The host of a URL that was parsed.
    pub(super) fn of_url(url: &Url) -> Option<Self> {
        let host = url.host_str()?;
        let text = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        (!host.is_empty() && text.len() <= MAX_HOST_BYTES).then(|| Self(text.into()))
    }

    /// A host that was [read](Self::parse) once, and then signed by us.
    pub(super) fn from_canonical(text: &str) -> Option<Self> {
        let is_host_byte = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
        let fits = (1..=MAX_HOST_BYTES).contains(&text.len()) && text.bytes().all(is_host_byte);
        fits.then(|| Self(text.into()))
    }

    /// The host, with its port unless that is the scheme's own.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SiteHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Audience ===

impl Audience {
    /// Hosts in their order, each once.
    ///
    /// # Errors
    /// [`SiteError::TooMany`].
    pub fn new(hosts: impl IntoIterator<Item = SiteHost>) -> Result<Self, SiteError> {
        let (mut list, mut bytes) = (Vec::new(), 0);
        for host in hosts {
            if list.contains(&host) {
                continue;
            }
            bytes += host.0.len();
            if list.len() >= MAX_SITE_HOSTS || bytes > MAX_SITE_HOSTS_BYTES {
                return Err(SiteError::TooMany);
            }
            list.push(host);
        }
        Ok(Self(list))
    }

    /// The hosts.
    #[must_use]
    pub fn hosts(&self) -> &[SiteHost] {
        &self.0
    }

    /// Whether a pass for these hosts holds at this one; with no hosts it holds nowhere.
    #[must_use]
    pub fn contains(&self, host: &SiteHost) -> bool {
        self.0.contains(host)
    }
}

// === impl AllowedHosts ===

impl AllowedHosts {
    /// Reads a list of `shop.example`, `https://shop.example:8443` or, for plain HTTP, `http://localhost:3000`.
    ///
    /// # Errors
    /// [`SiteError`], for the first thing that is wrong.
    pub fn new<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, SiteError> {
        let mut list = Self::default();
        for text in texts {
            let (scheme, host) = match text.split_once("://") {
                None => (Scheme::Https, text),
                Some(("https", host)) => (Scheme::Https, host),
                Some(("http", host)) => (Scheme::Http, host),
                Some(_) => return Err(SiteError::NotAHost(shown(text))),
            };
            let site = (scheme, SiteHost::parse(host, scheme)?);
            if list.0.contains(&site) {
                continue;
            }
            if list.0.len() >= MAX_SITE_HOSTS {
                return Err(SiteError::TooMany);
            }
            list.0.push(site);
        }
        // A room's passes must be able to carry what its visitors may be sent to.
        Audience::new(list.hosts()).map(|_| list)
    }

    /// Whether a URL with this scheme and this host may be gone to.
    #[must_use]
    pub fn contains(&self, scheme: Scheme, host: &SiteHost) -> bool {
        self.0.iter().any(|(known, site)| *known == scheme && site == host)
    }

    /// The hosts as the audience of passes.
    #[must_use]
    pub fn audience(&self) -> Audience {
        // `new` has made one of the same hosts.
        Audience::new(self.hosts()).unwrap_or_default()
    }

    /// The hosts as origins: `https://shop.example:8443`.
    pub fn origins(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|(scheme, host)| format!("{}://{host}", scheme.as_str()))
    }

    fn hosts(&self) -> impl Iterator<Item = SiteHost> + '_ {
        self.0.iter().map(|(_, host)| host.clone())
    }
}
