//! Alert rules and the dashboard ask for series that there are.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::expression::Named;
use crate::scrape::metric_of;

/// What Prometheus itself adds to every series, and the one series of its own that is used.
const OF_PROMETHEUS: [&str; 2] = ["job", "instance"];
const UP: &str = "up";

fn deployed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(file)
}

/// Every text under a key, wherever it stands.
fn texts<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if name == key => found.push(text),
                    _ => texts(value, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
        _ => {}
    }
}

/// Why an expression asks for what there is not.
fn check(expression: &str) -> Result<Named, String> {
    let named = Named::of(expression)?;
    let mut known: Vec<&str> = OF_PROMETHEUS.to_vec();
    for (metric, matched) in &named.metrics {
        let labels = match metric_of(metric) {
            Some((_, labels)) => labels,
            None if metric == UP => Vec::new(),
            None => return Err(format!("there is no metric {metric}")),
        };
        for label in matched {
            if !labels.contains(&label.as_str()) && !OF_PROMETHEUS.contains(&label.as_str()) {
                return Err(format!("{metric} has no label {label}"));
            }
        }
        known.extend(labels);
    }
    match named.groups.iter().find(|label| !known.contains(&label.as_str())) {
        Some(label) => Err(format!("nothing has the label {label}")),
        None => Ok(named),
    }
}

#[track_caller]
fn check_all(file: &str, expressions: &[&str]) {
    for expression in expressions {
        if let Err(error) = check(expression) {
            panic!("{file}: {error}: {expression}");
        }
    }
}

#[test]
fn what_there_is_not_is_found() {
    for bad in [
        "tidegate_storeerrors_total > 0",
        "ratelimiter_allowed",
        r#"rate(ratelimiter_allowed_total{tenant="a"}[5m])"#,
        "sum by (rule) (rate(tidegate_store_errors_total[5m]))",
    ] {
        assert!(check(bad).is_err(), "{bad}");
    }
}

#[test]
fn alert_rules_ask_for_what_there_is() {
    let path = deployed("prometheus/alerts.yaml");
    let file: Value = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let groups = file["groups"].as_array().unwrap();
    let rules: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert!(rules.len() >= 10);
    let mut expressions = Vec::new();
    for rule in &rules {
        let name = rule["alert"].as_str().unwrap();
        expressions.push(rule["expr"].as_str().unwrap());
        assert!(rule["for"].is_string(), "{name}");
        assert!(["warning", "critical"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
        for annotation in ["summary", "description"] {
            assert!(rule["annotations"][annotation].is_string(), "{name}: {annotation}");
        }
    }
    check_all("alerts.yaml", &expressions);
    let page = std::fs::read_to_string(deployed("../docs/operations/monitoring.md")).unwrap();
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(
            page.contains(&format!("`{name}`")),
            "docs/operations/monitoring.md does not say what to do about {name}"
        );
    }
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let text = std::fs::read_to_string(deployed("grafana/tidegate.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut expressions = Vec::new();
    texts(&dashboard, "expr", &mut expressions);
    assert!(expressions.len() >= 25, "{}", expressions.len());
    check_all("tidegate.json", &expressions);
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    for variable in variables.iter().filter(|variable| variable["type"] == "query") {
        let query = variable["query"]["query"].as_str().unwrap();
        let inner = query.strip_prefix("label_values(").and_then(|query| query.strip_suffix(')'));
        let (metric, label) = inner.and_then(|inner| inner.rsplit_once(',')).unwrap();
        check(&format!("sum by ({}) ({metric})", label.trim())).unwrap();
    }
    let mut ids: Vec<i64> = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        ids.push(panel["id"].as_i64().unwrap());
        let targets = panel["targets"].as_array().map_or(0, Vec::len);
        assert!(panel["type"] == "row" || targets > 0, "{} shows nothing", panel["title"]);
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "panels have numbers of their own");
}

#[test]
fn the_example_scrapes_what_the_server_serves() {
    let text = std::fs::read_to_string(deployed("prometheus/prometheus.yaml")).unwrap();
    let file: Value = serde_saphyr::from_str(&text).unwrap();
    let scrape = &file["scrape_configs"][0];
    assert_eq!((&scrape["job_name"], &scrape["metrics_path"]), (&"tidegate".into(), &"/metrics".into()));
    assert_eq!(file["rule_files"][0], "alerts.yaml");
}
