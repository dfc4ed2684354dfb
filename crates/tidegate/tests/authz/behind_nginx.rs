//! nginx with the configuration that is shipped, between clients and an application.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tidegate_testkit::{Nginx, NginxOptions, TempDir, Tidegate, TidegateOptions};

use crate::common::{Answer, Client, echo};

/// What each key may do; in the time of a test nothing comes back.
const QUOTA: usize = 10;

/// How long nginx may take to use its new configuration.
const PATIENCE: Duration = Duration::from_secs(20);

const RULES: &str = "version: 1
domains:
  - name: default
    rules:
      - { name: per-user, match: { path: /by-user }, key: [user_id], limit: 10, window: 1d }
      - { name: per-address, match: { path: /by-address }, key: [client_ip], limit: 10, window: 1d }
      - { name: posts, match: { path: /posts, method: POST, host: shop.example }, key: [], limit: 10, window: 1d }
      - { name: never, match: { path: /never }, key: [], limit: 1, window: 1d, on_store_failure: deny }
";

/// Clients, nginx, a node that trusts it, and an application that says what it was asked.
struct Site {
    nginx: Nginx,
    node: Tidegate,
    rules: TempDir,
}

impl Site {
    async fn start() -> Self {
        let dir = TempDir::new("authz");
        let rules = dir.write("rules.yaml", RULES).display().to_string();
        let node = Tidegate::start(
            env!("CARGO_BIN_EXE_tidegate"),
            &["--rules", &rules, "--trusted-proxy", "127.0.0.1", "--proxy-header", "x-forwarded-for"],
        );
        let app_address = echo::serve().await;
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nginx/auth-request.conf");
        let options = NginxOptions::template_file(shipped)
            .upstream("tidegate", &[node.address()])
            .upstream("app", &[app_address]);
        Self { nginx: Nginx::start(&options), node, rules: dir }
    }

    /// One request through nginx, on a connection of its own; each field without its line end.
    async fn ask(&self, method: &str, target: &str, fields: &[&str], body: &str) -> Answer {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let mut client = Client::to_proxy(self.nginx.address()).await;
        client.request(method, target, &fields, body.as_bytes()).await
    }

    async fn get(&self, target: &str, fields: &[&str]) -> Answer {
        self.ask("GET", target, fields, "").await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_eleventh_request_of_a_user_is_a_429_for_the_client() {
    let site = Site::start().await;
    for left in (0..QUOTA).rev() {
        // What the client claims of the limit does not reach the application.
        let allowed = site.get("/by-user?page=1", &["X-User-Id: ann", "RateLimit: \"mine\";r=9"]).await;
        assert_eq!(allowed.status, 200, "{}", site.node.logs());
        assert_eq!(allowed.field("ratelimit-policy"), Some(r#""per-user";q=10;w=86400"#));
        let limit = allowed.field("ratelimit").unwrap();
        assert!(limit.starts_with(&format!(r#""per-user";r={left};t="#)), "{limit}");
        let seen = allowed.text();
        assert!(seen.starts_with("GET /by-user?page=1 HTTP/1.1\r\n"), "{seen}");
        assert!(seen.contains(&format!("RateLimit: {limit}\r\n")) && !seen.contains("mine"), "{seen}");
    }
    let denied = site.get("/by-user", &["X-User-Id: ann"]).await;
    assert_eq!(denied.status, 429, "{denied:?}");
    let retry_after: u64 = denied.field("retry-after").unwrap().parse().unwrap();
    assert!((8_000..=8_640).contains(&retry_after), "a tenth of a day: {retry_after}");
    assert!(denied.field("ratelimit").unwrap().starts_with(r#""per-user";r=0;t="#));
    assert_eq!(denied.field("content-type"), Some("application/problem+json"));
    assert_eq!(denied.json()["status"], 429);
    assert_eq!(site.get("/by-user", &["X-User-Id: bob"]).await.status, 200, "another user has its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_writes_changes_neither_its_address_nor_its_request() {
    let site = Site::start().await;
    for number in 0..QUOTA {
        let forged = format!("X-Forwarded-For: 203.0.113.{number}");
        let fields = [
            &*forged,
            "Forwarded: for=203.0.113.77",
            "X-Forwarded-Method: POST",
            "X-Forwarded-Uri: /free",
            "X-Forwarded-Host: free.example",
            "X-Original-Method: POST",
            "X-Original-URI: /free",
            "Authorization: Bearer of-the-application",
            "X-API-Key: of-the-application",
        ];
        let allowed = site.get("/by-address", &fields).await;
        assert_eq!(allowed.status, 200, "{number}: {allowed:?} {}", site.node.logs());
        assert_eq!(allowed.field("ratelimit-policy"), Some(r#""per-address";q=10;w=86400"#));
        assert!(
            allowed.text().contains("Authorization: Bearer of-the-application"),
            "it is for the application"
        );
    }
    for target in ["/by-address", "//by-address", "/x/../by-address", "/by%2daddress"] {
        let denied = site.get(target, &["X-Forwarded-For: 198.51.100.1"]).await;
        assert_eq!(denied.status, 429, "{target}");
    }
    assert_eq!(site.get("/_tidegate", &[]).await.status, 404, "clients cannot ask themselves");
    assert_eq!(site.get("/by-address%2f", &[]).await.status, 400, "what has no clear meaning is refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_method_and_the_host_are_those_of_the_client_and_the_body_goes_to_the_application_alone() {
    let site = Site::start().await;
    let body = "x".repeat(100_000);
    let answer = site.ask("POST", "/posts", &[], &body).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().ends_with(&body));
    assert_eq!(answer.field("ratelimit-policy"), None, "it is another host's rule");
    let mut client = Client::to_proxy(site.nginx.address()).await;
    for left in (0..QUOTA).rev() {
        client.send(b"POST /posts HTTP/1.1\r\nHost: SHOP.example:80\r\nContent-Length: 2\r\n\r\nok").await;
        let answer = client.answer(false).await.unwrap();
        let limit = answer.field("ratelimit").unwrap_or_default();
        assert!(answer.status == 200 && limit.starts_with(&format!(r#""posts";r={left};"#)), "{answer:?}");
    }
    client.send(b"POST /posts HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(client.answer(false).await.unwrap().status, 429);
    let mut other = Client::to_proxy(site.nginx.address()).await;
    other.send(b"GET /posts HTTP/1.1\r\nHost: shop.example\r\n\r\n").await;
    assert_eq!(other.answer(false).await.unwrap().status, 200, "a GET is no POST");
}

/// More than the node takes is refused, neither let through nor the site's fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_too_large_is_refused() {
    let site = Site::start().await;
    let large: Vec<String> = (0..3).map(|line| format!("X-Large-{line}: {}", "a".repeat(7_000))).collect();
    let many: Vec<String> = (0..120).map(|line| format!("X-Many-{line}: a")).collect();
    for fields in [large, many] {
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let answer = site.get("/", &fields).await;
        assert!([403, 431].contains(&answer.status), "{}", answer.head);
        assert_eq!(answer.field("content-type"), Some("application/problem+json"), "{}", answer.head);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_node_answers_requests_pass_and_where_its_store_is_away_its_policy_counts() {
    let mut site = Site::start().await;
    assert_eq!(site.get("/never", &[]).await.status, 200);
    assert_eq!(site.get("/never", &[]).await.status, 429);
    site.node.kill();
    let passed = site.get("/never", &[]).await;
    assert_eq!((passed.status, passed.field("ratelimit")), (200, None));
    // A node whose store nobody answers for: its rule says deny.
    let nowhere: SocketAddr = tidegate_testkit::PortLease::new().address();
    let node = Tidegate::with(
        &TidegateOptions::new(env!("CARGO_BIN_EXE_tidegate"))
            .arguments(["--rules", &site.rules.join("rules.yaml").display().to_string()])
            .arguments(["--store", &format!("redis://{nowhere}")])
            .arguments(["--trusted-proxy", "127.0.0.1", "--proxy-header", "x-forwarded-for"]),
    );
    site.nginx.reload_upstream("tidegate", &[node.address()]);
    // Workers that are on their way out may take a connection still, and know only the node that is gone.
    let asking = async {
        loop {
            let answer = site.get("/never", &[]).await;
            if answer.status != 200 {
                break answer;
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, asking).await.expect("the new workers answer");
    assert_eq!((refused.status, refused.json()["status"].as_u64()), (503, Some(503)));
    assert!(refused.field("retry-after").is_some());
}
