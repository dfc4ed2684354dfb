//! `tidegate check`: one decision from the shell.

use std::future::Future;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tidegate_engine::{Engine, Request, random_seed};
use tidegate_store::{MemoryOptions, MemoryStore};
use tidegate_wire::check::{MAX_COST, parse_check};
use tidegate_wire::identity::Ipv6Prefix;
use tokio::net::TcpStream;

use super::{NEGATIVE, SUCCESS, rule_file, terminal};
use crate::http::decision_json;

/// The longest answer that is read from a server, in bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// The longest a server may take to answer.
const SERVER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
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

    /// Rule file to decide by; without one, the shipped example rules
    #[arg(long, short, env = "TIDEGATE_RULES", value_name = "FILE")]
    rules: Option<PathBuf>,

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
    let loaded = rule_file::load(arguments.rules.as_deref())?;
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
    let mut answer = Vec::new();
    for _ in 0..arguments.times {
        answer = tokio::time::timeout(SERVER_TIMEOUT, post(server, body.to_owned()))
            .await
            .with_context(|| format!("{server} did not answer within {} s", SERVER_TIMEOUT.as_secs()))??;
    }
    Ok(answer)
}

async fn post(server: &str, body: String) -> anyhow::Result<Vec<u8>> {
    let uri: http::Uri = format!("{}/v1/check", server.trim_end_matches('/'))
        .parse()
        .ok()
        .filter(|uri: &http::Uri| uri.scheme_str() == Some("http"))
        .context("--server must be an http:// URL, for example http://127.0.0.1:8080")?;
    let authority = uri.authority().context("--server names no host")?.clone();
    let address = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
    let socket =
        TcpStream::connect(address).await.with_context(|| format!("{authority} cannot be reached"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    let connection = tokio::spawn(connection);
    let request = http::Request::post(uri.path())
        .header(http::header::HOST, authority.as_str())
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let bytes = http_body_util::Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    let bytes =
        bytes.map_err(|error| anyhow::anyhow!(error)).context("the answer cannot be read")?.to_bytes();
    connection.abort();
    Ok(bytes.to_vec())
}
