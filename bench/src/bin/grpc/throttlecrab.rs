//! The gRPC protocol of throttlecrab-server, from `proto/throttlecrab.proto` of its release 0.4.40.
//!
//! Written by hand as the generator would write it: it is one call, and so no build takes `protoc`.

use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{GrpcMethod, Request, Status};
use tonic_prost::ProstCodec;

/// May so many requests of this key pass? The quota comes along.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ThrottleRequest {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(int32, tag = "2")]
    pub(crate) max_burst: i32,
    #[prost(int32, tag = "3")]
    pub(crate) count_per_period: i32,
    /// Seconds.
    #[prost(int32, tag = "4")]
    pub(crate) period: i32,
    #[prost(int32, tag = "5")]
    pub(crate) quantity: i32,
}

/// The decision.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct ThrottleResponse {
    #[prost(bool, tag = "1")]
    pub(crate) allowed: bool,
    #[prost(int32, tag = "2")]
    pub(crate) limit: i32,
    #[prost(int32, tag = "3")]
    pub(crate) remaining: i32,
    /// Seconds.
    #[prost(int32, tag = "4")]
    pub(crate) retry_after: i32,
    /// Seconds.
    #[prost(int32, tag = "5")]
    pub(crate) reset_after: i32,
}

/// A client of the service `throttlecrab.RateLimiter`.
#[derive(Clone, Debug)]
pub(crate) struct RateLimiterClient {
    inner: Grpc<Channel>,
}

impl RateLimiterClient {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { inner: Grpc::new(channel) }
    }

    /// Asks for one decision.
    pub(crate) async fn throttle(&mut self, request: ThrottleRequest) -> Result<ThrottleResponse, Status> {
        let ready = self.inner.ready().await;
        ready.map_err(|error| Status::unknown(format!("Service was not ready: {error}")))?;
        let path = PathAndQuery::from_static("/throttlecrab.RateLimiter/Throttle");
        let mut request = Request::new(request);
        request.extensions_mut().insert(GrpcMethod::new("throttlecrab.RateLimiter", "Throttle"));
        Ok(self.inner.unary(request, path, ProstCodec::default()).await?.into_inner())
    }
}
