//! `tidegate rules`.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use tidegate_config::{domain_settings_json, parse_rules_with, rule_json};
use tidegate_core::rule::model::Domain;

use super::client::{Body, Client, Condition, part, read_input};
use super::table::table;
use super::trial::{self, elsewhere, said_of_trial};
use super::{AdminArguments, said_of_rules, text};
use crate::cli::{SUCCESS, terminal};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct RulesArguments {
    #[command(flatten)]
    admin: AdminArguments,

    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  tidegate rules list                                the domains and their rules
  tidegate rules get > rules.yaml                    all that the database has, as a rule file
  tidegate rules diff rules.yaml                     what applying it would change
  tidegate rules apply rules.yaml --dry-run          and what that would have done to recent requests
  tidegate rules apply rules.yaml --log access.log   ... to a log
  tidegate rules apply rules.yaml                    change it: all of it, or nothing
  tidegate rules history payments
  tidegate rules rollback payments 17";

#[derive(Debug, Subcommand)]
enum Action {
    /// List domains and rules
    List {
        /// One domain only
        domain: Option<String>,
    },
    /// Print a rule or a domain as JSON, or all domains of the database as a rule file
    Get {
        /// The domain
        domain: Option<String>,
        /// The rule
        rule: Option<String>,
    },
    /// Put the domains of a rule file in force: all of it, or nothing
    Apply {
        /// Rule file; - is standard input
        file: PathBuf,
        /// Change nothing; show what would change, and what it would have done to recent requests
        #[arg(long)]
        dry_run: bool,
        /// How much of the recent requests a dry run looks at
        #[arg(long, value_name = "TIME", default_value = "15m")]
        last: String,
        /// A dry run on an access log instead (repeatable)
        #[arg(long, value_name = "LOG")]
        log: Vec<PathBuf>,
        /// Take an entry from a named field of the log (repeatable), for example user_id=user
        #[arg(long = "field", value_name = "ENTRY=FIELD", requires = "log")]
        fields: Vec<String>,
        /// Remove domains that the file does not name
        #[arg(long)]
        prune: bool,
    },
    /// Show what applying a rule file would change
    Diff {
        /// Rule file; - is standard input
        file: PathBuf,
        /// As if domains that the file does not name were removed
        #[arg(long)]
        prune: bool,
    },
    /// Remove a rule, or a domain with its rules
    Delete {
        /// The domain
        domain: String,
        /// The rule
        rule: Option<String>,
    },
    /// Give a rule another name; it keeps its buckets
    Rename {
        /// The domain
        domain: String,
        /// The rule
        rule: String,
        /// Its new name
        to: String,
    },
    /// Show what changed, newest first
    History {
        /// The domain
        domain: String,
        /// One rule only
        #[arg(long)]
        rule: Option<String>,
    },
    /// Put a domain back to how it was in a version
    Rollback {
        /// The domain
        domain: String,
        /// The version, from the history
        version: i64,
        /// Change nothing; show what would change
        #[arg(long)]
        dry_run: bool,
    },
}

pub(in crate::cli) fn run(arguments: &RulesArguments) -> anyhow::Result<u8> {
    let (admin, client) = (&arguments.admin, arguments.admin.client()?);
    match &arguments.action {
        Action::List { domain } => list(admin, &client, domain.as_deref())?,
        Action::Get { domain, rule } => get(admin, &client, domain.as_deref(), rule.as_deref())?,
        Action::Apply { file, dry_run, last, log, fields, prune } => {
            let text = read_input(file)?;
            let others = others(*prune);
            if !log.is_empty() {
                trial::on_logs(admin, &client, &text, (log, fields), others)?;
            } else if *dry_run {
                let path = format!("/import?others={others}&dry_run={}", part(last));
                let body = Some(Body::rules(text, file));
                let answer = client.ask(Method::POST, &path, &Condition::None, body)?.json()?;
                admin.print(&answer, said_of_trial)?;
            } else {
                let path = format!("/import?others={others}");
                let body = Some(Body::rules(text, file));
                let answer = client.ask(Method::POST, &path, &Condition::None, body)?.json()?;
                admin.print(&answer, |answer| {
                    format!("{}{}", said_of_differences(answer), said_of_rules(answer))
                })?;
            }
        }
        Action::Diff { file, prune } => {
            let path = format!("/import?others={}&dry_run=1s", others(*prune));
            let body = Some(Body::rules(read_input(file)?, file));
            let answer = client.ask(Method::POST, &path, &Condition::None, body)?.json()?;
            admin.print(&answer, said_of_differences)?;
        }
        Action::Delete { domain, rule } => {
            let path = rule_path(domain, rule.as_deref());
            let answer = client.ask(Method::DELETE, &path, &Condition::Any, None)?.json()?;
            admin.print(&answer, said_of_rules)?;
        }
        Action::Rename { domain, rule, to } => {
            let path = format!("{}/rename", rule_path(domain, Some(rule)));
            let body = Some(Body::json(&json!({ "to": to }))?);
            let answer = client.ask(Method::POST, &path, &Condition::Any, body)?.json()?;
            admin.print(&answer, said_of_rules)?;
        }
        Action::History { domain, rule } => history(admin, &client, domain, rule.as_deref())?,
        Action::Rollback { domain, version, dry_run } => {
            let dry_run = if *dry_run { "?dry_run=15m" } else { "" };
            let path = format!("/domains/{}/rollback{dry_run}", part(domain));
            let body = Some(Body::json(&json!({ "version": version }))?);
            let answer = client.ask(Method::POST, &path, &Condition::Any, body)?.json()?;
            admin.print(&answer, |answer| {
                if dry_run.is_empty() { said_of_rules(answer) } else { said_of_trial(answer) }
            })?;
        }
    }
    Ok(SUCCESS)
}

const fn others(prune: bool) -> &'static str {
    if prune { "remove" } else { "keep" }
}

fn rule_path(domain: &str, rule: Option<&str>) -> String {
    match rule {
        Some(rule) => format!("/domains/{}/rules/{}", part(domain), part(rule)),
        None => format!("/domains/{}", part(domain)),
    }
}

fn list(admin: &AdminArguments, client: &Client, domain: Option<&str>) -> anyhow::Result<()> {
    let domains = match domain {
        Some(domain) => vec![domain.to_owned()],
        None => names_of(&client.all("/domains")?),
    };
    let mut items = Vec::new();
    for domain in &domains {
        for mut item in client.all(&format!("/domains/{}/rules", part(domain)))? {
            item["domain"] = Value::from(domain.as_str());
            items.push(item);
        }
    }
    admin.print(&Value::Array(items), |items| {
        let rows: Vec<Vec<String>> = items.as_array().into_iter().flatten().map(row_of_rule).collect();
        table(&["DOMAIN", "RULE", "LIMIT", "WINDOW", "ALGORITHM", "KEY", "MODE", "VERSION"], &rows)
    })
}

fn row_of_rule(item: &Value) -> Vec<String> {
    let rule = &item["rule"];
    let keys: Vec<&str> = rule["key"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let window = match (text(rule, "window"), text(rule, "permit_ttl")) {
        ("", ttl) => ttl,
        (window, _) => window,
    };
    let mode = text(rule, "mode");
    vec![
        text(item, "domain").to_owned(),
        text(item, "name").to_owned(),
        rule["limit"].to_string(),
        window.to_owned(),
        text(rule, "algorithm").to_owned(),
        keys.join(","),
        if mode.is_empty() { "enforce" } else { mode }.to_owned(),
        item["version"].to_string(),
    ]
}

fn get(
    admin: &AdminArguments,
    client: &Client,
    domain: Option<&str>,
    rule: Option<&str>,
) -> anyhow::Result<()> {
    let Some(domain) = domain else {
        let export = client.get("/export")?.body;
        let export = String::from_utf8_lossy(&export);
        return admin.print(&as_json(&export)?, |_| export.into_owned());
    };
    let reply = client.get(&rule_path(domain, rule))?;
    terminal::print(&serde_json::to_string_pretty(&reply.json()?)?)?;
    if let Some(etag) = reply.etag {
        terminal::print_note(&format!("ETag: {etag}"));
    }
    Ok(())
}

/// The names of domains, each once: one may be in the rule file and in the database.
fn names_of(domains: &[Value]) -> Vec<String> {
    let mut seen = HashSet::new();
    let names = domains.iter().map(|domain| text(domain, "name"));
    names.filter(|name| seen.insert(*name)).map(str::to_owned).collect()
}

/// A rule file as JSON, which is a rule file, too.
fn as_json(export: &str) -> anyhow::Result<Value> {
    let rules = parse_rules_with(export, "the server's rules", &elsewhere())?.rules;
    let domain = |domain: &Domain| {
        let mut document = domain_settings_json(domain);
        document["rules"] = domain.rules.iter().map(rule_json).collect();
        document
    };
    Ok(json!({ "version": 1, "domains": rules.domains.iter().map(domain).collect::<Value>() }))
}

fn history(admin: &AdminArguments, client: &Client, domain: &str, rule: Option<&str>) -> anyhow::Result<()> {
    let filter = rule.map_or(String::new(), |rule| format!("?rule={}", part(rule)));
    let items = client.all_from(&format!("/domains/{}/history{filter}", part(domain)), "before")?;
    if items.is_empty() {
        bail!("nothing is known of the domain '{domain}'");
    }
    admin.print(&json!({ "items": items }), |answer| {
        let row = |item: &Value| {
            let rule = text(item, "rule");
            vec![
                item["version"].to_string(),
                text(item, "at").to_owned(),
                text(item, "action").to_owned(),
                if rule.is_empty() { "(settings)" } else { rule }.to_owned(),
                text(item, "actor").to_owned(),
            ]
        };
        let rows: Vec<Vec<String>> = answer["items"].as_array().into_iter().flatten().map(row).collect();
        table(&["VERSION", "AT", "ACTION", "RULE", "BY"], &rows)
    })
}

/// What differs, a line or two a rule.
pub(super) fn said_of_differences(answer: &Value) -> String {
    let changed = answer["changed"].as_array().map_or(&[][..], Vec::as_slice);
    if changed.is_empty() {
        return "nothing changes\n".to_owned();
    }
    let mut said = String::new();
    for one in changed {
        let what = match one["rule"].as_str() {
            Some(rule) => format!("{} / {rule}", text(one, "domain")),
            None => format!("{} (settings)", text(one, "domain")),
        };
        let (before, after) = (&one["before"], &one["after"]);
        match (before.is_null(), after.is_null()) {
            (true, _) => said.push_str(&format!("+ {what}\n    {after}\n")),
            (_, true) => said.push_str(&format!("- {what}\n")),
            (false, false) => {
                said.push_str(&format!("~ {what}\n"));
                said.push_str(&changed_fields(before, after));
            }
        }
    }
    said
}

fn changed_fields(before: &Value, after: &Value) -> String {
    let empty = serde_json::Map::new();
    let (before, after) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let differs = |name: &&String| before.get(*name) != after.get(*name);
    let line = |name: &String| {
        let show = |value: Option<&Value>| value.map_or_else(|| "(not there)".to_owned(), Value::to_string);
        format!("    {name}: {} -> {}\n", show(before.get(name)), show(after.get(name)))
    };
    names.into_iter().filter(differs).map(line).collect()
}
