//! Quotas that requests bring themselves, while the store does not answer: the engine's default policy.

use super::*;

const TEN: u64 = 10;

fn site(default: FailurePolicy) -> Site {
    let options = EngineOptions { default_failure: Some(default), ..EngineOptions::default() };
    Site::with(vec![bucket("r", 1, default)], GuardOptions::default(), options)
}

async fn throttle(site: &Site, key: &str) -> Decision {
    let quota = Quota::new(Algorithm::TokenBucket, TEN, MINUTE, None).unwrap();
    let ad_hoc = site.engine.ad_hoc("f", Algorithm::TokenBucket, quota).unwrap();
    site.engine.throttle(&ad_hoc, key, 1).await.unwrap()
}

async fn passed(site: &Site, key: &str, asked: u64) -> u64 {
    let mut passed = 0;
    for _ in 0..asked {
        passed += u64::from(throttle(site, key).await.is_allowed());
    }
    passed
}

#[tokio::test(start_paused = true)]
async fn the_default_policy_decides_and_says_so() {
    for (policy, most) in [(FailurePolicy::Allow, 30), (FailurePolicy::Deny, 0), (FailurePolicy::Local, 5)] {
        let site = site(policy);
        site.engine.set_live_nodes(2);
        site.outage().await;
        assert_eq!(passed(&site, "k", 30).await, most, "{policy:?}");
        let decision = throttle(&site, "k").await;
        assert_eq!(decision.degraded().map(|degraded| degraded.policy), Some(policy));
        assert_eq!(decision.is_refused_for_want_of_store(), policy == FailurePolicy::Deny);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_share_let_through_is_paid_back() {
    let site = site(FailurePolicy::Local);
    site.engine.set_live_nodes(2);
    site.spawn_loops();
    site.outage().await;
    assert_eq!(passed(&site, "k", 30).await, 5);
    assert_eq!(site.engine.degraded_counts().debts, 1);
    site.recovery().await;
    site.advance(2_000).await;
    assert_eq!((site.engine.degraded_counts().debts, site.engine.degraded_counts().units_debited), (0, 5));
}
