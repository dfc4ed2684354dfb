//! Requests made from a template: only the digits of the keys change.

use tidegate_bench::keys::{DIGITS, PREFIX, digits_of};

/// The bytes of a request, and where keys have their digits.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) bytes: Vec<u8>,
    digits: Vec<usize>,
}

impl Template {
    /// A request for `batch` checks; a single one is sent alone, not in a list.
    pub(crate) fn new(path: &str, batch: usize) -> Self {
        let key = format!("{PREFIX}000000000");
        let item = match path {
            "/throttle" => {
                format!(
                    r#"{{"key":"{key}","max_burst":100000,"count_per_period":60,"period":60,"quantity":1}}"#
                )
            }
            _ => format!(r#"{{"client_id":"{key}","cost":1}}"#),
        };
        let body = match batch {
            1 => item,
            _ => format!(r#"{{"checks":[{}]}}"#, vec![item.as_str(); batch].join(",")),
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let digits = body.match_indices(PREFIX).map(|(start, _)| head.len() + start + PREFIX.len()).collect();
        Self { bytes: (head + &body).into_bytes(), digits }
    }

    /// Draws new keys below `keys`.
    pub(crate) fn draw(&mut self, random: &mut fastrand::Rng, keys: u64) {
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
            let mut template = Template::new("/p", batch);
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
