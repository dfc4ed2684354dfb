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

#[test]
fn what_has_no_equal_is_refused_with_its_text_and_the_reason() {
    let cases = [
        ("a == 'x' || a == 'y'", "|| would need several limits"),
        ("descriptors[1].a == 'x'", "only descriptors[0] is read"),
        ("descriptors[0].a.endsWith('x')", "endsWith() is not read"),
        ("descriptors[0].a.matches('x$')", "of regular expressions only ^text$"),
        ("descriptors[0].a.matches('^x|y')", "of regular expressions only ^text$"),
        ("descriptors[0].a.size() > 3", "expected a text in quotes"),
        ("size(descriptors[0].a) > 3", "size() is not read"),
        ("descriptors[0].a == 1", "expected a text in quotes, found '1'"),
        ("descriptors[0].a == b", "expected a text in quotes, found 'b'"),
        ("descriptors[0].a > 'x'", "expected ==, != or in, found '>'"),
        ("descriptors[0].a.b == 'x'", "put a name with dots in"),
        ("!(a == 'x' && method == 'GET')", "! of several conditions"),
        ("a == 'x' && a == 'y'", "several values that all have to be"),
        ("a == 'x", "a quote is missing"),
        ("a == r'x'", "are not read"),
        ("a == '''x'''", "three quotes"),
        ("a == 'x\\n'", "after a backslash"),
        ("true", "'true' is not an entry"),
        ("a == 'x' method", "expected the end"),
        ("", "it ends too early"),
        ("a in []", "expected a text in quotes, found ']'"),
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
