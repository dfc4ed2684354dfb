//! `RateLimitService/ShouldRateLimit`, one descriptor at a time. `duration_until_reset` to the microsecond.

use tidegate_engine::Decision;
use tidegate_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use tidegate_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use tidegate_proto::envoy::service::ratelimit::v3::RateLimitRequest;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tidegate_store::BucketStore;
use tonic::transport::{Channel, Endpoint};

use crate::door::{Asked, Door};
use crate::said::{NOTHING, Said, expected_fields, fields, or_nothing};
use crate::site::Site;

pub(crate) struct RateLimit(RateLimitServiceClient<Channel>);

impl RateLimit {
    pub(crate) async fn connect<S: BucketStore>(site: &Site<S>) -> Self {
        Self(RateLimitServiceClient::new(channel(site).await))
    }
}

pub(crate) async fn channel<S: BucketStore>(site: &Site<S>) -> Channel {
    Endpoint::from_shared(format!("http://{}", site.grpc)).unwrap().connect().await.unwrap()
}

impl Door for RateLimit {
    fn name(&self) -> String {
        "rate-limit".to_owned()
    }

    async fn ask(&mut self, asked: &Asked<'_>) -> Said {
        let entries = asked.entries().into_iter();
        let entries = entries.map(|(key, value)| Entry { key: key.to_owned(), value: value.to_owned() });
        // No hits are a look.
        let hits = if asked.step.peek { 0 } else { asked.step.cost };
        let descriptor =
            RateLimitDescriptor { entries: entries.collect(), hits_addend: Some(hits), ..Default::default() };
        let request = RateLimitRequest {
            domain: asked.case.domain.to_owned(),
            descriptors: vec![descriptor],
            hits_addend: 0,
        };
        let answer = self.0.should_rate_limit(request).await.unwrap().into_inner();
        let [status] = &*answer.statuses else { panic!("{answer:?}") };
        let limit = status.current_limit.as_ref();
        let reset = status.duration_until_reset.as_ref();
        let mut said = vec![
            ("overall", answer.overall_code().as_str_name().to_owned()),
            ("code", status.code().as_str_name().to_owned()),
            ("rule", or_nothing(limit.map(|limit| &limit.name))),
            ("limit", or_nothing(limit.map(|limit| limit.requests_per_unit))),
            ("unit", or_nothing(limit.map(|limit| limit.unit().as_str_name()))),
            ("remaining", status.limit_remaining.to_string()),
            ("reset", or_nothing(reset.map(|span| format!("{}.{:09}", span.seconds, span.nanos)))),
        ];
        let all = &answer.response_headers_to_add;
        said.extend(fields(|name| all.iter().find(|field| field.key == name).map(|field| &*field.value)));
        said
    }

    fn expected(&self, _asked: &Asked<'_>, decision: &Decision) -> Said {
        let code = if decision.is_allowed() { "OK" } else { "OVER_LIMIT" };
        let binding = decision.binding();
        let reset = binding.map(|binding| binding.gauge.reset_after.as_micros());
        // Where nothing is limited, the most that the message can hold is left.
        let remaining = binding.map_or(u64::from(u32::MAX), |binding| binding.gauge.remaining);
        let unit = binding.map(|binding| match binding.quota.window().as_micros() / 3_600_000_000 {
            24 => "DAY",
            168 => "WEEK",
            720 => "MONTH",
            8_760 => "YEAR",
            _ => "UNKNOWN",
        });
        let mut said = vec![
            ("overall", code.to_owned()),
            ("code", code.to_owned()),
            ("rule", binding.map_or(NOTHING, |binding| binding.rule.name()).to_owned()),
            ("limit", or_nothing(binding.map(|binding| binding.quota.limit()))),
            ("unit", or_nothing(unit)),
            ("remaining", remaining.to_string()),
            ("reset", or_nothing(reset.map(|us| format!("{}.{:06}000", us / 1_000_000, us % 1_000_000)))),
        ];
        said.extend(expected_fields(decision));
        said
    }
}
