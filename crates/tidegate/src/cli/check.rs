//! `tidegate check`: one decision from the shell.

use std::future::Future;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Map, Value, json};
use tidegate_engine::{Engine, Request, random_seed};
use tidegate_store::{MemoryOptions, MemoryStore};
use tidegate_wire::check::{MAX_COST, parse_check};
use tidegate_wire::identity::Ipv6Prefix;

use super::http_client::{Address, send};
use super::{NEGATIVE, SUCCESS, rule_file, terminal};
use crate::http::decision_json;

/// The most decisions of one call.
const MAX_TIMES: u64 = 1_000_000;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 allowed, 1 denied, 2 no decision.\n\nExamples:\n  tidegate check client_id=api_client\n  tidegate check --rules rules.yaml --domain payments --times 11 user_id=u1\n  tidegate check --server http://127.0.0.1:8080 --cost 5 client_id=api_client"
)]
pub(super) struct CheckArguments {
    /// Ask this running server instead of deciding here from rest
    #[arg(long, short, value_name = "URL", conflicts_with = "rules")]
    server: Option<String>,

    /// API key, where the server wants one
    #[arg(long, env = "TIDEGATE_API_KEY", value_name = "KEY", hide_env_values = true, requires = "server")]
    key: Option<String>,

    /// Rule file to decide by; without one, the shipped example rules
    #[arg(long, short, env = "TIDEGATE_RULES", value_name = "FILE")]
    rules: Option<PathBuf>,

    #[command(flatten)]
    rules_format: rule_file::FormatArgument,

    /// Domain of the request
    #[arg(long, short, default_value = "default", value_name = "NAME")]
    domain: String,

    /// Units to take
    #[arg(long, short, default_value_t = 1, value_name = "UNITS", value_parser = clap::value_parser!(u64).range(1..=MAX_COST))]
    cost: u64,

    /// Ask this often, and print the last answer
    #[arg(long, short, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_TIMES))]
    times: u64,

    /// Ask without charging
    #[arg(long)]
    peek: bool,

    /// The request's entries
    #[arg(required = true, value_name = "ENTRY=VALUE", value_parser = entry_argument)]
    entries: Vec<Entry>,
}

/// One entry of a request.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    name: String,
    value: String,
}

/// Reads `name=value`.
pub(super) fn entry_argument(text: &str) -> Result<Entry, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok(Entry { name: name.to_owned(), value: value.to_owned() })
        }
        _ => Err("write an entry as name=value, for example client_id=api_client".to_owned()),
    }
}

/// The body that `/v1/check` would be sent.
pub(super) fn body_of(domain: &str, entries: &[Entry], cost: u64, peek: bool) -> anyhow::Result<String> {
    let mut descriptors = Map::new();
    for entry in entries {
        if descriptors.insert(entry.name.clone(), Value::from(entry.value.as_str())).is_some() {
            bail!("the entry '{}' stands twice; a request has each entry once", entry.name);
        }
    }
    Ok(json!({ "domain": domain, "descriptors": descriptors, "cost": cost, "peek": peek }).to_string())
}

pub(super) fn run(arguments: &CheckArguments) -> anyhow::Result<u8> {
    let body = body_of(&arguments.domain, &arguments.entries, arguments.cost, arguments.peek)?;
    let answer = block_on(async {
        match &arguments.server {
            Some(server) => ask_server(arguments, server, &body).await,
            None => decide_here(arguments, &body).await,
        }
    })??;
    terminal::print(&String::from_utf8_lossy(&answer))?;
    let fields: Value =
        serde_json::from_slice(&answer).context("the answer is not JSON; is it a Tidegate?")?;
    match fields.get("allowed").and_then(Value::as_bool) {
        Some(true) => Ok(SUCCESS),
        Some(false) => Ok(NEGATIVE),
        None => bail!("the server refused the request"),
    }
}

/// Runs a future on this thread.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("the runtime cannot be started")?.block_on(future))
}

/// Decides as a server would that has just started: with the same checks of the request.
async fn decide_here(arguments: &CheckArguments, body: &str) -> anyhow::Result<Vec<u8>> {
    let loaded = rule_file::load(arguments.rules.as_deref(), arguments.rules_format)?;
    if loaded.rules.domain(&arguments.domain).is_none() {
        bail!("there is no domain '{}' in the rules", arguments.domain);
    }
    let engine = Engine::new(loaded.rules, MemoryStore::new(&MemoryOptions::new(random_seed())));
    let parsed = parse_check(body.as_bytes(), Ipv6Prefix::default())?;
    let entries: Vec<(&str, &str)> = parsed.entries.iter().map(|(name, value)| (&**name, &**value)).collect();
    let request = Request::new(&parsed.domain, &entries).with_cost(parsed.cost);
    let mut answer = Vec::new();
    for _ in 0..arguments.times {
        let decision =
            if parsed.peek { engine.peek(&request).await? } else { engine.decide(&request).await? };
        answer = decision_json(&decision);
    }
    Ok(answer)
}

async fn ask_server(arguments: &CheckArguments, server: &str, body: &str) -> anyhow::Result<Vec<u8>> {
    let address = Address::parse(server).context("--server")?;
    let mut answer = Vec::new();
    for _ in 0..arguments.times {
        let mut request = http::Request::post("/").header(http::header::CONTENT_TYPE, "application/json");
        if let Some(key) = &arguments.key {
            request = request.header(http::header::AUTHORIZATION, format!("Bearer {key}"));
        }
        answer = send(&address, "/v1/check", request, body.as_bytes().to_vec()).await?.body;
    }
    Ok(answer)
}
