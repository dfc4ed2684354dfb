//! Commands for operators: against the admin API of a running server.

mod client;
mod keys;
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
pub(super) use rules::{RulesArguments, run as rules};
pub(super) use subjects::{SubjectsArguments, run as subjects};
pub(super) use tenants::{TenantsArguments, run as tenants};
pub(super) use usage::{UsageArguments, run as usage};

use super::terminal;

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
    admin_key: Option<String>,

    /// The tenant it is about, for operators; the default tenant, or the key's own, if not given
    #[arg(long, env = "TIDEGATE_TENANT", value_name = "NAME", global = true)]
    tenant: Option<String>,

    /// Print JSON, as the admin API answers
    #[arg(long, global = true)]
    json: bool,
}

impl AdminArguments {
    fn client(&self) -> anyhow::Result<Client> {
        let key = self.admin_key.clone().ok_or_else(|| {
            anyhow::anyhow!(
                "a key is needed: set TIDEGATE_ADMIN_KEY (a new server with the embedded database prints one at its first start)"
            )
        })?;
        Client::new(&self.admin, key, self.tenant.clone())
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

/// What a change has done, in a line or two.
fn said_of_change(answer: &Value) -> String {
    let mut said = String::new();
    for warning in answer.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        said.push_str(&format!("warning: {}\n", warning.as_str().unwrap_or_default()));
    }
    let version = answer.get("version").and_then(Value::as_i64);
    let in_force = answer.get("in_force").and_then(Value::as_bool).unwrap_or(false);
    let now = if in_force { "in force on this node" } else { "written; this node has not taken it up yet" };
    match version {
        Some(version) => said.push_str(&format!("version {version}, {now}\n")),
        None => said.push_str(&format!("{now}\n")),
    }
    said
}
