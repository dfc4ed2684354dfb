//! grpc.health.v1: a service is SERVING while this node wants traffic.

use std::pin::Pin;

use tidegate_proto::envoy::service::auth::v3::authorization_server;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_service_server;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::door::Readiness;

/// The services whose health is known; the empty name is the server as a whole.
const KNOWN: [&str; 3] = ["", rate_limit_service_server::SERVICE_NAME, authorization_server::SERVICE_NAME];

/// Says how a node is.
pub(super) struct NodeHealth(pub(super) Readiness);

#[tonic::async_trait]
impl Health for NodeHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !is_known(&request) {
            return Err(Status::not_found("there is no such service"));
        }
        Ok(Response::new(said(status(self.0.get()))))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        if !is_known(&request) {
            // The protocol wants a stream that stays open: the service might be added.
            let unknown = tokio_stream::once(Ok(said(ServingStatus::ServiceUnknown)));
            return Ok(Response::new(Box::pin(unknown.chain(tokio_stream::pending()))));
        }
        let changes = WatchStream::new(self.0.subscribe());
        Ok(Response::new(Box::pin(changes.map(|ready| Ok(said(status(ready)))))))
    }
}

fn is_known(request: &Request<HealthCheckRequest>) -> bool {
    KNOWN.contains(&request.get_ref().service.as_str())
}

fn status(ready: bool) -> ServingStatus {
    if ready { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn said(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
