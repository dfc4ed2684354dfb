//! Texts with stars, each of which stands for any text.

use core::fmt;

/// The most stars of one glob.
pub const MAX_STARS: usize = 16;

/// A text with stars, such as `*.example.com` or `/api*v1`: each star stands for any text, also for none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob {
    /// What stands before, between and behind the stars; at least two, of which only the outer ones may be empty.
    pieces: Vec<String>,
}

/// Why a text is not a glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobError {
    /// It has no star: it is one value.
    NoStar,
    /// It has stars only: it is any value.
    OnlyStars,
    /// More than [`MAX_STARS`].
    TooManyStars,
    /// A `\` in front of something else than `*` or `\`.
    BadEscape,
}

impl fmt::Display for GlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GlobError::NoStar => f.write_str("a glob has at least one '*'"),
            GlobError::OnlyStars => f.write_str("stars alone match every value"),
            GlobError::TooManyStars => write!(f, "a glob has at most {MAX_STARS} stars"),
            GlobError::BadEscape => f.write_str("in a glob, '\\' stands before '*' or '\\' only"),
        }
    }
}

impl core::error::Error for GlobError {}

impl Glob {
    /// A glob of what stands before, between and behind its stars.
    ///
    /// # Errors
    /// [`GlobError`], but not [`GlobError::BadEscape`].
    pub fn new(pieces: impl IntoIterator<Item = String>) -> Result<Self, GlobError> {
        let mut pieces: Vec<String> = pieces.into_iter().collect();
        let last = pieces.len().saturating_sub(1);
        let mut place = 0;
        // Two stars side by side say no more than one.
        pieces.retain(|piece| {
            place += 1;
            place == 1 || place == last + 1 || !piece.is_empty()
        });
        match pieces.len() {
            0 | 1 => Err(GlobError::NoStar),
            2 if pieces.iter().all(String::is_empty) => Err(GlobError::OnlyStars),
            count if count > MAX_STARS + 1 => Err(GlobError::TooManyStars),
            _ => Ok(Self { pieces }),
        }
    }

    /// Reads a glob in which `\*` is a star of the value and `\\` a backslash.
    ///
    /// # Errors
    /// [`GlobError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        let (mut pieces, mut piece) = (Vec::new(), String::new());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '*' => pieces.push(core::mem::take(&mut piece)),
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '\\')) => piece.push(escaped),
                    _ => return Err(GlobError::BadEscape),
                },
                c => piece.push(c),
            }
        }
        pieces.push(piece);
        Self::new(pieces)
    }

    /// What stands before, between and behind the stars.
    #[must_use]
    pub fn pieces(&self) -> &[String] {
        &self.pieces
    }

    /// What every value begins with; may be empty.
    #[must_use]
    pub fn beginning(&self) -> &str {
        self.pieces.first().map_or("", String::as_str)
    }

    /// Whether `value` fits. Takes time in proportion to the length of the value and of the glob.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let [first, between @ .., last] = self.pieces.as_slice() else { return false };
        let Some(rest) = value.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str()))
        else {
            return false;
        };
        // The earliest place of each piece leaves the most to those behind it.
        let found = between.iter().try_fold(rest, |rest, piece| {
            rest.find(piece.as_str()).and_then(|at| rest.get(at + piece.len()..))
        });
        found.is_some()
    }
}

impl fmt::Display for Glob {
    /// As [`Glob::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, piece) in self.pieces.iter().enumerate() {
            if index > 0 {
                f.write_str("*")?;
            }
            f.write_str(&piece.replace('\\', "\\\\").replace('*', "\\*"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries every way to spread a value over the stars.
    fn naive(glob: &[char], value: &[char]) -> bool {
        match (glob.split_first(), value.split_first()) {
            (None, rest) => rest.is_none(),
            (Some(('*', more)), _) => (0..=value.len()).any(|taken| naive(more, &value[taken..])),
            (Some((c, more)), Some((v, rest))) => c == v && naive(more, rest),
            (Some(_), None) => false,
        }
    }

    #[test]
    fn a_glob_matches_what_some_spread_over_its_stars_matches() {
        let texts = |alphabet: &str, most: usize| {
            let mut all = vec![String::new()];
            for length in 0..most {
                let longest: Vec<String> = all.iter().filter(|text| text.len() == length).cloned().collect();
                all.extend(
                    longest.iter().flat_map(|text| alphabet.chars().map(move |c| format!("{text}{c}"))),
                );
            }
            all
        };
        let (globs, values) = (texts("ab*", 5), texts("ab", 5));
        let mut read = 0;
        for text in globs {
            let Ok(glob) = Glob::parse(&text) else {
                assert!(!text.contains('*') || text.chars().all(|c| c == '*'), "{text}");
                continue;
            };
            read += 1;
            let chars: Vec<char> = text.chars().collect();
            for value in &values {
                let expected = naive(&chars, &value.chars().collect::<Vec<_>>());
                assert_eq!(glob.matches(value), expected, "{text} {value}");
            }
        }
        assert!(read > 200);
    }

    #[test]
    fn stars_of_values_are_told_from_stars() {
        let glob = Glob::parse(r"a\*b*\\").unwrap();
        assert!(glob.matches(r"a*bc\") && !glob.matches(r"axbc\"));
        assert_eq!(glob.to_string(), r"a\*b*\\");
        assert_eq!(Glob::parse(r"a\b*"), Err(GlobError::BadEscape));
        assert_eq!(Glob::parse("a"), Err(GlobError::NoStar));
        assert_eq!(Glob::parse("**"), Err(GlobError::OnlyStars));
        assert_eq!(Glob::parse(&"a*".repeat(MAX_STARS + 1)), Err(GlobError::TooManyStars));
        assert_eq!(Glob::parse("a***b"), Glob::parse("a*b"));
        assert!(Glob::parse("ü*ß").unwrap().matches("üß"));
    }
}
