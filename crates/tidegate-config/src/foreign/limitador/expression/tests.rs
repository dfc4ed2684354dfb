use super::*;

fn asked(text: &str) -> Vec<(String, Asked)> {
    parse(text).unwrap()
}

fn exact(text: &str) -> Pattern {
    Pattern::Exact(text.to_owned())
}

#[test]
fn an_entry_is_named_in_three_ways() {
    for text in ["descriptors[0].a", "descriptors[0]['a']", " descriptors [ 0 ] [\"a\"] ", "a"] {
        assert_eq!(variable(text).unwrap(), "a", "{text}");
    }
    assert_eq!(variable("req.header.x").unwrap(), "req.header.x");
    assert!(variable("descriptors[0]").is_err());
    assert!(variable("a.startsWith('x')").is_err());
}

#[test]
fn terms_are_joined_and_negated() {
    assert_eq!(
        asked("a == 'x' && !(b in ['y', 'z'])"),
        [
            ("a".to_owned(), Asked::Is(vec![exact("x")])),
            ("b".to_owned(), Asked::Not(vec![exact("y"), exact("z")]))
        ]
    );
    assert_eq!(asked("!!!has(a)"), [("a".to_owned(), Asked::Absent)]);
    assert_eq!(asked("((('a' in descriptors[0])))"), [("a".to_owned(), Asked::Present)]);
}

#[test]
fn quotes_are_taken_off() {
    assert_eq!(asked(r#"a == 'it\'s "\\"'"#), [("a".to_owned(), Asked::Is(vec![exact("it's \"\\\"")]))]);
    assert_eq!(asked("a == 'ü ==='"), [("a".to_owned(), Asked::Is(vec![exact("ü ===")]))]);
}

#[test]
fn regular_expressions_of_plain_text_are_patterns() {
    assert_eq!(simple_regex("^/a$"), Some(exact("/a")));
    assert_eq!(simple_regex("^/a"), Some(Pattern::Prefix("/a".to_owned())));
    assert_eq!(simple_regex("^/a.*"), Some(Pattern::Prefix("/a".to_owned())));
    assert_eq!(simple_regex(r"^a\.b$"), Some(exact("a.b")));
    for regex in ["a", "a$", "^a.b", "^a+", "^(a)", "^a$b", r"^\d", "^[ab]", "^a|b"] {
        assert_eq!(simple_regex(regex), None, "{regex}");
    }
}
