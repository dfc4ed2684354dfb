//! The program as people run it tells everything that the catalogue promises.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tidegate::telemetry::metrics::catalogue::Metric;
use tidegate_testkit::{PortLease, RedisServer, TempDir, Tidegate, TidegateOptions, wait_for};

use crate::common::Client;
use crate::scrape::{Scrape, catalogue};

const TOKEN: &str = "an-operator-token-of-the-tests";
const PATIENCE: Duration = Duration::from_secs(20);
const RULES: &str =
    "version: 1\ndomains: [{ name: d, rules: [{ name: r, key: [u], limit: 2, window: 1h }] }]\n";

pub(crate) fn options() -> TidegateOptions {
    TidegateOptions::new(env!("CARGO_BIN_EXE_tidegate"))
}

/// A page of a server's.
pub(crate) fn scrape(server: &Tidegate) -> Scrape {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let page = runtime.block_on(async { Client::connect(server.address()).await.get("/metrics").await });
    assert_eq!(
        page.field("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    Scrape::of(&String::from_utf8(page.body).unwrap())
}

/// Checks by so many callers of one name.
pub(crate) fn check(server: &Tidegate, route: &str, times: usize) -> Vec<u16> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = Client::connect(server.address()).await;
        let mut statuses = Vec::new();
        for _ in 0..times {
            let body = json!({"domain": "d", "descriptors": {"u": "1", "route": route}});
            statuses.push(client.check(body).await.status);
        }
        statuses
    })
}

#[test]
fn every_metric_of_the_catalogue_is_told_by_some_server() {
    let directory = TempDir::new("metrics");
    let database = directory.join("tidegate.db").display().to_string();
    let embedded = Tidegate::with(&options().catalog(database, TOKEN, directory.join("good")));
    let redis = RedisServer::start();
    let rules = directory.write("rules.yaml", RULES).display().to_string();
    let nobody = PortLease::new();
    let collector = format!("http://{}", nobody.address());
    let arguments = ["--store", &redis.url(), "--rules", &rules, "--otlp-endpoint", &collector];
    let shared = Tidegate::with(&options().arguments(arguments));
    let (embedded, shared) = (scrape(&embedded), scrape(&shared));
    let told: BTreeSet<&str> = [&embedded, &shared]
        .into_iter()
        .flat_map(Scrape::series)
        .map(|series| series.split('{').next().unwrap())
        .collect();
    let is_told = |metric: &&Metric| metric.samples().iter().all(|(name, _)| told.contains(name.as_str()));
    let missing: Vec<&str> =
        catalogue().filter(|metric| !is_told(metric)).map(|metric| metric.name).collect();
    // It needs a rule in shadow.
    assert_eq!(missing, ["tidegate_shadow_blocked"]);
    for listener in ["http", "admin"] {
        embedded.get(&format!("tidegate_connections_open{{listener=\"{listener}\"}}"));
    }
    let build = format!("tidegate_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(embedded.get(&build), 1.0);
    assert!(embedded.get("process_start_time_seconds") > 1.7e9);
    assert_eq!(embedded.get("tidegate_catalog_up"), 1.0);
}

#[test]
fn the_store_and_the_connections_are_told() {
    let directory = TempDir::new("metrics");
    let rules = directory.write("rules.yaml", RULES).display().to_string();
    let server = Tidegate::with(&options().arguments(["--rules", &rules]));
    assert_eq!(check(&server, "x", 3), [200, 200, 429]);
    let page = scrape(&server);
    assert_eq!(page.get(r#"ratelimiter_allowed_total{domain="d",rule="r",door="http"}"#), 2.0);
    assert_eq!(page.get(r#"ratelimiter_blocked_total{domain="d",rule="r",door="http"}"#), 1.0);
    assert_eq!(page.get("tidegate_store_buckets"), 1.0);
    assert!(page.get("tidegate_store_bytes") > 0.0);
    assert!(page.get("tidegate_store_bytes") < page.get("tidegate_store_max_bytes"));
    assert!(page.get(r#"tidegate_connections_open{listener="http"}"#) >= 1.0);
    assert!(page.get(r#"tidegate_connections_accepted_total{listener="http"}"#) >= 2.0);
}

#[test]
fn a_rule_file_that_is_read_again_is_told() {
    let directory = TempDir::new("metrics");
    let rules = directory.write("rules.yaml", RULES).display().to_string();
    let server = Tidegate::with(&options().arguments(["--rules", &rules]));
    let before = scrape(&server);
    assert_eq!(before.get("tidegate_rules_current"), 1.0);
    let reloads = |page: &Scrape| page.get(r#"tidegate_rules_reloads_total{result="ok"}"#);
    let until = |what: &str, wanted: &dyn Fn(&Scrape) -> bool| {
        wait_for(what, PATIENCE, || Some(scrape(&server)).filter(wanted))
    };
    directory.write("rules.yaml", &RULES.replace("name: r,", "name: renamed,"));
    let renamed = r#"ratelimiter_allowed_total{domain="d",rule="renamed",door="http"}"#;
    let after = until("the new rules", &|page| reloads(page) == reloads(&before) + 1.0);
    assert_eq!(after.get(renamed), 0.0);
    directory.write("rules.yaml", "version: 1\ndomains: [{ name: 7 8 }]\n");
    let kept = until("the error", &|page| page.get("tidegate_rules_current") == 0.0);
    assert_eq!(kept.get("tidegate_rules"), 1.0);
    assert_eq!(reloads(&kept), reloads(&after));
}

/// Names of tenants, their domains and rules are for operators.
#[tokio::test]
async fn tenants_are_named_to_operators_only() {
    let directory = TempDir::new("metrics");
    let database = directory.join("tidegate.db").display().to_string();
    let server = Tidegate::with(&options().catalog(database, TOKEN, directory.join("good")));
    let mut admin = Client::connect(server.admin_address()).await;
    let operator = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    let tenant = json!({"name": "acme"}).to_string();
    assert_eq!(admin.request("POST", "/admin/v1/tenants", &operator, tenant.as_bytes()).await.status, 201);
    let about = format!("{operator}Tidegate-Tenant: acme\r\nIf-None-Match: *\r\n");
    let domain =
        json!({"name": "pay", "rules": [{"name": "secret-rule", "key": ["u"], "limit": 1, "window": "1h"}]});
    let put = admin.request("PUT", "/admin/v1/domains/pay", &about, domain.to_string().as_bytes()).await;
    assert_eq!(put.status, 200, "{}", String::from_utf8_lossy(&put.body));
    let about = format!("{operator}Tidegate-Tenant: acme\r\n");
    let wanted = json!({"name": "reader", "scopes": ["check", "admin-read"]}).to_string();
    let made = admin.request("POST", "/admin/v1/keys", &about, wanted.as_bytes()).await;
    let key = made.json()["key"].as_str().unwrap().to_owned();

    let mut door = Client::connect(server.address()).await;
    let of_key = format!("Authorization: Bearer {key}\r\n");
    let body = json!({"domain": "pay", "descriptors": {"u": "1"}}).to_string();
    assert_eq!(door.request("POST", "/v1/check", &of_key, body.as_bytes()).await.status, 200);
    for fields in ["", &of_key] {
        let page = String::from_utf8(door.request("GET", "/metrics", fields, b"").await.body).unwrap();
        assert!(!page.contains("acme") && !page.contains("secret-rule"), "{page}");
        let together = r#"ratelimiter_allowed_total{domain="(tenants)",rule="(tenants)",door="http"}"#;
        assert_eq!(Scrape::of(&page).get(together), 1.0);
    }
    let page = String::from_utf8(door.request("GET", "/metrics", &operator, b"").await.body).unwrap();
    let apart = r#"ratelimiter_allowed_total{domain="acme/pay",rule="secret-rule",door="http"}"#;
    assert_eq!(Scrape::of(&page).get(apart), 1.0);
    assert_eq!(door.request("GET", "/metrics", "Authorization: Bearer wrong\r\n", b"").await.status, 401);
}
