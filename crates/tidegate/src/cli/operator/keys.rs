//! `tidegate keys`.

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::client::{Condition, part};
use super::table::table;
use super::{AdminArguments, text};
use crate::cli::SUCCESS;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct KeysArguments {
    #[command(flatten)]
    admin: AdminArguments,

    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  tidegate keys create checkout-service                       a key for /v1/*
  tidegate keys create deploys --scope admin-write --for 90d
  tidegate keys rotate AbCd123456                             a new secret; the old one stays good for a day
  tidegate keys revoke AbCd123456";

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scope {
    /// Ask for decisions
    Check,
    /// Read in the admin API
    AdminRead,
    /// Read and change in the admin API
    AdminWrite,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List keys, without their secrets
    List,
    /// Make a key; its secret is shown once
    Create {
        /// What the key is for
        name: String,
        /// What it may do (repeatable)
        #[arg(long = "scope", value_enum, default_value = "check")]
        scopes: Vec<Scope>,
        /// How long it is good; for ever if not given
        #[arg(long = "for", value_name = "TIME")]
        lasting: Option<String>,
        /// A key for operators, who reach all tenants
        #[arg(long)]
        operator: bool,
    },
    /// Give a key a new secret
    Rotate {
        /// The visible part of the key
        prefix: String,
        /// How long the old secret stays good
        #[arg(long, value_name = "TIME", default_value = "24h")]
        grace: String,
    },
    /// Revoke a key
    Revoke {
        /// The visible part of the key
        prefix: String,
    },
}

pub(in crate::cli) fn run(arguments: &KeysArguments) -> anyhow::Result<u8> {
    let (admin, client) = (&arguments.admin, arguments.admin.client()?);
    match &arguments.action {
        Action::List => {
            let items = Value::Array(client.all("/keys")?);
            admin.print(&items, |items| {
                let rows: Vec<Vec<String>> = items.as_array().into_iter().flatten().map(row).collect();
                table(&["PREFIX", "NAME", "TENANT", "SCOPES", "CREATED", "LAST USED", "STATE"], &rows)
            })?;
        }
        Action::Create { name, scopes, lasting, operator } => {
            let scopes: Vec<String> = scopes
                .iter()
                .filter_map(|scope| Some(scope.to_possible_value()?.get_name().to_owned()))
                .collect();
            let body = json!({ "name": name, "scopes": scopes, "for": lasting, "operator": operator });
            admin.print(&client.send_json(Method::POST, "/keys", &body)?, said_of_secret)?;
        }
        Action::Rotate { prefix, grace } => {
            let path = format!("/keys/{}/rotate", part(prefix));
            admin
                .print(&client.send_json(Method::POST, &path, &json!({ "grace": grace }))?, said_of_secret)?;
        }
        Action::Revoke { prefix } => {
            let path = format!("/keys/{}", part(prefix));
            let answer = client.ask(Method::DELETE, &path, &Condition::None, None)?.json()?;
            admin.print(&answer, |answer| format!("{} is revoked\n", text(answer, "revoked")))?;
        }
    }
    Ok(SUCCESS)
}

fn said_of_secret(answer: &Value) -> String {
    format!("{}\nThis is shown once: keep it now.\n", text(answer, "key"))
}

fn row(key: &Value) -> Vec<String> {
    let scopes: Vec<&str> =
        key["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let state = match (key["revoked_at"].as_str(), key["expires_at"].as_str()) {
        (Some(_), _) => "revoked".to_owned(),
        (None, Some(end)) => format!("until {end}"),
        (None, None) => "good".to_owned(),
    };
    vec![
        text(key, "prefix").to_owned(),
        text(key, "name").to_owned(),
        key["tenant"].as_str().unwrap_or("(operator)").to_owned(),
        scopes.join(","),
        text(key, "created_at").to_owned(),
        key["last_used_at"].as_str().unwrap_or("never").to_owned(),
        state,
    ]
}
