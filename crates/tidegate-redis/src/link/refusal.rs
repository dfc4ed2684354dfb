//! What an error of the server means.

use std::fmt;

use crate::settings::Address;

/// A command that the server answered with an error, by what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The script is not in the server's cache: load it, then call it again.
    NoScript,
    /// The slot is served by another node, for good.
    Moved {
        /// The slot.
        slot: u16,
        /// The node that serves it.
        address: Address,
    },
    /// The slot is on its way to another node: this command only belongs there, after `ASKING`.
    Ask {
        /// The slot.
        slot: u16,
        /// The node that takes it over.
        address: Address,
    },
    /// The keys of the command are on both sides of a slot that is on its way.
    TryAgain,
    /// No node serves the slot, or the Cluster has no majority.
    ClusterDown,
    /// The server is reading its data from disk.
    Loading,
    /// The server is a replica.
    ReadOnly,
    /// A replica that has lost its primary.
    MasterDown,
    /// The server has no memory left and may evict nothing.
    OutOfMemory,
    /// A script has been running for too long.
    Busy,
    /// The server takes no writes: its disk fails, or too few replicas follow.
    NotWritable(Box<str>),
    /// As many clients as the server allows are connected.
    TooManyClients,
    /// The server wants a login.
    NoAuth,
    /// The user or the password is wrong.
    WrongPass,
    /// The user may not run the command or touch the key.
    NoPerm(Box<str>),
    /// Protected mode: the server only talks to its own machine.
    Denied,
    /// The keys of the command are in several slots.
    CrossSlot,
    /// A key holds something of another type.
    WrongType,
    /// The script failed, perhaps after a part of its writes.
    Script(Box<str>),
    /// Anything else.
    Other(Box<str>),
}

/// Errors raised within a script end with this and the script's name, since Redis 7.0.
const WITHIN_SCRIPT: &str = " script: ";

impl Refusal {
    /// The meaning of an error line, without its `-`; `from` is who sent it (a redirection may leave the host out).
    #[must_use]
    pub fn classify(line: &str, from: &Address) -> Self {
        let (code, detail) = line.split_once(' ').unwrap_or((line, ""));
        match code {
            "NOSCRIPT" => Self::NoScript,
            "MOVED" | "ASK" => match redirection(detail, from) {
                Some((slot, address)) if code == "MOVED" => Self::Moved { slot, address },
                Some((slot, address)) => Self::Ask { slot, address },
                None => Self::Other(line.into()),
            },
            "TRYAGAIN" => Self::TryAgain,
            "CLUSTERDOWN" => Self::ClusterDown,
            "LOADING" => Self::Loading,
            "READONLY" => Self::ReadOnly,
            "MASTERDOWN" => Self::MasterDown,
            "OOM" => Self::OutOfMemory,
            "BUSY" => Self::Busy,
            "MISCONF" | "NOREPLICAS" => Self::NotWritable(line.into()),
            "NOAUTH" => Self::NoAuth,
            "WRONGPASS" => Self::WrongPass,
            "NOPERM" => Self::NoPerm(line.into()),
            "DENIED" => Self::Denied,
            "CROSSSLOT" => Self::CrossSlot,
            "WRONGTYPE" => Self::WrongType,
            "ERR" => Self::classify_general(line, detail, from),
            _ => Self::Other(line.into()),
        }
    }

    /// The errors that have no code of their own.
    fn classify_general(line: &str, detail: &str, from: &Address) -> Self {
        if detail.starts_with("max number of clients") {
            return Self::TooManyClients;
        }
        if detail.starts_with("invalid password") {
            return Self::WrongPass;
        }
        if detail.starts_with("Error running script") {
            return Self::inner(detail, from).unwrap_or_else(|| Self::Script(line.into()));
        }
        let of_script = detail.starts_with("user_script:")
            || detail.starts_with("Error compiling script")
            || detail.contains(WITHIN_SCRIPT);
        if of_script { Self::Script(line.into()) } else { Self::Other(line.into()) }
    }

    /// Servers before 7.0 wrap the error that stopped a script:
    /// `Error running script (call to f_…): @user_script:1: @user_script: 1: -OOM command not allowed …`.
    fn inner(detail: &str, from: &Address) -> Option<Self> {
        let inner = detail
            .rsplit("@user_script")
            .next()?
            .trim_start_matches([':', ' ', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
        match Self::classify(inner.strip_prefix('-').unwrap_or(inner), from) {
            Self::Script(_) | Self::Other(_) | Self::NoPerm(_) | Self::NoScript => None,
            meaning => Some(meaning),
        }
    }

    /// Whether the command surely changed nothing. A server checks what these say before a script's first write;
    /// a script that fails otherwise keeps what it wrote before.
    #[must_use]
    pub fn proves_not_executed(&self) -> bool {
        match self {
            Self::NoScript
            | Self::Moved { .. }
            | Self::Ask { .. }
            | Self::TryAgain
            | Self::ClusterDown
            | Self::Loading
            | Self::ReadOnly
            | Self::MasterDown
            | Self::OutOfMemory
            | Self::Busy
            | Self::NotWritable(_)
            | Self::TooManyClients
            | Self::NoAuth
            | Self::WrongPass
            | Self::Denied
            | Self::CrossSlot => true,
            Self::NoPerm(line) => !line.contains(WITHIN_SCRIPT),
            Self::WrongType | Self::Script(_) | Self::Other(_) => false,
        }
    }

    /// Whether waiting, or asking the right node, may help: the command changed nothing and can be sent again.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::NoScript
            | Self::Moved { .. }
            | Self::Ask { .. }
            | Self::TryAgain
            | Self::ClusterDown
            | Self::Loading
            | Self::ReadOnly
            | Self::MasterDown
            | Self::OutOfMemory
            | Self::Busy
            | Self::NotWritable(_)
            | Self::TooManyClients => true,
            Self::NoAuth
            | Self::WrongPass
            | Self::NoPerm(_)
            | Self::Denied
            | Self::CrossSlot
            | Self::WrongType
            | Self::Script(_)
            | Self::Other(_) => false,
        }
    }

    /// Whether only a change of settings, here or there, can help.
    #[must_use]
    pub const fn is_misconfigured(&self) -> bool {
        matches!(self, Self::NoAuth | Self::WrongPass | Self::NoPerm(_) | Self::Denied | Self::CrossSlot)
    }

    /// Whether this server is the wrong one now: ask again who is primary.
    #[must_use]
    pub const fn is_wrong_server(&self) -> bool {
        matches!(self, Self::ReadOnly | Self::MasterDown)
    }
}

/// `3999 10.0.0.1:6381`; without a host it is the sender's; an IPv6 address has no brackets.
fn redirection(detail: &str, from: &Address) -> Option<(u16, Address)> {
    let (slot, address) = detail.split_once(' ')?;
    let (host, port) = address.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    let slot = slot.parse().ok().filter(|slot| *slot < super::SLOTS)?;
    let host = match (host, from) {
        ("" | "?", Address::Tcp { host, .. }) => host.clone(),
        ("" | "?", Address::Unix(_)) => return None,
        (host, _) => host.into(),
    };
    Some((slot, Address::Tcp { host, port }))
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoScript => f.write_str("the script is not loaded"),
            Self::Moved { slot, address } => write!(f, "slot {slot} is served by {address}"),
            Self::Ask { slot, address } => write!(f, "slot {slot} is on its way to {address}"),
            Self::TryAgain => f.write_str("the slot is on its way to another node"),
            Self::ClusterDown => f.write_str("the Cluster does not serve the slot"),
            Self::Loading => f.write_str("the server is loading its data"),
            Self::ReadOnly => f.write_str("the server is a replica"),
            Self::MasterDown => f.write_str("the server is a replica without its primary"),
            Self::OutOfMemory => f.write_str("the server has no memory left"),
            Self::Busy => f.write_str("a script has been running for too long"),
            Self::TooManyClients => f.write_str("the server takes no more clients (maxclients)"),
            Self::NoAuth => f.write_str("the server wants a login"),
            Self::WrongPass => f.write_str("the user or the password is wrong"),
            Self::Denied => f.write_str("the server is in protected mode and talks only to its own machine"),
            Self::CrossSlot => f.write_str("the keys are in several slots"),
            Self::WrongType => f.write_str("a key holds another type"),
            Self::NotWritable(line) | Self::NoPerm(line) | Self::Script(line) | Self::Other(line) => {
                f.write_str(line)
            }
        }
    }
}

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod tests;
