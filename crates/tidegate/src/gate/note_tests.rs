//! Tests of what is remembered of requests.

use std::sync::Arc;

use tidegate_catalog::keys::KeyRing;
use tidegate_catalog::model::{Subject, SubjectKey, qualified};
use tidegate_catalog::recent::Recorder;
use tidegate_catalog::repository::{DatabaseSettings, Repository};
use tidegate_catalog::subjects::{SubjectCache, SubjectOptions};
use tidegate_catalog::usage::TopKeys;
use tidegate_config::{Defaults, parse_rules_with};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::Domain;
use tidegate_core::time::Timestamp;
use tidegate_engine::{Engine, ManualClock};
use tidegate_store::{MemoryOptions, MemoryStore};
use tidegate_testkit::TempDir;

use super::*;
use crate::gate::{ApiKeys, Caller, Catalog, CatalogParts};

const NOW_US: i64 = 600_000_000;
const RULES: &str = "
version: 1
domains:
  - name: pay
    subject: user
    default_tier: free
    rules:
      - { name: each, key: [user], limit: 2, window: 1h, tiers: { gold: { limit: 5, window: 1h } } }
      - { name: watch, key: [user], limit: 1, window: 1h, mode: shadow }
  - name: plain
    rules:
      - { name: paths, key: [path], limit: 9, window: 1h }
";

type TestGate = Gate<MemoryStore, ManualClock>;

/// A gate that knows the tier of the user `rich`, and of the user `poor` that there is none. The tenant `acme` has a domain
/// `plain`, too.
fn gate() -> (TestGate, TempDir) {
    let directory = TempDir::new("note");
    let repository = Repository::open(&DatabaseSettings::file(&directory.path().join("catalog.db"))).unwrap();
    let subjects = SubjectCache::new(repository, &SubjectOptions::new([1, 2]));
    let known = [("rich", Some("gold")), ("poor", None)].map(|(subject, tier)| {
        let text = str::to_owned;
        let key = SubjectKey { tenant: text("default"), domain: text("pay"), subject: text(subject) };
        (key, Subject { tier: tier.map(text), ..Subject::default() })
    });
    let _ = subjects.preload(known, subjects.mark(), NOW_US);
    let catalog = Catalog::new(CatalogParts {
        keys: Arc::new(KeyRing::new(None)),
        subjects,
        state: Default::default(),
        nudge: Arc::default(),
        usage: Arc::new(UsageMeter::new(100)),
        written: Arc::default(),
        top: TopKeys::default(),
        recent: Recorder::new(1 << 16),
    });
    let mut rules = parse_rules_with(RULES, "rules", &Defaults::default()).unwrap().rules;
    let plain = rules.domains[1].clone();
    rules.domains.push(Domain { name: qualified("acme", "plain").into_owned(), ..plain });
    let rules = RuleSet::compile(rules).unwrap();
    let clock = ManualClock::new(Timestamp::from_micros(NOW_US.unsigned_abs()));
    let engine = Engine::with_parts(rules, MemoryStore::new(&MemoryOptions::new([1, 2])), clock, None);
    (Gate::new(engine, Arc::new(catalog), ApiKeys::Optional), directory)
}

async fn ask(
    gate: &TestGate,
    domain: &str,
    entries: &[(&str, &str)],
    cost: u64,
    idempotency_key: Option<&str>,
) {
    ask_as(&Caller::default(), gate, domain, entries, cost, idempotency_key).await;
}

async fn ask_as(
    caller: &Caller,
    gate: &TestGate,
    domain: &str,
    entries: &[(&str, &str)],
    cost: u64,
    idempotency_key: Option<&str>,
) {
    let look = gate.look(caller, domain, entries).await;
    let request = look.request(entries, cost, idempotency_key);
    let decision = gate.engine().decide(&request).await.unwrap();
    gate.note(&look, &request, &decision);
}

/// What was counted: rule, tier, allowed, denied, cost.
fn counted(gate: &TestGate) -> Vec<(String, String, u64, u64, u64)> {
    let rows = gate.catalog().unwrap().usage().drain().into_iter();
    let mut rows: Vec<_> = rows
        .map(|(key, counts)| {
            assert_eq!((key.tenant.as_str(), key.at_s), ("default", 600));
            (format!("{}/{}", key.domain, key.rule), key.tier, counts.allowed, counts.denied, counts.cost)
        })
        .collect();
    rows.sort();
    rows
}

fn row(rule: &str, tier: &str, allowed: u64, denied: u64, cost: u64) -> (String, String, u64, u64, u64) {
    (rule.to_owned(), tier.to_owned(), allowed, denied, cost)
}

#[tokio::test]
async fn every_rule_counts_its_own_verdict_under_the_tier_of_the_subject() {
    let (gate, _directory) = gate();
    for user in ["poor", "rich"] {
        for _ in 0..3 {
            ask(&gate, "pay", &[("user", user)], 1, None).await;
        }
    }
    let expected = [
        row("pay/each", "free", 2, 1, 2),
        row("pay/each", "gold", 3, 0, 3),
        row("pay/watch", "free", 1, 2, 1),
        row("pay/watch", "gold", 1, 2, 1),
    ];
    assert_eq!(counted(&gate), expected);
}

#[tokio::test]
async fn a_refused_request_costs_nothing_under_any_rule() {
    let (gate, _directory) = gate();
    ask(&gate, "plain", &[("path", "/a")], 10, None).await;
    assert_eq!(counted(&gate), [row("plain/paths", "", 0, 1, 0)]);
}

#[tokio::test]
async fn the_tier_that_a_request_says_counts_where_a_rule_names_it() {
    let (gate, _directory) = gate();
    ask(&gate, "pay", &[("user", "poor"), ("tier", "gold")], 1, None).await;
    ask(&gate, "pay", &[("user", "poor"), ("tier", "made up")], 1, None).await;
    let tiers: Vec<_> = counted(&gate).into_iter().map(|(rule, tier, ..)| (rule, tier)).collect();
    let pair = |rule: &str, tier: &str| (rule.to_owned(), tier.to_owned());
    let each = [pair("pay/each", "free"), pair("pay/each", "gold")];
    let watch = [pair("pay/watch", "free"), pair("pay/watch", "gold")];
    assert_eq!(tiers, [each, watch].concat());
}

#[tokio::test]
async fn the_tier_that_a_request_says_counts_before_the_one_that_the_catalog_has() {
    let (gate, _directory) = gate();
    ask(&gate, "pay", &[("user", "rich")], 1, None).await;
    ask(&gate, "pay", &[("user", "rich"), ("tier", "made up")], 1, None).await;
    let each: Vec<_> = counted(&gate).into_iter().filter(|(rule, ..)| rule == "pay/each").collect();
    assert_eq!(each, [row("pay/each", "free", 1, 0, 1), row("pay/each", "gold", 1, 0, 1)]);
}

#[tokio::test]
async fn what_no_rule_matched_counts_under_no_rule_and_unknown_domains_not_at_all() {
    let (gate, _directory) = gate();
    ask(&gate, "plain", &[("other", "x")], 4, None).await;
    ask(&gate, "nowhere", &[("other", "x")], 1, None).await;
    assert_eq!(counted(&gate), [row("plain/", "", 1, 0, 4)]);
}

#[tokio::test]
async fn what_a_tenant_asks_is_remembered_as_its_own() {
    let (gate, _directory) = gate();
    let acme = Caller { tenant: Some("acme".into()), ..Caller::default() };
    ask(&gate, "plain", &[("path", "/a")], 1, None).await;
    ask_as(&acme, &gate, "plain", &[("path", "/b")], 3, None).await;
    let catalog = gate.catalog().unwrap();
    let mut usage: Vec<_> = catalog
        .usage()
        .drain()
        .into_iter()
        .map(|(key, counts)| (key.tenant, key.domain, counts.cost))
        .collect();
    usage.sort();
    let row = |tenant: &str, cost| (tenant.to_owned(), "plain".to_owned(), cost);
    assert_eq!(usage, [row("acme", 3), row("default", 1)]);
    for (tenant, path) in [("default", "/a"), ("acme", "/b")] {
        let busiest = catalog.top(&qualified(tenant, "plain"), 9, NOW_US);
        assert_eq!(busiest.iter().map(|key| key.key.as_str()).collect::<Vec<_>>(), [path], "{tenant}");
        let recent = catalog.recent_requests(tenant, "plain", 0, usize::MAX);
        assert_eq!(recent[0].entries, [("path".to_owned(), path.to_owned())], "{tenant}");
        assert_eq!(recent.len(), 1, "{tenant}");
    }
}

#[tokio::test]
async fn a_repeated_request_is_remembered_once() {
    let (gate, _directory) = gate();
    for _ in 0..2 {
        ask(&gate, "plain", &[("path", "/a")], 2, Some("k")).await;
    }
    assert_eq!(counted(&gate), [row("plain/paths", "", 1, 0, 2)]);
    assert_eq!(gate.catalog().unwrap().recent_requests("default", "plain", 0, usize::MAX).len(), 1);
}

#[tokio::test]
async fn the_busiest_are_known_by_subject_or_by_the_key_of_the_rule() {
    let (gate, _directory) = gate();
    ask(&gate, "pay", &[("user", "rich"), ("path", "/a")], 1, None).await;
    ask(&gate, "plain", &[("user", "rich"), ("path", "/a")], 3, None).await;
    let catalog = gate.catalog().unwrap();
    let top = |domain| {
        catalog.top(domain, 9, NOW_US).into_iter().map(|key| (key.key, key.count, key.cost)).collect()
    };
    let (pay, plain): (Vec<_>, Vec<_>) = (top("pay"), top("plain"));
    assert_eq!((pay, plain), (vec![("rich".to_owned(), 1, 1)], vec![("/a".to_owned(), 1, 3)]));
}

#[tokio::test]
async fn recent_requests_carry_the_tier_that_the_catalog_has() {
    let (gate, _directory) = gate();
    ask(&gate, "pay", &[("user", "rich")], 1, None).await;
    ask(&gate, "pay", &[("user", "poor")], 2, None).await;
    let recent = gate.catalog().unwrap().recent_requests("default", "pay", NOW_US, usize::MAX);
    let mut tiers: Vec<_> = recent.into_iter().map(|request| (request.cost, request.entries)).collect();
    tiers.sort();
    let entry = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let rich = vec![entry("user", "rich"), entry("tier", "gold")];
    assert_eq!(tiers, [(1, rich), (2, vec![entry("user", "poor")])]);
}
