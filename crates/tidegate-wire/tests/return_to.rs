//! Goal: nobody is sent to a host that is not the room's. Method: a corpus of hostile texts, all of which are refused; texts
//! that are accepted, with what a browser makes of them (`Url::join` on the address of the page) as the judge; and
//! properties over what lies near both.

use proptest::prelude::*;
use tidegate_wire::room::return_to::{MAX_RETURN_TO_BYTES, ReturnTo, ReturnToError};
use tidegate_wire::room::site::AllowedHosts;
use url::Url;

const HOSTILE: &str = include_str!("data/return_to_hostile.txt");
const GOOD: &str = include_str!("data/return_to_good.txt");
const PAGE: &str = "https://queue.example/rooms/demo";
const ALLOWED: [&str; 6] = [
    "https://shop.example",
    "https://shop.example:8443",
    "https://xn--bcher-kva.example",
    "https://[2001:db8::1]",
    "http://localhost:3000",
    "http://192.0.2.7",
];

fn allowed() -> AllowedHosts {
    AllowedHosts::new(ALLOWED).unwrap()
}

fn lines(file: &'static str) -> impl Iterator<Item = &'static str> {
    file.lines().filter(|line| !line.is_empty() && !line.starts_with("# "))
}

/// `\xHH`, `\u{…}` and `\\` as what they stand for.
fn unescaped(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let (code, after) = match escape.split_at(1) {
            ("\\", after) => ("5c", after),
            ("x", after) => after.split_at(2),
            ("u", after) => after.strip_prefix('{').and_then(|after| after.split_once('}')).expect(line),
            _ => panic!("no escape: {line}"),
        };
        text.push(u32::from_str_radix(code, 16).ok().and_then(char::from_u32).expect(line));
        rest = after;
    }
    text + rest
}

/// Where a browser ends up that is on the page and told to go to `place`, also by way of somebody who decodes the path
/// once or twice too often: the page's own host, or an allowed one.
fn assert_at_home(text: &str, place: &ReturnTo) {
    let page = Url::parse(PAGE).unwrap();
    let home = |target: &str| {
        let url = page.join(target).unwrap_or_else(|error| panic!("{text:?} -> {target:?}: {error}"));
        let at_home = url.origin() == page.origin()
            || ALLOWED.iter().any(|host| Url::parse(host).unwrap().origin() == url.origin());
        assert!(at_home, "{text:?} -> {target:?} leads to {url}");
        assert!(url.username().is_empty() && url.password().is_none(), "{text:?} -> {url}");
    };
    let place = place.as_str();
    home(text);
    home(place);
    assert!(place.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\".contains(&byte)), "{place}");
    if place.starts_with('/') {
        let mut path = place.split(['?', '#']).next().unwrap().to_owned();
        for _ in 0..2 {
            path = percent_encoding::percent_decode_str(&path).decode_utf8_lossy().into_owned();
            home(&path);
            assert!(!path.contains(char::is_control), "{text:?} -> {path:?}");
        }
    }
}

#[test]
fn hostile_texts_are_refused() {
    let allowed = allowed();
    let accepted: Vec<_> = lines(HOSTILE)
        .filter_map(|line| ReturnTo::parse(&unescaped(line), &allowed).ok().map(|place| (line, place)))
        .collect();
    assert!(accepted.is_empty(), "{accepted:#?}");
    assert!(lines(HOSTILE).count() >= 250);
}

/// Most of the texts are dangerous in earnest: a page that went there, or to what somebody decoded, would leave home.
#[test]
fn the_corpus_is_hostile() {
    let page = Url::parse(PAGE).unwrap();
    let leaves = |text: &str| {
        let Ok(url) = page.join(text) else { return false };
        let is_home = |url: &Url| {
            url.origin() == page.origin()
                || ALLOWED.iter().any(|host| Url::parse(host).unwrap().origin() == url.origin())
        };
        // A path that was resolved may itself read like the name of a host.
        !is_home(&url) || page.join(url.path()).is_ok_and(|url| !is_home(&url))
    };
    let is_dangerous = |line: &&str| {
        let mut text = unescaped(line);
        (0..5).any(|_| {
            let left = leaves(&text);
            text = percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned();
            left
        })
    };
    let count = lines(HOSTILE).filter(is_dangerous).count();
    assert!(count >= 150, "only {count} texts lead elsewhere");
}

#[test]
fn good_texts_are_accepted_and_stay_at_home() {
    let allowed = allowed();
    for line in lines(GOOD) {
        let (text, want) = line.split_once(" -> ").unwrap_or((line, line));
        let place = ReturnTo::parse(text, &allowed).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(place.as_str(), want, "{text}");
        assert_eq!(ReturnTo::parse(want, &allowed).as_ref(), Ok(&place), "{want} is its own spelling");
        assert_at_home(text, &place);
    }
}

#[test]
fn without_a_list_only_paths_are_accepted() {
    let none = AllowedHosts::default();
    assert!(ReturnTo::parse("/shop", &none).is_ok());
    for host in ALLOWED {
        assert_eq!(ReturnTo::parse(host, &none), Err(ReturnToError::ForeignHost), "{host}");
    }
}

#[test]
fn texts_and_places_have_a_maximum() {
    let allowed = allowed();
    let longest = format!("/{}", "a".repeat(MAX_RETURN_TO_BYTES - 1));
    assert!(ReturnTo::parse(&longest, &allowed).is_ok());
    // A quote becomes three characters.
    let grows = format!("/{}\"", "a".repeat(MAX_RETURN_TO_BYTES - 2));
    for text in ["", &format!("{longest}a"), &grows] {
        assert_eq!(ReturnTo::parse(text, &allowed), Err(ReturnToError::Length), "{} bytes", text.len());
    }
}

#[test]
fn refusals_say_what_is_wrong() {
    for (text, error) in [
        ("/a b", ReturnToError::Character(2)),
        ("shop", ReturnToError::Form),
        ("//evil.example", ReturnToError::Path),
        ("https://user@shop.example", ReturnToError::UserInfo),
        ("https://shop%2eexample", ReturnToError::Host),
        ("https://evil.example", ReturnToError::ForeignHost),
    ] {
        assert_eq!(ReturnTo::parse(text, &allowed()), Err(error), "{text}");
    }
}

/// Pieces that tricks are made of.
fn pieces() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "/",
        "//",
        "\\",
        ".",
        "..",
        "%2e",
        "%2f",
        "%5c",
        "%25",
        "2f",
        "%09",
        "@",
        ":",
        "?",
        "#",
        "https:",
        "http:",
        "https://",
        "javascript:",
        "shop.example",
        "evil.example",
        "localhost:3000",
        ":443",
        ":8443",
        "[2001:db8::1]",
        "192.0.2.7",
        "a",
        "A",
        "%",
        "%C2%A0",
        "\u{3002}",
        "\u{ff0f}",
        "\t",
        " ",
        "&",
        ";",
        "xn--",
    ];
    prop::collection::vec(prop::sample::select(PIECES), 0..9).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn whatever_is_accepted_stays_at_home(text in pieces(), front in prop::sample::select(&["", "/", "https://shop.example"])) {
        let allowed = allowed();
        let text = format!("{front}{text}");
        if let Ok(place) = ReturnTo::parse(&text, &allowed) {
            assert_at_home(&text, &place);
            let again = ReturnTo::parse(place.as_str(), &allowed);
            prop_assert_eq!(again.as_ref(), Ok(&place), "its own spelling: {}", text);
        }
    }
}
