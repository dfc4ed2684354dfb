//! Expressions cut into words.

/// A word of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Name(String),
    /// A text, without its quotes and escapes.
    Text(String),
    Number(String),
    Sign(&'static str),
}

/// The longest expression, in bytes.
pub(super) const MAX_EXPRESSION_BYTES: usize = 4_096;

/// The signs, longer ones first.
const SIGNS: [&str; 23] = [
    "==", "!=", "&&", "||", "<=", ">=", "(", ")", "[", "]", "{", "}", ".", ",", "!", "<", ">", "+", "-", "*",
    "/", "?", ":",
];

/// Cuts an expression into words.
///
/// # Errors
/// What cannot be one.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    if text.len() > MAX_EXPRESSION_BYTES {
        return Err(format!("it has {} bytes, and may have {MAX_EXPRESSION_BYTES}", text.len()));
    }
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '"' | '\'' => quoted(rest, Escapes::Read)?,
            'a'..='z' | 'A'..='Z' | '_' => name_or_prefixed(rest)?,
            '0'..='9' => {
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                let (digits, after) = rest.split_at(end);
                (Token::Number(digits.to_owned()), after)
            }
            other => {
                let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
                let sign = sign.ok_or_else(|| format!("'{}' is not read", other.escape_debug()))?;
                (Token::Sign(sign), rest.get(sign.len()..).unwrap_or_default())
            }
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

/// A name, or a text with letters in front of its quotes.
fn name_or_prefixed(rest: &str) -> Result<(Token, &str), String> {
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    match (name, after.starts_with(['"', '\''])) {
        ("r" | "R", true) => quoted(after, Escapes::Keep),
        (_, true) => Err(format!("texts like {name}\"…\" are not read")),
        (_, false) => Ok((Token::Name(name.to_owned()), after)),
    }
}

/// What a backslash in a text is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// The beginning of a sign that is written otherwise.
    Read,
    /// A backslash.
    Keep,
}

/// A text in quotes, of one or of three signs, and what comes after it.
fn quoted(rest: &str, escapes: Escapes) -> Result<(Token, &str), String> {
    let quote = if rest.starts_with('"') { "\"" } else { "'" };
    let three = quote.repeat(3);
    let closing = if rest.starts_with(&three) { three.as_str() } else { quote };
    let mut text = String::new();
    let mut rest = rest.get(closing.len()..).unwrap_or_default();
    loop {
        if let Some(after) = rest.strip_prefix(closing) {
            return Ok((Token::Text(text), after));
        }
        let mut chars = rest.chars();
        match chars.next() {
            None => return Err("a quote is missing at the end of a text".to_owned()),
            Some('\\') if escapes == Escapes::Read => text.push(escaped(&mut chars)?),
            Some(c) => text.push(c),
        }
        rest = chars.as_str();
    }
}

/// The sign for which an escape stands, behind its backslash.
fn escaped(chars: &mut std::str::Chars<'_>) -> Result<char, String> {
    let refused = || "after a backslash, a sign, one of n r t, x and 2 or u and 4 digits are read".to_owned();
    let code = |chars: &mut std::str::Chars<'_>, digits: usize| {
        let text = chars.as_str().get(..digits).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *chars = chars.as_str().get(digits..).unwrap_or_default().chars();
        u32::from_str_radix(text, 16).ok().and_then(char::from_u32)
    };
    match chars.next() {
        Some(c @ ('\\' | '"' | '\'' | '`' | '?')) => Ok(c),
        Some('n') => Ok('\n'),
        Some('r') => Ok('\r'),
        Some('t') => Ok('\t'),
        Some('x' | 'X') => code(chars, 2).ok_or_else(refused),
        Some('u') => code(chars, 4).ok_or_else(refused),
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: &str) -> String {
        match tokens(source).unwrap().as_slice() {
            [Token::Text(text)] => text.clone(),
            other => panic!("{source}: {other:?}"),
        }
    }

    #[test]
    fn quotes_and_escapes_are_taken_off() {
        for (source, expected) in [
            (r#"'it\'s "\\"'"#, r#"it's "\""#),
            ("'ü ==='", "ü ==="),
            (r"r'^/v\d+$'", r"^/v\d+$"),
            (r#"R"a\""#, r"a\"),
            ("'''it's'''", "it's"),
            (r#""""a""""#, "a"),
            ("''", ""),
            (r"'\x41\u00fc\n'", "Aü\n"),
        ] {
            assert_eq!(text(source), expected, "{source}");
        }
        for (source, reason) in [
            ("'x", "a quote is missing"),
            ("'''x''", "a quote is missing"),
            (r"'\d'", "after a backslash"),
            (r"'\u12'", "after a backslash"),
            (r"'\ud800'", "after a backslash"),
            ("b'x'", "are not read"),
        ] {
            let error = tokens(source).unwrap_err();
            assert!(error.contains(reason), "{source}: {error}");
        }
    }
}
