//! The words of an expression of CEL, as far as conditions use them.

/// A word.
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
            '"' | '\'' => quoted(rest, first)?,
            'a'..='z' | 'A'..='Z' | '_' => {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
                let (name, after) = rest.split_at(end);
                if after.starts_with(['"', '\'']) {
                    return Err(format!("texts like {name}\"…\" are not read"));
                }
                (Token::Name(name.to_owned()), after)
            }
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

/// A text in quotes, and what comes after it.
fn quoted(rest: &str, quote: char) -> Result<(Token, &str), String> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((index, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, escaped @ ('\\' | '"' | '\''))) => text.push(escaped),
                _ => return Err("only \\\\, \\\" and \\' are read after a backslash".to_owned()),
            },
            c if c == quote => {
                let after = rest.get(index + 1..).unwrap_or_default();
                if after.starts_with(quote) {
                    return Err("texts in three quotes are not read".to_owned());
                }
                return Ok((Token::Text(text), after));
            }
            c => text.push(c),
        }
    }
    Err("a quote is missing at the end of a text".to_owned())
}
