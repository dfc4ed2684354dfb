//! Patterns for the value of a descriptor entry: exact, prefix, glob, regular expression and path template.

use core::fmt;

pub use super::glob::{Glob, GlobError, MAX_STARS};
pub use super::regex::{MAX_REGEX_BYTES, Regex, RegexError};

/// The most segments of a path template.
pub const MAX_TEMPLATE_SEGMENTS: usize = 32;

/// What a value must look like.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// This value, to the byte.
    Exact(String),
    /// A value that begins with this text (never empty; for any value use
    /// [`Condition::Present`](super::model::Condition::Present)).
    Prefix(String),
    /// A path whose segments fit.
    Template(Template),
    /// A value that fits a text with stars.
    Glob(Glob),
    /// A value in which the expression is found.
    Regex(Regex),
}

/// A path template such as `/users/{id}/orders`: `{name}` stands for exactly one segment that is not empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template {
    text: String,
    segments: Vec<Segment>,
}

/// One segment of a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// This text.
    Literal(String),
    /// Any text that is not empty; the name only explains it.
    Parameter(String),
}

/// Why a text is not a path template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// A template begins with a slash.
    NoLeadingSlash,
    /// More than [`MAX_TEMPLATE_SEGMENTS`].
    TooManySegments,
    /// A parameter is a whole segment, `{name}`, with a name of letters, digits and `_`.
    BadParameter(String),
    /// The same parameter name twice.
    RepeatedParameter(String),
    /// An empty segment can never match: paths are normalised first.
    EmptySegment,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TemplateError::NoLeadingSlash => f.write_str("a path template begins with '/'"),
            TemplateError::TooManySegments => {
                write!(f, "a path template has at most {MAX_TEMPLATE_SEGMENTS} segments")
            }
            TemplateError::BadParameter(segment) => write!(
                f,
                "'{segment}' is not a parameter: write a whole segment as {{name}}, with letters, digits and '_'"
            ),
            TemplateError::RepeatedParameter(name) => write!(f, "the parameter {{{name}}} stands twice"),
            TemplateError::EmptySegment => {
                f.write_str("an empty segment ('//') never matches a normalised path")
            }
        }
    }
}

impl core::error::Error for TemplateError {}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`] names the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let rest = text.strip_prefix('/').ok_or(TemplateError::NoLeadingSlash)?;
        let mut segments = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        let count = rest.split('/').count();
        if count > MAX_TEMPLATE_SEGMENTS {
            return Err(TemplateError::TooManySegments);
        }
        for (index, segment) in rest.split('/').enumerate() {
            if segment.is_empty() && index + 1 < count {
                return Err(TemplateError::EmptySegment);
            }
            if !segment.contains(['{', '}']) {
                segments.push(Segment::Literal(segment.to_owned()));
                continue;
            }
            let name = segment
                .strip_prefix('{')
                .and_then(|inner| inner.strip_suffix('}'))
                .filter(|name| {
                    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                })
                .ok_or_else(|| TemplateError::BadParameter(segment.to_owned()))?;
            if names.contains(&name) {
                return Err(TemplateError::RepeatedParameter(name.to_owned()));
            }
            names.push(name);
            segments.push(Segment::Parameter(name.to_owned()));
        }
        Ok(Self { text: text.to_owned(), segments })
    }

    /// The template as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The segments from left to right.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether `path` (already normalised) fits.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix('/') else { return false };
        let mut parts = rest.split('/');
        for segment in &self.segments {
            match (segment, parts.next()) {
                (Segment::Literal(text), Some(part)) if part == text => {}
                (Segment::Parameter(_), Some(part)) if !part.is_empty() => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pattern {
    /// Whether `value` fits.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Pattern::Exact(text) => value == text,
            Pattern::Prefix(text) => value.starts_with(text.as_str()),
            Pattern::Template(template) => template.matches(value),
            Pattern::Glob(glob) => glob.matches(value),
            Pattern::Regex(regex) => regex.matches(value),
        }
    }

    /// A text with stars as the simplest pattern: a beginning where the only star is at the end.
    ///
    /// # Errors
    /// As [`Glob::new`].
    pub fn of_pieces(pieces: impl IntoIterator<Item = String>) -> Result<Self, GlobError> {
        let glob = Glob::new(pieces)?;
        Ok(match glob.pieces() {
            [beginning, end] if end.is_empty() => Pattern::Prefix(beginning.clone()),
            _ => Pattern::Glob(glob),
        })
    }

    /// Whether rules with this pattern are found by the value. Of those of an expression, or of a glob that begins with a star,
    /// only the entry is known.
    #[must_use]
    pub(super) fn is_anchor(&self) -> bool {
        match self {
            Pattern::Exact(_) | Pattern::Prefix(_) | Pattern::Template(_) => true,
            Pattern::Glob(glob) => !glob.beginning().is_empty(),
            Pattern::Regex(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_match_whole_paths() {
        let template = Template::parse("/users/{id}/orders").unwrap();
        assert!(template.matches("/users/7/orders"));
        for path in
            ["/users/7", "/users//orders", "/users/7/orders/", "/users/7/orders/9", "users/7/orders", "/"]
        {
            assert!(!template.matches(path), "{path}");
        }
        assert!(Template::parse("/").unwrap().matches("/"));
        assert_eq!(template.to_string(), "/users/{id}/orders");
    }

    #[test]
    fn wrong_templates_say_what_is_wrong() {
        use TemplateError::*;
        assert_eq!(Template::parse("users"), Err(NoLeadingSlash));
        assert_eq!(Template::parse("/a//b"), Err(EmptySegment));
        assert_eq!(Template::parse("/{a}/{a}"), Err(RepeatedParameter("a".into())));
        assert_eq!(Template::parse("/x{a}"), Err(BadParameter("x{a}".into())));
        assert_eq!(Template::parse("/{}"), Err(BadParameter("{}".into())));
        assert_eq!(Template::parse(&"/a".repeat(33)), Err(TooManySegments));
    }
}
