//! Whatever text comes as an API key, only the keys that were made are taken, to the last character; what has the form
//! of a key tells its prefix. The lines of the input are the texts.

#![expect(clippy::expect_used, reason = "a property fails by panicking")]

use std::sync::LazyLock;

use tidegate_catalog::keys::{
    KEY_PREFIX, KeyRing, NewKey, OperatorToken, PREFIX_CHARS, Refusal, SECRET_CHARS, prefix_of,
};
use tidegate_catalog::model::{ApiKey, Scope};

/// The most lines of an input that are looked at.
const MAX_LINES: usize = 64;
const NOW_US: i64 = 1_700_000_000_000_000;
const TOKEN: &str = "an operator's token, with spaces and äöü";

/// A ring with a key that is good, one that has ended, and an operator's token; and the text of the first two.
static RING: LazyLock<(KeyRing, [String; 2])> = LazyLock::new(|| {
    let ring = KeyRing::new(OperatorToken::new(TOKEN).ok());
    let keys = [made(1), made(101)];
    let stored = keys.iter().zip([None, Some(NOW_US)]);
    ring.replace(stored.map(|(key, expires_us)| kept(key, expires_us)));
    (ring, keys.map(|key| key.shown.reveal().to_owned()))
});

pub(crate) fn holds(data: &[u8]) {
    let (ring, [good, ended]) = &*RING;
    for line in data.split(|byte| *byte == b'\n').take(MAX_LINES) {
        let Ok(text) = str::from_utf8(line) else { continue };
        form(text);
        verify(ring, text, good, ended);
        // Near a good key, too: every beginning of it with the text behind it.
        let cut = text.len() % (good.len() + 1);
        let near = format!("{}{text}", good.get(..cut).unwrap_or_default());
        form(&near);
        verify(ring, &near, good, ended);
    }
    verify(ring, good, good, ended);
}

/// What has a prefix is put together of its parts, and of nothing else.
fn form(text: &str) {
    let rest = text.strip_prefix(KEY_PREFIX);
    match prefix_of(text) {
        Some(prefix) => {
            let secret =
                rest.and_then(|rest| rest.strip_prefix(prefix)).and_then(|rest| rest.strip_prefix('_'));
            assert!(secret.is_some_and(|secret| secret.len() == SECRET_CHARS));
            assert_eq!(prefix.len(), PREFIX_CHARS);
            assert!(text.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()));
        }
        None => assert!(
            text.len() != KEY_PREFIX.len() + PREFIX_CHARS + 1 + SECRET_CHARS
                || rest.is_none_or(|rest| rest.as_bytes().get(PREFIX_CHARS) != Some(&b'_'))
                || text.bytes().filter(u8::is_ascii_alphanumeric).count() != text.len() - 2
        ),
    }
}

fn verify(ring: &KeyRing, text: &str, good: &str, ended: &str) {
    match ring.verify(text, NOW_US) {
        Ok(verified) if text == TOKEN => assert_eq!(verified.tenant, None),
        Ok(verified) => {
            assert_eq!(text, good);
            assert_eq!(verified.tenant.as_deref(), Some("acme"));
        }
        Err(refusal) => {
            let expected = if text == ended { Refusal::Expired } else { Refusal::Unknown };
            assert_eq!(refusal, expected);
            assert!(text != good && text != TOKEN);
        }
    }
}

/// A key of bytes that count up: the same in every run.
fn made(first: u8) -> NewKey {
    let mut next = first;
    let count = |buffer: &mut [u8]| {
        for byte in buffer {
            *byte = next;
            next = next.wrapping_add(7);
        }
        Ok(())
    };
    NewKey::new(count).expect("bytes that count up make a key")
}

fn kept(key: &NewKey, expires_us: Option<i64>) -> ApiKey {
    ApiKey {
        prefix: key.prefix.clone(),
        tenant: Some("acme".to_owned()),
        name: "checkout".to_owned(),
        scopes: vec![Scope::Check],
        hash: key.hash,
        previous: None,
        created_us: NOW_US,
        expires_us,
        last_used_us: None,
        revoked_us: None,
    }
}
