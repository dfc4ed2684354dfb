//! A store that dies is seen, and so is its return. Method: a real Redis, killed and started again.

use std::time::Duration;

use tidegate_testkit::{RedisServer, TempDir, Tidegate, wait_for};

use crate::scrape::Scrape;
use crate::server::{check, options, scrape};

const PATIENCE: Duration = Duration::from_secs(30);
const STATE: &str = r#"ratelimiter_circuit_breaker_state{store="redis"}"#;
const RULES: &str = "version: 1
domains:
  - name: d
    rules:
      - { name: open, match: { route: open }, key: [u], limit: 1_000, window: 1h, on_store_failure: allow }
      - { name: shut, match: { route: shut }, key: [u], limit: 1_000, window: 1h, on_store_failure: deny }
";

fn degraded(page: &Scrape, policy: &str) -> f64 {
    let of_policy = |series: &&String| {
        series.starts_with("tidegate_degraded_decisions_total")
            && series.contains(&format!("policy=\"{policy}\""))
    };
    page.series().into_iter().filter(of_policy).map(|series| page.get(series)).sum()
}

#[test]
fn a_store_that_dies_and_comes_back_is_seen() {
    let directory = TempDir::new("metrics-outage");
    let rules = directory.write("rules.yaml", RULES).display().to_string();
    let mut redis = RedisServer::start();
    let arguments = ["--store", &redis.url(), "--rules", &rules, "--store-deadline", "1s"];
    let server = Tidegate::with(&options().arguments(arguments));
    assert!(check(&server, "open", 10).iter().all(|status| *status == 200));
    let well = scrape(&server);
    assert_eq!((well.get(STATE), well.sum("tidegate_store_errors_total")), (0.0, 0.0));
    assert_eq!(well.get("tidegate_store_plans_total"), 10.0);
    let calls = well.get("tidegate_store_call_duration_seconds_count");
    assert!(calls >= 10.0, "{calls}");
    assert!(well.get("tidegate_store_call_duration_seconds_sum") > 0.0);

    redis.kill();
    assert!(check(&server, "open", 20).iter().all(|status| *status == 200));
    assert!(check(&server, "shut", 5).iter().all(|status| *status == 503));
    let down = scrape(&server);
    assert_eq!(down.get(STATE), 2.0);
    assert!(down.sum("tidegate_store_errors_total") >= 5.0, "the breaker opens after five");
    let rejected = down.get(r#"tidegate_circuit_breaker_rejected_total{store="redis"}"#);
    assert!(rejected >= 10.0, "{rejected}");
    assert_eq!((degraded(&down, "allow"), degraded(&down, "deny")), (20.0, 5.0));
    assert_eq!(down.get(r#"ratelimiter_allowed_total{domain="d",rule="open",door="http"}"#), 10.0);
    assert_eq!(down.get(r#"ratelimiter_allowed_total{domain="d",rule="(none)",door="http"}"#), 20.0);
    assert_eq!(down.get(r#"ratelimiter_blocked_total{domain="d",rule="(none)",door="http"}"#), 5.0);
    assert!(down.get("tidegate_store_connection_losses_total") >= 1.0);

    redis.restart();
    let back = wait_for("the breaker closes", PATIENCE, || {
        check(&server, "open", 1);
        Some(scrape(&server)).filter(|page| page.get(STATE) == 0.0)
    });
    assert!(back.get(r#"tidegate_circuit_breaker_transitions_total{store="redis"}"#) >= 3.0);
}
