use tidegate_testkit::Stopwatch;

use super::*;
use crate::model::{ApiKey, PreviousSecret, Scope};

const NOW: i64 = 1_700_000_000_000_000;
const MINUTE: i64 = 60_000_000;

/// Randomness that repeats.
fn bytes_from(seed: u8) -> impl FnMut(&mut [u8]) -> Result<(), getrandom::Error> {
    let mut state = seed;
    move |buffer| {
        for byte in buffer {
            state = state.wrapping_mul(77).wrapping_add(91);
            *byte = state;
        }
        Ok(())
    }
}

fn new_key(seed: u8) -> NewKey {
    NewKey::new(bytes_from(seed)).expect("randomness")
}

fn stored(key: &NewKey) -> ApiKey {
    ApiKey {
        prefix: key.prefix.clone(),
        tenant: Some("acme".to_owned()),
        name: "checkout".to_owned(),
        scopes: vec![Scope::Check],
        hash: key.hash,
        previous: None,
        created_us: NOW,
        expires_us: None,
        last_used_us: None,
        revoked_us: None,
    }
}

fn ring_of(keys: impl IntoIterator<Item = ApiKey>) -> KeyRing {
    let ring = KeyRing::new(None);
    ring.replace(keys);
    ring
}

#[test]
fn a_key_has_its_form_and_is_shown_only_when_asked() {
    let key = NewKey::new(getrandom::fill).expect("randomness");
    let shown = key.shown.reveal();
    assert_eq!(shown.len(), 3 + PREFIX_CHARS + 1 + SECRET_CHARS);
    assert_eq!(prefix_of(shown), Some(key.prefix.as_str()));
    assert!(!format!("{key:?}").contains(shown));
    let other = NewKey::new(getrandom::fill).expect("randomness");
    assert!(other.prefix != key.prefix && other.hash != key.hash);
}

#[test]
fn the_secret_has_160_bits_and_more() {
    assert!((62_f64).log2() * SECRET_CHARS as f64 >= 160.0);
    let all: String = (0..=255).map(|seed| new_key(seed).shown.reveal().to_owned()).collect();
    assert!(ALPHABET.iter().all(|letter| all.contains(char::from(*letter))));
}

#[test]
fn no_key_is_made_without_randomness() {
    let none = |_: &mut [u8]| Err(getrandom::Error::UNSUPPORTED);
    assert!(matches!(NewKey::new(none), Err(NewKeyError::NoRandomness(_))));
    let stuck = |buffer: &mut [u8]| {
        buffer.fill(u8::MAX);
        Ok(())
    };
    assert!(matches!(NewKey::new(stuck), Err(NewKeyError::NotRandom)));
}

#[test]
fn a_key_says_who_comes() {
    let key = new_key(1);
    let ring = ring_of([stored(&key), stored(&new_key(2))]);
    let verified = ring.verify(key.shown.reveal(), NOW).expect("good");
    assert_eq!((&*verified.prefix, verified.tenant.as_deref()), (key.prefix.as_str(), Some("acme")));
    assert_eq!(&*verified.name, "checkout");
    assert!(verified.may(Scope::Check) && !verified.may(Scope::AdminRead));
    assert_eq!(ring.len(), 2);
}

#[test]
fn who_may_change_may_read() {
    let key = new_key(1);
    let ring = ring_of([ApiKey { scopes: vec![Scope::AdminWrite], ..stored(&key) }]);
    let verified = ring.verify(key.shown.reveal(), NOW).expect("good");
    assert!(verified.may(Scope::AdminRead) && verified.may(Scope::AdminWrite) && !verified.may(Scope::Check));
}

#[test]
fn every_changed_character_makes_a_key_unknown() {
    let key = new_key(1);
    let ring = ring_of([stored(&key)]);
    let good = key.shown.reveal();
    for place in 0..good.len() {
        let mut bytes = good.as_bytes().to_vec();
        bytes[place] ^= 1;
        let bad = String::from_utf8(bytes).expect("ASCII");
        assert_eq!(ring.verify(&bad, NOW), Err(Refusal::Unknown), "{bad}");
    }
    for bad in ["", "tg_", "tg__", &good[1..], &good[..good.len() - 1], &format!("{good} "), "\u{1f}"] {
        assert_eq!(ring.verify(bad, NOW), Err(Refusal::Unknown), "{bad:?}");
    }
}

#[test]
fn a_key_ends_and_only_its_holder_is_told() {
    let key = new_key(1);
    let ring = ring_of([ApiKey { expires_us: Some(NOW + 5), ..stored(&key) }]);
    assert!(ring.verify(key.shown.reveal(), NOW + 4).is_ok());
    assert_eq!(ring.verify(key.shown.reveal(), NOW + 5), Err(Refusal::Expired));
    let guess = NewKey::with_prefix(&key.prefix, bytes_from(9)).expect("randomness");
    assert_eq!(ring.verify(guess.shown.reveal(), NOW + 5), Err(Refusal::Unknown));
}

#[test]
fn a_secret_is_good_until_its_rotation_is_over() {
    let old = new_key(1);
    let new = NewKey::with_prefix(&old.prefix, bytes_from(2)).expect("randomness");
    let previous = Some(PreviousSecret { hash: old.hash, until_us: NOW + 10 });
    let ring = ring_of([ApiKey { previous, ..stored(&new) }]);
    assert!(ring.verify(new.shown.reveal(), NOW + 10).is_ok());
    assert!(ring.verify(old.shown.reveal(), NOW + 9).is_ok());
    assert_eq!(ring.verify(old.shown.reveal(), NOW + 10), Err(Refusal::Unknown));
}

#[test]
fn the_operator_token_may_do_everything() {
    let text = "an operator's long token";
    let ring = KeyRing::new(Some(OperatorToken::new(text).expect("long enough")));
    let verified = ring.verify(text, NOW).expect("good");
    assert_eq!((verified.tenant.as_deref(), &*verified.prefix), (None, "operator"));
    assert!(Scope::ALL.into_iter().all(|scope| verified.may(scope)));
    assert_eq!(ring.verify("an operator's long tokem", NOW), Err(Refusal::Unknown));
    assert_eq!(KeyRing::new(None).verify(text, NOW), Err(Refusal::Unknown));
}

#[test]
fn operator_tokens_have_a_length() {
    for (length, good) in [(0, false), (23, false), (24, true), (256, true), (257, false)] {
        let token = OperatorToken::new(&"x".repeat(length));
        assert_eq!(token.is_ok(), good, "{length}");
        assert!(!format!("{token:?}").contains("xx"));
    }
}

#[test]
fn a_use_is_handed_out_once_a_minute_and_outlives_a_swap() {
    let (key, idle) = (new_key(1), new_key(2));
    let ring = ring_of([stored(&key), stored(&idle)]);
    let use_at = |now_us| ring.verify(key.shown.reveal(), now_us).map(drop).expect("good");
    use_at(NOW);
    assert_eq!(ring.take_used(), [(key.prefix.as_str().into(), NOW)]);
    use_at(NOW + MINUTE - 1);
    assert_eq!(ring.take_used(), []);
    use_at(NOW + 2 * MINUTE);
    ring.replace([stored(&key), stored(&idle)]);
    assert_eq!(ring.take_used(), [(key.prefix.as_str().into(), NOW + 2 * MINUTE)]);
    assert_eq!(ring.take_used(), []);
}

#[test]
fn keys_that_were_revoked_are_unknown() {
    let key = new_key(1);
    let ring = ring_of([stored(&key)]);
    ring.replace([ApiKey { revoked_us: Some(NOW), ..stored(&key) }]);
    assert!(ring.is_empty());
    assert_eq!(ring.verify(key.shown.reveal(), NOW), Err(Refusal::Unknown));
}

/// Prints what it costs; in a release build, that is the figure of the module's documentation.
#[test]
fn verifying_is_quick() {
    const ROUNDS: u32 = 20_000;
    let key = new_key(1);
    let ring = ring_of([stored(&key)]);
    let watch = Stopwatch::start();
    let good = (0..ROUNDS).filter(|_| ring.verify(key.shown.reveal(), NOW).is_ok()).count();
    println!("{} ns a key", watch.elapsed().as_nanos() / u128::from(ROUNDS));
    assert_eq!(good, ROUNDS as usize);
}
