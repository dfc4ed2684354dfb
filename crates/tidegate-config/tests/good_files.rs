//! Right files: the model they become, and the warnings they give.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::path::{Path, PathBuf};

use tidegate_config::{EXAMPLE_RULES, Parsed, Severity, load_rules, parse_rules};
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{
    Condition, Consistency, Denies, EntryCondition, Exceptions, FailurePolicy, Lease, Mode, OnLimit, Queue,
    Reserve, Rule, Rules,
};
use tidegate_core::rule::pattern::{Pattern, Regex, Template};
use tidegate_core::time::Micros;

fn parse(text: &str) -> Parsed {
    parse_rules(text, "rules.yaml").unwrap_or_else(|errors| panic!("{errors}"))
}

/// One rule, written as the fields of a map in flow style.
fn rule(fields: &str) -> Rule {
    let text = format!("version: 1\ndomains: [{{ name: d, rules: [{{ name: r, {fields} }}] }}]\n");
    parse(&text).rules.domains.remove(0).rules.remove(0)
}

fn quota(algorithm: Algorithm, limit: u64, window: Micros, burst: Option<u64>) -> Quota {
    Quota::new(algorithm, limit, window, burst).unwrap()
}

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/rules");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn the_examples_load_without_a_warning_and_compile() {
    let files = examples();
    assert!(files.len() >= 3);
    for file in files {
        let parsed = load_rules(&file).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(parsed.warnings, [], "{}", file.display());
        RuleSet::compile(parsed.rules).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# yaml-language-server: $schema=../../docs/reference/rules.schema.json\n"));
    }
}

#[test]
fn the_shipped_rules_are_what_the_contract_says() {
    let rules = parse(EXAMPLE_RULES).rules;
    let minute = Micros::from_secs(60);
    let default: Vec<_> =
        rules.domains[0].rules.iter().map(|rule| (rule.name.as_str(), rule.quota)).collect();
    let bucket = |limit| quota(Algorithm::TokenBucket, limit, minute, None);
    assert_eq!(rules.domains[0].name, "default");
    assert_eq!(
        default,
        [("api-client", bucket(20)), ("premium-client", bucket(500)), ("any-client", bucket(100))]
    );
    assert!(rules.domains[0].rules[2].otherwise);
    assert_eq!(rules.domains[1].name, "demo");
    assert_eq!(rules.domains[1].rules[0].key, ["user_id"]);
    assert_eq!(rules.domains[1].rules[0].quota, quota(Algorithm::SlidingWindow, 10, minute, None));
    let sliding = |limit| quota(Algorithm::SlidingWindow, limit, minute, None);
    let payments = &rules.domains[2];
    assert_eq!(
        (payments.subject.as_deref(), payments.default_tier.as_deref()),
        (Some("user_id"), Some("free"))
    );
    assert_eq!((payments.name.as_str(), payments.rules[0].quota), ("payments", sliding(10)));
    let tiers = [("pro".to_owned(), sliding(100)), ("enterprise".to_owned(), sliding(1_000))];
    assert_eq!(payments.rules[0].tiers, tiers);
    let shop: Vec<_> = rules.domains[3]
        .rules
        .iter()
        .map(|rule| (rule.name.as_str(), rule.key[0].as_str(), rule.quota))
        .collect();
    assert_eq!(rules.domains[3].name, "ticket-shop");
    assert_eq!(shop, [("login", "client_ip", sliding(5)), ("buy-ticket", "user_id", sliding(3))]);
}

#[test]
fn a_rule_with_everything() {
    let found = rule(
        "match: { path: '/v1/charges/{id}', method: [POST, PUT], client_id: acme*, user_id: '*', \
         debug: { absent: true }, region: { present: true }, glob: { exact: 'a*' }, kind: { prefix: x }, \
         size: [7, true, 1_000, 1.50, 0x1F, { prefix: '8' }], host: ['*.example.com', { glob: 'a\\*b*' }], \
         agent: { regex: '^curl/[0-9]' }, file: { all: ['/a/*', { not: '*.png' }] } }, \
         any: [{ a: x }, { b: '*y*', c: '*' }], order: [method, path], replaces: [other], denies: together, \
         key: [user_id, 7], algorithm: leaky_bucket, \
         limit: 1_000, window: 1h30m, burst: 5, tiers: { pro: { limit: 2000 }, big: { burst: 9, window: 1d } }, \
         reserve: { critical: 20%, high: 5% }, mode: shadow, on_store_failure: local, \
         queue: { max_wait: 2s, max_depth: 500 }",
    );
    let exact = |text: &str| Pattern::Exact(text.to_owned());
    let prefix = |text: &str| Pattern::Prefix(text.to_owned());
    let glob = |pieces: &[&str]| Pattern::of_pieces(pieces.iter().map(|&piece| piece.to_owned())).unwrap();
    let one_of = |entry: &str, patterns: Vec<Pattern>| EntryCondition {
        entry: entry.to_owned(),
        condition: Condition::OneOf(patterns),
    };
    let is = |entry: &str, condition: Condition| EntryCondition { entry: entry.to_owned(), condition };
    let window = Micros::from_secs(5_400);
    let expected = Rule {
        name: "r".to_owned(),
        formerly: None,
        conditions: vec![
            one_of("path", vec![Pattern::Template(Template::parse("/v1/charges/{id}").unwrap())]),
            one_of("method", vec![exact("POST"), exact("PUT")]),
            one_of("client_id", vec![prefix("acme")]),
            is("user_id", Condition::Present),
            is("debug", Condition::Absent),
            is("region", Condition::Present),
            one_of("glob", vec![exact("a*")]),
            one_of("kind", vec![prefix("x")]),
            one_of(
                "size",
                vec![exact("7"), exact("true"), exact("1_000"), exact("1.50"), exact("0x1F"), prefix("8")],
            ),
            one_of("host", vec![glob(&["", ".example.com"]), glob(&["a*b", ""])]),
            one_of("agent", vec![Pattern::Regex(Regex::parse("^curl/[0-9]").unwrap())]),
            is(
                "file",
                Condition::AllOf(vec![
                    Condition::OneOf(vec![prefix("/a/")]),
                    Condition::NoneOf(Exceptions::new(Vec::new(), [glob(&["", ".png"])])),
                ]),
            ),
        ],
        any: vec![
            vec![one_of("a", vec![exact("x")])],
            vec![one_of("b", vec![glob(&["", "y", ""])]), is("c", Condition::Present)],
        ],
        only: false,
        order: vec!["method".to_owned(), "path".to_owned()],
        otherwise: false,
        key: vec!["user_id".to_owned(), "7".to_owned()],
        algorithm: Algorithm::LeakyBucket,
        quota: quota(Algorithm::LeakyBucket, 1_000, window, Some(5)),
        tiers: vec![
            ("pro".to_owned(), quota(Algorithm::LeakyBucket, 2_000, window, Some(5))),
            ("big".to_owned(), quota(Algorithm::LeakyBucket, 1_000, Micros::from_secs(86_400), Some(9))),
        ],
        reserve: vec![
            Reserve { priority: "critical".to_owned(), percent: 20 },
            Reserve { priority: "high".to_owned(), percent: 5 },
        ],
        mode: Mode::Shadow,
        replaces: vec!["other".to_owned()],
        denies: Denies::Together,
        on_store_failure: Some(FailurePolicy::Local),
        queue: Some(Queue { max_wait: Micros::from_secs(2), max_depth: 500 }),
        on_limit: OnLimit::Refuse,
        consistency: Consistency::Exact,
    };
    assert_eq!(found, expected);
}

#[test]
fn what_is_left_out_has_its_default() {
    let minute = Micros::from_secs(60);
    let found = rule("key: [], limit: 10, window: 1m");
    assert_eq!(
        found,
        Rule::new("r", Algorithm::TokenBucket, quota(Algorithm::TokenBucket, 10, minute, None))
    );
    let tiered = rule("key: [], limit: 10, window: 1m, tiers: { pro: { limit: 50 } }");
    assert_eq!(tiered.tiers[0].1.burst(), 50, "without a burst of its own, a token bucket holds its limit");
    let domain = parse("version: 1\ndomains: [{ name: d, rules: [] }]").rules.domains.remove(0);
    assert_eq!(domain.on_store_failure, None, "the server's");
}

#[test]
fn concurrency_counts_permits() {
    let found =
        rule("key: [], algorithm: concurrency, limit: 4, permit_ttl: 30s, tiers: { pro: { limit: 8 } }");
    let half_minute = Micros::from_secs(30);
    assert_eq!(found.quota, quota(Algorithm::Concurrency, 4, half_minute, None));
    assert_eq!(found.tiers[0].1, quota(Algorithm::Concurrency, 8, half_minute, None));
}

#[test]
fn a_lease_is_read() {
    let read = |fields: &str| rule(&format!("key: [], window: 1m, {fields}")).consistency;
    let lease = |units, hold| Consistency::Leased(Lease::new(units, hold).unwrap());
    assert_eq!(read("limit: 5000"), Consistency::Exact);
    assert_eq!(read("limit: 5000, consistency: exact"), Consistency::Exact);
    assert_eq!(read("limit: 5000, consistency: leased"), Consistency::Leased(Lease::default()));
    assert_eq!(
        read("limit: 50, consistency: leased, lease: { units: 5_0, hold: 500ms }"),
        lease(Some(50), Some(Micros::from_millis(500)))
    );
    assert_eq!(read("limit: 50, consistency: leased, lease: { units: 5 }"), lease(Some(5), None));
    assert_eq!(
        read("limit: 5000, consistency: leased, lease: { hold: 1m }"),
        lease(None, Some(Micros::from_secs(60)))
    );
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != Algorithm::Concurrency) {
        let burst = if algorithm == Algorithm::LeakyBucket { ", burst: 10" } else { "" };
        let fields =
            format!("limit: 50, algorithm: {algorithm}, consistency: leased, lease: {{ units: 5 }}{burst}");
        assert_eq!(read(&fields), lease(Some(5), None), "{algorithm}");
    }
}

#[test]
fn a_lease_that_saves_little_is_warned_of() {
    let rule = |lease: &str| {
        let rule = format!("key: [], limit: 199, window: 1m, consistency: leased{lease}");
        warnings(&format!("    rules:\n      - {{ name: a, {rule} }}\n"))
    };
    assert_eq!(
        rule(""),
        [
            "5:domains[0].rules[0].consistency a hundredth of the burst of 199 is one unit, which saves little; \
          name them, for example lease: { units: 10 }"
        ]
    );
    assert_eq!(rule(", lease: { units: 1 }"), [""; 0], "it is said so");
}

#[test]
fn round_numbers_and_spans() {
    for (text, limit) in [("0", 0), ("1", 1), ("100", 100), ("1_000_000", 1_000_000), ("\"250\"", 250)] {
        assert_eq!(rule(&format!("key: [], limit: {text}, window: 1s")).quota.limit(), limit, "{text}");
    }
    for (text, secs) in
        [("60s", 60), ("5m", 300), ("1h", 3_600), ("1d", 86_400), ("1w", 604_800), ("1h30m", 5_400)]
    {
        assert_eq!(
            rule(&format!("key: [], limit: 1, window: {text}")).quota.window(),
            Micros::from_secs(secs)
        );
    }
    assert_eq!(rule("key: [], limit: 1, window: 250ms").quota.window(), Micros::from_millis(250));
}

#[test]
fn anchors_merge_keys_and_a_byte_order_mark_are_understood() {
    let parsed = parse(
        "\u{feff}# für\nversion: 1\ndomains:\n  - name: d\n    rules:\n      \
         - &base { name: a, key: [client_ip], limit: 5, window: 1s }\n      \
         - { <<: *base, name: b, limit: 6 }\n",
    );
    let rules = &parsed.rules.domains[0].rules;
    assert_eq!((rules[0].quota.limit(), rules[1].quota.limit()), (5, 6));
    assert_eq!(rules[1].key, ["client_ip"]);
}

#[test]
fn line_ends_of_windows_change_nothing() {
    let windows = EXAMPLE_RULES.replace('\n', "\r\n");
    assert_eq!(parse(&windows), parse(EXAMPLE_RULES));
}

#[test]
fn paths_that_can_be_are_taken() {
    for path in
        ["/", "/a", "/a/", "/.well-known", "/a/.*", "/a..b", "/100%", "/{id}", "/a/{id}/b", "/über", "/*"]
    {
        rule(&format!("match: {{ path: '{path}' }}, key: [], limit: 1, window: 1s"));
    }
}

/// The warnings of a domain in block style, without file and place.
fn warnings(domain: &str) -> Vec<String> {
    let text = format!("version: 1\ndomains:\n  - name: d\n{domain}");
    let found = parse(&text).warnings;
    assert!(found.iter().all(|warning| warning.severity == Severity::Warning));
    found
        .iter()
        .map(|warning| format!("{}:{} {}; {}", warning.line, warning.field, warning.message, warning.remedy))
        .collect()
}

const PER_USER: &str = "      - { name: per-user, key: [user_id], limit: 1, window: 1s }\n";
const PER_ADDRESS: &str = "      - { name: per-address, key: [client_ip], limit: 2, window: 1s }\n";

#[test]
fn rules_that_look_unintended_are_warned_of() {
    let rules = |lines: &str| warnings(&format!("    rules:\n{lines}"));
    assert_eq!(
        rules("      - { name: none, key: [], limit: 0, window: 1s }\n"),
        [
            "5:domains[0].rules[0].limit a limit of 0 refuses every request; write mode: off to switch the rule off, \
          if that was meant"
        ]
    );
    assert_eq!(
        rules(
            "      - { name: a, key: [], limit: 1, window: 60s }\n      - { name: b, key: [], limit: 1, window: 1m }\n"
        ),
        [
            "6:domains[0].rules[1] the rule says the same as 'a' (line 5) under another name; remove one of the two, \
          or change its quota"
        ]
    );
    assert_eq!(
        rules("      - { name: a, match: { method: post }, key: [], limit: 1, window: 60s }\n"),
        [
            "5:domains[0].rules[0].match.method methods are written in capitals, so 'post' matches nothing usual; \
          write POST"
        ]
    );
    assert_eq!(
        warnings("    rules: []\n"),
        ["4:domains[0].rules the domain has no rule, so nothing is limited in it; add a rule"]
    );
    assert_eq!(
        parse("version: 1\ndomains: []\n").warnings[0].message,
        "there is no domain, so nothing is limited"
    );
}

#[test]
fn tiers_that_nothing_chooses_are_warned_of() {
    let tiered =
        "    rules:\n      - { name: a, key: [], limit: 1, window: 1s, tiers: { free: { limit: 2 } } }\n";
    assert_eq!(
        warnings(tiered),
        [
            "5:domains[0].rules[0].tiers only a request with an entry tier chooses one: the domain does not say whose tier it is; \
          add for example 'subject: user_id' to the domain"
        ]
    );
    assert_eq!(
        warnings(&format!("    subject: user_id\n    default_tier: fre\n{tiered}")),
        [
            "5:domains[0].default_tier no rule names the tier 'fre', so its subjects get the rules' own quotas; \
          did you mean 'free'?"
        ]
    );
    for default in ["free", "basic"] {
        assert_eq!(
            warnings(&format!("    subject: user_id\n    default_tier: {default}\n{tiered}")),
            [""; 0]
        );
    }
    assert_eq!(
        warnings(
            "    subject: user_id\n    default_tier: free\n    rules:\n      - { name: a, key: [], limit: 1, window: 1s }\n"
        ),
        ["5:domains[0].default_tier the default tier changes nothing: no rule of the domain has tiers; \
          add tiers to a rule, or remove default_tier"]
    );
}

#[test]
fn entries_that_nothing_else_speaks_of_are_warned_of() {
    let rules = |lines: &[&str]| warnings(&format!("    rules:\n{}", lines.concat()));
    assert_eq!(
        rules(&[PER_USER, PER_ADDRESS]),
        ["5:domains[0].rules[0].key the rule applies only to requests that have the entry 'user_id'; \
          if that is meant, say so: match: { user_id: \"*\" }"]
    );
    let misspelled = "      - { name: a, key: [clientip], limit: 1, window: 1s }\n";
    assert_eq!(
        rules(&[misspelled, PER_ADDRESS]),
        ["5:domains[0].rules[0].key the rule applies only to requests that have the entry 'clientip'; \
          did you mean 'client_ip'?"]
    );
    let said = "      - { name: a, match: { user_id: '*' }, key: [user_id], limit: 1, window: 1s }\n";
    let rest = "      - { name: rest, otherwise: true, key: [], limit: 1, window: 1s }\n";
    assert_eq!(rules(&[said, PER_ADDRESS]), [""; 0], "the rule says itself that it needs the entry");
    assert_eq!(rules(&[PER_USER, PER_ADDRESS, rest]), [""; 0], "requests without the entry are caught");
    assert_eq!(rules(&[PER_USER]), [""; 0], "the only rule of the domain");
    let subject = format!("    subject: user_id\n    rules:\n{PER_USER}{PER_ADDRESS}");
    assert_eq!(warnings(&subject), [""; 0], "the subject of the domain");
}

#[test]
fn otherwise_is_reachable_beside_shadow_rules_and_rules_with_a_key() {
    for other in
        ["key: [], mode: shadow", "key: [], mode: off", "key: [client_ip]", "key: [], match: { a: b }"]
    {
        let text = format!(
            "version: 1\ndomains: [{{ name: d, rules: [{{ name: a, limit: 1, window: 1s, {other} }}, \
             {{ name: b, otherwise: true, key: [], limit: 1, window: 1s }}] }}]"
        );
        assert_eq!(parse(&text).rules.domains[0].rules.len(), 2, "{other}");
    }
}

#[test]
fn ten_thousand_rules_are_read() {
    let mut text = String::from("version: 1\ndomains:\n  - name: d\n    subject: user_id\n    rules:\n");
    for i in 0..10_000 {
        text += &format!(
            "      - name: rule-{i}\n        match: {{ path: /v1/{i}/*, method: [GET, POST] }}\n        key: [user_id]\n        \
             limit: {}\n        window: 60s\n        tiers: {{ pro: {{ limit: 5000 }} }}\n",
            i + 1
        );
    }
    let Parsed { rules: Rules { domains }, warnings, .. } = parse(&text);
    assert_eq!((domains[0].rules.len(), warnings.len()), (10_000, 0));
    assert_eq!(domains[0].rules[9_999].quota.limit(), 10_000);
}
