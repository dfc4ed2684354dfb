//! What each policy answers, and which one does where several rules match.

use tidegate_core::rule::model::Mode;
use tidegate_engine::{Answer, Degraded, EngineError, FailureCause, Selection};
use tidegate_store::StoreError;

use super::*;
use FailurePolicy::{Allow, Deny, Local};

const fn degraded(policy: FailurePolicy) -> Option<Degraded> {
    Some(Degraded { policy, cause: FailureCause::Unavailable })
}

#[tokio::test(start_paused = true)]
async fn allow_lets_pass_and_knows_nothing() {
    let site = Site::new(vec![bucket("r", 1, Allow)]);
    site.outage().await;
    for _ in 0..3 {
        let decision = site.decide().await;
        assert_eq!((decision.answer(), decision.degraded()), (Answer::Allow, degraded(Allow)));
        assert_eq!((decision.verdicts().count(), decision.retry_after()), (0, None));
        assert!(decision.binding().is_none());
        assert_eq!((decision.domain(), decision.rules_version()), (Some("d"), 1));
    }
    assert_eq!(site.engine.degraded_counts().allow, 3);
}

#[tokio::test(start_paused = true)]
async fn deny_refuses_and_names_when_the_store_is_asked_again() {
    let site = Site::new(vec![bucket("r", 1, Deny)]);
    site.store.set(Mood::Failing);
    let first = site.decide().await;
    assert_eq!((first.answer(), first.degraded()), (Answer::Deny, degraded(Deny)));
    assert_eq!(first.retry_after(), Some(Micros::from_secs(1)), "it is asked again at once");
    site.outage().await;
    assert_eq!(site.decide().await.retry_after(), Some(MINUTE), "without probes, after the cool-down");
    site.spawn_loops();
    site.advance(100).await;
    assert_eq!(site.decide().await.retry_after(), Some(Micros::from_secs(1)), "with them, at the next one");
    site.advance(59_900 - 625).await;
    assert_eq!(site.decide().await.retry_after(), Some(Micros::from_secs(1)));
    assert_eq!(site.engine.degraded_counts().deny, 4);
}

#[tokio::test(start_paused = true)]
async fn of_several_rules_the_strictest_policy_decides() {
    let cases = [
        (vec![Allow, Allow], Allow),
        (vec![Allow, Local], Local),
        (vec![Local, Local, Allow], Local),
        (vec![Deny, Local, Allow], Deny),
        (vec![Allow, Deny], Deny),
    ];
    for (policies, expected) in cases {
        let rules = policies.iter().enumerate();
        let site = Site::new(rules.map(|(index, policy)| bucket(&index.to_string(), 10, *policy)).collect());
        site.outage().await;
        let decision = site.decide().await;
        assert_eq!(decision.degraded(), degraded(expected), "{policies:?}");
        assert_eq!(decision.is_allowed(), expected != Deny);
        let locally = policies.iter().filter(|policy| **policy == Local).count();
        let known = if expected == Local { locally } else { 0 };
        assert_eq!(decision.verdicts().count(), known, "only what is known: {policies:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_policy_charges_no_share() {
    let strict = bucket("strict", 5, Deny).when("path", "/pay");
    let site = Site::new(vec![bucket("local", 2, Local), strict]);
    site.outage().await;
    let pay = [("user", "u1"), ("path", "/pay")];
    for _ in 0..5 {
        assert!(!site.engine.decide(&Request::new("d", &pay)).await.unwrap().is_allowed());
    }
    assert_eq!(site.passed(5).await, 2);
}

#[tokio::test(start_paused = true)]
async fn shadow_rules_are_not_obeyed_whatever_their_policy() {
    let shadow = |name: &str, limit, policy| Rule { mode: Mode::Shadow, ..bucket(name, limit, policy) };
    let site = Site::new(vec![bucket("real", 5, Allow), shadow("a", 1, Deny), shadow("b", 1, Local)]);
    site.outage().await;
    assert_eq!(site.decide().await.degraded(), degraded(Allow));
    site.engine.replace_rules(set(vec![bucket("real", 2, Local), shadow("b", 1, Local)]));
    assert_eq!(site.passed(5).await, 2);
    let denied = site.decide().await;
    assert_eq!(denied.binding().unwrap().rule.name(), "real");
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_has_the_domains_policy_and_then_the_servers() {
    let unsaid = || Rule { on_store_failure: None, ..bucket("unsaid", 1, Allow) };
    let policy = async |domain: Option<FailurePolicy>, server: Option<FailurePolicy>| {
        let options = EngineOptions { default_failure: server, ..EngineOptions::default() };
        let site = Site::with(vec![], GuardOptions::default(), options);
        let domain = Domain { on_store_failure: domain, ..Domain::new("d", vec![unsaid()]) };
        site.engine.replace_rules(RuleSet::compile(Rules { domains: vec![domain] }).unwrap());
        site.outage().await;
        site.decide().await.degraded().unwrap().policy
    };
    assert_eq!(policy(None, None).await, Allow);
    assert_eq!(policy(None, Some(Deny)).await, Deny);
    assert_eq!(policy(None, Some(Local)).await, Local);
    assert_eq!(policy(Some(Allow), Some(Deny)).await, Allow);
    assert_eq!(policy(Some(Local), Some(Deny)).await, Local);
}

#[tokio::test(start_paused = true)]
async fn a_peek_follows_the_policy_and_everything_else_is_an_error() {
    let site = Site::new(vec![bucket("r", 2, Local)]);
    let permit = "0123456789abcdef-00".parse().unwrap();
    site.outage().await;
    for _ in 0..3 {
        let look = site.engine.peek(&request()).await.unwrap();
        assert_eq!((look.is_allowed(), look.degraded()), (true, degraded(Local)));
        assert_eq!(look.binding().unwrap().gauge.remaining, 2, "nothing was charged");
    }
    assert_eq!(site.engine.degraded_counts().local, 0, "looks are not counted");
    let is_unavailable = |error| matches!(error, EngineError::Store(StoreError::Unavailable(_)));
    assert!(is_unavailable(site.engine.refund(&request()).await.unwrap_err()));
    assert!(is_unavailable(site.engine.stats(&Selection::new("d", "u1")).await.unwrap_err()));
    assert!(is_unavailable(site.engine.reset(&request()).await.unwrap_err()));
    assert!(is_unavailable(site.engine.release(&permit).await.unwrap_err()));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_no_rule_matches_needs_no_store() {
    let site = Site::new(vec![bucket("r", 1, Deny)]);
    site.outage().await;
    let decision = site.engine.decide(&Request::new("d", &[("other", "x")])).await.unwrap();
    assert_eq!((decision.answer(), decision.degraded()), (Answer::Allow, None));
    let decision = site.engine.decide(&Request::new("nowhere", &USER)).await.unwrap();
    assert_eq!(decision.degraded(), None);
}
