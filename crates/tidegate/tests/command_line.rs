//! Goal: each command answers what its help says, with the exit status it promises.
//! Method: the program itself, as a shell would call it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn tidegate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(arguments)
        .env_remove("TIDEGATE_RULES")
        .env_remove("TIDEGATE_SERVER")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

#[test]
fn check_answers_by_its_exit_status() {
    let allowed = tidegate(&["check", "client_id=api_client"]);
    assert_eq!(allowed.status.code(), Some(0));
    let answer: Value = serde_json::from_str(&stdout(&allowed)).unwrap();
    assert_eq!((&answer["remaining"], &answer["limit"]), (&19.into(), &20.into()));
    let denied = tidegate(&["check", "--times", "21", "client_id=api_client"]);
    assert_eq!(denied.status.code(), Some(1));
    assert!(stdout(&denied).contains("retry_after_ms"));
    assert_eq!(tidegate(&["check", "--domain", "nowhere", "a=b"]).status.code(), Some(2));
    assert_eq!(tidegate(&["check", "nonsense"]).status.code(), Some(2));
}

#[test]
fn check_config_names_the_place_and_the_remedy() {
    for file in ["default.yaml", "payments.yaml", "website.yaml", "fleet.yaml"] {
        let path = root().join("examples/rules").join(file);
        let good = tidegate(&["check-config", "--strict", path.to_str().unwrap()]);
        assert_eq!(good.status.code(), Some(0), "{file}: {}", stdout(&good));
    }
    let both = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rules-and-rooms.yaml");
    let rules = "version: 1\ndomains:\n  - name: d\n    rules:\n      - { name: r, key: [], limit: 5, window: 60s }\n";
    fs::write(&both, format!("{rules}rooms:\n  - {{ name: a, capacity: 1, release_rate: 1/s }}\n")).unwrap();
    let said = stdout(&tidegate(&["check-config", both.to_str().unwrap()]));
    assert!(said.ends_with("rules-and-rooms.yaml: 1 rule in 1 domain, 1 room, 0 warnings\n"), "{said}");
    let bad = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bad-rules.yaml");
    fs::write(&bad, "version: 1\ndomains:\n  - name: d\n    rules:\n      - { name: r, key: [], limitt: 5, window: 60s }\n")
        .unwrap();
    let output = tidegate(&["check-config", bad.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains(":5:") && text.contains("limit"), "{text}");
    assert_eq!(tidegate(&["check-config", "/nowhere.yaml"]).status.code(), Some(2));
}

/// What only the server sees of a room is said before it starts, with its place.
#[test]
fn check_config_looks_at_hosts_places_and_pages_of_rooms() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("check-rooms");
    fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    write("good.html", "{% extends \"page.html\" %}{% block footer %}<p>{{ title }}</p>{% endblock %}");
    write("bad.html", "{% extends \"page.html\" %}\n{% block footer %}{{ tittle }}{% endblock %}");
    let right_to_left = write("he.yaml", "language: he\ndirection: rtl\nthousands: \",\"\ntexts: {}\n");
    let wrong_language =
        write("xx.yaml", "language: nl\ndirection: ltr\nthousands: \"\"\ntexts:\n  nonsense: \"x\"\n");
    let room = |fields: &str| {
        format!(
            "version: 1\ndomains: []\nrooms:\n  - name: sale\n    capacity: 1\n    release_rate: 1/s\n    hosts: [shop.example]\n{fields}"
        )
    };
    let templates = folder.to_str().unwrap();
    let said = |fields: &str, more: &[&str]| {
        let file = write("rules.yaml", &room(fields));
        let output = tidegate(&[&["check-config", &file], more].concat());
        (output.status.code(), stdout(&output) + &String::from_utf8_lossy(&output.stderr))
    };
    let with_templates = ["--room-templates", templates];
    let good = said(
        "    template: good.html\n    accent: '#07a'\n    return_to: https://shop.example/x\n",
        &with_templates,
    );
    assert_eq!(good.0, Some(0), "{}", good.1);
    assert!(good.1.ends_with("rules.yaml: 1 room, 0 warnings\n"), "{}", good.1);
    for (fields, more, place, what) in [
        ("    hosts: ['*.example']\n", &[][..], ":7:13 ", "is a pattern"),
        ("    return_to: //evil.example\n", &[], ":8:16 ", "two slashes"),
        ("    return_to: https://evil.example/\n", &[], ":8:16 ", "not one of this room's hosts"),
        ("    accent: red\n", &[], ":8:13 ", "is not a colour"),
        ("    asset_origins: ['https://a;b']\n", &[], ":8:20 ", "is not an origin"),
        ("    template: good.html\n", &[], ":8:15 ", "--room-templates"),
        ("    template: bad.html\n", &with_templates, ":8:15 ", "bad.html:2"),
        ("    template: none.html\n", &with_templates, ":8:15 ", "check the path"),
    ] {
        let text = match fields.starts_with("    hosts") {
            true => room("").replace("    hosts: [shop.example]\n", fields),
            false => room(fields),
        };
        let file = write("rules.yaml", &text);
        let output = tidegate(&[&["check-config", file.as_str()], more].concat());
        let said = stdout(&output);
        assert_eq!(output.status.code(), Some(1), "{fields}: {said}");
        assert!(said.contains(place) && said.contains(what), "{fields}: {said}");
    }
    let hebrew = ["--room-language", right_to_left.as_str(), "--room-default-language", "he"];
    assert_eq!(said("", &hebrew).0, Some(0), "{}", said("", &hebrew).1);
    let wrong = said("", &["--room-language", &wrong_language]);
    assert_eq!(wrong.0, Some(2), "{}", wrong.1);
    assert!(wrong.1.contains("xx.yaml:5") && wrong.1.contains("no such text"), "{}", wrong.1);
    let wrong = said("", &["--room-default-language", "tlh"]);
    assert!(wrong.0 == Some(2) && wrong.1.contains("no language 'tlh'"), "{}", wrong.1);
}

#[test]
fn explain_says_which_rules_match_and_why() {
    let text = stdout(&tidegate(&["explain", "client_id=api_client"]));
    assert!(text.contains("matches        api-client"), "{text}");
    assert!(text.contains("does not match premium-client"), "{text}");
    assert!(text.contains("it is an 'otherwise' rule, and another enforced rule matched"), "{text}");
    assert!(text.contains("the binding rule is api-client"), "{text}");
}

#[test]
fn explain_says_what_a_lease_adds_to_the_bound() {
    let path = root().join("examples/rules/fleet.yaml");
    let text =
        stdout(&tidegate(&["explain", "--rules", path.to_str().unwrap(), "user_id=u1", "path=/v1/charges"]));
    for line in [
        "    leased: a node takes 500 units in advance and gives back what is left after 1s",
        "    passes at most 50000 + 50000/1s × τ + N × 500 in any time τ, with leases on N nodes",
        "    leased: a node takes 50 units in advance and gives back what is left after 1s",
        "    passes at most 100000 in each window, as if it were exact: a lease ends with its window",
    ] {
        assert!(text.lines().any(|found| found == line), "{text}");
    }
    assert_eq!(text.matches("leased").count(), 2, "the exact rule says nothing of it: {text}");
}

#[test]
fn schema_and_completions_are_printed() {
    let schema: Value = serde_json::from_str(&stdout(&tidegate(&["schema"]))).unwrap();
    assert!(schema["$schema"].is_string());
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&tidegate(&["completions", shell])).contains("tidegate"), "{shell}");
    }
}

#[test]
fn help_has_examples_and_settings_that_contradict_are_refused() {
    for command in
        [vec!["--help"], vec!["check", "--help"], vec!["explain", "--help"], vec!["replay", "--help"]]
    {
        let output = tidegate(&command);
        assert!(output.status.success() && stdout(&output).contains("Example"), "{command:?}");
    }
    let output = tidegate(&["serve", "--trusted-proxy", "10.0.0.0/8"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--proxy-header"));
    let output = tidegate(&["serve", "--proxy-header", "forwarded", "--trusted-proxy", "0.0.0.0/0"]);
    assert_eq!(output.status.code(), Some(2));
}

/// The program with only these variables of ours.
fn tidegate_with(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).env_clear().envs(variables.iter().copied()).output().unwrap()
}

#[test]
fn settings_says_what_counts_and_where_it_was_told() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("settings.yaml");
    fs::write(&file, "listen: 0.0.0.0:1\nlog_level: warn\nmax-connections: 7\n").unwrap();
    let variables =
        [("TIDEGATE_CONFIG", file.to_str().unwrap()), ("PORT", "99"), ("TIDEGATE_LOG_LEVEL", "error")];
    let output = tidegate_with(&["settings", "--json", "--log-level", "off"], &variables);
    assert_eq!(output.status.code(), Some(0));
    let rows: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let row = |setting: &str| {
        let rows = rows.as_array().unwrap();
        let row = rows.iter().find(|row| row["setting"] == setting).unwrap();
        (row["value"].clone(), row["source"].clone(), row["place"].clone())
    };
    assert_eq!(row("listen"), ("0.0.0.0:99".into(), "env".into(), "PORT".into()));
    assert_eq!(row("log-level"), ("off".into(), "flag".into(), "--log-level".into()));
    assert_eq!(row("threads"), (Value::Null, "default".into(), Value::Null));
    let place = format!("{}:3", file.display());
    assert_eq!(row("max-connections"), ("7".into(), "file".into(), place.clone().into()));
    let table = stdout(&tidegate_with(&["settings"], &variables));
    assert!(table.lines().any(|line| line.ends_with(&format!("file {place}"))), "{table}");
    let defaults =
        stdout(&tidegate_with(&["settings"], &[("TIDEGATE_LOG_LEVEL", ""), ("TIDEGATE_CONFIG", "")]));
    assert!(
        defaults.lines().skip(1).all(|line| !line.starts_with(' ') || line.ends_with(" default")),
        "{defaults}"
    );
}

#[test]
fn settings_that_cannot_be_used_are_refused_by_both_commands_in_the_same_words() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bad-settings.yaml");
    fs::write(&file, "lisen: 1\n").unwrap();
    let config = file.to_str().unwrap();
    for (arguments, variables, words) in [
        (vec!["--config", config], vec![], "bad-settings.yaml:1: there is no setting 'lisen': did you mean"),
        (vec![], vec![("TIDEGATE_THREADS", "none")], "TIDEGATE_THREADS: invalid value 'none'"),
        (vec!["--threads", "none"], vec![], "invalid value 'none' for '--threads <N>'"),
        (vec![], vec![("TIDEGATE_ADMIN_TOKEN", "hunter2")], "TIDEGATE_ADMIN_TOKEN: the token must have"),
    ] {
        let run = |command: &[&str]| tidegate_with(&[command, &arguments].concat(), &variables);
        for output in [run(&["serve"]), run(&["settings"]), run(&[])] {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{errors}");
            assert!(errors.starts_with("error: ") && errors.contains(words), "{errors}");
            assert!(!errors.contains("hunter2") && output.stdout.is_empty(), "{errors}");
        }
    }
}

#[test]
fn help_names_variables_and_shows_no_secret() {
    let variables = [
        ("TIDEGATE_LISTEN", "0.0.0.0:1"),
        ("TIDEGATE_ADMIN_TOKEN", "hunter2"),
        ("TIDEGATE_STORE", "hunter2"),
        ("REDIS_PASSWORD", "hunter2"),
        ("TIDEGATE_DATABASE_URL", "hunter2"),
    ];
    for command in [vec!["--help"], vec!["serve", "--help"], vec!["settings", "--help"], vec!["serve", "-h"]]
    {
        let help = stdout(&tidegate_with(&command, &variables));
        assert!(help.contains("[env: TIDEGATE_LISTEN=0.0.0.0:1]"), "{command:?}: {help}");
        assert!(
            help.contains("[env: TIDEGATE_ADMIN_TOKEN]") && !help.contains("hunter2"),
            "{command:?}: {help}"
        );
    }
}

#[test]
fn every_crate_is_on_the_map() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(map.contains(&format!("(crates/{name})")), "ARCHITECTURE.md does not name {name}");
    }
    for line in map.lines().filter_map(|line| line.split_once("(crates/")) {
        let name = line.1.split(')').next().unwrap();
        assert!(
            root().join("crates").join(name).is_dir(),
            "ARCHITECTURE.md names {name}, which is not there"
        );
    }
}
