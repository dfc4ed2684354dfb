//! Caddy's `forward_auth`.

use tidegate_testkit::ProxyOptions;

use crate::cases::{Manner, SHORT, users_have_a_quota_each};
use crate::site::{Places, TRUSTED, shipped};

const CADDY: Manner =
    Manner { options, arguments: &TRUSTED, tells_client: true, away: 502, body_bytes: SHORT };

fn options(places: &Places) -> ProxyOptions {
    ProxyOptions::caddy()
        .file(shipped("caddy/Caddyfile"))
        // Certificates come from the internet, and every Caddy would listen on the same port for its administrator.
        .replace(
            "\nshop.example {",
            "\n{\n\tadmin off\n\tdefault_bind 127.0.0.1\n}\nhttp://shop.example:{port} {",
        )
        .replace("tidegate:8080", places.http.to_string())
        .replace("app:8000", places.app.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_obeys() {
    CADDY.hold().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_says_who_the_user_is() {
    users_have_a_quota_each(&CADDY).await;
}
