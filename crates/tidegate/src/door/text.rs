//! Text from paths and queries.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use tidegate_wire::check::MAX_VALUE_BYTES;

/// A name or value from the path: percent-decoded, UTF-8, not empty, within its length, without controls.
pub(crate) fn text_of(encoded: &str) -> Option<Cow<'_, str>> {
    text_within(encoded, MAX_VALUE_BYTES)
}

fn text_within(encoded: &str, max_bytes: usize) -> Option<Cow<'_, str>> {
    if !escapes_are_whole(encoded) {
        return None;
    }
    let text = percent_decode_str(encoded).decode_utf8().ok()?;
    let usable = !text.is_empty() && text.len() <= max_bytes && !text.chars().any(char::is_control);
    usable.then_some(text)
}

/// The value of a query parameter, read like a form: `+` is a space. `None` where it is missing, unusable as by
/// [`text_of`], or there twice.
pub(crate) fn query_parameter<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, str>> {
    query_parameter_within(query, name, MAX_VALUE_BYTES)
}

/// As [`query_parameter`], of at most so many bytes.
pub(crate) fn query_parameter_within<'a>(
    query: Option<&'a str>,
    name: &str,
    max_bytes: usize,
) -> Option<Cow<'a, str>> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value);
    let (value, None) = (values.next()?, values.next()) else { return None };
    form_text(value, max_bytes)
}

/// A name or value of a query, of at most so many bytes; `None` where it is unusable as by [`text_of`].
pub(crate) fn form_text(encoded: &str, max_bytes: usize) -> Option<Cow<'_, str>> {
    if encoded.contains('+') {
        text_within(&encoded.replace('+', " "), max_bytes).map(|text| Cow::Owned(text.into_owned()))
    } else {
        text_within(encoded, max_bytes)
    }
}

/// Whether a query has a parameter at all, usable or not.
pub(crate) fn is_in_query(query: Option<&str>, name: &str) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| pair.split('=').next() == Some(name)))
}

/// Whether every `%` begins an escape of two hexadecimal digits.
fn escapes_are_whole(encoded: &str) -> bool {
    encoded.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_once_and_checked() {
        assert_eq!(text_of("a%20b").as_deref(), Some("a b"));
        assert_eq!(text_of("%2561").as_deref(), Some("%61"));
        for bad in ["", "%ff", "%00", "a%0a", "%zz", "%6", "%", &"x".repeat(MAX_VALUE_BYTES + 1)] {
            assert_eq!(text_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn parameters_are_found_by_their_whole_name() {
        let value = |query| query_parameter(Some(query), "user_id");
        assert_eq!(value("a=1&user_id=u%201&b").as_deref(), Some("u 1"));
        assert_eq!(value("user_id=a+b").as_deref(), Some("a b"));
        for query in ["xuser_id=1", "user_id=", "user_id=a&user_id=b", "user_id=%zz"] {
            assert_eq!(value(query), None, "{query}");
        }
        assert_eq!(query_parameter(None, "user_id"), None);
    }
}
