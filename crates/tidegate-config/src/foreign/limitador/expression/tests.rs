use super::*;

fn asks(entry: &str, asked: Asked) -> Expression {
    Expression::Asks(Asks { entry: entry.to_owned(), asked, is_bare: true })
}

fn not(inner: Expression) -> Expression {
    Expression::Not(Box::new(inner))
}

#[test]
fn an_entry_is_named_in_three_ways() {
    for text in ["descriptors[0].a", "descriptors[0]['a']", " descriptors [ 0 ] [\"a\"] ", "a"] {
        assert_eq!(variable(text).unwrap(), "a", "{text}");
    }
    assert_eq!(variable("req.header.x").unwrap(), "req.header.x");
    for text in ["descriptors[0]", "a.startsWith('x')", "limit.name", "descriptors.exists(d, has(d.a))"] {
        assert!(variable(text).is_err(), "{text}");
    }
}

#[test]
fn and_binds_stronger_than_or_and_not_than_both() {
    let (a, b, c) = (asks("a", is("x".into())), asks("b", Asked::Present), asks("c", is("z".into())));
    assert_eq!(
        condition("a == 'x' || has(b) && !(c == 'z')").unwrap(),
        Expression::Or(vec![a.clone(), Expression::And(vec![b.clone(), not(c.clone())])])
    );
    assert_eq!(
        condition("(a == 'x' || has(b)) && c != 'z'").unwrap(),
        Expression::And(vec![Expression::Or(vec![a.clone(), b.clone()]), not(c)])
    );
    assert_eq!(condition("!!has(b)").unwrap(), not(not(b)));
    assert_eq!(condition("('x' == a)").unwrap(), a);
    assert_eq!(condition("'x' != a").unwrap(), not(a));
}

#[test]
fn a_name_may_stand_for_the_descriptor() {
    for text in [
        "descriptors[0].a == 'x' && 'b' in descriptors[0]",
        "descriptors.exists(d, d.a == 'x' && 'b' in d)",
        "descriptors.all(other, other['a'] == 'x' && has(other.b))",
    ] {
        let Expression::And(parts) = condition(text).unwrap() else { panic!("{text}") };
        let asked: Vec<(&str, bool)> = parts
            .iter()
            .map(|part| match part {
                Expression::Asks(asks) => (asks.entry.as_str(), asks.is_bare),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(asked, [("a", false), ("b", false)], "{text}");
    }
    // Outside of its brackets it is a name like others.
    let Expression::And(parts) = condition("descriptors.exists(d, has(d.a)) && has(d.a)").unwrap() else {
        panic!()
    };
    assert_eq!(parts[1], asks("d.a", Asked::Present));
}

#[test]
fn regular_expressions_of_plain_text_are_simpler_patterns() {
    let pieces = |regex: &str| texts_between_stars(regex).map(|pieces| pieces.join("*"));
    for (regex, simpler) in [
        ("^/a$", "/a"),
        ("^/a", "/a*"),
        ("^/a.*", "/a**"),
        ("^/a.*$", "/a*"),
        ("a", "*a*"),
        ("a$", "*a"),
        (r"\.png$", "*.png"),
        (r"^a\.b$", "a.b"),
        ("^/a/.*/b$", "/a/*/b"),
        ("^.*$", "*"),
    ] {
        assert_eq!(pieces(regex).as_deref(), Some(simpler), "{regex}");
    }
    for regex in ["^a.b", "^a+", "^(a)", "^a$b", r"^\d", "^[ab]", "^a|b", "a.*?", "a{2}", "^a.*+"] {
        assert_eq!(pieces(regex), None, "{regex}");
        let is_other =
            matches!(of_regex(regex), Ok(Asked::Is(patterns)) if matches!(patterns[0], Pattern::Regex(_)));
        assert!(is_other || regex == "^a.*+", "{regex}");
    }
    assert_eq!(of_regex("^.*$"), Ok(Asked::AnyValue));
    assert_eq!(of_regex("^/a$"), Ok(is("/a".into())));
    assert!(of_regex("(").is_err());
}
