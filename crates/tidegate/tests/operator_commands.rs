//! Goal: the commands for operators do what they say, and say what went wrong.
//! Method: the program itself as a shell would call it, against a real server with a database of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use serde_json::{Value, json};
use tidegate_testkit::{PortLease, TempDir, Tidegate, TidegateOptions, wait_for};

const TOKEN: &str = "the-token-of-these-tests-only";

const RULES: &str = "\
version: 1
domains:
  - name: orders
    subject: user_id
    default_tier: free
    rules:
      - name: per-user
        key: [user_id]
        limit: 10
        window: 1d
        tiers:
          enterprise: { limit: 1000 }
";

/// A server, and an operator at a terminal.
struct Desk {
    server: Tidegate,
    folder: TempDir,
    key: String,
}

impl Desk {
    fn new() -> Self {
        Self::with_arguments(&[], |_| ())
    }

    /// A server with more flags; `prepare` makes the files that they name.
    fn with_arguments(arguments: &[&str], prepare: impl FnOnce(&TempDir)) -> Self {
        let folder = TempDir::new("operator");
        prepare(&folder);
        let database = folder.join("tidegate.db").display().to_string();
        let options = TidegateOptions::new(env!("CARGO_BIN_EXE_tidegate"))
            .catalog(database, TOKEN, folder.join("last-good.json"))
            .arguments(["--usage-flush", "100ms"])
            .arguments(
                arguments
                    .iter()
                    .map(|argument| argument.replace("FOLDER", &folder.path().display().to_string())),
            );
        Self { server: Tidegate::with(&options), folder, key: TOKEN.to_owned() }
    }

    /// A desk with the rules of these tests in force.
    fn with_rules() -> Self {
        let desk = Self::new();
        desk.write("rules.yaml", RULES);
        desk.says(&["rules", "apply", "rules.yaml"]);
        desk
    }

    fn write(&self, name: &str, text: &str) {
        self.folder.write(name, text);
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run(&self.folder, &format!("http://{}", self.server.admin_address()), Some(&self.key), arguments)
    }

    /// What a command that succeeds prints.
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {err}");
        out
    }

    /// The same as JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        let out = self.says(&[arguments, &["--json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"))
    }

    /// What a command that fails prints; nothing of it on standard output.
    fn refuses(&self, arguments: &[&str]) -> String {
        refused(&self.run(arguments), arguments)
    }

    /// What the admin API answers.
    fn get(&self, target: &str) -> Value {
        let url = format!("http://{}{target}", self.server.admin_address());
        let key = format!("Authorization: Bearer {}", self.key);
        let output = Command::new("curl").args(["-s", "-H", &key, &url]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Asks for a decision with this key, of this user.
    fn check(&self, key: Option<&str>, user: &str) -> Value {
        let mut curl = Command::new("curl");
        curl.args(["-s", &format!("http://{}/v1/check", self.server.address())]);
        if let Some(key) = key {
            curl.args(["-H", &format!("X-API-Key: {key}")]);
        }
        let body = json!({ "domain": "orders", "descriptors": { "user_id": user } }).to_string();
        let output = curl.args(["-d", &body]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn run(folder: &TempDir, admin: &str, key: Option<&str>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).current_dir(folder.path());
    for name in ["TIDEGATE_ADMIN", "TIDEGATE_ADMIN_KEY", "TIDEGATE_TENANT"] {
        command.env_remove(name);
    }
    command.env("TIDEGATE_ADMIN", admin);
    if let Some(key) = key {
        command.env("TIDEGATE_ADMIN_KEY", key);
    }
    command.output().unwrap()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

fn refused(output: &Output, arguments: &[&str]) -> String {
    let (out, err) = texts(output);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {out}{err}");
    assert_eq!(out, "", "{arguments:?}");
    assert!(err.starts_with("error: "), "{arguments:?}: {err}");
    err
}

/// The words of the line of a table that begins with these.
fn row<'a>(table: &'a str, first: &str) -> Vec<&'a str> {
    let line = table.lines().find(|line| line.starts_with(first));
    line.unwrap_or_else(|| panic!("no line begins with {first}:\n{table}")).split_whitespace().collect()
}

#[test]
fn rules_are_listed_changed_renamed_and_removed() {
    let desk = Desk::with_rules();
    let listed = desk.says(&["rules", "list", "orders"]);
    assert_eq!(row(&listed, "orders")[1..6], ["per-user", "10", "1d", "token_bucket", "user_id"]);
    assert!(desk.says(&["rules", "list"]).contains("api-client"), "the example rules are there, too");

    desk.write("tighter.yaml", &RULES.replace("limit: 10\n", "limit: 5\n"));
    assert_eq!(desk.says(&["rules", "diff", "tighter.yaml"]), "~ orders / per-user\n    limit: 10 -> 5\n");
    assert_eq!(desk.says(&["rules", "diff", "rules.yaml"]), "nothing changes\n");
    let applied = desk.says(&["rules", "apply", "tighter.yaml"]);
    assert!(applied.contains("limit: 10 -> 5") && applied.contains("\nrules version "), "{applied}");
    assert!(applied.ends_with("in force on this node\n"), "{applied}");

    assert!(desk.says(&["rules", "get"]).contains("name: per-user"));
    assert_eq!(desk.json(&["rules", "get", "orders", "per-user"])["limit"], 5);
    desk.says(&["rules", "rename", "orders", "per-user", "each-user"]);
    assert!(desk.says(&["rules", "list", "orders"]).contains("each-user"));
    desk.says(&["rules", "delete", "orders", "each-user"]);
    assert!(!desk.says(&["rules", "list", "orders"]).contains("each-user"));
    desk.says(&["rules", "delete", "orders"]);
    assert!(desk.refuses(&["rules", "list", "orders"]).contains("there is no such domain"));
}

#[test]
fn a_rule_file_from_standard_output_is_one_to_apply() {
    let desk = Desk::with_rules();
    desk.write("all.yaml", &desk.says(&["rules", "get"]));
    assert_eq!(desk.says(&["rules", "diff", "all.yaml", "--prune"]), "nothing changes\n");
    desk.write("all.json", &desk.says(&["rules", "get", "--json"]));
    assert_eq!(desk.says(&["rules", "diff", "all.json", "--prune"]), "nothing changes\n");
    assert!(desk.says(&["rules", "diff", "rules.yaml", "--prune"]).contains("- demo / per-user"));
}

#[test]
fn history_says_what_happened_and_a_rollback_undoes_it() {
    let desk = Desk::with_rules();
    let versions = |desk: &Desk| desk.json(&["rules", "history", "orders"])["items"].clone();
    let made = versions(&desk)[0]["version"].to_string();
    desk.write("tighter.yaml", &RULES.replace("limit: 10\n", "limit: 5\n"));
    desk.says(&["rules", "apply", "tighter.yaml"]);
    let history = desk.says(&["rules", "history", "orders", "--rule", "per-user"]);
    assert_eq!(history.lines().count(), 3, "{history}");

    let tried = desk.says(&["rules", "rollback", "orders", &made, "--dry-run"]);
    assert!(tried.contains("limit: 5 -> 10") && tried.ends_with("nothing was changed\n"), "{tried}");
    assert_eq!(desk.json(&["rules", "get", "orders", "per-user"])["limit"], 5);
    desk.says(&["rules", "rollback", "orders", &made]);
    assert_eq!(desk.json(&["rules", "get", "orders", "per-user"])["limit"], 10);
    assert!(
        desk.refuses(&["rules", "history", "nowhere"]).contains("nothing is known of the domain 'nowhere'")
    );
}

#[test]
fn a_dry_run_tries_the_past_and_changes_nothing() {
    let desk = Desk::with_rules();
    for _ in 0..8 {
        desk.check(None, "u1");
    }
    desk.write("tighter.yaml", &RULES.replace("limit: 10\n", "limit: 5\n"));
    let tried = desk.says(&["rules", "apply", "tighter.yaml", "--dry-run"]);
    assert!(
        tried.contains("8 requests")
            && tried.contains("allowed 8 -> 5")
            && tried.contains("3 requests of u1"),
        "{tried}"
    );

    let lines: String =
        (10..18).map(|s| format!("{{\"time\":\"2026-11-23T09:00:{s}Z\",\"user_id\":\"u2\"}}\n")).collect();
    desk.write("log.jsonl", &lines);
    let tried = desk.json(&["rules", "apply", "tighter.yaml", "--log", "log.jsonl"]);
    assert_eq!(tried["results"][0]["effect"]["newly_denied"], 3, "{tried}");
    assert_eq!(desk.json(&["rules", "get", "orders", "per-user"])["limit"], 10);
}

/// The log is tried by what would be in force: the server's algorithm where a rule names none, and no rule file's domain.
#[test]
fn a_trial_on_a_log_tries_what_apply_would_do() {
    let file = RULES.replace("orders", "in-file");
    let arguments = ["--algorithm", "fixed_window", "--rules", "FOLDER/file.yaml"];
    let desk = Desk::with_arguments(&arguments, |folder| {
        folder.write("file.yaml", &file);
    });
    let rules = RULES.replace("limit: 10\n", "limit: 1\n").replace("window: 1d", "window: 10s");
    desk.write("rules.yaml", &rules);
    // Five seconds apart over the edge of a window: a fixed window allows both, a token bucket the first only.
    let lines = "{\"time\":\"2026-11-23T09:00:06Z\",\"user_id\":\"u\"}\n{\"time\":\"2026-11-23T09:00:11Z\",\"user_id\":\"u\"}\n";
    desk.write("log.jsonl", lines);
    let tried = desk.json(&["rules", "apply", "rules.yaml", "--log", "log.jsonl"]);
    assert_eq!(tried["results"][0]["effect"]["after"], json!({ "allowed": 2, "denied": 0 }), "{tried}");

    desk.write("mine.yaml", &file);
    for more in [&["--log", "log.jsonl"][..], &[]] {
        let said = desk.refuses(&[&["rules", "apply", "mine.yaml"], more].concat());
        assert!(said.contains("the domain 'in-file' is in the") && said.contains("rule file"), "{said}");
    }
    desk.says(&["tenants", "create", "acme"]);
    desk.says(&["rules", "apply", "mine.yaml", "--tenant", "acme"]);
    desk.says(&["rules", "apply", "mine.yaml", "--log", "log.jsonl", "--tenant", "acme"]);
}

/// A log has more fields than a caller sends: `only` does not stumble over them, here as little as in a replay.
#[test]
fn a_trial_on_a_log_shows_rules_what_a_replay_shows_them() {
    let desk = Desk::with_rules();
    desk.write("only.yaml", &RULES.replace("limit: 10\n", "limit: 5\n        only: true\n"));
    let lines: String = (10..18)
        .map(|s| format!("{{\"time\":\"2026-11-23T09:00:{s}Z\",\"user_id\":\"u2\",\"path\":\"/a\"}}\n"))
        .collect();
    desk.write("log.jsonl", &lines);
    let tried = desk.json(&["rules", "apply", "only.yaml", "--log", "log.jsonl"]);
    let effect = &tried["results"][0]["effect"];
    assert_eq!(
        (&effect["after"], &effect["unmatched"]),
        (&json!({ "allowed": 5, "denied": 3 }), &json!(0)),
        "{tried}"
    );
}

#[test]
fn a_history_is_shown_to_its_beginning() {
    let desk = Desk::new();
    let rule = |number: u32| {
        format!(
            "      - {{ name: r{number}, key: [user_id], match: {{ path: /{number} }}, limit: 1, window: 1s }}\n"
        )
    };
    let rules: String = (0..250).map(rule).collect();
    desk.write("many.yaml", &format!("version: 1\ndomains:\n  - name: many\n    rules:\n{rules}"));
    desk.says(&["rules", "apply", "many.yaml"]);
    let history = desk.json(&["rules", "history", "many"]);
    assert!(history["items"].as_array().unwrap().len() >= 250);
}

#[test]
fn a_broken_rule_file_is_named_with_its_line_and_changes_nothing() {
    let desk = Desk::with_rules();
    let before = desk.says(&["rules", "get"]);
    desk.write(
        "broken.yaml",
        &RULES.replace("limit: 10\n", "limit: ten\n").replace("window: 1d", "window: soon"),
    );
    for action in ["apply", "diff"] {
        let said = desk.refuses(&["rules", action, "broken.yaml"]);
        assert!(said.starts_with("error: 2 errors, so nothing was changed:"), "{said}");
        assert!(said.contains("broken.yaml:9:16: ") && said.contains("broken.yaml:10:17: "), "{said}");
        assert!(said.contains("write digits only"), "the remedy is there: {said}");
    }
    assert_eq!(desk.says(&["rules", "get"]), before);
    assert!(desk.refuses(&["rules", "apply", "missing.yaml"]).contains("missing.yaml cannot be read"));
}

#[test]
fn tiers_are_set_imported_and_cleared() {
    let desk = Desk::with_rules();
    desk.says(&["subjects", "set-tier", "orders", "u1", "enterprise"]);
    assert_eq!(desk.check(None, "u1")["limit"], 1000);
    desk.write("tiers.csv", "subject,tier\nu2,enterprise\nu3,enterprise\n");
    assert!(desk.says(&["subjects", "import", "orders", "tiers.csv"]).starts_with("2 subjects\n"));
    assert_eq!(desk.check(None, "u3")["tier"], "enterprise");
    let listed = desk.says(&["subjects", "list", "orders", "--tier", "enterprise"]);
    assert_eq!(listed, "SUBJECT  TIER\nu1       enterprise\nu2       enterprise\nu3       enterprise\n");
    desk.says(&["subjects", "clear-tier", "orders", "u1"]);
    assert_eq!(desk.check(None, "u1")["limit"], 10);

    desk.write("bad.csv", "u4,enterprise\nu5\n");
    assert!(
        desk.refuses(&["subjects", "import", "orders", "bad.csv"]).contains("line 2: write subject,tier")
    );
    assert!(desk.says(&["subjects", "set-tier", "orders", "u6", "gold"]).contains("warning: no rule"));
    assert!(desk.refuses(&["subjects", "set-tier", "nowhere", "u1", "gold"]).contains("no such domain"));
}

#[test]
fn bans_and_overrides_come_and_go() {
    let desk = Desk::with_rules();
    desk.says(&["subjects", "ban", "orders", "u1", "--reason", "card testing", "--for", "2h"]);
    assert_eq!(desk.check(None, "u1")["detail"], "card testing");
    let seen = desk.says(&["subjects", "get", "orders", "u1"]);
    assert!(seen.contains("banned until 2") && seen.contains("card testing"), "{seen}");
    assert!(desk.says(&["subjects", "bans", "orders"]).contains("card testing"));
    desk.says(&["subjects", "unban", "orders", "u1"]);
    assert_eq!(desk.check(None, "u1")["allowed"], true);

    desk.says(&["subjects", "override", "orders", "u2", "per-user", "--limit", "500", "--for", "7d"]);
    assert_eq!(desk.check(None, "u2")["limit"], 500);
    assert_eq!(
        row(&desk.says(&["subjects", "get", "orders", "u2"]), "per-user")[1..3],
        ["(override)", "500"]
    );
    assert_eq!(row(&desk.says(&["subjects", "overrides", "orders"]), "u2")[1..3], ["per-user", "500"]);
    desk.says(&["subjects", "clear-override", "orders", "u2", "per-user"]);
    assert_eq!(desk.check(None, "u2")["limit"], 10);

    let refunded = desk.says(&["subjects", "refund", "orders", "u2", "--cost", "1"]);
    assert_eq!(row(&refunded, "per-user")[2..4], ["10", "1"]);
    assert_eq!(desk.says(&["subjects", "reset", "orders", "u2"]), "1 bucket put to rest\n");
}

#[test]
fn keys_are_shown_once_rotated_and_revoked() {
    let mut desk = Desk::with_rules();
    let made = desk.json(&["keys", "create", "checkout"]);
    let (first, prefix) = (made["key"].as_str().unwrap(), made["prefix"].as_str().unwrap());
    assert_eq!(desk.check(Some(first), "u1")["allowed"], true);
    let listed = desk.says(&["keys", "list"]);
    assert_eq!(row(&listed, prefix)[1..4], ["checkout", "default", "check"]);
    assert!(!listed.contains(first), "{listed}");

    let second = desk.json(&["keys", "rotate", prefix, "--grace", "1h"]);
    let second = second["key"].as_str().unwrap();
    assert_ne!(first, second);
    for key in [first, second] {
        assert_eq!(desk.check(Some(key), "u1")["allowed"], true);
    }
    assert_eq!(desk.says(&["keys", "revoke", prefix]), format!("{prefix} is revoked\n"));
    assert_eq!(desk.check(Some(second), "u1")["status"], 401);
    assert!(row(&desk.says(&["keys", "list"]), prefix).contains(&"revoked"));
    assert!(desk.refuses(&["keys", "revoke", "nothing"]).contains("(404"));

    let reader =
        desk.json(&["keys", "create", "reader", "--operator", "--scope", "admin-read", "--for", "1d"]);
    desk.key = reader["key"].as_str().unwrap().to_owned();
    desk.says(&["rules", "list"]);
    assert!(desk.refuses(&["rules", "apply", "rules.yaml"]).contains("this needs admin-write (403"));
}

#[test]
fn tenants_have_ceilings_and_keys_of_their_own() {
    let mut desk = Desk::with_rules();
    desk.says(&["tenants", "create", "acme", "--max-rules", "1", "--max-requests-per-second", "50"]);
    assert_eq!(row(&desk.says(&["tenants", "list"]), "acme")[1..4], ["1", "100", "50"]);
    desk.says(&["tenants", "set", "acme", "--max-keys", "7"]);
    assert_eq!(row(&desk.says(&["tenants", "list"]), "acme")[1..4], ["1", "7", "50"]);
    let made = desk.json(&["keys", "create", "acme", "--tenant", "acme", "--scope", "admin-write"]);
    desk.key = made["key"].as_str().unwrap().to_owned();
    assert!(!desk.says(&["rules", "list"]).contains("orders"));
    assert!(desk.refuses(&["rules", "list", "--tenant", "default"]).contains("its own things only (403"));
    desk.says(&["rules", "apply", "rules.yaml"]);
    desk.write("more.yaml", &format!("{RULES}      - {{ name: more, key: [], limit: 1, window: 1s }}\n"));
    assert!(desk.refuses(&["rules", "apply", "more.yaml"]).contains("at most 1 rules"));
    TOKEN.clone_into(&mut desk.key);
    desk.says(&["tenants", "delete", "acme"]);
    assert!(!desk.says(&["tenants", "list"]).contains("acme"));
    assert!(desk.refuses(&["rules", "apply", "rules.yaml", "--tenant", "acme"]).contains("(404"));
}

#[test]
fn usage_is_counted_by_rule_and_tier() {
    let desk = Desk::with_rules();
    desk.says(&["subjects", "set-tier", "orders", "u2", "enterprise"]);
    for _ in 0..11 {
        desk.check(None, "u1");
    }
    desk.check(None, "u2");
    let usage = wait_for("usage is written", std::time::Duration::from_secs(20), || {
        let usage = desk.says(&["usage", "--domain", "orders", "--tenant", "default"]);
        (usage.lines().count() == 3 && usage.contains("enterprise")).then_some(usage)
    });
    let words: Vec<Vec<&str>> = usage.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["DOMAIN", "RULE", "TIER", "ALLOWED", "DENIED", "COST"]);
    assert!(words.contains(&vec!["orders", "per-user", "free", "10", "1", "10"]), "{usage}");
    assert!(words.contains(&vec!["orders", "per-user", "enterprise", "1", "0", "1"]), "{usage}");
    let of_all = desk.says(&["usage", "--domain", "orders"]);
    assert!(of_all.starts_with("TENANT ") && of_all.contains("default  orders"), "{of_all}");
    assert_eq!(row(&desk.says(&["usage", "--top", "orders"]), "u1")[1..4], ["11", "10", "1"]);
    let both = desk.run(&["usage", "--top", "orders", "--last", "7d"]);
    assert!(texts(&both).1.contains("cannot be used with"), "{both:?}");
}

#[test]
fn json_parses_everywhere() {
    let desk = Desk::with_rules();
    desk.write("tighter.yaml", &RULES.replace("limit: 10\n", "limit: 5\n"));
    let version = desk.json(&["rules", "history", "orders"])["items"][0]["version"].to_string();
    desk.write("tiers.csv", "u2,enterprise\n");
    let prefix = desk.json(&["keys", "create", "k"])["prefix"].as_str().unwrap().to_owned();
    for arguments in [
        &["rules", "list"][..],
        &["rules", "get"],
        &["rules", "get", "orders"],
        &["rules", "diff", "tighter.yaml"],
        &["rules", "apply", "tighter.yaml", "--dry-run"],
        &["rules", "apply", "tighter.yaml"],
        &["rules", "rollback", "orders", &version, "--dry-run"],
        &["rules", "rollback", "orders", &version],
        &["rules", "rename", "orders", "per-user", "each-user"],
        &["subjects", "set-tier", "orders", "u1", "enterprise"],
        &["subjects", "get", "orders", "u1"],
        &["subjects", "list", "orders"],
        &["subjects", "clear-tier", "orders", "u1"],
        &["subjects", "import", "orders", "tiers.csv"],
        &["subjects", "reset", "orders", "u1"],
        &["subjects", "refund", "orders", "u1", "--cost", "1"],
        &["subjects", "ban", "orders", "u1", "--reason", "x"],
        &["subjects", "bans", "orders"],
        &["subjects", "unban", "orders", "u1"],
        &["subjects", "override", "orders", "u1", "each-user", "--limit", "5"],
        &["subjects", "overrides", "orders"],
        &["subjects", "clear-override", "orders", "u1", "each-user"],
        &["keys", "list"],
        &["keys", "rotate", &prefix],
        &["keys", "revoke", &prefix],
        &["tenants", "create", "acme"],
        &["tenants", "set", "acme", "--max-keys", "3"],
        &["tenants", "list"],
        &["tenants", "delete", "acme"],
        &["usage"],
        &["usage", "--top", "orders"],
        &["rules", "delete", "orders"],
    ] {
        desk.json(arguments);
    }
}

#[test]
fn what_keeps_a_command_from_the_server_is_said_with_the_remedy() {
    let desk = Desk::new();
    let admin = format!("http://{}", desk.server.admin_address());
    let list = ["rules", "list"];
    let said = |admin: &str, key: Option<&str>| refused(&run(&desk.folder, admin, key, &list), &list);
    assert!(said(&admin, None).contains("set TIDEGATE_ADMIN_KEY"));
    let wrong = said(&admin, Some("tg_AAAAAAAAAA_wrong"));
    assert!(wrong.contains("does not take this key (401)") && !wrong.contains("AAAAAAAAAA"), "{wrong}");
    let nobody = PortLease::new();
    let unreachable = said(&format!("http://{}", nobody.address()), Some(TOKEN));
    assert!(
        unreachable.contains("--admin or TIDEGATE_ADMIN") && unreachable.contains("cannot be reached"),
        "{unreachable}"
    );
    let door = said(&format!("http://{}", desk.server.address()), Some(TOKEN));
    assert!(door.contains("(404"), "the door for decisions is not the admin API: {door}");
    assert!(said("ftp://here", Some(TOKEN)).contains("write an http:// URL"));
}

#[test]
fn help_has_examples_and_completions_know_the_commands() {
    let folder = TempDir::new("operator");
    let says = |arguments: &[&str]| texts(&run(&folder, "", None, arguments)).0;
    for command in ["rules", "subjects", "keys", "usage", "tenants"] {
        let help = says(&[command, "--help"]);
        assert!(help.contains("Examples:") && help.contains(&format!("tidegate {command} ")), "{help}");
    }
    let bash = says(&["completions", "bash"]);
    for word in ["set-tier", "rollback", "rotate", "clear-override", "tenants", "--require-api-key"] {
        assert!(bash.contains(word), "{word}");
    }
}

#[test]
fn a_room_is_shown_changed_held_and_emptied() {
    let desk = Desk::new();
    let listed = desk.says(&["rooms", "list"]);
    assert!(listed.contains("demo  open") && listed.contains("10/1s"), "{listed}");
    let changed = desk.says(&["rooms", "set", "demo", "--capacity", "7", "--release-rate", "600/m"]);
    assert!(changed.contains("600/1m"), "{changed}");
    desk.says(&["rooms", "message", "demo", "We are back in five minutes."]);
    for (command, state) in
        [("pause", "paused"), ("resume", "open"), ("drain", "draining"), ("close", "closed")]
    {
        let said = desk.says(&["rooms", command, "demo"]);
        assert!(said.contains(state) && said.contains("We are back in five minutes."), "{said}");
    }
    let made = desk.says(&["rooms", "set", "sale", "--capacity", "1", "--release-rate", "1/s"]);
    assert!(made.contains("sale  open"), "{made}");
    desk.says(&["rooms", "flush", "sale", "--sessions"]);
    let shown: Value = serde_json::from_str(&desk.says(&["rooms", "show", "demo", "--json"])).unwrap();
    assert_eq!(
        (&shown["definition"]["capacity"], &shown["definition"]["session"]["limit"]),
        (&json!(7), &json!("40s"))
    );
    let refused = desk.run(&["rooms", "end", "demo", "99"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("409"), "{refused:?}");
    desk.says(&["rooms", "message", "demo"]);
    assert!(!desk.says(&["rooms", "list"]).contains("five minutes"));
    let dressed = desk.says(&["rooms", "set", "sale", "--accent", "#07a", "--min-lease", "30s", "--json"]);
    let dressed: Value = serde_json::from_str(&dressed).unwrap();
    assert_eq!(
        (&dressed["definition"]["accent"], &dressed["definition"]["min_lease"]),
        (&json!("#07a"), &json!("30s"))
    );
    let late = desk.run(&["rooms", "beacon", "sale", &"0f".repeat(32)]);
    assert!(String::from_utf8_lossy(&late.stderr).contains("409"), "{late:?}");
    assert_eq!(desk.says(&["rooms", "export", "sale"]).trim(), "");
    assert!(desk.says(&["rooms", "export", "sale", "--format", "csv"]).starts_with("queue_number,state,"));
    // Nobody is there to say yes.
    let unasked = desk.run(&["rooms", "remove", "sale"]);
    assert!(
        !unasked.status.success() && String::from_utf8_lossy(&unasked.stderr).contains("--yes"),
        "{unasked:?}"
    );
    assert!(desk.says(&["rooms", "remove", "sale", "--yes"]).contains("sale is removed"));
    assert!(!desk.says(&["rooms", "list"]).contains("sale"));
    // What was asked for and could not be done is not in the audit log as if it had been.
    let audit = desk.get("/admin/v1/audit");
    let outcome = |action: &str| {
        let all = audit["items"].as_array().unwrap().iter().filter(|entry| entry["action"] == action);
        all.map(|entry| entry["after"].to_string()).collect::<Vec<_>>()
    };
    let (ended, beacons, flushed) = (outcome("room.end"), outcome("room.beacon"), outcome("room.flush"));
    assert!(ended.len() == 2 && ended[0].contains("no visitor with this number"), "{ended:?}");
    assert!(beacons.len() == 2 && beacons[0].contains("not_done"), "{beacons:?}");
    assert!(flushed.len() == 1 && !flushed[0].contains("not_done"), "{flushed:?}");
}
