//! What holds behind every proxy that asks about whole requests.

use tidegate_testkit::ProxyOptions;

use crate::common::{Answer, Client};
use crate::site::{Asked, Places, Site, machine};

/// What each key may do; in the time of a test nothing comes back.
const QUOTA: usize = 3;

pub const RULES: &str = "version: 1
domains:
  - name: default
    rules:
      - { name: per-user, match: { path: /by-user }, key: [user_id], limit: 3, window: 1d }
      - { name: per-address, match: { path: /by-address }, key: [client_ip], limit: 3, window: 1d }
      - { name: posts, match: { path: /posts, method: POST, host: shop.example }, key: [], limit: 3, window: 1d }
      - { name: never, match: { path: /never }, key: [], limit: 1, window: 1d, on_store_failure: deny }
";

/// A body for proxies that are written in Go. With a request of more than 4 KiB they may have sent all of it and not have noticed yet;
/// if the application answers just then, its answer breaks off. No limiter has a part in that.
pub const SHORT: usize = 3_000;
pub const LONG: usize = 100_000;

/// How a proxy differs from the others.
pub struct Manner {
    pub options: fn(&Places) -> ProxyOptions,
    /// What the node is told beside its rules.
    pub arguments: &'static [&'static str],
    /// Whether the client of a request that passes hears of the limit.
    pub tells_client: bool,
    /// What a client gets where no node answers.
    pub away: u16,
    /// How long a body is that is passed on.
    pub body_bytes: usize,
}

impl Manner {
    /// Every case, on one proxy and one node.
    pub async fn hold(&self) {
        let mut site = Site::start(RULES, self.arguments, self.options).await;
        self.a_quota_is_used_up(&site).await;
        a_client_cannot_be_another(&site).await;
        self.a_body_reaches_the_application_untouched(&site).await;
        what_is_not_limited_claims_nothing(&site).await;
        a_denial_of_head_has_no_body(&site).await;
        self.no_node_answers(&mut site).await;
        self.the_store_is_away().await;
    }

    async fn a_quota_is_used_up(&self, site: &Site) {
        for left in (0..QUOTA).rev() {
            // What the client claims of the limit does not reach the application.
            let allowed = site.get("/by-address?page=1", &["RateLimit: \"mine\";r=9"]).await;
            assert_eq!(allowed.status, 200, "{allowed:?} {}", site.said());
            let seen = allowed.text();
            assert!(
                seen.starts_with("GET /by-address?page=1 HTTP/1.1\r\n") && !seen.contains("mine"),
                "{seen}"
            );
            let said = format!("ratelimit: \"per-address\";r={left};t=");
            assert_eq!(seen.to_ascii_lowercase().matches(&said).count(), 1, "{seen}");
            if self.tells_client {
                assert_eq!(allowed.field("ratelimit-policy"), Some(r#""per-address";q=3;w=86400"#));
                assert_eq!(allowed.head.to_ascii_lowercase().matches(&said).count(), 1, "{}", allowed.head);
            }
        }
        let denied = site.get("/by-address", &[]).await;
        assert_eq!(denied.status, 429, "{denied:?}");
        let retry_after: u64 = denied.field("retry-after").unwrap().parse().unwrap();
        assert!((28_000..=28_800).contains(&retry_after), "a third of a day: {retry_after}");
        assert!(denied.field("ratelimit").unwrap().starts_with(r#""per-address";r=0;t="#), "{}", denied.head);
        assert_eq!(denied.field("ratelimit-policy"), Some(r#""per-address";q=3;w=86400"#));
        assert_eq!(denied.field("content-type"), Some("application/problem+json"));
        assert_eq!(denied.json()["status"], 429);
        let other = site.ask(&Asked::of("/by-address").from(machine(2))).await;
        assert_eq!(other.status, 200, "another client has its own");
    }

    async fn a_body_reaches_the_application_untouched(&self, site: &Site) {
        let body = "x".repeat(self.body_bytes);
        let post = |host, body| Asked { method: "POST", host, body, ..Asked::of("/posts") };
        for left in (0..QUOTA).rev() {
            let answer = site.ask(&post("shop.example", &body)).await;
            assert!(
                answer.status == 200 && answer.text().ends_with(&body),
                "{} {}",
                answer.head,
                site.said()
            );
            assert!(answer.text().contains(&format!("\"posts\";r={left};")), "it is the rule of this host");
        }
        // A short one: a proxy need not read the body of what it refuses, and closing may overtake its answer then.
        let denied = site.ask(&post("shop.example", "{}")).await;
        assert_eq!(denied.status, 429, "{denied:?}");
        assert_eq!(site.get("/posts", &[]).await.status, 200, "a GET is no POST");
    }

    async fn no_node_answers(&self, site: &mut Site) {
        assert_eq!(site.get("/never", &[]).await.status, 200);
        assert_eq!(site.get("/never", &[]).await.status, 429);
        site.node.kill();
        let answer = site.get("/never", &["RateLimit: \"mine\";r=9"]).await;
        assert_eq!((answer.status, answer.field("ratelimit")), (self.away, None), "{}", site.said());
        assert!(!answer.text().contains("mine"), "{}", answer.text());
    }

    /// The node answers then, and says itself that it cannot know.
    async fn the_store_is_away(&self) {
        let site = Site::without_store(RULES, self.arguments, self.options).await;
        let refused = site.get("/never", &[]).await;
        assert_eq!(refused.status, 503, "{refused:?} {}", site.said());
        assert_eq!(refused.json()["status"], 503);
        assert!(refused.field("retry-after").is_some(), "{}", refused.head);
    }
}

/// Fields that describe another request or another client, in every way that there is.
async fn a_client_cannot_be_another(site: &Site) {
    let ask = async |number: usize, target: &str| -> Answer {
        let forged = format!("X-Forwarded-For: 203.0.113.{number}");
        let fields = [
            &*forged,
            "Forwarded: for=203.0.113.77",
            "X-Real-IP: 203.0.113.78",
            "X-Forwarded-Method: POST",
            "X-Forwarded-Uri: /free",
            "X-Forwarded-Host: free.example",
            "X-Original-Method: POST",
            "X-Original-URI: /free",
            "Authorization: Bearer of-the-application",
            "X-API-Key: of-the-application",
        ];
        site.ask(&Asked { fields: &fields, ..Asked::of(target).from(machine(3)) }).await
    };
    for number in 0..QUOTA {
        let allowed = ask(number, "/by-address").await;
        assert_eq!(allowed.status, 200, "{number}: {allowed:?} {}", site.said());
        let seen = allowed.text().to_ascii_lowercase();
        let left = QUOTA - 1 - number;
        assert!(seen.contains(&format!("ratelimit: \"per-address\";r={left};t=")), "{seen}");
        assert!(
            seen.contains("authorization: bearer of-the-application"),
            "it is for the application: {seen}"
        );
        assert!(seen.contains("x-api-key: of-the-application"), "it is for the application: {seen}");
    }
    for (number, target) in
        ["/by-address", "//by-address", "/x/../by-address", "/by%2daddress"].iter().enumerate()
    {
        let denied = ask(number, target).await;
        assert_eq!(denied.status, 429, "{target}: {denied:?}");
    }
    let unclear = ask(0, "/by-address%2f").await;
    assert_eq!(unclear.status, 400, "what has no clear meaning is refused: {unclear:?}");
}

async fn what_is_not_limited_claims_nothing(site: &Site) {
    let fields = ["RateLimit: \"mine\";r=9", "RateLimit-Policy: \"mine\";q=9"];
    let answer = site.get("/elsewhere", &fields).await;
    assert_eq!((answer.status, answer.field("ratelimit")), (200, None), "{answer:?}");
    assert_eq!(answer.field("ratelimit-policy"), None);
    assert!(!answer.text().contains("mine"), "{}", answer.text());
}

async fn a_denial_of_head_has_no_body(site: &Site) {
    let mut client = Client::to_proxy(site.proxy.address()).await;
    client.send(b"HEAD /by-address HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n").await;
    let denied = client.answer(true).await.unwrap();
    assert_eq!(denied.status, 429, "{denied:?}");
    assert!(denied.field("retry-after").is_some(), "{}", denied.head);
    assert_eq!(client.rest().await, b"");
}

/// For proxies that say who the user is.
pub async fn users_have_a_quota_each(manner: &Manner) {
    let site = Site::start(RULES, manner.arguments, manner.options).await;
    for _ in 0..QUOTA {
        assert_eq!(site.get("/by-user", &["X-User-Id: ann"]).await.status, 200, "{}", site.said());
    }
    let denied =
        site.ask(&Asked { fields: &["X-User-Id: ann"], ..Asked::of("/by-user").from(machine(2)) }).await;
    assert_eq!(denied.status, 429, "it is the user who counts, from everywhere: {denied:?}");
    assert_eq!(site.get("/by-user", &["X-User-Id: bob"]).await.status, 200, "another user has their own");
    let both = site.get("/by-user", &["X-User-Id: carl", "X-User-Id: dora"]).await;
    assert_eq!(both.status, 400, "who is meant is not clear: {both:?}");
}
