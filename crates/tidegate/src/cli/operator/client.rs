//! The admin API over HTTP.

use std::path::Path;

use anyhow::{Context, bail};
use http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH};
use http::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::text;
use crate::cli::check::block_on;
use crate::cli::http_client::{Address, send};

/// What need not be encoded in a part of a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A part of a path.
pub(super) fn part(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// What a change says of the version it changes.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    /// Nothing: the endpoint takes none.
    None,
    /// Whatever it is.
    Any,
    /// It is still this version, an ETag.
    Version(String),
}

/// What is sent.
#[derive(Debug)]
pub(super) struct Body {
    content_type: &'static str,
    bytes: Vec<u8>,
    /// What findings call it.
    name: String,
}

impl Body {
    pub(super) fn json(value: &impl serde::Serialize) -> anyhow::Result<Self> {
        let (content_type, bytes) = ("application/json", serde_json::to_vec(value)?);
        Ok(Self { content_type, bytes, name: "body".to_owned() })
    }

    /// The text of a rule file.
    pub(super) fn rules(text: String, file: &Path) -> Self {
        let name = match file.to_str() {
            Some("-") => "standard input".to_owned(),
            _ => file.display().to_string(),
        };
        Self { content_type: "application/yaml", bytes: text.into_bytes(), name }
    }
}

/// An answer that is not an error.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) body: Vec<u8>,
    pub(super) etag: Option<String>,
}

impl Reply {
    pub(super) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body)
            .context("the answer is not JSON; is this the admin API of a Tidegate?")
    }
}

/// A client of one admin API.
#[derive(Debug)]
pub(in crate::cli) struct Client {
    address: Address,
    key: String,
    tenant: Option<String>,
}

impl Client {
    pub(super) fn new(admin: &str, key: String, tenant: Option<String>) -> anyhow::Result<Self> {
        let address = Address::parse(admin).context("--admin")?;
        Ok(Self { address, key, tenant })
    }

    pub(super) fn get(&self, path: &str) -> anyhow::Result<Reply> {
        self.ask(Method::GET, path, &Condition::None, None)
    }

    /// All items of a list, page by page.
    pub(super) fn all(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let sign = if path.contains('?') { '&' } else { '?' };
            let page = match &next {
                None => path.to_owned(),
                Some(after) => format!("{path}{sign}after={}", part(after)),
            };
            let mut page = self.get(&page)?.json()?;
            items.extend(
                page.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default(),
            );
            next = match page.get("next") {
                Some(Value::String(after)) => Some(after.clone()),
                Some(Value::Number(after)) => Some(after.to_string()),
                _ => return Ok(items),
            };
        }
    }

    /// Asks, and gives the answer if it is not an error.
    ///
    /// # Errors
    /// The server's words, with every finding in a document that it did not take.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &str,
        condition: &Condition,
        body: Option<Body>,
    ) -> anyhow::Result<Reply> {
        let mut request =
            http::Request::builder().method(method).header(AUTHORIZATION, format!("Bearer {}", self.key));
        if let Some(tenant) = &self.tenant {
            request = request.header("tidegate-tenant", tenant);
        }
        request = match condition {
            Condition::None => request,
            Condition::Any => request.header(IF_MATCH, "*"),
            Condition::Version(etag) => request.header(IF_MATCH, etag),
        };
        let (bytes, name) = match body {
            None => (Vec::new(), String::new()),
            Some(Body { content_type, bytes, name }) => {
                request = request.header(CONTENT_TYPE, content_type);
                (bytes, name)
            }
        };
        let answer = block_on(send(&self.address, &format!("/admin/v1{path}"), request, bytes))?
            .context("the admin API does not answer; --admin or TIDEGATE_ADMIN says where it is")?;
        let etag = answer.headers.get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        if answer.status.is_success() {
            return Ok(Reply { body: answer.body, etag });
        }
        Err(refusal(answer.status, &answer.body, &name))
    }

    /// Sends JSON, for endpoints that take no version.
    pub(super) fn send_json(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask(method, path, &Condition::None, Some(Body::json(body)?))?.json()
    }
}

/// What went wrong, in the server's words. `name` is what findings call the document that was sent.
fn refusal(status: StatusCode, body: &[u8], name: &str) -> anyhow::Error {
    let Ok(problem) = serde_json::from_slice::<Value>(body) else {
        return anyhow::anyhow!("the server answered {status}; is this the admin API of a Tidegate?");
    };
    if status == StatusCode::UNAUTHORIZED {
        return anyhow::anyhow!(
            "the server does not take this key (401); TIDEGATE_ADMIN_KEY must be a key with the scope admin-read or admin-write, copied whole"
        );
    }
    let findings = problem.get("findings").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut said = match findings.len() {
        0 => format!("{} ({}: {})", text(&problem, "detail"), status.as_u16(), text(&problem, "title")),
        1 => "1 error, so nothing was changed:".to_owned(),
        many => format!("{many} errors, so nothing was changed:"),
    };
    for finding in findings {
        let number = |name: &str| finding.get(name).and_then(Value::as_u64).unwrap_or(0);
        said.push_str(&format!(
            "\n  {name}:{}:{}: {}: {}; {}",
            number("line"),
            number("column"),
            text(finding, "field"),
            text(finding, "message"),
            text(finding, "remedy")
        ));
    }
    if status == StatusCode::PRECONDITION_FAILED
        && let Some(current) = problem.get("current_version").and_then(Value::as_i64)
    {
        said.push_str(&format!("; it is version {current} now"));
    }
    anyhow::anyhow!(said)
}

/// The text of a file, or of standard input.
pub(super) fn read_input(path: &Path) -> anyhow::Result<String> {
    use std::io::Read;
    let limit = u64::try_from(tidegate_config::MAX_FILE_BYTES).unwrap_or(u64::MAX);
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin()
            .take(limit + 1)
            .read_to_string(&mut text)
            .context("standard input cannot be read")?;
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
        file.take(limit + 1)
            .read_to_string(&mut text)
            .with_context(|| format!("{} cannot be read", path.display()))?;
    }
    if text.len() as u64 > limit {
        bail!("{} is longer than {} MiB", path.display(), limit >> 20);
    }
    Ok(text)
}
