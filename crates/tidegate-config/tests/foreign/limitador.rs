//! Limits of Limitador.

use tidegate_config::{Format, parse_rules, rules_yaml};
use tidegate_core::rule::RuleSet;

use super::{matching, parse};

/// A request with what it has to say: `a` is `x`, `method` is GET, `req.path` is /v1/a.
const REQUEST: [(&str, &str); 3] = [("a", "x"), ("method", "GET"), ("req.path", "/v1/a")];

fn file(condition: &str) -> String {
    format!(
        "- {{ namespace: n, max_value: 5, seconds: 60, conditions: [{}] }}\n",
        serde_json::json!(condition)
    )
}

#[test]
fn conditions_mean_what_they_mean_there() {
    let cases = [
        ("descriptors[0].a == 'x'", true),
        ("descriptors[0].a == \"y\"", false),
        ("descriptors[0]['a'] == 'x'", true),
        ("descriptors[0][\"req.path\"] == '/v1/a'", true),
        ("'x' == descriptors[0].a", true),
        ("a == 'x'", true),
        ("req.path == '/v1/a'", true),
        ("descriptors[0].a != 'y'", true),
        ("descriptors[0].a != 'x'", false),
        // What is missing is an error there, and the limit does not apply.
        ("descriptors[0].missing != 'y'", false),
        ("descriptors[0].missing == 'y'", false),
        ("descriptors[0].a != ''", true),
        ("descriptors[0].missing != ''", false),
        ("descriptors[0].a == ''", false),
        ("descriptors[0].a in ['', 'x']", true),
        ("descriptors[0].method in ['GET', 'HEAD']", true),
        ("descriptors[0].method in ['POST']", false),
        ("!(descriptors[0].method in ['POST'])", true),
        ("!(descriptors[0].method in ['GET', 'POST'])", false),
        ("!(descriptors[0].missing in ['GET'])", false),
        ("has(descriptors[0].a)", true),
        ("has(descriptors[0].missing)", false),
        ("!has(descriptors[0].a)", false),
        ("!has(descriptors[0].missing)", true),
        ("!!has(descriptors[0].a)", true),
        ("'a' in descriptors[0]", true),
        ("!('missing' in descriptors[0])", true),
        ("descriptors[0]['req.path'].startsWith('/v1/')", true),
        ("req.path.startsWith('/v2/')", false),
        ("!req.path.startsWith('/v2/')", true),
        ("req.path.matches('^/v1/')", true),
        ("req.path.matches('^/v1/a$')", true),
        ("req.path.matches('^/v1$')", false),
        ("req.path.matches('^/v1/.*$')", true),
        ("a.matches('^x\\\\.y')", false),
        ("a == 'x' && method == 'GET'", true),
        ("(a == 'x') && (method != 'GET')", false),
        ("method != 'POST' && method != 'PUT'", true),
        ("method != 'POST' && method != 'GET'", false),
        ("req.path.startsWith('/v1/') && req.path != '/v1/a'", false),
        ("req.path.startsWith('/v1/') && req.path != '/v1/b' && has(req.path)", true),
        ("has(a) && a == 'x'", true),
        ("a == 'x' || a == 'y'", true),
        ("a == 'y' || method == 'GET'", true),
        ("a == 'y' || method == 'PUT'", false),
        // What decides does, whatever the other side is.
        ("descriptors[0].missing == 'y' || descriptors[0].a == 'x'", true),
        ("descriptors[0].a == 'x' || descriptors[0].missing == 'y'", true),
        ("descriptors[0].missing == 'y' || descriptors[0].a == 'y'", false),
        ("!(descriptors[0].missing == 'y' && descriptors[0].a == 'y')", true),
        ("!(descriptors[0].missing == 'y' && descriptors[0].a == 'x')", false),
        ("!(descriptors[0].missing == 'y' || descriptors[0].a == 'y')", false),
        // A name without a descriptor has to be known, else nothing is decided.
        ("missing == 'y' || a == 'x'", false),
        ("!(a == 'x' && method == 'PUT')", true),
        ("!(a == 'x' && method == 'GET')", false),
        ("!(a == 'y' || method == 'PUT')", true),
        ("(a == 'y' || method == 'GET') && (a == 'x' || method == 'PUT')", true),
        ("(a == 'y' || method == 'GET') && (a == 'y' || method == 'PUT')", false),
        ("a == 'x' && a == 'y' || method == 'GET'", true),
        ("a in [] || method == 'GET'", true),
        ("!(descriptors[0].a in [])", true),
        ("!(descriptors[0].missing in [])", false),
        ("true", true),
        ("true && a == 'x'", true),
        ("false || a == 'x'", true),
        ("descriptors[0]['req.path'].endsWith('/a')", true),
        ("descriptors[0]['req.path'].endsWith('/b')", false),
        ("!descriptors[0]['req.path'].endsWith('/b')", true),
        ("!descriptors[0].missing.endsWith('/b')", false),
        ("req.path.contains('v1')", true),
        ("req.path.contains('*')", false),
        ("req.path.contains('')", true),
        ("!req.path.startsWith('') || a == 'y'", false),
        ("descriptors[0].missing.startsWith('')", false),
        ("req.path.matches('v[0-9]+')", true),
        ("req.path.matches(r'^/v\\d+/a$')", true),
        ("req.path.matches('^/v[2-9]/')", false),
        ("!req.path.matches('^/v[2-9]/')", true),
        ("req.path.matches('^/.*/a$')", true),
        ("req.path.matches('^/(v1|v2)/')", true),
        ("req.path.startsWith('/v1') && req.path.endsWith('/a')", true),
        ("req.path.startsWith('/v1/') && req.path.endsWith('1/a')", true),
        ("req.path.startsWith('/v1') && req.path.endsWith('/b')", false),
        ("req.path.matches('[0-9]') && req.path.matches('[x-z]')", false),
        ("req.path.startsWith('/v') && !req.path.endsWith('/b') && req.path.matches('[0-9]')", true),
        ("req.path.startsWith('/v1') && req.path in ['/v1/a', '/v2/a']", true),
        ("a in ['x', 'y'] && a != 'x'", false),
        ("descriptors.exists(d, d.a == 'x')", true),
        ("descriptors.exists(d, d.a == 'x' && d['method'] == 'PUT')", false),
        ("descriptors.all(d, has(d.a)) && method == 'GET'", true),
        ("descriptors.exists(d, 'missing' in d) || descriptors[0].a == 'x'", true),
    ];
    for (condition, applies) in cases {
        let parsed = parse(&file(condition));
        assert_eq!(parsed.format, Format::Limitador);
        let reread = parse(&rules_yaml(&parsed.rules));
        assert_eq!(reread.rules, parsed.rules, "{condition}");
        let rules = RuleSet::compile(parsed.rules).unwrap();
        assert_eq!(!matching(&rules, "n", &REQUEST).is_empty(), applies, "{condition}");
    }
}

/// Envoy sends an empty value for a field that is there and empty, and a client can leave any of its fields empty.
#[test]
fn an_empty_value_is_there_and_is_no_other() {
    let cases = [
        ("a == ''", true),
        ("a != ''", false),
        ("!(a == '')", false),
        ("a in ['', 'x']", true),
        ("!(a in ['', 'x'])", false),
        ("a != 'x'", true),
        ("a == '' && a != 'x'", true),
        ("a == '' && a == 'x' || has(a)", true),
        ("a != '' || method == 'GET'", false),
        ("a.matches('^$')", true),
        ("a.startsWith('')", true),
        ("a.startsWith('x')", false),
    ];
    for (condition, applies) in cases {
        let parsed = parse(&file(condition));
        assert_eq!(parse(&rules_yaml(&parsed.rules)).rules, parsed.rules, "{condition}");
        let rules = RuleSet::compile(parsed.rules).unwrap();
        assert_eq!(!matching(&rules, "n", &[("a", "")]).is_empty(), applies, "{condition}");
    }
}

#[test]
fn what_no_request_fulfils_is_no_limit_and_said_so() {
    for condition in
        ["a == 'x' && a == 'y'", "false", "!has(a) && a == 'x'", "a in []", "a in ['x'] && a != 'x'"]
    {
        let parsed = parse(&file(condition));
        assert!(parsed.rules.domains.iter().all(|domain| domain.rules.is_empty()), "{condition}");
        let said = parsed.warnings.iter().any(|warning| warning.message.contains("the limit never applies"));
        assert!(said, "{condition}: {:?}", parsed.warnings);
    }
}

#[test]
fn an_or_is_one_limit_with_one_counter() {
    let rules = parse(
        "- namespace: n\n  max_value: 5\n  seconds: 60\n  name: writes\n  conditions:\n    - \"descriptors[0].method == 'POST' || descriptors[0].path.startsWith('/admin/')\"\n  variables: ['descriptors[0].user']\n",
    );
    let rules = RuleSet::compile(rules.rules).unwrap();
    let rule = &rules.domain("n").unwrap().rules()[0];
    let bucket = |entries: &[(&str, &str)]| {
        assert_eq!(matching(&rules, "n", entries), ["writes"], "{entries:?}");
        let mut bytes = Vec::new();
        rule.encode_key(entries, |part| bytes.extend_from_slice(part));
        bytes
    };
    let by_method = bucket(&[("method", "POST"), ("path", "/x"), ("user", "u")]);
    let by_path = bucket(&[("method", "GET"), ("path", "/admin/x"), ("user", "u")]);
    let by_both = bucket(&[("method", "POST"), ("path", "/admin/x"), ("user", "u")]);
    assert!(by_method == by_path && by_path == by_both);
    assert_ne!(by_method, bucket(&[("method", "POST"), ("path", "/x"), ("user", "v")]));
    assert!(matching(&rules, "n", &[("method", "GET"), ("path", "/x"), ("user", "u")]).is_empty());
}

#[test]
fn what_every_alternative_asks_is_asked_once() {
    let parsed = parse(&file(
        "descriptors[0].method == 'GET' && (descriptors[0].a == 'x' || descriptors[0].b.startsWith('/v1/'))",
    ));
    let rule = &parsed.rules.domains[0].rules[0];
    assert_eq!((rule.conditions.len(), rule.any.len()), (1, 2));
    assert_eq!(rule.name, "per-1m-when-method-GET-a-x-b");
}

#[test]
fn alternatives_have_a_maximum() {
    let either = |number: usize| format!("(has(descriptors[0].a{number}) || has(descriptors[0].b{number}))");
    let all = |count: usize| (0..count).map(either).collect::<Vec<_>>().join(" && ");
    assert_eq!(parse(&file(&all(6))).rules.domains[0].rules[0].any.len(), 64);
    let errors = parse_rules(&file(&all(7)), "f").expect_err("too many");
    assert!(errors.to_string().contains("|| makes more than 64 alternatives of it"), "{errors}");
    let many: Vec<String> = (0..17).map(|number| format!("has(descriptors[0].a{number})")).collect();
    let errors = parse_rules(&file(&many.join(" && ")), "f").expect_err("too many entries");
    assert!(errors.to_string().contains("asks more than 16 entries"), "{errors}");
}

#[test]
fn what_has_no_equal_is_refused_with_its_text_and_the_reason() {
    let cases = [
        ("descriptors[1].a == 'x'", "only descriptors[0] is read"),
        ("descriptors[0].a.matches('(')", "the regular expression is wrong: unclosed group"),
        ("descriptors[0].a.matches('\\\\w{300}')", "the regular expression is too large"),
        ("descriptors[0].a.lowerAscii() == 'x'", "lowerAscii() is not read"),
        ("limit.name == 'x'", "what the limit itself is called is not read"),
        ("descriptors.size() == 1", "descriptors.size is not read"),
        ("descriptors.exists(d, d[0].a == 'x')", "expected a text in quotes, found '0'"),
        ("'x' in a", "expected descriptors[0], found 'a'"),
        ("a == b'x'", "are not read"),
        ("a == 'x\\d'", "after a backslash"),
        ("a in ['x' 'y']", "expected ,, found 'y'"),
        ("descriptors[0].a.size() > 3", "size() is not read"),
        ("size(descriptors[0].a) > 3", "size() is not read"),
        ("descriptors[0].a == 1", "expected a text in quotes, found '1'"),
        ("descriptors[0].a == b", "expected a text in quotes, found 'b'"),
        ("descriptors[0].a > 'x'", "expected ==, != or in, found '>'"),
        ("descriptors[0].a.b == 'x'", "put a name with dots in"),
        ("a == 'x", "a quote is missing"),
        ("a == 'x' method", "expected the end"),
        ("", "it ends too early"),
        ("a ~ 'x'", "'~' is not read"),
        ("a == 'x' ? true : false", "expected the end"),
    ];
    for (condition, reason) in cases {
        let errors = parse_rules(&file(condition), "f").expect_err(condition);
        let [error] = errors.errors.as_slice() else { panic!("{condition}: {errors}") };
        assert!(error.message.contains(reason), "{condition}: {error}");
        assert_eq!((error.line, error.field.as_str()), (1, "[0].conditions[0]"), "{condition}");
    }
    let deep = format!("{}a == 'x'{}", "(".repeat(17), ")".repeat(17));
    assert!(parse_rules(&file(&deep), "f").expect_err("deep").to_string().contains("nested too deep"));
    let long = format!("a == '{}'", "x".repeat(4_096));
    assert!(parse_rules(&file(&long), "f").expect_err("long").to_string().contains("may have 4096"));
}

#[test]
fn limits_of_a_namespace_apply_together_and_variables_make_buckets() {
    let rules = parse(
        "- { namespace: a, max_value: 5, seconds: 1, name: x, variables: [user_id] }\n\
         - { namespace: b, max_value: 5, seconds: 1 }\n\
         - { namespace: a, max_value: 50, seconds: 60, id: y }\n",
    );
    let rules = RuleSet::compile(rules.rules).unwrap();
    assert_eq!(matching(&rules, "a", &[("user_id", "u")]), ["x", "y"]);
    assert_eq!(matching(&rules, "a", &[("other", "u")]), ["y"]);
    assert_eq!(matching(&rules, "b", &[("other", "u")]), ["per-1s"]);
}

#[test]
fn a_limit_without_a_name_keeps_its_name_while_its_number_changes() {
    let name = |max_value: u32, before: &str| {
        let text = format!(
            "{before}- {{ namespace: n, max_value: {max_value}, seconds: 60, conditions: [\"a == 'x'\"], variables: [v, u] }}\n"
        );
        parse(&text).rules.domains[0].rules.last().unwrap().name.clone()
    };
    assert_eq!(name(1, ""), "per-1m-by-u-v-when-a-x");
    assert_eq!(name(2, "- { namespace: n, max_value: 1, seconds: 1 }\n"), "per-1m-by-u-v-when-a-x");
}
