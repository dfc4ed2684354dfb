//! Usage of a span, by the minute and by the hour, and what a node does with old minutes by itself.

use serde_json::Value;
use tidegate_catalog::model::{Actor, Ceilings, UsageCounts, UsageKey};
use tidegate_catalog::repository::{DatabaseSettings, Repository};
use tidegate_testkit::{TempDir, Tidegate, TidegateOptions, wait_until};

use super::site::{Site, TOKEN};

/// 2026-01-01T00:00:00Z, in seconds since the Unix epoch.
const NEW_YEAR_S: i64 = 1_767_225_600;

/// A site with the tenant `acme`, made half an hour after the year began, that has made a request in each of these seconds
/// of this year.
fn site_with_usage_at(seconds: &[i64]) -> Site {
    let directory = TempDir::new("admin");
    let database = directory.join("tidegate.db");
    let rows: Vec<_> = seconds
        .iter()
        .map(|second| {
            let [tenant, domain, rule, tier] = ["acme", "old", "calls", "free"].map(str::to_owned);
            let key = UsageKey { tenant, domain, rule, tier, at_s: NEW_YEAR_S + second };
            (key, UsageCounts { allowed: 1, denied: 0, cost: 1 })
        })
        .collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let repository = Repository::open(&DatabaseSettings::file(&database)).unwrap();
        repository.migrate().await.unwrap();
        let made_us = (NEW_YEAR_S + 1_800) * 1_000_000;
        let (server, usual) = (Actor::server(), Ceilings::default());
        repository.create_tenant(&server, made_us, "acme", &usual).await.unwrap();
        repository.add_usage("a-node-of-before", 1, NEW_YEAR_S * 1_000_000, &rows).await.unwrap();
    });
    drop(runtime);
    let options = TidegateOptions::new(env!("CARGO_BIN_EXE_tidegate"))
        .catalog(database.display().to_string(), TOKEN, directory.join("last-good"))
        .arguments(["--usage-keep-hours", "3650d"]);
    Site { server: Tidegate::with(&options), directory }
}

/// Time and allowed requests of each span that begins in the first two hours of this year.
fn spans(site: &Site, resolution: &str, from: &str, to: &str) -> Vec<(String, u64)> {
    let target =
        format!("/usage?by=time&resolution={resolution}&from=2026-01-01T{from}Z&to=2026-01-01T{to}Z");
    let answer = site.about("acme", "GET", &target).send().expect(200).json();
    let span = |item: &Value| (item["time"].as_str().unwrap().to_owned(), item["allowed"].as_u64().unwrap());
    answer["items"].as_array().unwrap().iter().map(span).collect()
}

fn span(time: &str, allowed: u64) -> (String, u64) {
    (format!("2026-01-01T{time}Z"), allowed)
}

#[test]
fn old_minutes_become_hours_while_the_server_runs_and_hours_are_asked_for_by_range() {
    let site = site_with_usage_at(&[1_800, 1_859, 1_860, 3_599, 3_600, 7_200]);
    wait_until("minutes are hours", std::time::Duration::from_secs(20), || {
        spans(&site, "minute", "00:00:00", "03:00:00").is_empty()
    });
    let all = [span("00:00:00", 4), span("01:00:00", 1), span("02:00:00", 1)];
    assert_eq!(spans(&site, "hour", "00:00:00", "03:00:00"), all);
    assert_eq!(spans(&site, "hour", "01:00:00", "02:00:00"), all[1..2]);
    assert_eq!(spans(&site, "hour", "00:00:00", "01:00:00"), all[..1]);
    assert_eq!(spans(&site, "hour", "03:00:00", "04:00:00"), []);
}
