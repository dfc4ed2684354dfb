//! The admin API over HTTP.

use std::path::Path;

use anyhow::{Context, bail};
use http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH};
use http::{HeaderValue, Method, StatusCode};
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
    /// `Bearer` and the key; its `Debug` does not show it.
    key: HeaderValue,
    tenant: Option<HeaderValue>,
}

impl Client {
    pub(super) fn new(admin: &str, key: &str, tenant: Option<&str>) -> anyhow::Result<Self> {
        let address = Address::parse(admin).context("--admin")?;
        let mut key = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| {
            anyhow::anyhow!(
                "the key in --key or TIDEGATE_ADMIN_KEY has a character that no key has, such as the end of a line: copy it again"
            )
        })?;
        key.set_sensitive(true);
        let tenant = tenant.map(HeaderValue::try_from).transpose();
        Ok(Self { address, key, tenant: tenant.context("--tenant: write 1 to 63 of a-z, 0-9 and -")? })
    }

    pub(super) fn get(&self, path: &str) -> anyhow::Result<Reply> {
        self.ask(Method::GET, path, &Condition::None, None)
    }

    /// All items of a list, page by page.
    pub(super) fn all(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        self.all_from(path, "after")
    }

    /// All items of a list, page by page; where a page ends is sent as `mark` to get the next.
    pub(super) fn all_from(&self, path: &str, mark: &str) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let sign = if path.contains('?') { '&' } else { '?' };
            let page = match &next {
                None => path.to_owned(),
                Some(after) => format!("{path}{sign}{mark}={}", part(after)),
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
        let mut request = http::Request::builder().method(method).header(AUTHORIZATION, self.key.clone());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_a_line_end_is_named_and_a_good_one_is_never_shown() {
        let client = |key: &str| Client::new("http://127.0.0.1:1", key, Some("acme"));
        let error = client("tg_secret\n").unwrap_err().to_string();
        assert!(error.contains("TIDEGATE_ADMIN_KEY") && !error.contains("tg_secret"), "{error}");
        assert!(!format!("{:?}", client("tg_secret").unwrap()).contains("tg_secret"));
    }
}
