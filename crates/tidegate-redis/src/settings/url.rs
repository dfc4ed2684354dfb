//! The address of the store, read by hand: several hosts are more than a URL parser takes.

use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::{Address, Login, MAX_SERVERS, RedisSettings, Servers, SettingsError, TlsSettings};

const REDIS_PORT: u16 = 6_379;
const SENTINEL_PORT: u16 = 26_379;
const MAX_HOST: usize = 253;

const PARAMETERS: &str = "the parameters are db, connections, deadline_ms, connect_timeout_ms, prefix, layout, \
                          ca_file, sentinel_user and sentinel_password, each at most once";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Unix,
    Sentinel,
    Cluster,
}

pub(super) fn parse(address: &str) -> Result<RedisSettings, SettingsError> {
    let (scheme, rest) = address.split_once("://").ok_or(SettingsError::Scheme)?;
    let (kind, tls) = match scheme {
        "redis" => (Kind::Single, false),
        "rediss" => (Kind::Single, true),
        "unix" | "redis+unix" => (Kind::Unix, false),
        "redis+sentinel" => (Kind::Sentinel, false),
        "rediss+sentinel" => (Kind::Sentinel, true),
        "redis+cluster" => (Kind::Cluster, false),
        "rediss+cluster" => (Kind::Cluster, true),
        _ => return Err(SettingsError::Scheme),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (Some(parse_login(login)?), hosts),
        None => (None, authority),
    };
    let (servers, database) = parse_servers(kind, hosts, path)?;

    let mut settings = RedisSettings::new(servers);
    settings.login = login;
    settings.tls = tls.then(TlsSettings::default);
    let database = parse_query(&mut settings, query, database)?;
    settings.database = match (kind, database) {
        (Kind::Cluster, Some(1..)) => return Err(SettingsError::Range("a Cluster has only database 0")),
        (_, database) => database.unwrap_or(0),
    };
    Ok(settings)
}

fn parse_login(text: &str) -> Result<Login, SettingsError> {
    let (user, password) = text.split_once(':').ok_or(SettingsError::Login)?;
    let (user, password) = (decoded(user), decoded(password));
    match (user, password) {
        (Some(user), Some(password)) if !password.is_empty() => {
            Ok(Login { user: (!user.is_empty()).then_some(user), password })
        }
        _ => Err(SettingsError::Login),
    }
}

fn decoded(text: &str) -> Option<Arc<str>> {
    percent_decode_str(text).decode_utf8().ok().map(Arc::from)
}

/// The servers, and the database where the path names it.
fn parse_servers(kind: Kind, hosts: &str, path: &str) -> Result<(Servers, Option<u16>), SettingsError> {
    const NO_PATH: SettingsError =
        SettingsError::Path("after the servers there is at most /database, a number");
    let mut parts = path.trim_start_matches('/').trim_end_matches('/').splitn(2, '/');
    let (first, second) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    match kind {
        Kind::Unix if !hosts.is_empty() => {
            Err(SettingsError::Path("a socket is written with three slashes: unix:///path/to/socket"))
        }
        Kind::Unix => match decoded(path) {
            Some(path) if path.len() > 1 => Ok((Servers::Single(Address::unix(&*path)), None)),
            _ => Err(SettingsError::Path("the path of the socket is missing")),
        },
        Kind::Single if !second.is_empty() => Err(NO_PATH),
        Kind::Single => match parse_hosts(hosts, REDIS_PORT)?.as_slice() {
            [address] => Ok((Servers::Single(address.clone()), number(first).map_err(|()| NO_PATH)?)),
            _ => {
                Err(SettingsError::ServerCount("several servers need redis+cluster:// or redis+sentinel://"))
            }
        },
        Kind::Cluster if !second.is_empty() => Err(NO_PATH),
        Kind::Cluster => {
            let seeds = parse_hosts(hosts, REDIS_PORT)?;
            Ok((Servers::Cluster { seeds }, number(first).map_err(|()| NO_PATH)?))
        }
        Kind::Sentinel => {
            let sentinels = parse_hosts(hosts, SENTINEL_PORT)?;
            let primary = decoded(first).filter(|name| !name.is_empty()).ok_or(SettingsError::Path(
                "after the Sentinels comes the name of the primary: redis+sentinel://host:26379/mymaster/0",
            ))?;
            Ok((Servers::Sentinel { sentinels, primary }, number(second).map_err(|()| NO_PATH)?))
        }
    }
}

fn parse_hosts(text: &str, default_port: u16) -> Result<Vec<Address>, SettingsError> {
    if text.split(',').nth(MAX_SERVERS).is_some() {
        return Err(SettingsError::ServerCount("at most 100 servers can be named"));
    }
    text.split(',')
        .enumerate()
        .map(|(index, host)| parse_host(host, default_port, index.saturating_add(1)))
        .collect()
}

fn parse_host(text: &str, default_port: u16, place: usize) -> Result<Address, SettingsError> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or(SettingsError::Server(place))?)),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(port) => {
            number::<u16>(port).ok().flatten().filter(|port| *port > 0).ok_or(SettingsError::Server(place))?
        }
        None => default_port,
    };
    if is_host(host) { Ok(Address::tcp(host, port)) } else { Err(SettingsError::Server(place)) }
}

/// A name or an IP address: the rest is for the resolver to judge.
pub(super) fn is_host(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    !text.is_empty() && text.len() <= MAX_HOST && text.chars().all(allowed)
}

/// A number in digits only; `None` where nothing is written.
fn number<T: std::str::FromStr>(text: &str) -> Result<Option<T>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(());
    }
    text.parse().map(Some).map_err(|_| ())
}

/// Applies the parameters and returns the database, from the path or from `db`.
fn parse_query(
    settings: &mut RedisSettings,
    query: &str,
    path_database: Option<u16>,
) -> Result<Option<u16>, SettingsError> {
    let mut values = Values::default();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').ok_or(SettingsError::Parameter(PARAMETERS))?;
        let value =
            decoded(value).filter(|value| !value.is_empty()).ok_or(SettingsError::Parameter(PARAMETERS))?;
        let place = values.place(name).ok_or(SettingsError::Parameter(PARAMETERS))?;
        if place.replace(value).is_some() {
            return Err(SettingsError::Parameter(PARAMETERS));
        }
    }
    let Values { db, connections, deadline_ms, connect_timeout_ms, prefix, layout, ca_file, .. } = &values;

    let mut refined = settings.clone();
    if let Some(connections) = parsed(connections, "connections must be a number")? {
        refined = refined.with_connections(connections)?;
    }
    if let Some(deadline) = parsed(deadline_ms, "deadline_ms must be a number of milliseconds")? {
        refined = refined.with_call_deadline(Duration::from_millis(deadline))?;
    }
    if let Some(timeout) = parsed(connect_timeout_ms, "connect_timeout_ms must be a number of milliseconds")?
    {
        refined = refined.with_connect_timeout(Duration::from_millis(timeout))?;
    }
    if let Some(prefix) = prefix {
        refined = refined.with_key_prefix(prefix)?;
    }
    if let Some(layout) = layout {
        refined = refined.with_layout(layout.parse()?);
    }
    if let Some(file) = ca_file {
        refined = refined.with_ca_file(&**file)?;
    }
    refined.sentinel_login = values.sentinel_login(&refined)?;
    *settings = refined;

    match (path_database, parsed(db, "db must be a number from 0 to 65535")?) {
        (Some(_), Some(_)) => Err(SettingsError::Parameter("the database is named twice")),
        (path, query) => Ok(path.or(query)),
    }
}

fn parsed<T: std::str::FromStr>(
    value: &Option<Arc<str>>,
    problem: &'static str,
) -> Result<Option<T>, SettingsError> {
    match value {
        Some(text) => number(text).map_err(|()| SettingsError::Parameter(problem)),
        None => Ok(None),
    }
}

/// The parameters as written.
#[derive(Default)]
struct Values {
    db: Option<Arc<str>>,
    connections: Option<Arc<str>>,
    deadline_ms: Option<Arc<str>>,
    connect_timeout_ms: Option<Arc<str>>,
    prefix: Option<Arc<str>>,
    layout: Option<Arc<str>>,
    ca_file: Option<Arc<str>>,
    sentinel_user: Option<Arc<str>>,
    sentinel_password: Option<Arc<str>>,
}

impl Values {
    fn place(&mut self, name: &str) -> Option<&mut Option<Arc<str>>> {
        match name {
            "db" => Some(&mut self.db),
            "connections" => Some(&mut self.connections),
            "deadline_ms" => Some(&mut self.deadline_ms),
            "connect_timeout_ms" => Some(&mut self.connect_timeout_ms),
            "prefix" => Some(&mut self.prefix),
            "layout" => Some(&mut self.layout),
            "ca_file" => Some(&mut self.ca_file),
            "sentinel_user" => Some(&mut self.sentinel_user),
            "sentinel_password" => Some(&mut self.sentinel_password),
            _ => None,
        }
    }

    fn sentinel_login(&self, settings: &RedisSettings) -> Result<Option<Login>, SettingsError> {
        let is_sentinel = matches!(settings.servers, Servers::Sentinel { .. });
        match (&self.sentinel_user, &self.sentinel_password) {
            (None, None) => Ok(None),
            (_, Some(_)) if !is_sentinel => {
                Err(SettingsError::Parameter("sentinel_password needs an address with Sentinels"))
            }
            (user, Some(password)) => Ok(Some(Login { user: user.clone(), password: Arc::clone(password) })),
            (Some(_), None) => Err(SettingsError::Parameter("sentinel_user needs sentinel_password")),
        }
    }
}
