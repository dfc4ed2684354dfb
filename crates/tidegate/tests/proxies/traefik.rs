//! Traefik's ForwardAuth. A request that passes tells its client nothing of the limit: Traefik hands fields of the answer to
//! the application alone.

use tidegate_testkit::ProxyOptions;

use crate::cases::{Manner, SHORT, users_have_a_quota_each};
use crate::site::{Places, TRUSTED, shipped};

const TRAEFIK: Manner =
    Manner { options, arguments: &TRUSTED, tells_client: false, away: 500, body_bytes: SHORT };

fn options(places: &Places) -> ProxyOptions {
    ProxyOptions::traefik()
        .file(shipped("traefik/traefik.yaml"))
        .replace("\":80\"", "\"{address}\"")
        .replace("/etc/traefik/dynamic.yaml", "{dir}/dynamic.yaml")
        .file(shipped("traefik/dynamic.yaml"))
        .replace("tidegate:8080", places.http.to_string())
        .replace("app:8000", places.app.to_string())
        .await_host("shop.example")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traefik_obeys() {
    TRAEFIK.hold().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traefik_says_who_the_user_is() {
    users_have_a_quota_each(&TRAEFIK).await;
}
