//! `tidegate rules apply --log`: a rule file tried on access logs, against the rules that the server has.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tidegate_config::{Defaults, RoomsOfRules, parse_rules_with};
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Domain, Rules};

use super::client::Client;
use super::rules::said_of_differences;
use super::{AdminArguments, text};
use crate::admin::effect_json;
use crate::cli::check::block_on;
use crate::replay::{LogStream, Progress, ReadOptions, trial_requests_with};
use crate::trial::{Source, compare};

/// Tries the domains of `text` on logs, one after the other.
pub(super) fn on_logs(
    admin: &AdminArguments,
    client: &Client,
    text: &str,
    (logs, fields): (&[PathBuf], &[String]),
    others: &str,
) -> anyhow::Result<()> {
    let export = String::from_utf8(client.get("/export")?.body).context("the export is not UTF-8")?;
    let before = parse_rules_with(&export, "the server's rules", &elsewhere())?.rules;
    let status = client.get("/status")?.json()?;
    let after = parse_rules_with(text, "the rule file", &defaults_of(&status))?.rules;
    refuse_domains_of_file(&status, &after)?;
    let find = |rules: &Rules, name: &str| rules.domains.iter().find(|domain| domain.name == name).cloned();
    let mut names: Vec<&str> = after.domains.iter().map(|domain| domain.name.as_str()).collect();
    if others == "remove" {
        names.extend(before.domains.iter().map(|domain| domain.name.as_str()));
        names.sort_unstable();
        names.dedup();
    }
    let mut results = Vec::new();
    for name in names {
        let (was, is) = (find(&before, name), find(&after, name));
        if was == is {
            continue;
        }
        let effect = effect_of(name, [was, is], logs, fields)?;
        results.push(json!({ "domain": name, "effect": effect }));
    }
    let answer = json!({ "dry_run": true, "tried_on": "the logs", "results": results });
    admin.print(&answer, said_of_trial)
}

/// The rooms of a server are no matter of the rules that it exports.
pub(super) fn elsewhere() -> Defaults {
    Defaults { rooms: RoomsOfRules::Elsewhere, ..Defaults::default() }
}

/// What holds on the server where a rule says nothing.
fn defaults_of(status: &Value) -> Defaults {
    let named = Algorithm::ALL.into_iter().find(|one| one.name() == self::text(status, "default_algorithm"));
    named.map_or_else(elsewhere, |algorithm| Defaults { algorithm, ..elsewhere() })
}

/// To apply them would be refused, too.
fn refuse_domains_of_file(status: &Value, wanted: &Rules) -> anyhow::Result<()> {
    let in_file: Vec<&str> =
        status["file_domains"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match wanted.domains.iter().find(|domain| in_file.contains(&domain.name.as_str())) {
        Some(domain) => {
            bail!("the domain '{}' is in the server's rule file, and only that file changes it", domain.name)
        }
        None => Ok(()),
    }
}

fn effect_of(
    name: &str,
    [was, is]: [Option<Domain>; 2],
    logs: &[PathBuf],
    fields: &[String],
) -> anyhow::Result<Value> {
    let mut options = ReadOptions::default();
    for field in fields {
        options.fields.add(field)?;
    }
    options.fields.offer_used_by([&was, &is].into_iter().flatten().flat_map(|domain| &domain.rules));
    let alone = |domain: Option<Domain>| RuleSet::compile(Rules { domains: domain.into_iter().collect() });
    let (was, is) = (alone(was)?, alone(is)?);
    let stream = LogStream::open(logs, &options)?;
    let progress = Progress::on_stderr(stream.total_bytes());
    let mut failed = None;
    let requests = trial_requests_with(stream, progress)
        .map_while(|request| request.map_err(|error| failed = Some(error)).ok());
    let made = block_on(compare(was, is, name, Source::Log, requests))??;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(effect_json(&made)),
    }
}

/// What a change would have done.
pub(super) fn said_of_trial(answer: &Value) -> String {
    let mut said = if answer.get("changed").is_some() { said_of_differences(answer) } else { String::new() };
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        said.push_str(&format!("warning: {}\n", warning.as_str().unwrap_or_default()));
    }
    for result in answer["results"].as_array().into_iter().flatten() {
        let effect = &result["effect"];
        let number = |one: &Value| one.as_u64().unwrap_or(0);
        if !said.is_empty() {
            said.push('\n');
        }
        said.push_str(&format!(
            "{} on {}, {} requests{}:\n  allowed {} -> {}, denied {} -> {}\n  newly denied {}, newly allowed {}\n",
            text(result, "domain"),
            text(answer, "tried_on"),
            number(&effect["requests"]),
            span(effect),
            number(&effect["before"]["allowed"]),
            number(&effect["after"]["allowed"]),
            number(&effect["before"]["denied"]),
            number(&effect["after"]["denied"]),
            number(&effect["newly_denied"]),
            number(&effect["newly_allowed"]),
        ));
        if number(&effect["unmatched"]) > 0 {
            said.push_str(&format!(
                "  no rule applies to {} of them: do they have the entries that the rules' keys need? (--field)\n",
                number(&effect["unmatched"])
            ));
        }
        for rule in effect["by_rule"].as_array().into_iter().flatten() {
            said.push_str(&format!(
                "  rule {}: denies {} -> {}\n",
                text(rule, "rule"),
                number(&rule["denied_before"]),
                number(&rule["denied_after"])
            ));
        }
        for key in effect["newly_denied_keys"].as_array().into_iter().flatten() {
            said.push_str(&format!("  {} requests of {}\n", number(&key["requests"]), text(key, "key")));
        }
    }
    said.push_str("nothing was changed\n");
    said
}

fn span(effect: &Value) -> String {
    match (effect["from"].as_str(), effect["to"].as_str()) {
        (Some(from), Some(to)) => format!(" from {from} to {to}"),
        _ => String::new(),
    }
}
