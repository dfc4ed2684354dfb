//! Keys like `user:000123456`, made in place: no contender pays for fetching a stored key from memory.

use std::fmt::Write as _;

/// Digits of a key.
pub const DIGITS: usize = 9;
/// What stands in front of them.
pub const PREFIX: &str = "user:";

/// Writes key number `number` into `key`, without allocating once the buffer has grown.
pub fn write_key(key: &mut String, number: u64) {
    key.clear();
    key.push_str(PREFIX);
    let digits = digits_of(number);
    match std::str::from_utf8(&digits) {
        Ok(digits) => key.push_str(digits),
        Err(_) => {
            let _ = write!(key, "{number:09}");
        }
    }
}

/// The last nine decimal digits of a number.
#[must_use]
pub fn digits_of(number: u64) -> [u8; DIGITS] {
    let mut rest = u32::try_from(number % 1_000_000_000).unwrap_or(0);
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_nine_digits() {
        let mut key = String::new();
        for number in [0, 7, 123_456, 999_999_999] {
            write_key(&mut key, number);
            assert_eq!(key, format!("user:{number:09}"));
        }
    }
}
