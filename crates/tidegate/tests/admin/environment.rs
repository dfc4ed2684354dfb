//! Names of variables that platforms and plain deployments set, on a server that runs.

use serde_json::{Value, json};
use tidegate_testkit::{PortLease, TempDir, Tidegate, TidegateOptions};

use super::site::{Answer, Site, TOKEN};

const RULES: &str = "
version: 1
domains:
  - name: shop
    rules:
      - { name: login, match: { action: login }, key: [user_id], limit: 100, window: 1h }
      - { name: buy-ticket, match: { action: buy }, key: [user_id], limit: 100, window: 1h }
";

fn site_with(environment: &[(&str, &str)]) -> Site {
    let directory = TempDir::new("admin");
    let rules = directory.write("rules.yaml", RULES);
    let options = TidegateOptions::new(env!("CARGO_BIN_EXE_tidegate"))
        .catalog(directory.join("tidegate.db").display().to_string(), TOKEN, directory.join("last-good"))
        .arguments(["--rules", &rules.display().to_string()])
        .await_path("/health");
    let set = |options: TidegateOptions, (name, value): &(&str, &str)| options.environment(name, *value);
    Site { server: Tidegate::with(&environment.iter().fold(options, set)), directory }
}

fn check(site: &Site, action: &str) -> Answer {
    let descriptors = json!({ "action": action, "user_id": "sue" });
    site.door("POST", "/v1/check").json(&json!({ "domain": "shop", "descriptors": descriptors })).send()
}

#[test]
fn quotas_and_the_algorithm_come_from_variables() {
    let site = site_with(&[
        ("LOGIN_RATE_LIMIT_MAX_REQUESTS", "3"),
        ("LOGIN_RATE_LIMIT_WINDOW_SECONDS", "1800"),
        ("BUY_TICKET_RATE_LIMIT_MAX_REQUESTS", "2"),
        ("ALGORITHM", "fixed_window"),
    ]);
    for (action, limit) in [("login", 3), ("buy", 2)] {
        for _ in 0..limit {
            assert_eq!(check(&site, action).expect(200).json()["limit"], limit);
        }
        check(&site, action).expect(429);
    }
    let rule = |name: &str| -> Value {
        site.operator("GET", &format!("/domains/shop/rules/{name}")).send().expect(200).json()
    };
    let (login, buy) = (rule("login"), rule("buy-ticket"));
    assert_eq!((&login["algorithm"], &login["window"]), (&json!("fixed_window"), &json!("30m")));
    assert_eq!((&buy["algorithm"], &buy["window"]), (&json!("fixed_window"), &json!("1h")));
}

#[test]
fn the_answer_without_a_store_comes_from_a_variable() {
    let nobody = PortLease::new();
    let port = nobody.address().port().to_string();
    for (mode, status) in [("allow", 200), ("deny", 503)] {
        let site = site_with(&[("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &port), ("FAIL_MODE", mode)]);
        check(&site, "login").expect(status);
    }
}
