//! Goal: spellings of one path meet, and no spelling of another path joins them. Method: a table, and properties.

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

#[test]
fn table() {
    let cases: &[(&str, Result<&str, PathError>)] = &[
        ("/", Ok("/")),
        ("/a/b", Ok("/a/b")),
        ("/a/b/", Ok("/a/b/")),
        ("/A/b", Ok("/A/b")),
        ("//a///b//", Ok("/a/b/")),
        ("/./a/./b", Ok("/a/b")),
        ("/a/../b", Ok("/b")),
        ("/a//../b", Ok("/b")),
        ("/a/b/..", Ok("/a/")),
        ("/a/b/.", Ok("/a/b/")),
        ("/..", Ok("/")),
        ("/../../a", Ok("/a")),
        ("/a/%2e%2E/b", Ok("/b")),
        ("/a/.%2e/b", Ok("/b")),
        ("/%61", Ok("/a")),
        ("/%7Euser", Ok("/~user")),
        ("/a%20b", Ok("/a b")),
        ("/caf%C3%A9", Ok("/café")),
        ("/café", Ok("/café")),
        ("/.well-known/x", Ok("/.well-known/x")),
        ("/...", Ok("/...")),
        ("/a?b=/../c", Ok("/a")),
        ("/a#b", Ok("/a")),
        ("/a/..?x", Ok("/")),
        ("/?", Ok("/")),
        ("/a%3fb", Ok("/a%3Fb")),
        ("/a%23b", Ok("/a%23b")),
        ("/a%2541", Ok("/a%2541")),
        ("/a%252fb", Ok("/a%252fb")),
        ("", Err(PathError::NotAbsolute)),
        ("?x", Err(PathError::NotAbsolute)),
        ("a/b", Err(PathError::NotAbsolute)),
        ("*", Err(PathError::NotAbsolute)),
        ("http://h/a", Err(PathError::NotAbsolute)),
        ("/a%2fb", Err(PathError::AmbiguousSeparator)),
        ("/a%2Fb", Err(PathError::AmbiguousSeparator)),
        ("/a%5cb", Err(PathError::AmbiguousSeparator)),
        ("/a\\b", Err(PathError::AmbiguousSeparator)),
        ("/a%00", Err(PathError::Control)),
        ("/a%0d%0a", Err(PathError::Control)),
        ("/a\tb", Err(PathError::Control)),
        ("/a%7f", Err(PathError::Control)),
        ("/a%c2%85", Err(PathError::Control)),
        ("/a%ff", Err(PathError::NotUtf8)),
        ("/a%c0%af", Err(PathError::NotUtf8)),
        ("/a%ed%a0%80", Err(PathError::NotUtf8)),
        ("/a%", Err(PathError::BadEscape)),
        ("/a%4", Err(PathError::BadEscape)),
        ("/a%zz", Err(PathError::BadEscape)),
        ("/a%+1", Err(PathError::BadEscape)),
        ("/a%é", Err(PathError::BadEscape)),
    ];
    for (raw, want) in cases {
        assert_eq!(normalize_path(raw).as_deref(), want.as_ref().map(|path| *path), "{raw:?}");
    }
}

#[test]
fn whatever_stands_for_a_path_has_a_normal_form() {
    let cases = [
        ("/a//b?c", "/a/b"),
        ("/x/..\\../login", "/login"),
        ("/x%2f..%5Clogin", "/login"),
        ("login", "/login"),
        ("", "/"),
        ("/a%zz%", "/a%25zz%25"),
        ("/%252f%3f%zz", "/%252f%3F%25zz"),
        ("/a\u{7}%00%ff", "/a\u{fffd}\u{fffd}\u{fffd}"),
    ];
    for (raw, want) in cases {
        assert_eq!(normalize_any_path(raw), want, "{raw:?}");
    }
    for filler in ["./", "/", "a/../"] {
        assert_eq!(normalize_any_path(&format!("/{}login", filler.repeat(3_000))), "/login");
    }
}

#[test]
fn unchanged_paths_are_borrowed() {
    for raw in ["/", "/a/b", "/a/.well-known", "/café/x", "/a%25b", "/a?query"] {
        assert!(matches!(normalize_path(raw), Ok(Cow::Borrowed(_))), "{raw}");
    }
}

#[test]
fn the_length_counts_without_the_query() {
    let longest = format!("/{}", "a".repeat(MAX_PATH_BYTES - 1));
    assert!(normalize_path(&longest).is_ok());
    assert!(normalize_path(&format!("{longest}?{}", "q".repeat(5000))).is_ok());
    assert_eq!(normalize_path(&format!("{longest}a")), Err(PathError::TooLong));
}

proptest! {
    #[test]
    fn takes_any_text(raw in "\\PC{0,60}") {
        let _ = normalize_path(&raw);
    }

    #[test]
    fn the_result_is_its_own_normal_form(raw in "/([a-c./%é]|%2[e35]|%3f|%41|%c3%a9){0,24}") {
        if let Ok(path) = normalize_path(&raw) {
            let again = normalize_path(&path);
            let is_same = matches!(&again, Ok(Cow::Borrowed(text)) if *text == path);
            prop_assert!(is_same, "{} then {:?}", path, again);
        }
    }

    #[test]
    fn the_form_of_whatever_stands_there_is_its_own(raw in "([a-c./%\\\\\t]|%[0-9a-f]{2}){0,24}") {
        let path = normalize_any_path(&raw);
        let again = normalize_path(&path);
        prop_assert_eq!(again.as_deref(), Ok(&*path));
    }

    #[test]
    fn the_result_has_no_trick_left(raw in "/([a-c./%\\\\]|%[0-9a-f]{2}){0,24}") {
        if let Ok(path) = normalize_path(&raw) {
            prop_assert!(path.starts_with('/') && !path.contains("//") && !path.contains(['?', '#', '\\', '\0']));
            prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
        }
    }

    #[test]
    fn escaping_letters_changes_nothing(segments in prop::collection::vec("[a-z]{1,5}", 1..5)) {
        let plain = format!("/{}", segments.join("/"));
        let escaped: String = segments
            .iter()
            .flat_map(|segment| std::iter::once("//./".to_owned()).chain(segment.bytes().map(|b| format!("%{b:02x}"))))
            .collect();
        prop_assert_eq!(normalize_path(&escaped).unwrap(), plain);
    }
}
