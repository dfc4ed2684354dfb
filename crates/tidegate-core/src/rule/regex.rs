//! Regular expressions, in linear time and bounded memory.

use core::fmt;
use core::hash::{Hash, Hasher};

/// The longest expression, in bytes.
pub const MAX_REGEX_BYTES: usize = 512;
/// The most memory that one expression takes when it is compiled, in bytes.
const MAX_COMPILED_BYTES: usize = 256 << 10;
/// The most memory of what one thread has found out about one expression, in bytes.
const MAX_LEARNED_BYTES: usize = 256 << 10;
/// The deepest nesting of groups.
const MAX_NESTING: u32 = 32;

/// A regular expression in the syntax of the crate `regex`, found anywhere in a value unless it begins with `^` and ends with `$`.
#[derive(Clone, Debug)]
pub struct Regex(regex::Regex);

/// Why a text is not an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegexError {
    /// Longer than [`MAX_REGEX_BYTES`].
    TooLong,
    /// It would take too much memory.
    TooLarge,
    /// It is nothing that could be read; what is wrong, in one line.
    Syntax(String),
}

impl fmt::Display for RegexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegexError::TooLong => {
                write!(f, "a regular expression has at most {MAX_REGEX_BYTES} bytes")
            }
            RegexError::TooLarge => f.write_str(
                "the regular expression is too large: repetitions and classes such as \\w multiply",
            ),
            RegexError::Syntax(reason) => write!(f, "the regular expression is wrong: {reason}"),
        }
    }
}

impl core::error::Error for RegexError {}

impl Regex {
    /// Reads an expression.
    ///
    /// # Errors
    /// [`RegexError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, RegexError> {
        if text.len() > MAX_REGEX_BYTES {
            return Err(RegexError::TooLong);
        }
        let built = regex::RegexBuilder::new(text)
            .size_limit(MAX_COMPILED_BYTES)
            .dfa_size_limit(MAX_LEARNED_BYTES)
            .nest_limit(MAX_NESTING)
            .build();
        built.map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => RegexError::TooLarge,
            other => RegexError::Syntax(last_line(&other.to_string())),
        })
    }

    /// The expression as written.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it is found in `value`.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        self.0.is_match(value)
    }
}

/// What is wrong, without the picture of where.
fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Regex {}

impl Hash for Regex {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_found_anywhere() {
        let matches = |regex: &str, value: &str| Regex::parse(regex).unwrap().matches(value);
        assert!(matches("b+", "abbc") && !matches("^b+", "abbc"));
        assert!(matches(r"^/v\d+/", "/v12/x") && !matches(r"^/v\d+/", "/v/x"));
        assert!(matches("", "anything"));
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        assert_eq!(Regex::parse(&"a".repeat(MAX_REGEX_BYTES + 1)), Err(RegexError::TooLong));
        assert_eq!(Regex::parse(r"\w{200}"), Err(RegexError::TooLarge));
        let Err(RegexError::Syntax(reason)) = Regex::parse("(a") else { panic!() };
        assert_eq!(reason, "unclosed group");
        assert!(matches!(Regex::parse(&"(".repeat(40)), Err(RegexError::Syntax(_))));
        assert!(Regex::parse(r"(a)\1").is_err(), "what looks back is not linear");
        assert!(Regex::parse(r"^\w+@\w+\.\w+$").is_ok());
    }

    #[test]
    fn equal_is_what_is_written_alike() {
        assert_eq!(Regex::parse("a+"), Regex::parse("a+"));
        assert_ne!(Regex::parse("a+"), Regex::parse("aa*"));
    }
}
