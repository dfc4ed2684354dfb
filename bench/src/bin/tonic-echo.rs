//! The ceiling for a rate limit check over gRPC: bare tonic that reads the same message and decides nothing.
//!
//! In the domain `bare` it answers OK and no more; elsewhere what Tidegate answers, with constant figures.

use std::net::SocketAddr;

use clap::Parser;
use tidegate_proto::envoy::config::core::v3::HeaderValue;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus, RateLimit};
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_service_server::{
    RateLimitService, RateLimitServiceServer,
};
use tidegate_proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

// The allocator of this program is the library's, and that is the one of `tidegate`.
use tidegate_bench as _;

/// An echo on tonic.
#[derive(Debug, Parser)]
struct Arguments {
    /// Address and port
    #[arg(long)]
    listen: SocketAddr,
    /// Worker threads; one per core if not given
    #[arg(long)]
    threads: Option<usize>,
}

struct Echo;

#[tonic::async_trait]
impl RateLimitService for Echo {
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let request = std::hint::black_box(request.get_ref());
        let bare = RateLimitResponse { overall_code: Code::Ok.into(), ..Default::default() };
        Ok(Response::new(if request.domain == "bare" { bare } else { full(bare) }))
    }
}

fn full(bare: RateLimitResponse) -> RateLimitResponse {
    let limit = RateLimit {
        name: "any-client".to_owned(),
        requests_per_unit: 100_000_000,
        unit: Unit::Minute.into(),
    };
    let status = DescriptorStatus {
        code: Code::Ok.into(),
        current_limit: Some(limit),
        limit_remaining: 99_999_999,
        ..Default::default()
    };
    let field = |key: &str, value: &str| HeaderValue {
        key: key.to_owned(),
        value: value.to_owned(),
        ..Default::default()
    };
    let fields = vec![
        field("ratelimit-policy", "\"any-client\";q=100000000;w=60"),
        field("ratelimit", "\"any-client\";r=99999999;t=1"),
    ];
    RateLimitResponse { statuses: vec![status], response_headers_to_add: fields, ..bare }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = arguments.threads {
        runtime.worker_threads(threads);
    }
    let service = RateLimitServiceServer::new(Echo);
    let server = Server::builder().add_service(service).serve(arguments.listen);
    Ok(runtime.enable_all().build()?.block_on(server)?)
}
