//! Whatever comes as a place to return to, what is accepted leads a browser to the page's own host or to one of the
//! room's, also by way of somebody who decodes it once or twice too often, and is its own spelling. The whole input and its
//! lines are the texts.

#![expect(clippy::expect_used, clippy::panic, reason = "a property fails by panicking")]

use std::sync::LazyLock;

use percent_encoding::percent_decode_str;
use tidegate_wire::room::return_to::{MAX_RETURN_TO_BYTES, ReturnTo};
use tidegate_wire::room::site::AllowedHosts;
use url::Url;

/// The hosts of the room, as its operator writes them.
pub(crate) const HOSTS: [&str; 6] = [
    "https://shop.example",
    "https://shop.example:8443",
    "https://xn--bcher-kva.example",
    "https://[2001:db8::1]",
    "http://localhost:3000",
    "http://192.0.2.7",
];
/// The most lines of an input that are looked at.
const MAX_LINES: usize = 64;

pub(crate) static ALLOWED: LazyLock<AllowedHosts> =
    LazyLock::new(|| AllowedHosts::new(HOSTS).expect("the hosts are good"));
static PAGE: LazyLock<Url> =
    LazyLock::new(|| Url::parse("https://queue.example/rooms/demo").expect("the address is good"));

pub(crate) fn holds(data: &[u8]) {
    for text in std::iter::once(data).chain(data.split(|byte| *byte == b'\n').take(MAX_LINES)) {
        let text = String::from_utf8_lossy(text);
        for front in ["", "/", "https://shop.example"] {
            stays_at_home(&format!("{front}{text}"));
        }
    }
}

/// Whether a browser on the page that is told to go to `target` is at home then; `None` if it goes nowhere.
pub(crate) fn is_at_home(target: &str) -> Option<bool> {
    let url = PAGE.join(target).ok()?;
    let is_home = |home: &Url| home.origin() == url.origin();
    Some(is_home(&PAGE) || HOSTS.iter().any(|host| Url::parse(host).is_ok_and(|host| is_home(&host))))
}

pub(crate) fn stays_at_home(text: &str) {
    let Ok(place) = ReturnTo::parse(text, &ALLOWED) else { return };
    let again = ReturnTo::parse(place.as_str(), &ALLOWED);
    assert_eq!(again.as_ref(), Ok(&place), "it is not its own spelling: {text:?}");
    let place = place.as_str();
    assert!(place.len() <= MAX_RETURN_TO_BYTES && text.len() <= MAX_RETURN_TO_BYTES, "{text:?}");
    assert!(place.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\".contains(&byte)), "{place}");
    let stays = |target: &str| {
        assert_eq!(is_at_home(target), Some(true), "{text:?} -> {target:?}");
        let url = PAGE.join(target).unwrap_or_else(|error| panic!("{target:?}: {error}"));
        assert!(url.username().is_empty() && url.password().is_none(), "{text:?} -> {url}");
    };
    stays(text);
    stays(place);
    if !place.starts_with('/') {
        return;
    }
    let mut path = place.split(['?', '#']).next().unwrap_or_default().to_owned();
    for _ in 0..2 {
        path = percent_decode_str(&path).decode_utf8_lossy().into_owned();
        stays(&path);
        assert!(!path.contains(char::is_control), "{text:?} -> {path:?}");
        // What was resolved may itself read like the name of a host.
        if let Ok(url) = PAGE.join(&path) {
            stays(url.path());
        }
    }
}
