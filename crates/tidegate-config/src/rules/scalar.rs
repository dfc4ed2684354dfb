//! Single values: names, numbers, durations, shares, choices.

use tidegate_core::quota::MAX_LIMIT;
use tidegate_core::rule::model::MAX_NAME_BYTES;
use tidegate_core::time::Micros;

use super::is_not;
use crate::duration::parse_duration;
use crate::path::Path;
use crate::report::{Report, Spot};
use crate::suggest::{grouped, listed, nearest, quote, simplify};
use crate::yaml::{Kind, Node, Value};

/// What a name is the name of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Domain,
    Rule,
    Tier,
    Entry,
    Priority,
}

impl Name {
    const fn word(self) -> &'static str {
        match self {
            Name::Domain => "domain",
            Name::Rule => "rule",
            Name::Tier => "tier",
            Name::Entry => "entry",
            Name::Priority => "priority",
        }
    }
}

/// A name, checked.
pub(crate) fn name(node: &Node, path: &Path<'_>, of: Name, report: &mut Report<'_>) -> Option<String> {
    let Some(text) = node.text() else {
        let what = format!("the name of the {}", of.word());
        report.error(node.at, path, is_not(node, &what), "write a text, in quotes if need be");
        return None;
    };
    check_name(text, node.at, path, of, report).then(|| text.to_owned())
}

/// Whether `text` may be a name; reports why not.
pub(crate) fn check_name(text: &str, at: Spot, path: &Path<'_>, of: Name, report: &mut Report<'_>) -> bool {
    let word = of.word();
    let (message, remedy) = if text.is_empty() {
        (format!("the name of the {word} is empty"), "give it a name".to_owned())
    } else if text.len() > MAX_NAME_BYTES {
        (format!("the name of the {word} has {} bytes", text.len()), format!("use at most {MAX_NAME_BYTES}"))
    } else if text.chars().any(is_unwritable) {
        (format!("the name {} has a control character", quote(text)), "remove it".to_owned())
    } else if of == Name::Rule && !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/-".contains(&b)) {
        (
            format!("the name {} cannot stand in a response header", quote(text)),
            "use letters, digits and . _ : / - only".to_owned(),
        )
    } else if of == Name::Tier && text.starts_with('=') {
        // Tiers that stand for overrides of single subjects begin so.
        (format!("the name {} begins with '='", quote(text)), "begin with something else".to_owned())
    } else if text.trim() != text {
        (format!("the name {} begins or ends with a blank", quote(text)), "remove the blank".to_owned())
    } else if of == Name::Entry && !is_entry_name(text) {
        (
            format!("no request has an entry named {}", quote(text)),
            format!("use at most {MAX_ENTRY_NAME_BYTES} letters, digits and . _ : - only"),
        )
    } else {
        return true;
    };
    report.error(at, path, message, remedy);
    false
}

/// Whether a character cannot stand in a document: control characters, and what is no character in Unicode. Both would be
/// refused when what was read is written and read again.
pub(crate) fn is_unwritable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// The longest name that an entry of a request has, in bytes.
const MAX_ENTRY_NAME_BYTES: usize = 64;

/// Whether the doors take an entry of this name.
fn is_entry_name(text: &str) -> bool {
    text.len() <= MAX_ENTRY_NAME_BYTES
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}

/// A whole number of 0 or more, with `_` between digits where that helps the eye.
pub(crate) fn unsigned(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<u64> {
    let text = node.text().unwrap_or_default();
    match read_unsigned(text) {
        Some(number) => return Some(number),
        None if text.bytes().all(|b| b.is_ascii_digit() || b == b'_') && text.len() > 19 => {
            report.error(
                node.at,
                path,
                format!("{} is too large", quote(text)),
                format!("write at most {}", grouped(MAX_LIMIT)),
            );
        }
        None if text.starts_with('-') => {
            report.error(node.at, path, format!("{} is below 0", quote(text)), "write 0 or more");
        }
        None => {
            let remedy = "write digits only, for example 100 or 1_000_000";
            report.error(node.at, path, is_not(node, "a whole number"), remedy);
        }
    }
    None
}

fn read_unsigned(text: &str) -> Option<u64> {
    let mut digits = String::with_capacity(text.len().min(32));
    for group in text.split('_') {
        if group.is_empty() || !group.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        digits.push_str(group);
    }
    // A leading zero is octal to older YAML readers.
    if digits.len() > 1 && digits.starts_with('0') { None } else { digits.parse().ok() }
}

/// A span of time.
pub(crate) fn duration(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Micros> {
    let Some(text) = node.text() else {
        let remedy = "write a number and a unit, for example 60s";
        report.error(node.at, path, is_not(node, "a duration"), remedy);
        return None;
    };
    match parse_duration(text) {
        Ok(span) => Some(span),
        Err(error) => {
            let text = error.to_string();
            let (message, remedy) = text.split_once("; ").unwrap_or((&text, "write for example 60s"));
            report.error(node.at, path, message, remedy);
            None
        }
    }
}

/// A share such as `20%`, 1 to 100 per cent.
pub(crate) fn percent(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<u8> {
    let text = node.text().unwrap_or_default();
    let number = text.strip_suffix('%').and_then(read_unsigned);
    if let Some(share) = number.and_then(|number| u8::try_from(number).ok()).filter(|n| (1..=100).contains(n))
    {
        return Some(share);
    }
    let remedy = match read_unsigned(text) {
        Some(number @ 1..=100) => format!("write {number}%"),
        _ => "write a whole number from 1% to 100%, for example 20%".to_owned(),
    };
    report.error(node.at, path, is_not(node, "a share of the quota"), remedy);
    None
}

/// `true` or `false`.
pub(crate) fn boolean(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<bool> {
    if let Value::Scalar(Kind::Bool, text) = &node.value {
        return Some(text.eq_ignore_ascii_case("true"));
    }
    report.error(node.at, path, is_not(node, "true or false"), "write true or false, without quotes");
    None
}

/// One of several words; `others` are words of other products.
pub(crate) fn choice<T: Copy>(
    node: &Node,
    path: &Path<'_>,
    choices: &[(&'static str, T)],
    others: &[(&str, &'static str)],
    report: &mut Report<'_>,
) -> Option<T> {
    let text = node.text().unwrap_or_default();
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
        return Some(*value);
    }
    let names = choices.iter().map(|(name, _)| *name);
    let all = listed(names.clone());
    let plain = simplify(text);
    let meant = others
        .iter()
        .find(|(other, _)| *other == plain)
        .map(|(_, ours)| *ours)
        .or_else(|| nearest(text, names));
    let remedy = match meant {
        Some(word) => format!("did you mean '{word}'? (one of {all})"),
        None => format!("write one of {all}"),
    };
    report.error(node.at, path, is_not(node, "a choice here"), remedy);
    None
}
