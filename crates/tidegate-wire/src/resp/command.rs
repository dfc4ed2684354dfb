//! What a command asks.

use std::borrow::Cow;

use super::throttle::{Dialect, Throttle, number, text};
use crate::check::{self, CheckRequest, MAX_COST};
use crate::identity::Ipv6Prefix;

/// Longest name that a client may give its connection, in bytes.
pub const MAX_CLIENT_NAME_BYTES: usize = 128;
/// How much of a word is repeated in an error, in bytes.
const MAX_SHOWN_BYTES: usize = 64;

/// A command that can be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `CL.THROTTLE` and `THROTTLE`: decide by a quota that comes along.
    Throttle(Throttle<'a>),
    /// `TIDEGATE.CHECK domain [name value]… [COST n] [PEEK]`: decide by the rules.
    Check(Box<CheckRequest<'a>>),
    /// `PING [message]`.
    Ping(Option<&'a [u8]>),
    /// `ECHO message`.
    Echo(&'a [u8]),
    /// `HELLO [2|3] [AUTH name key] [SETNAME name]`.
    Hello(Hello<'a>),
    /// `AUTH [name] key`.
    Auth(&'a str),
    /// `SELECT 0`: there is one database.
    Select,
    /// `QUIT`.
    Quit,
    /// `COMMAND …`.
    Table(Table<'a>),
    /// `INFO [section]…`.
    Info,
    /// `CLIENT SETNAME name`.
    SetName(&'a [u8]),
    /// `CLIENT GETNAME`.
    GetName,
    /// `CLIENT SETINFO attribute value`: taken and not kept.
    SetInfo,
    /// `CLIENT ID`.
    Id,
}

/// `HELLO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The version that is wished for.
    pub version: Option<u64>,
    /// An API key.
    pub key: Option<&'a str>,
    /// The name of the connection.
    pub name: Option<&'a [u8]>,
}

/// What is asked of the table of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table<'a> {
    /// All of it.
    All,
    /// How many there are.
    Count,
    /// Documentation, of which there is none here.
    Docs,
    /// Some of it.
    Info(Vec<&'a [u8]>),
}

/// Why a command cannot be carried out: the text of its error, with the code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CommandError(Cow<'static, str>);

impl CommandError {
    pub(super) fn of(text: impl AsRef<str>) -> Self {
        Self(format!("ERR {}", text.as_ref()).into())
    }

    pub(super) fn arguments(usage: &'static str) -> Self {
        Self::of(format!("wrong number of arguments: write {usage}"))
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// A command for clients that ask which there are: name, arity with the name (negative where it is the least), flags,
/// whether its first argument is a key.
pub const COMMANDS: [(&str, i64, &str, bool); 12] = [
    ("auth", -2, "fast", false),
    ("cl.throttle", -5, "write", true),
    ("client", -2, "fast", false),
    ("command", -1, "fast", false),
    ("echo", 2, "fast", false),
    ("hello", -1, "fast", false),
    ("info", -1, "fast", false),
    ("ping", -1, "fast", false),
    ("quit", -1, "fast", false),
    ("select", 2, "fast", false),
    ("throttle", -5, "write", true),
    ("tidegate.check", -4, "write", false),
];

/// Reads a command. IPv6 values of `client_ip` are cut to networks of `ipv6_prefix` bits.
///
/// # Errors
/// [`CommandError`]: the stream goes on all the same.
pub fn parse<'a>(arguments: &[&'a [u8]], ipv6_prefix: Ipv6Prefix) -> Result<Command<'a>, CommandError> {
    let Some((name, rest)) = arguments.split_first() else {
        return Err(CommandError::of("there is no command"));
    };
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    match (name.len(), rest) {
        (11, _) if is("CL.THROTTLE") => Throttle::parse(Dialect::RedisCell, rest).map(Command::Throttle),
        (8, _) if is("THROTTLE") => Throttle::parse(Dialect::Throttlecrab, rest).map(Command::Throttle),
        (14, _) if is("TIDEGATE.CHECK") => parse_check(rest, ipv6_prefix).map(Box::new).map(Command::Check),
        (4, []) if is("PING") => Ok(Command::Ping(None)),
        (4, [message]) if is("PING") => Ok(Command::Ping(Some(message))),
        (4, _) if is("PING") => Err(CommandError::arguments("PING [message]")),
        (4, [message]) if is("ECHO") => Ok(Command::Echo(message)),
        (4, _) if is("ECHO") => Err(CommandError::arguments("ECHO message")),
        (5, _) if is("HELLO") => parse_hello(rest).map(Command::Hello),
        (4, [key] | [_, key]) if is("AUTH") => text(key, "the key").map(Command::Auth),
        (4, _) if is("AUTH") => Err(CommandError::arguments("AUTH [name] key")),
        (6, [database]) if is("SELECT") => match *database {
            b"0" => Ok(Command::Select),
            _ => Err(CommandError::of("DB index is out of range: there is only database 0")),
        },
        (6, _) if is("SELECT") => Err(CommandError::arguments("SELECT 0")),
        (4, _) if is("QUIT") => Ok(Command::Quit),
        (7, _) if is("COMMAND") => parse_table(rest).map(Command::Table),
        (4, _) if is("INFO") => Ok(Command::Info),
        (6, _) if is("CLIENT") => parse_client(rest),
        _ => Err(CommandError::of(format!("unknown command '{}'", shown(name)))),
    }
}

/// Pairs come in the order of the line; `COST` and `PEEK` are no names of entries here.
fn parse_check<'a>(
    arguments: &[&'a [u8]],
    ipv6_prefix: Ipv6Prefix,
) -> Result<CheckRequest<'a>, CommandError> {
    const USAGE: &str = "TIDEGATE.CHECK domain [name value]… [COST n] [PEEK]";
    let (domain, mut rest) = arguments.split_first().ok_or_else(|| CommandError::arguments(USAGE))?;
    let (mut pairs, mut cost, mut peek) = (Vec::new(), None, false);
    loop {
        match rest {
            [] => break,
            [word, others @ ..] if word.eq_ignore_ascii_case(b"PEEK") && !peek => {
                (peek, rest) = (true, others);
            }
            [word, units, others @ ..] if word.eq_ignore_ascii_case(b"COST") && cost.is_none() => {
                (cost, rest) = (Some(number(units, "COST", 1, MAX_COST)?), others);
            }
            [name, value, others @ ..] => {
                pairs.push((text(name, "a name")?, text(value, "a value")?));
                rest = others;
            }
            [_] => return Err(CommandError::arguments(USAGE)),
        }
    }
    let domain = text(domain, "domain")?;
    check::from_texts(domain, &pairs, cost.unwrap_or(1), peek, ipv6_prefix)
        .map_err(|error| CommandError::of(error.to_string()))
}

fn parse_hello<'a>(arguments: &[&'a [u8]]) -> Result<Hello<'a>, CommandError> {
    let mut hello = Hello::default();
    let Some((version, mut rest)) = arguments.split_first() else { return Ok(hello) };
    let not_a_version = |_| CommandError("NOPROTO unsupported protocol version: 2 or 3".into());
    hello.version = Some(number(version, "version", 2, 3).map_err(not_a_version)?);
    loop {
        match rest {
            [] => return Ok(hello),
            [word, _, key, others @ ..] if word.eq_ignore_ascii_case(b"AUTH") => {
                (hello.key, rest) = (Some(text(key, "the key")?), others);
            }
            [word, name, others @ ..] if word.eq_ignore_ascii_case(b"SETNAME") => {
                (hello.name, rest) = (Some(client_name(name)?), others);
            }
            _ => return Err(CommandError::arguments("HELLO [2|3] [AUTH name key] [SETNAME name]")),
        }
    }
}

fn parse_table<'a>(arguments: &[&'a [u8]]) -> Result<Table<'a>, CommandError> {
    let Some((word, rest)) = arguments.split_first() else { return Ok(Table::All) };
    let is = |known: &str| word.eq_ignore_ascii_case(known.as_bytes());
    match rest {
        [] if is("COUNT") => Ok(Table::Count),
        _ if is("DOCS") => Ok(Table::Docs),
        [] if is("INFO") => Ok(Table::All),
        names if is("INFO") => Ok(Table::Info(names.to_vec())),
        _ => Err(CommandError::arguments("COMMAND [COUNT | DOCS [name]… | INFO [name]…]")),
    }
}

fn parse_client<'a>(arguments: &[&'a [u8]]) -> Result<Command<'a>, CommandError> {
    let usage = || {
        CommandError::arguments(
            "CLIENT SETNAME name, CLIENT GETNAME, CLIENT SETINFO attribute value, or CLIENT ID",
        )
    };
    let (word, rest) = arguments.split_first().ok_or_else(usage)?;
    let is = |known: &str| word.eq_ignore_ascii_case(known.as_bytes());
    match rest {
        [name] if is("SETNAME") => client_name(name).map(Command::SetName),
        [] if is("GETNAME") => Ok(Command::GetName),
        [_, _] if is("SETINFO") => Ok(Command::SetInfo),
        [] if is("ID") => Ok(Command::Id),
        _ => Err(usage()),
    }
}

/// A name without spaces and controls, as Redis asks for.
fn client_name(name: &[u8]) -> Result<&[u8], CommandError> {
    let fits = name.len() <= MAX_CLIENT_NAME_BYTES && name.iter().all(u8::is_ascii_graphic);
    fits.then_some(name).ok_or_else(|| {
        CommandError::of(format!(
            "the name of a client may have at most {MAX_CLIENT_NAME_BYTES} printable characters, no spaces"
        ))
    })
}

/// A client's own word, to be repeated to it.
fn shown(word: &[u8]) -> String {
    word.iter().take(MAX_SHOWN_BYTES).flat_map(|byte| byte.escape_ascii()).map(char::from).collect()
}
