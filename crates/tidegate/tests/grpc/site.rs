//! A server with a gRPC door, and clients.

use std::net::SocketAddr;
use std::time::Duration;

use tidegate_proto::envoy::config::core::v3::HeaderValue;
use tidegate_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use tidegate_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use tidegate_proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tidegate_proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tidegate_testkit::{TempDir, Tidegate, TidegateOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

/// Longer than any answer takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Windows are long: no unit comes back while a test runs, but for the token buckets' own.
pub(crate) const RULES: &str = "
version: 1
domains:
  - name: edge
    rules:
      - { name: per-address, key: [remote_address], algorithm: fixed_window, limit: 5, window: 1d }
      - { name: per-user, key: [user_id], algorithm: fixed_window, limit: 3, window: 90s }
      - { name: strict, match: { path: /strict }, key: [], algorithm: fixed_window, limit: 1, window: 1d }
      - { name: own-host, match: { host: example.com }, key: [], algorithm: fixed_window, limit: 1, window: 1d }
      - { name: one-network, match: { by: name, remote_address: '2001:DB8:7::9' }, key: [], algorithm: fixed_window, limit: 1, window: 1d }
      - { name: one-address, match: { by: name, remote_address: '::ffff:192.0.2.77' }, key: [], algorithm: fixed_window, limit: 1, window: 1d }
      - { name: watched, key: [watched], algorithm: fixed_window, limit: 0, window: 1d, mode: shadow }
      - { name: huge, key: [huge], algorithm: fixed_window, limit: 1_000_000_000_000, window: 1d }
      - { name: named-twice, key: [generic_key, generic_key.2], algorithm: fixed_window, limit: 1, window: 1d }
      - { name: crowd, key: [crowd], algorithm: fixed_window, limit: 50, window: 1d }
  - name: default
    rules:
      - { name: per-client, key: [client_ip], algorithm: fixed_window, limit: 2, window: 1d }
  - name: routes
    rules:
      - { name: route, key: [path, method, host, user_agent, plan], algorithm: fixed_window, limit: 1, window: 1d }
";

pub(crate) struct Site {
    pub(crate) server: Tidegate,
    _rules: TempDir,
}

impl Site {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(arguments: &[&str]) -> Self {
        let rules = TempDir::new("grpc");
        std::fs::write(rules.join("rules.yaml"), RULES).unwrap();
        let options = TidegateOptions::new(env!("CARGO_BIN_EXE_tidegate"))
            .grpc()
            .arguments(["--rules", &rules.join("rules.yaml").display().to_string()])
            .arguments(arguments);
        Self { server: Tidegate::with(&options), _rules: rules }
    }

    /// With the rules that are shipped for Envoy.
    pub(crate) fn shipped() -> Self {
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/envoy/rules.yaml");
        let options =
            TidegateOptions::new(env!("CARGO_BIN_EXE_tidegate")).grpc().arguments(["--rules", rules]);
        Self { server: Tidegate::with(&options), _rules: TempDir::new("grpc") }
    }

    pub(crate) async fn rate_limit(&self) -> RateLimitServiceClient<Channel> {
        RateLimitServiceClient::new(channel(self.server.grpc_address()).await)
    }

    pub(crate) async fn authorization(&self) -> AuthorizationClient<Channel> {
        AuthorizationClient::new(channel(self.server.grpc_address()).await)
    }

    /// What the HTTP door says about itself.
    pub(crate) async fn metrics(&self) -> String {
        let mut socket = TcpStream::connect(self.server.address()).await.unwrap();
        let asked = b"GET /metrics HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
        socket.write_all(asked).await.unwrap();
        let mut page = String::new();
        socket.read_to_string(&mut page).await.unwrap();
        page
    }

    /// Asks in the domain `edge`.
    pub(crate) async fn ask(&self, descriptors: Vec<RateLimitDescriptor>) -> RateLimitResponse {
        self.try_ask(request("edge", descriptors)).await.unwrap().into_inner()
    }

    pub(crate) async fn try_ask(
        &self,
        request: RateLimitRequest,
    ) -> Result<Response<RateLimitResponse>, Status> {
        self.rate_limit().await.should_rate_limit(request).await
    }
}

pub(crate) async fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().timeout(PATIENCE).connect().await.unwrap()
}

pub(crate) fn request(domain: &str, descriptors: Vec<RateLimitDescriptor>) -> RateLimitRequest {
    RateLimitRequest { domain: domain.to_owned(), descriptors, hits_addend: 0 }
}

pub(crate) fn descriptor(entries: &[(&str, &str)]) -> RateLimitDescriptor {
    let entry = |(key, value): &(&str, &str)| Entry { key: (*key).to_owned(), value: (*value).to_owned() };
    RateLimitDescriptor { entries: entries.iter().map(entry).collect(), ..Default::default() }
}

/// The codes of the statuses, in their order.
pub(crate) fn codes(response: &RateLimitResponse) -> Vec<Code> {
    response.statuses.iter().map(|status| status.code()).collect()
}

/// A field for the client of Envoy.
pub(crate) fn field<'a>(fields: &'a [HeaderValue], name: &str) -> Option<&'a str> {
    fields.iter().find(|field| field.key == name).map(|field| field.value.as_str())
}
