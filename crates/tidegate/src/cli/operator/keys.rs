//! `tidegate keys`.

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_engine::{Clock, SystemClock};

use super::client::{Condition, part};
use super::table::table;
use super::{AdminArguments, is_in_force, text};
use crate::cli::SUCCESS;
use crate::gate::unix_us;

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
            let now_us = unix_us(SystemClock::new().now());
            admin.print(&items, |items| {
                let items = items.as_array().into_iter().flatten();
                let rows: Vec<Vec<String>> = items.map(|key| row(key, now_us)).collect();
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
            admin.print(&answer, said_of_revoked)?;
        }
    }
    Ok(SUCCESS)
}

fn said_of_secret(answer: &Value) -> String {
    let not_yet = if is_in_force(answer) { "" } else { "This node does not know it yet.\n" };
    format!("{}\nThis is shown once: keep it now.\n{not_yet}", text(answer, "key"))
}

fn said_of_revoked(answer: &Value) -> String {
    let not_yet = if is_in_force(answer) { "" } else { ", but this node still takes it for now" };
    format!("{} is revoked{not_yet}\n", text(answer, "revoked"))
}

fn row(key: &Value, now_us: i64) -> Vec<String> {
    let scopes: Vec<&str> =
        key["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let state = match (key["revoked_at"].as_str(), key["expires_at"].as_str()) {
        (Some(_), _) => "revoked".to_owned(),
        (None, Some(end)) if is_over(end, now_us) => format!("expired {end}"),
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

fn is_over(end: &str, now_us: i64) -> bool {
    end.parse::<Timestamp>().is_ok_and(|end| end.as_microsecond() <= now_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_good_until_its_end_and_expired_from_then_on() {
        let state = |end: Option<&str>, revoked: Option<&str>| {
            let key = json!({ "expires_at": end, "revoked_at": revoked });
            row(&key, 1_000_000).pop().unwrap()
        };
        let (then, later) = ("1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z");
        assert_eq!(state(Some(then), None), format!("expired {then}"));
        assert_eq!(state(Some(later), None), format!("until {later}"));
        assert_eq!((state(None, None).as_str(), state(Some(then), Some(then)).as_str()), ("good", "revoked"));
    }

    #[test]
    fn what_this_node_has_not_taken_up_is_said() {
        let said = said_of_revoked(&json!({ "revoked": "Ab", "in_force": false }));
        assert_eq!(said, "Ab is revoked, but this node still takes it for now\n");
        assert_eq!(said_of_revoked(&json!({ "revoked": "Ab", "in_force": true })), "Ab is revoked\n");
        let said = said_of_secret(&json!({ "key": "k", "in_force": false }));
        assert!(said.ends_with("This node does not know it yet.\n"), "{said}");
    }
}
