//! A server with a catalog, and a client that says as much or as little as a test wants.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::admin::{Needs, Route};
use tidegate_testkit::{TempDir, Tidegate, TidegateOptions};

use super::conformance::{Seen, admin, http_door};

/// The operator's token of every site.
pub(crate) const TOKEN: &str = "an-operator-token-of-the-tests";
/// Longer than any answer takes.
const DEADLINE: Duration = Duration::from_secs(20);

/// A server with an embedded database, both gone with it.
pub(crate) struct Site {
    pub(crate) server: Tidegate,
    pub(crate) directory: TempDir,
}

/// A request, built up field by field.
#[derive(Clone)]
pub(crate) struct Ask {
    address: SocketAddr,
    method: String,
    target: String,
    fields: String,
    body: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Site {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(arguments: &[&str]) -> Self {
        Self::with_path(arguments, "/ready")
    }

    /// Waits for 200 at this path.
    pub(crate) fn with_path(arguments: &[&str], path: &'static str) -> Self {
        Self::of(|options| options.arguments(arguments).await_path(path))
    }

    pub(crate) fn of(further: impl FnOnce(TidegateOptions) -> TidegateOptions) -> Self {
        let directory = TempDir::new("admin");
        let options = TidegateOptions::new(env!("CARGO_BIN_EXE_tidegate")).catalog(
            directory.join("tidegate.db").display().to_string(),
            TOKEN,
            directory.join("last-good"),
        );
        Self { server: Tidegate::with(&further(options)), directory }
    }

    /// A request to the admin API, without a key.
    pub(crate) fn bare(&self, method: &str, target: &str) -> Ask {
        Ask::new(self.server.admin_address(), method, &format!("/admin/v1{target}"))
    }

    /// A request of the operator.
    pub(crate) fn operator(&self, method: &str, target: &str) -> Ask {
        self.bare(method, target).key(TOKEN)
    }

    /// A request of the operator about a tenant.
    pub(crate) fn about(&self, tenant: &str, method: &str, target: &str) -> Ask {
        self.operator(method, target).field("Tidegate-Tenant", tenant)
    }

    /// A request for a decision, without a key.
    pub(crate) fn door(&self, method: &str, target: &str) -> Ask {
        Ask::new(self.server.address(), method, target)
    }

    /// Makes a tenant.
    pub(crate) fn tenant(&self, name: &str) {
        self.operator("POST", "/tenants").json(&json!({ "name": name })).send().expect(201);
    }

    /// Makes a key of a tenant, or an operator's, and gives its text.
    pub(crate) fn key(&self, tenant: Option<&str>, name: &str, scopes: &[&str]) -> String {
        let wanted = json!({ "name": name, "scopes": scopes, "operator": tenant.is_none() });
        let ask = self.about(tenant.unwrap_or("default"), "POST", "/keys").json(&wanted);
        let made = ask.send().expect(201).json();
        assert_eq!(made["in_force"], true);
        made["key"].as_str().unwrap().to_owned()
    }

    /// Puts a domain of a tenant in force, whatever was there.
    pub(crate) fn domain(&self, tenant: &str, document: &Value) {
        let target = format!("/domains/{}", document["name"].as_str().unwrap());
        let put = self.about(tenant, "PUT", &target).json(document);
        let made = put.clone().field("If-None-Match", "*").send();
        let done = if made.status == 412 { put.if_match("*").send() } else { made };
        assert_eq!(done.expect(200).json()["in_force"], true);
    }

    /// Runs a command of the program against this server.
    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Output {
        std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(arguments)
            .env("TIDEGATE_ADMIN", format!("http://{}", self.server.admin_address()))
            .env("TIDEGATE_ADMIN_KEY", TOKEN)
            .env_remove("TIDEGATE_TENANT")
            .output()
            .unwrap()
    }
}

impl Ask {
    fn new(address: SocketAddr, method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { address, method, target, fields: String::new(), body: Vec::new() }
    }

    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.field("Authorization", &format!("Bearer {key}"))
    }

    pub(crate) fn if_match(self, tag: &str) -> Self {
        self.field("If-Match", tag)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Where it goes, and its bytes.
    pub(crate) fn as_sent(&self) -> (SocketAddr, Vec<u8>) {
        let Self { address, method, target, fields, body } = self;
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{fields}Content-Length: {}\r\n\r\n",
            body.len()
        );
        (*address, [head.as_bytes(), body].concat())
    }

    /// Sends it on a connection of its own.
    pub(crate) fn send(&self) -> Answer {
        let Self { method, target, .. } = self;
        let (address, message) = self.as_sent();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // A server that refuses a body may close before it has read it all; its answer still counts.
        let _ = stream.write_all(&message);
        let mut bytes = Vec::new();
        let mut chunk = [0; 16 * 1024];
        while let Ok(read @ 1..) = stream.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..read]);
        }
        let answer = Answer::read(&bytes).unwrap_or_else(|| panic!("no answer to {method} {target}"));
        // Whatever else a test looks at: the answer is one that the API's document knows.
        let api = if target.starts_with("/admin/") { admin() } else { http_door() };
        api.hold(&Seen::new(method, target, &answer.head, answer.body.as_bytes()));
        answer
    }
}

impl Answer {
    fn read(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if is_chunked { whole(body) } else { body.to_owned() };
        Some(Self { status, head: head.to_owned(), body })
    }

    /// The answer, if it has this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.body);
        self
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find_map(|(field, value)| field.eq_ignore_ascii_case(name).then_some(value))
    }

    pub(crate) fn etag(&self) -> String {
        self.field("etag").expect("an ETag").to_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// A route's path below `/admin/v1` with these names filled in; a name that is not known is refused.
pub(crate) fn filled(route: &Route, names: &[(&str, &str)]) -> String {
    let mut target = route.path.strip_prefix("/admin/v1").unwrap().to_owned();
    for (name, value) in names {
        target = target.replace(&format!("{{{name}}}"), value);
    }
    assert!(!target.contains('{'), "{route:?}: a name without a value");
    target
}

/// Whether the route changes something.
pub(crate) fn writes(route: &Route) -> bool {
    matches!(route.needs, Needs::Write | Needs::OperatorWrite)
}

/// Whether the route is for operators.
pub(crate) fn is_of_operators(route: &Route) -> bool {
    matches!(route.needs, Needs::OperatorRead | Needs::OperatorWrite)
}

/// The part of a key that may be shown.
pub(crate) fn prefix_of(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}

/// A domain with one rule, a tier and subjects.
pub(crate) fn payments(limit: u64) -> Value {
    json!({
        "name": "payments",
        "subject": "user_id",
        "rules": [{
            "name": "calls", "key": ["user_id"], "algorithm": "sliding_window", "limit": limit, "window": "1h",
            "tiers": { "gold": { "limit": limit * 10 } },
        }],
    })
}

/// A body that came in chunks.
fn whole(mut chunks: &str) -> String {
    let mut body = String::new();
    while let Some((length, rest)) = chunks.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("the length of a chunk");
        body.push_str(&rest[..length]);
        chunks = rest[length..].strip_prefix("\r\n").unwrap_or_default();
    }
    body
}
