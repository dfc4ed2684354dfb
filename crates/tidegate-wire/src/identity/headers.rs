//! Reading a header that must say one thing.

use http::HeaderMap;
use http::header::HeaderName;

/// Why a header that must say one thing does not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The header came more than once, so two readers could believe different values.
    #[error("the header {0} was sent more than once: send it once")]
    Duplicate(HeaderName),
    /// The value holds bytes other than visible ASCII, space and tab.
    #[error("the header {0} holds bytes that are not visible ASCII: send plain ASCII text")]
    NotText(HeaderName),
}

/// Whether some proxies or servers read this name as another one (`x_user` as `x-user`).
///
/// Such names are never used for identity, and a door that passes headers on drops them.
#[must_use]
pub fn is_alias_name(name: &str) -> bool {
    name.bytes().any(|byte| matches!(byte, b'_' | b'.'))
}

/// The value of a header that must come at most once; `None` if it is absent or its name [is an alias](is_alias_name).
///
/// # Errors
/// [`HeaderError`] if it came more than once or is not text.
pub fn single_header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, HeaderError> {
    if is_alias_name(name.as_str()) {
        return Ok(None);
    }
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(HeaderError::Duplicate(name.clone()));
    }
    value.to_str().map(Some).map_err(|_| HeaderError::NotText(name.clone()))
}
