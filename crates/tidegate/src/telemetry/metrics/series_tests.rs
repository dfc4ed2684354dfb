//! Which series there are as rules come and go.

use tidegate_catalog::model::qualified;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::model::{Domain, Rule, Rules};
use tidegate_engine::{Engine, ManualClock, Request};
use tidegate_store::{MemoryOptions, MemoryStore};

use super::*;

const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// An engine that tells its rules, and what is counted of it.
struct Site {
    engine: Engine<MemoryStore, ManualClock>,
    series: Arc<RuleSeries>,
    clock: ManualClock,
    sees: Sees,
}

fn rule(name: &str) -> Rule {
    let quota = Quota::new(Algorithm::TokenBucket, 1, Micros::from_secs(60), None).unwrap();
    Rule::new(name, Algorithm::TokenBucket, quota).with_key(["u"])
}

fn rules(domains: &[(&str, &[&str])]) -> RuleSet {
    let domains =
        domains.iter().map(|(name, rules)| Domain::new(*name, rules.iter().map(|name| rule(name)).collect()));
    RuleSet::compile(Rules { domains: domains.collect() }).unwrap()
}

impl Site {
    fn new(first: RuleSet) -> Self {
        let clock = ManualClock::new(START);
        let series = Arc::new(RuleSeries::new(clock.clone()));
        series.adopt(&first);
        let store = MemoryStore::new(&MemoryOptions::new([1, 2]));
        let observer: Box<dyn Observer> = Box::new(Arc::clone(&series));
        let engine = Engine::with_parts(first, store, clock.clone(), Some(observer));
        Self { engine, series, clock, sees: Sees::AllTenants }
    }

    async fn ask(&self, domain: &str) {
        let entries = [("u", "1")];
        let decision = self.engine.decide(&Request::new(domain, &entries)).await.unwrap();
        self.series.count(DoorName::Http, &decision, || panic!("they were told"));
    }

    /// What stands on the page about domains and rules.
    fn shown(&self) -> Vec<String> {
        let mut page = Page::default();
        self.series.write(&mut page, self.sees, |door| door == DoorName::Http);
        let text = page.into_text();
        let lines = text.lines().filter_map(|line| line.strip_prefix("ratelimiter_"));
        lines.map(|line| line.replace(",door=\"http\"", "")).collect()
    }
}

#[tokio::test]
async fn a_rule_is_shown_from_the_start_and_counts_once_told() {
    let site = Site::new(rules(&[("pay", &["card", "cash"])]));
    let zero = r#"allowed_total{domain="pay",rule="card"} 0"#;
    assert!(site.shown().iter().any(|line| line == zero), "{:?}", site.shown());
    site.ask("pay").await;
    site.ask("pay").await;
    site.ask("nowhere").await;
    assert_eq!(
        site.shown(),
        [
            r#"allowed_total{domain="pay",rule="card"} 1"#,
            r#"allowed_total{domain="pay",rule="cash"} 0"#,
            r#"allowed_total{domain="(unknown)",rule="(none)"} 1"#,
            r#"blocked_total{domain="pay",rule="card"} 1"#,
            r#"blocked_total{domain="pay",rule="cash"} 0"#,
        ]
    );
}

#[tokio::test]
async fn what_is_gone_is_shown_for_ten_minutes_more() {
    let site = Site::new(rules(&[("d", &["a"])]));
    site.ask("d").await;
    site.engine.replace_rules(rules(&[("d", &["b"])]));
    site.ask("d").await;
    let both = [r#"allowed_total{domain="d",rule="b"} 1"#, r#"allowed_total{domain="d",rule="a"} 1"#];
    assert_eq!(site.shown()[..2], both);
    site.clock.advance(Micros::from_secs(599));
    assert_eq!(site.shown()[..2], both);
    site.clock.advance(Micros::from_secs(1));
    assert!(!site.shown().iter().any(|line| line.contains(r#"rule="a""#)), "{:?}", site.shown());
}

/// A request that is decided while rules change is counted under the names that decided it, once it is.
#[tokio::test]
async fn what_was_decided_by_rules_that_are_gone_since_is_counted_under_their_names() {
    let site = Site::new(rules(&[("d", &["a"]), ("gone", &["a"])]));
    let entries = [("u", "1")];
    let old = [
        site.engine.decide(&Request::new("d", &entries)).await.unwrap(),
        site.engine.decide(&Request::new("gone", &[("else", "1")])).await.unwrap(),
    ];
    let count =
        || old.iter().for_each(|old| site.series.count(DoorName::Http, old, || panic!("it is known")));
    site.engine.replace_rules(rules(&[("d", &["b"])]));
    site.engine.replace_rules(rules(&[("d", &["c"])]));
    count();
    let allowed = || {
        let shown = site.shown();
        shown
            .into_iter()
            .filter(|line| line.starts_with("allowed") && !line.ends_with(" 0"))
            .collect::<Vec<_>>()
    };
    let [of_rule, of_none] =
        [r#"allowed_total{domain="d",rule="a"} 1"#, r#"allowed_total{domain="gone",rule="(none)"} 1"#];
    let mut seen = allowed();
    seen.sort_unstable();
    assert_eq!(seen, [of_rule, of_none]);
    site.clock.advance(GONE_KEPT);
    assert_eq!(allowed(), [] as [&str; 0]);
    count();
    assert_eq!(
        allowed(),
        [r#"allowed_total{domain="(other)",rule="(other)"} 2"#],
        "nothing is kept for ever"
    );
}

#[tokio::test]
async fn what_comes_back_goes_on() {
    let site = Site::new(rules(&[("d", &["a"])]));
    site.ask("d").await;
    site.engine.replace_rules(rules(&[]));
    site.clock.advance(Micros::from_secs(300));
    site.engine.replace_rules(rules(&[("d", &["a"])]));
    site.clock.advance(Micros::from_secs(600));
    site.ask("d").await;
    assert_eq!(site.shown()[0], r#"allowed_total{domain="d",rule="a"} 2"#);
}

#[tokio::test]
async fn renaming_and_removing_without_end_makes_no_more_than_the_most() {
    let site = Site::new(rules(&[]));
    for round in 0..30 {
        let names: Vec<String> = (0..300).map(|number| format!("d{round}-{number}")).collect();
        let domains: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), &["r"][..])).collect();
        site.engine.replace_rules(rules(&domains));
        assert!(site.series.table.load().shown.len() <= MAX_SERIES);
    }
    assert_eq!(site.series.table.load().shown.len(), MAX_SERIES, "the latest are still shown");
    site.clock.advance(GONE_KEPT);
    site.shown();
    assert_eq!(site.series.table.load().shown.len(), 600);
}

#[tokio::test]
async fn beyond_the_most_rules_are_counted_together_and_those_of_before_keep_their_place() {
    let site = Site::new(rules(&[("old", &["kept"])]));
    site.ask("old").await;
    // Each domain takes two: one for its rule, one for requests that no rule decides.
    let names: Vec<String> = (0..MAX_SERIES / 2 + 50).map(|number| format!("d{number}")).collect();
    let many = names.iter().map(|name| (name.as_str(), &["r"][..]));
    let domains: Vec<(&str, &[&str])> = many.chain([("late", &["l"][..]), ("old", &["kept"])]).collect();
    site.engine.replace_rules(rules(&domains));
    site.ask("late").await;
    site.ask("late").await;
    site.ask("old").await;
    let shown = site.shown();
    for line in [
        r#"allowed_total{domain="(other)",rule="(other)"} 1"#,
        r#"blocked_total{domain="(other)",rule="(other)"} 1"#,
        r#"allowed_total{domain="old",rule="kept"} 1"#,
        r#"blocked_total{domain="old",rule="kept"} 1"#,
    ] {
        assert!(shown.iter().any(|shown| shown == line), "{line}");
    }
    let table = site.series.table.load();
    assert_eq!((table.shown.len(), table.without_series), (MAX_SERIES, 52));
}

#[tokio::test]
async fn domains_that_read_alike_share_a_series() {
    let of_tenant = qualified("acme", "pay");
    let site = Site::new(rules(&[("acme/pay", &["r"]), (&of_tenant, &["r"])]));
    site.ask("acme/pay").await;
    site.ask(&of_tenant).await;
    let shown = site.shown();
    assert_eq!(shown[0], r#"allowed_total{domain="acme/pay",rule="r"} 2"#);
    assert_eq!(shown.iter().filter(|line| line.starts_with("allowed")).count(), 1);
}

#[tokio::test]
async fn rules_that_nobody_told_are_asked_for() {
    let clock = ManualClock::new(START);
    let series = RuleSeries::new(clock.clone());
    let store = MemoryStore::new(&MemoryOptions::new([1, 2]));
    let engine = Engine::with_parts(rules(&[("d", &["a"])]), store, clock, None);
    let entries = [("u", "1")];
    let decision = engine.decide(&Request::new("d", &entries)).await.unwrap();
    series.count(DoorName::Http, &decision, || engine.rules());
    series.count(DoorName::Http, &decision, || panic!("they are known"));
    let mut page = Page::default();
    series.write(&mut page, Sees::AllTenants, |door| door == DoorName::Http);
    assert!(page.into_text().contains(r#"ratelimiter_allowed_total{domain="d",rule="a",door="http"} 2"#));
}

#[tokio::test]
async fn names_are_escaped() {
    let site = Site::new(rules(&[("a\"b\\c", &["r"])]));
    site.ask("a\"b\\c").await;
    assert_eq!(site.shown()[0], r#"allowed_total{domain="a\"b\\c",rule="r"} 1"#);
}

#[tokio::test]
async fn who_may_not_see_tenants_sees_their_sum_which_never_falls() {
    let (pay, gone) = (qualified("acme", "pay"), qualified("umbrella", "gone"));
    let mut site = Site::new(rules(&[("own", &["r"]), (&pay, &["secret"]), (&gone, &["secret"])]));
    for domain in ["own", &pay, &pay, &gone] {
        site.ask(domain).await;
    }
    site.sees = Sees::DefaultTenant;
    let expected = [
        r#"allowed_total{domain="own",rule="r"} 1"#,
        r#"allowed_total{domain="(tenants)",rule="(tenants)"} 2"#,
        r#"blocked_total{domain="own",rule="r"} 0"#,
        r#"blocked_total{domain="(tenants)",rule="(tenants)"} 1"#,
    ];
    assert_eq!(site.shown(), expected);
    site.engine.replace_rules(rules(&[("own", &["r"]), (&pay, &["secret"])]));
    site.clock.advance(GONE_KEPT);
    assert_eq!(site.shown(), expected);
    site.sees = Sees::AllTenants;
    let all = site.shown();
    assert!(all.iter().any(|line| line == r#"blocked_total{domain="acme/pay",rule="secret"} 1"#), "{all:?}");
    assert!(!all.iter().any(|line| line.contains("umbrella") || line.contains("(tenants)")), "{all:?}");
}
