//! Tests of putting rules together.

use tidegate_config::{parse_rules_with, quota_settings_from};

use super::*;
use crate::model::Ceilings;

fn domain(tenant: &str, name: &str, limit: u64) -> StoredDomain {
    let document = format!(r#"{{"name":"{name}"}}"#);
    let rule = format!(r#"{{"name":"login","key":["user"],"limit":{limit},"window":"1m"}}"#);
    StoredDomain {
        tenant: tenant.to_owned(),
        name: name.to_owned(),
        document,
        version: 1,
        content_version: 1,
        rules: vec![StoredRule { name: "login".to_owned(), document: rule, version: 1 }],
    }
}

/// Everything that a database has, in a version.
fn delta(version: i64, domains: Vec<StoredDomain>) -> RulesDelta {
    let names = domains.iter().map(|domain| (domain.tenant.clone(), domain.name.clone(), version));
    RulesDelta {
        version,
        domains: names.collect(),
        changed: domains,
        tenants: Vec::new(),
        overrides: Arc::default(),
    }
}

fn composer(settings: &[(&str, &str)]) -> Composer {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Composer::new(Defaults::default(), quota_settings_from(settings).unwrap())
}

/// The limits of a domain's only rule, its own and those of its tiers.
fn limits(composed: &Composed, name: &str) -> Vec<u64> {
    let rule = composed.rules.domain(name).unwrap().rules()[0].model();
    std::iter::once(rule.quota.limit()).chain(rule.tiers.iter().map(|(_, quota)| quota.limit())).collect()
}

fn override_of(tenant: &str, limit: u64) -> (RulePlace, OverrideQuota) {
    let place = (tenant.to_owned(), "pay".to_owned(), "login".to_owned());
    (place, OverrideQuota { limit, window_us: None, burst: None })
}

#[test]
fn settings_of_the_installation_change_the_default_tenants_rules_only() {
    let mut composer = composer(&[("LOGIN_RATE_LIMIT_MAX_REQUESTS", "3")]);
    composer.apply(delta(2, vec![domain(DEFAULT_TENANT, "pay", 9), domain("acme", "pay", 8)])).unwrap();
    let composed = composer.compose().unwrap();
    assert_eq!((limits(&composed, "pay"), limits(&composed, &qualified("acme", "pay"))), (vec![3], vec![8]));
    assert_eq!(composed.warnings, [""; 0]);
}

#[test]
fn the_file_holds_for_its_domains_of_the_default_tenant_and_for_nobody_elses() {
    let mut composer = composer(&[]);
    let text =
        "version: 1\ndomains: [{ name: pay, rules: [{ name: login, key: [user], limit: 5, window: 1m }] }]";
    composer.set_file(parse_rules_with(text, "f", &Defaults::default()).unwrap().rules);
    composer.apply(delta(2, vec![domain(DEFAULT_TENANT, "pay", 9), domain("acme", "pay", 8)])).unwrap();
    let composed = composer.compose().unwrap();
    assert_eq!((limits(&composed, "pay"), limits(&composed, &qualified("acme", "pay"))), (vec![5], vec![8]));
    assert_eq!(
        composed.warnings,
        ["the domain 'pay' is in the rule file and in the database: the file's holds"]
    );
}

#[test]
fn an_override_is_a_tier_of_its_own_tenants_rule() {
    let mut composer = composer(&[]);
    let both = vec![domain(DEFAULT_TENANT, "pay", 9), domain("acme", "pay", 8)];
    let overrides = quotas([override_of("acme", 77), override_of("acme", 0), override_of("nobody", 66)]);
    composer.apply(RulesDelta { overrides, ..delta(2, both) }).unwrap();
    let composed = composer.compose().unwrap();
    assert_eq!(limits(&composed, "pay"), [9]);
    assert_eq!(limits(&composed, &qualified("acme", "pay")), [8, 0, 77]);
}

fn quotas(quotas: impl IntoIterator<Item = (RulePlace, OverrideQuota)>) -> Arc<OverrideQuotas> {
    Arc::new(quotas.into_iter().collect())
}

#[test]
fn the_quotas_of_the_version_before_are_there_once_more() {
    let mut composer = composer(&[]);
    let mut limits_with = |version, limit| {
        let overrides = quotas([override_of("acme", limit)]);
        let next = RulesDelta { overrides, ..delta(version, vec![domain("acme", "pay", 8)]) };
        composer.apply(next).unwrap();
        limits(&composer.compose().unwrap(), &qualified("acme", "pay"))
    };
    assert_eq!(limits_with(2, 50), [8, 50]);
    assert_eq!(limits_with(3, 100), [8, 100, 50]);
    assert_eq!(limits_with(4, 100), [8, 100]);
}

#[test]
fn more_quotas_than_a_rule_takes_are_left_out_and_keep_no_rule_from_being_compiled() {
    let mut composer = composer(&[]);
    let both = || vec![domain(DEFAULT_TENANT, "pay", 9), domain("acme", "pay", 8)];
    let next = |version, limits: std::ops::Range<u64>| {
        let overrides = quotas(limits.map(|limit| override_of("acme", limit)));
        RulesDelta { overrides, ..delta(version, both()) }
    };
    composer.apply(next(2, 1_000..1_200)).unwrap();
    let composed = composer.compose().unwrap();
    assert_eq!(limits(&composed, "pay"), [9]);
    let expected: Vec<u64> = std::iter::once(8).chain(1_000..1_064).collect();
    assert_eq!(limits(&composed, &qualified("acme", "pay")), expected);
    assert_eq!(
        composed.warnings,
        [
            "136 different quotas of overrides of the rule 'login' of the domain 'pay' (tenant 'acme') are left out: it takes 64; their subjects have their tiers"
        ]
    );
    // Those of the version before have what room is left.
    composer.apply(next(3, 2_000..2_200)).unwrap();
    let composed = composer.compose().unwrap();
    let expected: Vec<u64> = std::iter::once(8).chain(2_000..2_064).chain(1_000..1_064).collect();
    assert_eq!(limits(&composed, &qualified("acme", "pay")), expected);
}

#[test]
fn what_was_taken_over_is_taken_back_whole() {
    let mut composer = composer(&[]);
    composer.apply(delta(2, vec![domain("acme", "pay", 8), domain("acme", "gone", 7)])).unwrap();
    let known = composer.known();
    let tenant = Tenant { name: "acme".to_owned(), ceilings: Ceilings::default(), created_us: 0, version: 3 };
    let changed = vec![domain("acme", "pay", 1), domain("acme", "new", 2)];
    let next = RulesDelta {
        tenants: vec![tenant],
        overrides: quotas([override_of("acme", 77)]),
        ..delta(3, changed)
    };
    let before = composer.apply(next).unwrap();
    assert!(!composer.is_as(&before));
    composer.take_back(before);
    assert_eq!((composer.version(), composer.known()), (2, known));
    let (_, tenants, overrides) = composer.kept();
    assert_eq!((tenants, overrides), (vec![], vec![]));
    let composed = composer.compose().unwrap();
    assert_eq!(limits(&composed, &qualified("acme", "pay")), [8]);
    assert!(composed.rules.domain(&qualified("acme", "gone")).is_some());
    assert!(composed.rules.domain(&qualified("acme", "new")).is_none());
}

#[test]
fn a_domain_that_cannot_be_read_is_named_and_nothing_is_taken_over() {
    let mut composer = composer(&[]);
    composer.apply(delta(2, vec![domain("acme", "pay", 8)])).unwrap();
    let mut bad = domain("acme", "bad", 1);
    bad.rules[0].document = r#"{"name":"login","limit":"many"}"#.to_owned();
    let error = composer.apply(delta(3, vec![domain("acme", "pay", 1), bad])).unwrap_err().to_string();
    assert!(error.starts_with("the domain 'bad' of the tenant 'acme' cannot be read: "), "{error}");
    assert_eq!(composer.version(), 2);
    assert_eq!(limits(&composer.compose().unwrap(), &qualified("acme", "pay")), [8]);
}

#[test]
fn a_tenant_with_a_ceiling_has_a_rule_that_meters_it() {
    let mut composer = composer(&[]);
    let tenant = |name: &str, most| {
        let ceilings = Ceilings { max_requests_per_second: most, ..Ceilings::default() };
        Tenant { name: name.to_owned(), ceilings, created_us: 0, version: 1 }
    };
    composer
        .apply(RulesDelta {
            tenants: vec![tenant("acme", Some(50)), tenant("free", None)],
            ..delta(2, vec![])
        })
        .unwrap();
    let composed = composer.compose().unwrap();
    assert_eq!(limits(&composed, TENANTS_DOMAIN), [50]);
    assert_eq!(composed.rules.domain(TENANTS_DOMAIN).unwrap().rules().len(), 1);
}
