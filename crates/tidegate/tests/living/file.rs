//! A rule file that is watched: written anew, replaced, swapped by links, broken, and read again on a signal.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;
use tidegate_testkit::{Postgres, Stopwatch, TempDir, Tidegate, wait_until};

use crate::machine::{PATIENCE, alone, binary};
use crate::site::{Nodes, options};

const CHECK: &str = r#"{"domain":"filed","descriptors":{"u":"1"}}"#;

fn rules(limit: u64) -> String {
    format!(
        "version: 1\ndomains:\n  - name: filed\n    rules:\n      - {{ name: r, key: [u], limit: {limit}, window: 1m }}\n"
    )
}

fn limit(nodes: &Nodes) -> Value {
    nodes.check(0, CHECK).json()["limit"].take()
}

fn wait_until_limit(nodes: &Nodes, what: &str, wanted: u64) {
    let watch = Stopwatch::start();
    wait_until(what, PATIENCE, || limit(nodes) == wanted);
    println!("{what}: in force {:?} after it", watch.elapsed());
}

/// Puts a new file in an old one's place.
fn rename_over(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

/// What Kubernetes does with a ConfigMap: the file is a link into `..data`, a link to a folder that is swapped.
fn swap_link(dir: &Path, version: &str, text: &str) {
    let folder = dir.join(version);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("rules.yaml"), text).unwrap();
    let beside = dir.join("..data_tmp");
    symlink(version, &beside).unwrap();
    fs::rename(beside, dir.join("..data")).unwrap();
}

/// Every way to change the file, on a node that was started with the limit 1. `errors` says whether the node calls the file
/// broken.
fn change_in_every_way(nodes: &Nodes, path: &Path, errors: impl Fn(&Nodes) -> bool) {
    assert_eq!(limit(nodes), 1);
    fs::write(path, rules(2)).unwrap();
    wait_until_limit(nodes, "written anew", 2);
    rename_over(path, &rules(3));
    wait_until_limit(nodes, "replaced", 3);
    for broken in [
        "version: 1\ndomains: [",
        "version: 1\ndomains:\n  - name: filed\n    rules:\n      - { name: r, limit: -1 }\n",
    ] {
        rename_over(path, broken);
        wait_until("the node says that the file is broken", PATIENCE, || errors(nodes));
        assert_eq!(limit(nodes), 3);
        rename_over(path, &rules(3));
        wait_until("the node says that the file is well", PATIENCE, || !errors(nodes));
    }
    fs::remove_file(path).unwrap();
    wait_until("the node says that the file is gone", PATIENCE, || errors(nodes));
    assert_eq!(limit(nodes), 3);
    fs::write(path, rules(4)).unwrap();
    wait_until_limit(nodes, "made again", 4);
    // It is said a moment after the rules are in force.
    wait_until("the node says that the file is well", PATIENCE, || !errors(nodes));
    nodes.nodes[0].process().hang_up();
    fs::write(path, rules(5)).unwrap();
    nodes.nodes[0].process().hang_up();
    wait_until_limit(nodes, "a signal", 5);
    nodes.assert_alive();
}

#[test]
fn a_rule_file_without_a_database_is_followed() {
    let _alone = alone();
    let dir = TempDir::new("living");
    let path = dir.write("rules.yaml", &rules(1));
    let server = binary().arguments(["--rules", &path.display().to_string()]);
    let nodes = Nodes { nodes: vec![Tidegate::with(&server)], dir };
    // Without a database nothing is said of a catalog.
    let seen = std::cell::Cell::new(0);
    let errors = |nodes: &Nodes| {
        let said = nodes.nodes[0].logs().matches("the rules were not changed").count();
        let is_new = said > seen.get();
        seen.set(said);
        is_new
    };
    change_in_every_way(&nodes, &path, errors);
}

#[test]
fn a_rule_file_beside_a_database_that_changes_all_the_time_is_followed() {
    let _alone = alone();
    let postgres = Postgres::start();
    let dir = TempDir::new("living");
    let path = dir.write("rules.yaml", &rules(1));
    let server = options(&dir, 0, &postgres.url(), &["--rules", &path.display().to_string()]);
    let nodes = Nodes { nodes: vec![Tidegate::with(&server)], dir };
    let count =
        "SELECT 1 FROM pg_sleep(0.05); UPDATE versions SET version = version + 1 WHERE kind = 'rules';";
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| (0..3).for_each(|_| drop(postgres.sql("postgres", &count_each(count)))));
        change_in_every_way(&nodes, &path, |nodes| nodes.catalog(0)["rule_file_error"] == true);
        busy.join().unwrap();
    });
}

/// Twenty changes, each a transaction of its own.
fn count_each(one: &str) -> String {
    let body = one.replace("SELECT 1 FROM", "PERFORM 1 FROM").repeat(20).replace(';', "; COMMIT;");
    format!("DO $$ BEGIN {body} END $$")
}

#[test]
fn a_link_that_is_swapped_as_kubernetes_does_is_followed() {
    let _alone = alone();
    let dir = TempDir::new("living");
    swap_link(dir.path(), "..2026_1", &rules(1));
    let path = dir.join("rules.yaml");
    symlink("..data/rules.yaml", &path).unwrap();
    let server = binary().arguments(["--rules", &path.display().to_string()]);
    let nodes = Nodes { nodes: vec![Tidegate::with(&server)], dir };
    for version in 2..=4 {
        swap_link(nodes.dir.path(), &format!("..2026_{version}"), &rules(version));
        wait_until_limit(&nodes, "a swapped link", version);
        // The old folder goes a moment later.
        fs::remove_dir_all(nodes.dir.join(&format!("..2026_{}", version - 1))).unwrap();
    }
    nodes.assert_alive();
}
