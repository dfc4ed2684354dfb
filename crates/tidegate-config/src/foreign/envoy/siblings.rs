//! What the nodes of one list take from one another: exact values come first, then wildcards in the order of the file, then
//! the bare key.

use std::collections::{BTreeSet, HashMap};

use tidegate_core::rule::pattern::Pattern;

use super::tree::{Descriptor, Matcher, Wildcard};

/// The nodes of one level by their key.
pub(super) struct Siblings<'d> {
    by_key: HashMap<&'d str, OfKey<'d>>,
}

/// The nodes of one key.
#[derive(Default)]
struct OfKey<'d> {
    exact: BTreeSet<&'d str>,
    /// In the order of the file, which decides among them.
    wildcards: Vec<(&'d Wildcard, &'d Descriptor)>,
}

impl<'d> Siblings<'d> {
    pub(super) fn of(level: &'d [Descriptor]) -> Self {
        let mut by_key: HashMap<&str, OfKey<'_>> = HashMap::new();
        for descriptor in level {
            let of_key = by_key.entry(&descriptor.key).or_default();
            match &descriptor.matcher {
                Matcher::Exact(value) => {
                    of_key.exact.insert(value);
                }
                Matcher::Wildcard(wildcard) => of_key.wildcards.push((wildcard, descriptor)),
                Matcher::Rest => {}
            }
        }
        Self { by_key }
    }

    /// The values that a node would be for, were it not for siblings that come before it.
    ///
    /// # Errors
    /// The line of a wildcard that leaves it nothing.
    pub(super) fn taken_from(&self, descriptor: &Descriptor) -> Result<Vec<Pattern>, u32> {
        let Some(of_key) = self.by_key.get(descriptor.key.as_str()) else { return Ok(Vec::new()) };
        let own = match &descriptor.matcher {
            Matcher::Exact(_) => return Ok(Vec::new()),
            Matcher::Wildcard(wildcard) => wildcard.pattern.as_ref(),
            Matcher::Rest => None,
        };
        let beginning = own.map_or("", beginning);
        let near = of_key.exact.range(beginning..).take_while(|value| value.starts_with(beginning));
        let exact = near.filter(|value| own.is_none_or(|own| own.matches(value)));
        let mut taken: Vec<Pattern> = exact.map(|value| Pattern::Exact((*value).to_owned())).collect();
        let before = of_key.wildcards.iter().take_while(|(_, other)| !std::ptr::eq(*other, descriptor));
        for (wildcard, other) in before {
            match (&wildcard.pattern, own) {
                (None, _) => return Err(other.at.line),
                (Some(pattern), Some(own)) if holds_all_of(pattern, own) => return Err(other.at.line),
                (Some(pattern), own) if own.is_none_or(|own| can_meet(pattern, own)) => {
                    taken.push(pattern.clone());
                }
                _ => {}
            }
        }
        Ok(taken)
    }
}

/// What the values of a wildcard begin with.
fn beginning(pattern: &Pattern) -> &str {
    match pattern {
        Pattern::Prefix(prefix) => prefix,
        Pattern::Glob(glob) => glob.beginning(),
        _ => "",
    }
}

/// What the values of a wildcard end with.
fn ending(pattern: &Pattern) -> &str {
    match pattern {
        Pattern::Glob(glob) => glob.pieces().last().map_or("", String::as_str),
        _ => "",
    }
}

/// Stands for the stars of a wildcard: no value has it.
const STAR: char = '\0';

/// Whether each value of the wildcard `inner` is one of `outer`, too: so it is where the stars of the one fall on those of the other.
fn holds_all_of(outer: &Pattern, inner: &Pattern) -> bool {
    let with_stars = match inner {
        Pattern::Prefix(prefix) => format!("{prefix}{STAR}"),
        Pattern::Glob(glob) => glob.pieces().join(&STAR.to_string()),
        _ => return false,
    };
    outer.matches(&with_stars)
}

/// Whether a value can be one of both wildcards. May say yes where none is.
fn can_meet(one: &Pattern, other: &Pattern) -> bool {
    let (a, b) = (beginning(one), beginning(other));
    let (c, d) = (ending(one), ending(other));
    (a.starts_with(b) || b.starts_with(a)) && (c.ends_with(d) || d.ends_with(c))
}
