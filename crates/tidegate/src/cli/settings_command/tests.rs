//! Goal: each way of telling a setting beats the next, every row says which one it was, and no secret is ever shown.
//! Method: the real arguments, with variables that the test makes up and files that it writes.

mod traces;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches};
use tidegate_testkit::TempDir;

use super::*;
use crate::cli::{Arguments, WITH_SETTINGS};
use crate::serve::{ServeSettings, StoreSettings};
use crate::settings::{ResolveError, resolve};

/// A password, wherever one stands.
const PASSWORD: &str = "hunter2-hunter2-hunter2-hunter2";

/// A call of the program that is made up.
#[derive(Default)]
struct Call {
    flags: Vec<String>,
    variables: Vec<(String, OsString)>,
    files: Vec<TempDir>,
}

impl Call {
    fn flag(mut self, flags: &str) -> Self {
        self.flags.extend(flags.split(' ').map(str::to_owned));
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// A settings file, named by flag.
    fn file(mut self, text: &str) -> Self {
        let path = self.scratch(text);
        self.flags.extend(["--config".to_owned(), path.display().to_string()]);
        self
    }

    /// A file that a variable names.
    fn env_file(mut self, name: &str, text: &str) -> Self {
        let path = self.scratch(text);
        self.variables.push((name.to_owned(), path.into()));
        self
    }

    fn scratch(&mut self, text: &str) -> PathBuf {
        let directory = TempDir::new("settings");
        let path = directory.write("file", text);
        self.files.push(directory);
        path
    }

    fn environment(&self) -> Environment {
        self.variables.iter().cloned().collect()
    }

    fn resolve(&self, command: &str) -> Result<Resolved, ResolveError> {
        let words = ["tidegate", command].into_iter().filter(|word| !word.is_empty());
        let call: Vec<OsString> =
            words.map(OsString::from).chain(self.flags.iter().map(OsString::from)).collect();
        resolve(&Arguments::command(), &WITH_SETTINGS, &call, &self.environment())
    }

    fn serve(&self) -> anyhow::Result<ServeSettings> {
        let resolved = self.resolve("")?;
        let arguments = Arguments::from_arg_matches(&resolved.matches)?.serve;
        serve_command::settings(arguments, &resolved.origins, &self.environment())
    }

    fn rows(&self) -> anyhow::Result<Vec<Row>> {
        let resolved = self.resolve("settings")?;
        let command = Arguments::command();
        let Some(crate::cli::Command::Settings(arguments)) =
            Arguments::from_arg_matches(&resolved.matches)?.command
        else {
            panic!("the command is settings")
        };
        let origins = &resolved.origins;
        let store = store(&arguments.serve, origins);
        let settings = serve_command::settings(arguments.serve, origins, &self.environment())?;
        Ok(rows(command.find_subcommand("serve").unwrap(), &resolved, store, &settings.catalog))
    }

    /// The value of a setting, and what kind of place told it and which (of a file only the line).
    fn row(&self, setting: &str) -> (String, String) {
        let rows = self.rows().unwrap();
        let row = rows.iter().find(|row| row.setting == setting).unwrap();
        let value = match &row.value {
            None => "not set".to_owned(),
            Some(Shown::One(text)) => text.clone(),
            Some(Shown::Many(texts)) => texts.join(","),
        };
        let place = row.place.as_deref().unwrap_or("");
        let place = if row.source == "file" { place.rsplit(':').next().unwrap() } else { place };
        (value, format!("{} {place}", row.source).trim_end().to_owned())
    }

    /// What is said where the call is refused.
    fn error(&self) -> String {
        let error = self.rows().err().unwrap();
        assert_eq!(
            format!("{error:#}"),
            format!("{:#}", self.serve().unwrap_err()),
            "both commands say the same"
        );
        format!("{error:#}")
    }
}

fn call() -> Call {
    Call::default()
}

fn pair(value: &str, told: &str) -> (String, String) {
    (value.to_owned(), told.to_owned())
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    for (setting, variable, values) in [
        ("max-connections", "TIDEGATE_MAX_CONNECTIONS", ["1", "2", "3", "10000"]),
        ("idle-timeout", "TIDEGATE_IDLE_TIMEOUT", ["1s", "2s", "3s", "60s"]),
        ("log-level", "TIDEGATE_LOG_LEVEL", ["off", "error", "warn", "info"]),
        ("accelerate", "TIDEGATE_ACCELERATE", ["none", "batch,witness", "batch", "all"]),
        (
            "algorithm",
            "TIDEGATE_ALGORITHM",
            ["leaky_bucket", "fixed_window", "sliding_window", "token_bucket"],
        ),
        ("resp-listen", "TIDEGATE_RESP_LISTEN", ["none", "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:6380"]),
        ("admin-listen", "TIDEGATE_ADMIN_LISTEN", ["off", "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:8082"]),
    ] {
        let [flag, env, file, default] = values;
        let text = format!("# settings\n{setting}: {file}\n");
        let all = call().flag(&format!("--{setting} {flag}")).env(variable, env).file(&text);
        assert_eq!(all.row(setting), pair(flag, &format!("flag --{setting}")));
        assert_eq!(call().env(variable, env).file(&text).row(setting), pair(env, &format!("env {variable}")));
        assert_eq!(call().file(&text).row(setting), pair(file, "file 2"));
        assert_eq!(call().row(setting), pair(default, "default"));
        assert_eq!(
            call().env(variable, "").file(&text).row(setting),
            pair(file, "file 2"),
            "empty is not set"
        );
        assert_eq!(call().file(&format!("{setting}:\n")).row(setting), pair(default, "default"));
    }
}

#[test]
fn a_list_is_told_whole_by_the_strongest() {
    let file = "trusted_proxy:\n  - 10.0.0.0/8\n  - 192.168.0.0/16\nproxy-header: forwarded\n";
    let setting = "trusted-proxy";
    assert_eq!(call().file(file).row(setting), pair("10.0.0.0/8,192.168.0.0/16", "file 1"));
    let variable = "TIDEGATE_TRUSTED_PROXIES";
    let with_variable = call().file(file).env(variable, "127.0.0.1,::1");
    assert_eq!(with_variable.row(setting), pair("127.0.0.1,::1", "env TIDEGATE_TRUSTED_PROXIES"));
    let with_flags = with_variable.flag("--trusted-proxy 10.1.0.0/16 --trusted-proxy 10.2.0.0/16");
    assert_eq!(with_flags.row(setting), pair("10.1.0.0/16,10.2.0.0/16", "flag --trusted-proxy"));
    assert_eq!(call().file("trusted-proxy: []").row(setting), pair("", "default"));
    assert!(call().file("accelerate: []").error().contains("the list of 'accelerate' is empty"));
}

#[test]
fn a_switch_can_be_told_by_each_of_them_and_switched_off_by_a_variable() {
    let setting = "legacy-fields";
    assert_eq!(call().row(setting), pair("false", "default"));
    assert_eq!(call().file("legacy-fields: true").row(setting), pair("true", "file 1"));
    assert_eq!(call().file("legacy-fields: 'yes'").row(setting), pair("true", "file 1"));
    let off = call().file("legacy-fields: true").env("TIDEGATE_LEGACY_FIELDS", "false");
    assert_eq!(off.row(setting), pair("false", "env TIDEGATE_LEGACY_FIELDS"));
    assert_eq!(off.flag("--legacy-fields").row(setting), pair("true", "flag --legacy-fields"));
}

#[test]
fn port_changes_the_port_of_what_variable_and_file_say() {
    let listen = |call: Call| (call.serve().unwrap().listen.to_string(), call.row("listen").1);
    assert_eq!(listen(call().env("PORT", "99")), pair("127.0.0.1:99", "env PORT"));
    let file = "listen: 0.0.0.0:1";
    assert_eq!(listen(call().env("PORT", "99").file(file)), pair("0.0.0.0:99", "env PORT"));
    let both = call().env("PORT", "99").env("TIDEGATE_LISTEN", "[::1]:2").file(file);
    assert_eq!(listen(both), pair("[::1]:99", "env PORT"));
    let flag = call().env("PORT", "99").file(file).flag("--listen 127.0.0.1:3");
    assert_eq!(listen(flag), pair("127.0.0.1:3", "flag --listen"));
    assert_eq!(listen(call().env("PORT", "").file(file)), pair("0.0.0.0:1", "file 1"));
    for port in ["http", "65536", "-1"] {
        assert_eq!(call().env("PORT", port).error(), "PORT: write a port, 0 to 65535");
    }
}

#[test]
fn plain_names_are_taken_where_ours_are_not_set() {
    for (setting, ours, plain, values) in [
        ("fail-mode", "TIDEGATE_FAIL_MODE", "FAIL_MODE", ["deny", "local"]),
        ("algorithm", "TIDEGATE_ALGORITHM", "ALGORITHM", ["fixed_window", "sliding_window"]),
        ("database-url", "TIDEGATE_DATABASE_URL", "DATABASE_URL", ["a.db", "none"]),
    ] {
        assert_eq!(call().env(plain, values[0]).row(setting), pair(values[0], &format!("env {plain}")));
        let both = call().env(plain, values[0]).env(ours, values[1]);
        assert_eq!(both.row(setting), pair(values[1], &format!("env {ours}")));
        let empty = call().env(plain, values[0]).env(ours, "");
        assert_eq!(empty.row(setting), pair(values[0], &format!("env {plain}")));
    }
}

#[test]
fn the_store_is_named_by_the_strongest_of_its_names() {
    let store = |call: &Call| match call.serve().unwrap().store {
        StoreSettings::Memory => "memory".to_owned(),
        StoreSettings::Redis(remote) => remote.redis.to_string(),
    };
    let host = || call().env("REDIS_HOST", "h").env("REDIS_PORT", "7");
    assert_eq!(store(&host()), "redis://h:7/0");
    assert_eq!(host().row("store"), pair("(set)", "env REDIS_HOST"));
    let login = host().env("REDIS_PASSWORD", "p@ss:w/rd %").env("REDIS_DB", "3");
    assert_eq!(store(&login), "redis://***@h:7/3");
    let ipv6 = call().env("REDIS_HOST", "::1").env("REDIS_DB", "1");
    assert_eq!(store(&ipv6), "redis://[::1]:6379/1");
    let url = host().env("REDIS_URL", "redis://u");
    assert_eq!((store(&url), url.row("store").1), pair("redis://u:6379/0", "env REDIS_URL"));
    let ours = url.env("TIDEGATE_STORE", "redis://s");
    assert_eq!((store(&ours), ours.row("store").1), pair("redis://s:6379/0", "env TIDEGATE_STORE"));
    let flag = ours.flag("--store memory");
    assert_eq!((store(&flag), flag.row("store")), ("memory".to_owned(), pair("memory", "flag --store")));
    let file = host().file("store: redis://f");
    assert_eq!((store(&file), file.row("store").1), pair("redis://h:7/0", "env REDIS_HOST"));
    let other_flag = call().flag("--redis-host h").env("TIDEGATE_STORE", "redis://s");
    assert_eq!(
        (store(&other_flag), other_flag.row("store").1),
        pair("redis://h:6379/0", "flag --redis-host")
    );
    assert_eq!(store(&call().file("store: redis://f")), "redis://f:6379/0");
}

#[test]
fn what_is_wrong_in_the_file_is_named_with_its_place_all_at_once() {
    let wrong = call()
        .file("lisen: 1\nlegacy_fields: maybe\nipv6-prefix: 40\nlog-level: [info]\nthreads: 2\nTHREADS: 3\nconfig: x\nstore: {a: b}\nthread_s: 1\nidle-timeout: 5\n");
    let error = wrong.error();
    for finding in [
        ":1: there is no setting 'lisen': did you mean 'listen'?",
        ":2: legacy-fields: invalid value 'maybe' for '--legacy-fields <BOOLEAN>': value was not a boolean",
        ":3: ipv6-prefix: invalid value '40' for '--ipv6-prefix <BITS>': 40 is not in 48..=64",
        ":4: 'log-level' takes one value, not a list",
        ":6: there is no setting 'THREADS': did you mean 'threads'?",
        ":7: there is no setting 'config'",
        ":8: 'store' takes one value",
        ":9: there is no setting 'thread_s': did you mean 'threads'?",
        ":10: idle-timeout: invalid value '5' for '--idle-timeout <TIME>': '5' has no unit",
    ] {
        assert!(error.contains(finding), "{finding} is not in {error}");
    }
    assert!(!error.contains(":5:"), "what is right is not named: {error}");
    let twice = call().file("store-prefix: a\nstore_prefix: b\n").error();
    assert!(twice.contains(":2: 'store_prefix' stands twice"), "{twice}");
    assert!(call().flag("--config /nowhere/t.yaml").error().starts_with("/nowhere/t.yaml: "));
    assert!(call().env("TIDEGATE_CONFIG", "/nowhere/t.yaml").error().starts_with("/nowhere/t.yaml: "));
}

#[test]
fn a_bad_variable_is_named_unless_a_flag_wins() {
    let bad = call().env("TIDEGATE_IPV6_PREFIX", "40");
    let error = bad.error();
    assert!(
        error.starts_with("TIDEGATE_IPV6_PREFIX: invalid value '40' for '--ipv6-prefix <BITS>'"),
        "{error}"
    );
    assert_eq!(bad.flag("--ipv6-prefix 48").row("ipv6-prefix"), pair("48", "flag --ipv6-prefix"));
}

#[test]
fn the_place_that_tells_a_bad_secret_is_named_and_the_secret_is_not() {
    let database = format!("mysql://u:{PASSWORD}@h/n");
    let store = format!("http://u:{PASSWORD}@h");
    let short = &PASSWORD[..10];
    for (call, name) in [
        (call().flag(&format!("--database-url {database}")), "--database-url: "),
        (call().env("DATABASE_URL", &database), "DATABASE_URL: "),
        (call().env_file("DATABASE_URL_FILE", &database), "DATABASE_URL_FILE: "),
        (call().file(&format!("database-url: {database}")), ":1: database-url: "),
        (call().flag(&format!("--store {store}")), "--store: "),
        (call().env("REDIS_URL", &store), "REDIS_URL: "),
        (call().file(&format!("store: {store}")), ":1: store: "),
        (call().env("TIDEGATE_ADMIN_TOKEN", short), "TIDEGATE_ADMIN_TOKEN: "),
        (call().file(&format!("\nadmin-token: {short}")), ":2: admin-token: "),
        (call().file(&format!("admin-token: [{PASSWORD}]")), ":1: 'admin-token' takes one value"),
        (call().file(&format!("admin-tokn: {PASSWORD}")), "did you mean 'admin-token'?"),
        (call().env("REDIS_HOST", "h/x").env("REDIS_PASSWORD", PASSWORD), "REDIS_HOST: "),
    ] {
        let error = call.error();
        assert!(error.contains(name), "{name} is not in {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn secrets_are_taken_and_never_shown() {
    let database = format!("postgres://u:{PASSWORD}@h/n");
    let store = format!("redis://:{PASSWORD}@h");
    let file = format!("database-url: {database}\nadmin-token: {PASSWORD}\nstore: {store}\n");
    let in_files = call()
        .env_file("TIDEGATE_DATABASE_URL_FILE", &format!("{database}\n"))
        .env_file("TIDEGATE_ADMIN_TOKEN_FILE", &format!("{PASSWORD}\r\n"))
        .env_file("REDIS_URL_FILE", &store);
    let password = call()
        .env("REDIS_HOST", "h")
        .env_file("REDIS_PASSWORD_FILE", PASSWORD)
        .env("TIDEGATE_ADMIN_TOKEN", PASSWORD)
        .env("DATABASE_URL", &database);
    let flags = call().flag(&format!("--database-url {database} --admin-token {PASSWORD} --store {store}"));
    for call in [call().file(&file), in_files, password, flags] {
        let settings = call.serve().unwrap();
        assert_eq!(settings.catalog.admin_token.as_ref().unwrap().expose(), PASSWORD);
        assert!(
            matches!(&settings.catalog.database, CatalogPlace::Postgres(secret) if secret.expose() == database)
        );
        assert!(
            matches!(&settings.store, StoreSettings::Redis(remote) if remote.redis.to_string().contains("***@"))
        );
        let rows = call.rows().unwrap();
        let json = serde_json::to_string(&rows).unwrap();
        let parsed = Arguments::from_arg_matches(&call.resolve("settings").unwrap().matches).unwrap();
        for text in [table(&rows), json, format!("{settings:?}"), format!("{parsed:?}")] {
            assert!(!text.contains("hunter2"), "{text}");
        }
        for setting in ["store", "database-url", "admin-token"] {
            assert_eq!(call.row(setting).0, "(set)");
        }
    }
}

#[test]
fn a_secret_is_told_once_and_its_file_holds_something() {
    let twice = call().env("TIDEGATE_ADMIN_TOKEN", PASSWORD).env_file("TIDEGATE_ADMIN_TOKEN_FILE", PASSWORD);
    assert_eq!(
        twice.error(),
        "TIDEGATE_ADMIN_TOKEN and TIDEGATE_ADMIN_TOKEN_FILE are both set: keep one of them"
    );
    assert!(call().env_file("TIDEGATE_ADMIN_TOKEN_FILE", "\n").error().contains("the file is empty"));
    let missing = call().env("TIDEGATE_ADMIN_TOKEN_FILE", "/nowhere/token").error();
    assert!(missing.starts_with("TIDEGATE_ADMIN_TOKEN_FILE: /nowhere/token: "), "{missing}");
    // Only secrets have such variables.
    assert_eq!(call().env("TIDEGATE_LISTEN_FILE", "/nowhere").row("listen").1, "default");
}

#[test]
fn clap_takes_every_secret_as_it_is() {
    // What clap refuses it repeats, so secrets are checked after it.
    let command = Arguments::command();
    let serve = command.find_subcommand("serve").unwrap();
    for argument in serve.get_arguments().filter(|argument| is_secret(argument)) {
        let long = argument.get_long().unwrap();
        assert!(call().flag(&format!("--{long} \u{1}?:@/")).resolve("serve").is_ok(), "{long}");
    }
}

#[test]
fn every_setting_has_a_variable_of_ours_and_the_file_knows_it() {
    let command = Arguments::command();
    let serve = command.find_subcommand("serve").unwrap();
    for argument in serve.get_arguments() {
        let names = variables(argument);
        assert!(!names.is_empty(), "--{} has no variable", argument.get_long().unwrap());
        assert!(argument.is_hide_set() || names[0].starts_with("TIDEGATE_"), "{names:?}");
    }
}

#[test]
fn what_is_shown_can_be_written_into_a_file_and_is_then_the_same() {
    let told = call().env("PORT", "99").env("TIDEGATE_TRUSTED_PROXIES", "10.0.0.0/8,::1").flag(
        "--proxy-header forwarded --legacy-fields --subject-max-age 90s --threads 2 --database-url none",
    );
    let mut file = String::new();
    for row in told.rows().unwrap() {
        match row.value {
            Some(Shown::One(value)) if row.setting != "config" => {
                file.push_str(&format!("{}: '{value}'\n", row.setting));
            }
            Some(Shown::Many(values)) => {
                file.push_str(&format!("{}: {values:?}\n", row.setting.replace('-', "_")));
            }
            _ => {}
        }
    }
    let again = call().file(&file);
    let plain = |call: &Call| {
        let rows = call.rows().unwrap().into_iter().filter(|row| row.setting != "config");
        serde_json::to_value(rows.map(|row| (row.setting, row.value)).collect::<Vec<_>>()).unwrap()
    };
    assert_eq!(plain(&told), plain(&again));
    assert_eq!(again.row("listen"), pair("127.0.0.1:99", &again.row("listen").1));
}

#[test]
fn variables_that_set_quotas_are_collected_by_name() {
    let told = call()
        .env("LOGIN_RATE_LIMIT_WINDOW_SECONDS", "60")
        .env("BUY_TICKET_RATE_LIMIT_MAX_REQUESTS", "3")
        .env("LOGIN_RATE_LIMIT_MAX_REQUESTS", "")
        .env("_RATE_LIMIT_MAX_REQUESTS", "4")
        .env("RATE_LIMIT_MAX_REQUESTS", "5");
    assert_eq!(
        told.serve().unwrap().catalog.quota_variables,
        [pair("BUY_TICKET_RATE_LIMIT_MAX_REQUESTS", "3"), pair("LOGIN_RATE_LIMIT_WINDOW_SECONDS", "60")]
    );
    let place = "env LOGIN_RATE_LIMIT_WINDOW_SECONDS";
    assert_eq!(told.row("LOGIN_RATE_LIMIT_WINDOW_SECONDS"), pair("60", place));
    let many: Vec<_> = (0..=1_000).map(|n| (format!("R{n}_RATE_LIMIT_MAX_REQUESTS"), "1".into())).collect();
    assert!(Call { variables: many, ..Call::default() }.error().contains("more than 1000 variables"));
}

#[test]
fn the_table_groups_settings_and_says_where_each_was_told() {
    let text = table(&call().flag("--listen 127.0.0.1:1").rows().unwrap());
    assert!(text.starts_with("Server\n  config "), "{text}");
    let listen = text.lines().find(|line| line.trim_start().starts_with("listen ")).unwrap();
    assert_eq!(listen.split_whitespace().collect::<Vec<_>>(), ["listen", "127.0.0.1:1", "flag", "--listen"]);
    for group in ["Store", "Client addresses", "Connections", "Catalog"] {
        assert!(text.contains(&format!("\n\n{group}\n")), "{group}: {text}");
    }
}
