//! Requests made from a template, of which only the digits of the keys change, or drawn from those that were made beforehand.

use std::sync::Arc;

use crate::keys::{DIGITS, PREFIX, digits_of};

/// The bytes of a request, and where keys have their digits.
#[derive(Clone, Debug)]
pub struct Template {
    /// What is sent.
    pub bytes: Vec<u8>,
    digits: Vec<usize>,
    /// Requests that are sent as they are; none where there is a template.
    whole: Arc<[Vec<u8>]>,
}

/// A key as a template has it before one is drawn.
#[must_use]
pub fn any_key() -> String {
    format!("{PREFIX}{}", "0".repeat(DIGITS))
}

impl Template {
    /// A request as it is, with [any keys](any_key) in it.
    #[must_use]
    pub fn of(request: impl Into<Vec<u8>>) -> Self {
        let bytes = request.into();
        let digits = memchr::memmem::find_iter(&bytes, PREFIX).map(|start| start + PREFIX.len()).collect();
        Self { bytes, digits, whole: Arc::default() }
    }

    /// Any of these requests, as they are.
    #[must_use]
    pub fn one_of(requests: Vec<Vec<u8>>) -> Self {
        Self {
            bytes: requests.first().cloned().unwrap_or_default(),
            digits: Vec::new(),
            whole: requests.into(),
        }
    }

    /// `POST` over HTTP/1.1 of so many `items` of JSON; a single one is sent alone, not in a list of checks.
    #[must_use]
    pub fn post(path: &str, item: &str, items: usize) -> Self {
        let body = match items {
            1 => item.to_owned(),
            _ => format!(r#"{{"checks":[{}]}}"#, vec![item; items].join(",")),
        };
        let length = body.len();
        Self::of(format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// So many checks in one request.
    #[must_use]
    pub fn checks(path: &str, batch: usize) -> Self {
        Self::post(path, &format!(r#"{{"client_id":"{}","cost":1}}"#, any_key()), batch)
    }

    /// Draws new keys below `keys`, or another request.
    pub fn draw(&mut self, random: &mut fastrand::Rng, keys: u64) {
        if let Some(request) = random.choice(self.whole.iter()) {
            self.bytes.clone_from(request);
        }
        for start in &self.digits {
            if let Some(place) = self.bytes.get_mut(*start..start + DIGITS) {
                place.copy_from_slice(&digits_of(random.u64(..keys)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_change() {
        for batch in [1, 3] {
            let mut template = Template::checks("/p", batch);
            assert_eq!(template.digits.len(), batch);
            let before = String::from_utf8(template.bytes.clone()).unwrap();
            template.draw(&mut fastrand::Rng::with_seed(1), 1_000_000_000);
            let after = String::from_utf8(template.bytes.clone()).unwrap();
            assert_ne!(before, after);
            let without_digits = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
            assert_eq!(without_digits(&before), without_digits(&after));
        }
    }
}
