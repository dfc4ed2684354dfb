//! Quotas from elsewhere: of single subjects, and of environment variables.

use std::collections::BTreeMap;

use tidegate_core::quota::{Algorithm, Quota, QuotaError};
use tidegate_core::rule::model::{Rule, Rules};
use tidegate_core::time::Micros;

/// What the name of a variable ends with that sets a rule's window, in whole seconds.
pub const WINDOW_SUFFIX: &str = "_RATE_LIMIT_WINDOW_SECONDS";
/// What the name of a variable ends with that sets a rule's limit.
pub const LIMIT_SUFFIX: &str = "_RATE_LIMIT_MAX_REQUESTS";

/// The quota of a subject that has its own in a rule. What is not said is the rule's, as with tiers: a burst that the rule
/// names too; else the burst is what it is without being named.
///
/// # Errors
/// [`QuotaError`], as of any quota.
pub fn quota_of_tier(
    rule: &Rule,
    limit: u64,
    window: Option<Micros>,
    burst: Option<u64>,
) -> Result<Quota, QuotaError> {
    let burst = burst.or_else(|| named_burst(rule.algorithm, &rule.quota));
    Quota::new(rule.algorithm, limit, window.unwrap_or_else(|| rule.quota.window()), burst)
}

/// The burst of a quota, where it is not what it is without being named.
pub(crate) fn named_burst(algorithm: Algorithm, quota: &Quota) -> Option<u64> {
    let unnamed = Quota::new(algorithm, quota.limit(), quota.window(), None).map(|quota| quota.burst());
    (unnamed != Ok(quota.burst())).then(|| quota.burst())
}

/// Limit and window of a rule, from variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaSetting {
    /// The rule as variables write it: in capitals, with `_` for everything that is neither letter nor digit.
    pub rule: String,
    /// The limit; the rule's own where absent.
    pub limit: Option<u64>,
    /// The window; the rule's own where absent.
    pub window: Option<Micros>,
}

/// A variable that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: '{value}' is not a whole number of {what}: write for example {example}")]
pub struct QuotaVariableError {
    name: String,
    value: String,
    what: &'static str,
    example: &'static str,
}

/// A setting that changes nothing, or cannot be used in a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotaSettingProblem {
    /// No rule is called so.
    #[error("{0}{WINDOW_SUFFIX} or {0}{LIMIT_SUFFIX} changes nothing: no rule is called so")]
    NoSuchRule(String),
    /// The rule cannot have the quota; it keeps its own.
    #[error(
        "the variables of {setting} are not used for the rule '{rule}' of the domain '{domain}': {error}"
    )]
    Unfit {
        /// The setting's name.
        setting: String,
        /// The domain.
        domain: String,
        /// The rule.
        rule: String,
        /// Why.
        error: QuotaError,
    },
}

/// Reads the variables that set quotas, such as `LOGIN_RATE_LIMIT_MAX_REQUESTS`, among others.
///
/// # Errors
/// [`QuotaVariableError`] for a value that is not a number within its range.
pub fn quota_settings_from(
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<QuotaSetting>, QuotaVariableError> {
    let mut settings: BTreeMap<String, QuotaSetting> = BTreeMap::new();
    for (name, value) in variables {
        let (rule, is_window) = match (name.strip_suffix(WINDOW_SUFFIX), name.strip_suffix(LIMIT_SUFFIX)) {
            (Some(rule), _) => (rule, true),
            (_, Some(rule)) => (rule, false),
            (None, None) => continue,
        };
        if rule.is_empty() || value.is_empty() {
            continue;
        }
        let setting = settings.entry(rule.to_owned()).or_insert_with(|| QuotaSetting {
            rule: rule.to_owned(),
            limit: None,
            window: None,
        });
        let digits = Some(value.trim()).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse::<u64>().ok());
        if is_window {
            let seconds = number.filter(|seconds| (1..=MAX_WINDOW_SECONDS).contains(seconds));
            let error = || bad(&name, &value, "seconds, at least 1", "60");
            setting.window = Some(Micros::from_secs(seconds.ok_or_else(error)?));
        } else {
            setting.limit = Some(number.ok_or_else(|| bad(&name, &value, "requests", "10"))?);
        }
    }
    Ok(settings.into_values().collect())
}

/// As long as any window may be.
const MAX_WINDOW_SECONDS: u64 = tidegate_core::quota::MAX_WINDOW.as_micros() / 1_000_000;

fn bad(name: &str, value: &str, what: &'static str, example: &'static str) -> QuotaVariableError {
    let value = value.chars().filter(|c| !c.is_control()).take(40).collect();
    QuotaVariableError { name: name.to_owned(), value, what, example }
}

/// Changes the quotas of the rules that settings name, in every domain; tiers keep theirs. A burst that was the limit
/// follows it.
pub fn apply_quota_settings(rules: &mut Rules, settings: &[QuotaSetting]) -> Vec<QuotaSettingProblem> {
    let mut problems = Vec::new();
    for setting in settings {
        let mut is_known = false;
        for domain in &mut rules.domains {
            for rule in domain.rules.iter_mut().filter(|rule| variable_name(&rule.name) == setting.rule) {
                is_known = true;
                let before = rule.quota;
                let limit = setting.limit.unwrap_or_else(|| before.limit());
                let named = named_burst(rule.algorithm, &before);
                let burst = named.map(|burst| if burst == before.limit() { limit } else { burst });
                let window = setting.window.unwrap_or_else(|| before.window());
                match Quota::new(rule.algorithm, limit, window, burst) {
                    Ok(quota) => rule.quota = quota,
                    Err(error) => problems.push(QuotaSettingProblem::Unfit {
                        setting: setting.rule.clone(),
                        domain: domain.name.clone(),
                        rule: rule.name.clone(),
                        error,
                    }),
                }
            }
        }
        if !is_known {
            problems.push(QuotaSettingProblem::NoSuchRule(setting.rule.clone()));
        }
    }
    problems
}

/// A rule's name as variables write it.
fn variable_name(rule: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    rule.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_rules;

    const FILE: &str = "version: 1\ndomains:\n  - name: shop\n    rules:\n      - { name: buy-ticket, key: [user_id], limit: 5, window: 60s }\n      - { name: login, key: [client_ip], algorithm: sliding_window, limit: 5, window: 60s }\n";

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn variables_change_the_quotas_of_the_rules_they_name() {
        let mut rules = parse_rules(FILE, "f").unwrap().rules;
        let settings = quota_settings_from(variables(&[
            ("BUY_TICKET_RATE_LIMIT_MAX_REQUESTS", "2"),
            ("BUY_TICKET_RATE_LIMIT_WINDOW_SECONDS", "10"),
            ("LOGIN_RATE_LIMIT_MAX_REQUESTS", ""),
            ("PATH", "x"),
        ]))
        .unwrap();
        assert_eq!(apply_quota_settings(&mut rules, &settings), []);
        let quota = rules.domains[0].rules[0].quota;
        assert_eq!((quota.limit(), quota.window(), quota.burst()), (2, Micros::from_secs(10), 2));
        assert_eq!(rules.domains[0].rules[1].quota.limit(), 5);
    }

    #[test]
    fn bursts_that_are_named_are_kept_and_those_that_are_the_limit_follow_it() {
        let rule = |algorithm, burst| {
            let quota = Quota::new(algorithm, 5, Micros::from_secs(60), burst).unwrap();
            Rule::new("r", algorithm, quota)
        };
        let bucket = rule(Algorithm::TokenBucket, Some(2));
        assert_eq!(quota_of_tier(&bucket, 50, None, None).unwrap().burst(), 2);
        assert_eq!(quota_of_tier(&bucket, 50, None, Some(9)).unwrap().burst(), 9);
        assert_eq!(quota_of_tier(&rule(Algorithm::TokenBucket, None), 50, None, None).unwrap().burst(), 50);
        let settings = quota_settings_from(variables(&[("R_RATE_LIMIT_MAX_REQUESTS", "10")])).unwrap();
        for (algorithm, burst, wanted) in [
            (Algorithm::TokenBucket, None, 10),
            (Algorithm::TokenBucket, Some(2), 2),
            (Algorithm::LeakyBucket, None, 1),
            (Algorithm::LeakyBucket, Some(5), 10),
        ] {
            let domain = tidegate_core::rule::model::Domain::new("d", vec![rule(algorithm, burst)]);
            let mut rules = Rules { domains: vec![domain] };
            assert_eq!(apply_quota_settings(&mut rules, &settings), []);
            assert_eq!(rules.domains[0].rules[0].quota.burst(), wanted, "{algorithm} {burst:?}");
        }
    }

    #[test]
    fn a_variable_that_is_no_number_or_names_no_rule_is_told() {
        let error = quota_settings_from(variables(&[("LOGIN_RATE_LIMIT_WINDOW_SECONDS", "0")])).unwrap_err();
        assert!(error.to_string().contains("LOGIN_RATE_LIMIT_WINDOW_SECONDS: '0'"), "{error}");
        let settings = quota_settings_from(variables(&[("LOGOUT_RATE_LIMIT_MAX_REQUESTS", "3")])).unwrap();
        let mut rules = parse_rules(FILE, "f").unwrap().rules;
        let before = rules.clone();
        assert_eq!(
            apply_quota_settings(&mut rules, &settings),
            [QuotaSettingProblem::NoSuchRule("LOGOUT".into())]
        );
        assert_eq!(rules, before);
    }
}
