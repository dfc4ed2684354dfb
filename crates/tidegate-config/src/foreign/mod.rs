//! Rule files of other products, read as they are: a file's format, and what their readers share.

mod envoy;
mod limitador;
mod naming;

use std::fmt;
use std::str::FromStr;

use tidegate_core::rule::model::Domain;

use crate::report::Report;
use crate::yaml::{Node, Value};

/// How a rule file is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// One of the others: what the file looks like.
    #[default]
    Auto,
    /// A rule file of Tidegate.
    Tidegate,
    /// A configuration of envoyproxy/ratelimit: one domain with nested descriptors.
    Envoy,
    /// The limits of Limitador: a list, each with its namespace.
    Limitador,
}

/// The word names no format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write one of auto, tidegate, envoy, limitador")]
pub struct UnknownFormat;

impl Format {
    /// Every format, in the order of the documentation.
    pub const ALL: [Format; 4] = [Format::Auto, Format::Tidegate, Format::Envoy, Format::Limitador];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Format::Auto => "auto",
            Format::Tidegate => "tidegate",
            Format::Envoy => "envoy",
            Format::Limitador => "limitador",
        }
    }

    /// The product whose files are written so.
    #[must_use]
    pub const fn product(self) -> &'static str {
        match self {
            Format::Auto | Format::Tidegate => "Tidegate",
            Format::Envoy => "envoyproxy/ratelimit",
            Format::Limitador => "Limitador",
        }
    }

    /// The format of a file, of which `self` may say that it is to be found out. A file that looks like none of the
    /// others is one of Tidegate, whose reader then says what is wrong.
    pub(crate) fn of(self, root: &Node) -> Format {
        match (self, &root.value) {
            (Format::Auto, Value::List(items)) if items.iter().any(is_limit) => Format::Limitador,
            (Format::Auto, Value::Map(_)) if is_envoy(root) => Format::Envoy,
            (Format::Auto, _) => Format::Tidegate,
            (told, _) => told,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Format::ALL.into_iter().find(|format| format.name() == text).ok_or(UnknownFormat)
    }
}

fn is_limit(item: &Node) -> bool {
    item.get("namespace").is_some() || item.get("max_value").is_some()
}

fn is_envoy(root: &Node) -> bool {
    let ours = ["version", "domains"].iter().any(|field| root.get(field).is_some());
    let has_domain = root.get("domain").is_some_and(|node| node.text().is_some());
    let has_descriptors =
        root.get("descriptors").is_some_and(|node| matches!(node.value, Value::List(_) | Value::Null));
    !ours && (has_descriptors || has_domain && root.get("rules").is_none())
}

/// Reads a file of another product; nothing where the format is none of those.
pub(crate) fn read(format: Format, root: &Node, report: &mut Report<'_>) -> Option<Vec<Domain>> {
    match format {
        Format::Envoy => envoy::read(root, report).map(|domain| vec![domain]),
        Format::Limitador => limitador::read(root, report),
        Format::Auto | Format::Tidegate => None,
    }
}
