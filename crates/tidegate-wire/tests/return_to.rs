//! Goal: nobody is sent to a host that is not the room's. Method: a corpus of hostile texts, all of which are refused; texts
//! that are accepted, with what a browser makes of them (`Url::join` on the address of the page) as the judge; and
//! properties over what lies near both.

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use percent_encoding::percent_decode_str;
use proptest::prelude::*;
use tidegate_wire::room::return_to::{MAX_RETURN_TO_BYTES, ReturnTo, ReturnToError};
use tidegate_wire::room::site::AllowedHosts;
use url::Url;

use property::{ALLOWED, HOSTS, holds, is_at_home, stays_at_home};

#[path = "../../../fuzz/properties/return_to.rs"]
mod property;

const HOSTILE: &str = include_str!("data/return_to_hostile.txt");
const GOOD: &str = include_str!("data/return_to_good.txt");

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

#[test]
fn hostile_texts_are_refused() {
    let accepted: Vec<_> = lines(HOSTILE)
        .filter_map(|line| ReturnTo::parse(&unescaped(line), &ALLOWED).ok().map(|place| (line, place)))
        .collect();
    assert!(accepted.is_empty(), "{accepted:#?}");
    assert!(lines(HOSTILE).count() >= 250);
}

/// Most of the texts are dangerous in earnest: a page that went there, or to what somebody decoded, would leave home.
#[test]
fn the_corpus_is_hostile() {
    let page = Url::parse("https://queue.example/rooms/demo").unwrap();
    let is_dangerous = |line: &&str| {
        let mut text = unescaped(line);
        (0..5).any(|_| {
            let is_away = |target: &str| is_at_home(target) == Some(false);
            // A path that was resolved may itself read like the name of a host.
            let left = is_away(&text) || page.join(&text).is_ok_and(|url| is_away(url.path()));
            text = percent_decode_str(&text).decode_utf8_lossy().into_owned();
            left
        })
    };
    let count = lines(HOSTILE).filter(is_dangerous).count();
    assert!(count >= 150, "only {count} texts lead elsewhere");
}

#[test]
fn good_texts_are_accepted_and_stay_at_home() {
    for line in lines(GOOD) {
        let (text, want) = line.split_once(" -> ").unwrap_or((line, line));
        let place = ReturnTo::parse(text, &ALLOWED).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(place.as_str(), want, "{text}");
        assert_eq!(ReturnTo::parse(want, &ALLOWED).as_ref(), Ok(&place), "{want} is its own spelling");
        stays_at_home(text);
    }
}

#[test]
fn without_a_list_only_paths_are_accepted() {
    let none = AllowedHosts::default();
    assert!(ReturnTo::parse("/shop", &none).is_ok());
    for host in HOSTS {
        assert_eq!(ReturnTo::parse(host, &none), Err(ReturnToError::ForeignHost), "{host}");
    }
}

#[test]
fn texts_and_places_have_a_maximum() {
    let longest = format!("/{}", "a".repeat(MAX_RETURN_TO_BYTES - 1));
    assert!(ReturnTo::parse(&longest, &ALLOWED).is_ok());
    // A quote becomes three characters.
    let grows = format!("/{}\"", "a".repeat(MAX_RETURN_TO_BYTES - 2));
    for text in ["", &format!("{longest}a"), &grows] {
        assert_eq!(ReturnTo::parse(text, &ALLOWED), Err(ReturnToError::Length), "{} bytes", text.len());
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
        assert_eq!(ReturnTo::parse(text, &ALLOWED), Err(error), "{text}");
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
    fn whatever_is_accepted_stays_at_home(
        text in pieces(), front in prop::sample::select(&["", "/", "https://shop.example"]),
    ) {
        stays_at_home(&format!("{front}{text}"));
    }

    #[test]
    fn any_bytes_stay_at_home(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        holds(&bytes);
    }
}
