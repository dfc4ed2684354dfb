//! Commands for operators: against the admin API of a running server.

mod client;
mod keys;
mod rooms;
mod rules;
mod subjects;
mod table;
mod tenants;
mod trial;
mod usage;

use clap::Args;
use serde_json::Value;

use client::Client;
pub(super) use keys::{KeysArguments, run as keys};
pub(super) use rooms::{RoomsArguments, run as rooms};
pub(super) use rules::{RulesArguments, run as rules};
pub(super) use subjects::{SubjectsArguments, run as subjects};
pub(super) use tenants::{TenantsArguments, run as tenants};
pub(super) use usage::{UsageArguments, run as usage};

use super::terminal;
use crate::settings::Secret;

/// Where the admin API is, and who asks.
#[derive(Debug, Args)]
#[command(next_help_heading = "Admin API")]
pub(super) struct AdminArguments {
    /// Address of the admin API
    #[arg(
        long,
        env = "TIDEGATE_ADMIN",
        value_name = "URL",
        default_value = "http://127.0.0.1:8082",
        global = true
    )]
    admin: String,

    /// A key with the scope admin-read or admin-write (better in the variable than on the command line)
    #[arg(
        long = "key",
        env = "TIDEGATE_ADMIN_KEY",
        value_name = "KEY",
        hide_env_values = true,
        global = true
    )]
    admin_key: Option<Secret>,

    /// The tenant it is about, for operators. If not given: of usage and the list of keys all tenants, else the default tenant.
    /// The key of a tenant is about that tenant
    #[arg(long, env = "TIDEGATE_TENANT", value_name = "NAME", global = true)]
    tenant: Option<String>,

    /// Print JSON, as the admin API answers
    #[arg(long, global = true)]
    json: bool,
}

impl AdminArguments {
    fn client(&self) -> anyhow::Result<Client> {
        let key = self.admin_key.as_ref().ok_or_else(|| {
            anyhow::anyhow!(
                "a key is needed: set TIDEGATE_ADMIN_KEY (a new server with the embedded database prints one at its first start)"
            )
        })?;
        Client::new(&self.admin, key.expose(), self.tenant.as_deref())
    }

    /// Prints an answer as JSON where that is wanted, else what `readable` makes of it.
    fn print(&self, answer: &Value, readable: impl FnOnce(&Value) -> String) -> anyhow::Result<()> {
        if self.json {
            terminal::print(&serde_json::to_string_pretty(answer)?)
        } else {
            terminal::print(&readable(answer))
        }
    }
}

/// A text of an answer, or nothing.
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// What a change has done, in a line or two. Of versions only those of rules are told, for a rollback goes to those.
fn said_of_change(answer: &Value) -> String {
    format!("{}{}\n", warnings(answer), in_force(answer))
}

/// What a change of rules has done, in a line or two.
fn said_of_rules(answer: &Value) -> String {
    let version = answer.get("version").and_then(Value::as_i64);
    let version = version.map_or(String::new(), |version| format!("rules version {version}, "));
    format!("{}{version}{}\n", warnings(answer), in_force(answer))
}

fn warnings(answer: &Value) -> String {
    let all = answer.get("warnings").and_then(Value::as_array).into_iter().flatten();
    all.map(|warning| format!("warning: {}\n", warning.as_str().unwrap_or_default())).collect()
}

fn is_in_force(answer: &Value) -> bool {
    answer.get("in_force").and_then(Value::as_bool).unwrap_or(false)
}

fn in_force(answer: &Value) -> &'static str {
    if is_in_force(answer) { "in force on this node" } else { "written; this node has not taken it up yet" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_version_is_told_of_rules_only() {
        let answer = json!({ "version": 12, "in_force": true, "warnings": ["w"] });
        assert_eq!(said_of_change(&answer), "warning: w\nin force on this node\n");
        assert_eq!(said_of_rules(&answer), "warning: w\nrules version 12, in force on this node\n");
        assert_eq!(said_of_rules(&json!({})), "written; this node has not taken it up yet\n");
    }
}
