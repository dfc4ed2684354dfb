//! What a server is asked in its own protocol, over the same client and the same connection.

use prost::Message as _;
use tidegate_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use tidegate_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tidegate_proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tonic::Status;
use tonic::transport::Channel;

use crate::throttlecrab::{RateLimiterClient, ThrottleRequest, ThrottleResponse};

/// The limit of the rule `any-client` in `rules/large-limits.yaml`, for a server that is told it with each request.
const LIMIT: i32 = 100_000_000;
/// Its window, seconds.
const WINDOW_SECONDS: i32 = 60;

/// In which protocol one check of one client is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Question {
    /// Envoy's, in a domain, with one descriptor of one entry.
    ShouldRateLimit { domain: &'static str },
    /// throttlecrab's, with the quota that the domain `default` has for Tidegate.
    Throttle,
}

/// A client that asks it.
#[derive(Clone, Debug)]
pub(crate) enum Client {
    ShouldRateLimit(RateLimitServiceClient<Channel>, &'static str),
    Throttle(RateLimiterClient),
}

/// What was said.
#[derive(Debug)]
pub(crate) enum Answer {
    ShouldRateLimit(RateLimitResponse),
    Throttle(ThrottleResponse),
}

impl Question {
    /// A client on a connection.
    pub(crate) fn over(self, channel: Channel) -> Client {
        match self {
            Question::ShouldRateLimit { domain } => {
                Client::ShouldRateLimit(RateLimitServiceClient::new(channel), domain)
            }
            Question::Throttle => Client::Throttle(RateLimiterClient::new(channel)),
        }
    }
}

impl Client {
    /// Asks whether one request of the client with this number may pass.
    pub(crate) async fn ask(&mut self, number: u64) -> Result<Answer, Status> {
        let value = format!("client-{number:09}");
        match self {
            Client::ShouldRateLimit(client, domain) => {
                let entries = vec![Entry { key: "client_id".to_owned(), value }];
                let descriptors = vec![RateLimitDescriptor { entries, ..Default::default() }];
                let request = RateLimitRequest { domain: (*domain).to_owned(), descriptors, hits_addend: 1 };
                Ok(Answer::ShouldRateLimit(client.should_rate_limit(request).await?.into_inner()))
            }
            Client::Throttle(client) => {
                let request = ThrottleRequest {
                    key: value,
                    max_burst: LIMIT,
                    count_per_period: LIMIT,
                    period: WINDOW_SECONDS,
                    quantity: 1,
                };
                Ok(Answer::Throttle(client.throttle(request).await?))
            }
        }
    }
}

impl Answer {
    /// Whether the request may pass.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Answer::ShouldRateLimit(answer) => answer.overall_code() == Code::Ok,
            Answer::Throttle(answer) => answer.allowed,
        }
    }

    /// Bytes of the message.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Answer::ShouldRateLimit(answer) => answer.encoded_len(),
            Answer::Throttle(answer) => answer.encoded_len(),
        }
    }
}
