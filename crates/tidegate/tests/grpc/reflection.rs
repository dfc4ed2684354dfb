//! Goal: tools find out what there is.

use tidegate_testkit::{Tidegate, TidegateOptions};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse, ServiceResponse};

use crate::site::{PATIENCE, Site, channel, descriptor, request};

async fn ask(site: &Site, asked: MessageRequest) -> ServerReflectionResponse {
    let mut client = ServerReflectionClient::new(channel(site.server.grpc_address()).await);
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(asked) };
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    answers.next().await.unwrap().unwrap()
}

/// The services that it lists.
pub(crate) async fn services(site: &Site) -> Vec<ServiceResponse> {
    let answer = ask(site, MessageRequest::ListServices(String::new())).await;
    match answer.message_response {
        Some(MessageResponse::ListServicesResponse(services)) => services.service,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn it_lists_the_services_and_describes_them() {
    let site = Site::start();
    let mut services: Vec<_> = services(&site).await.into_iter().map(|service| service.name).collect();
    services.sort();
    assert_eq!(
        services,
        [
            "envoy.service.auth.v3.Authorization",
            "envoy.service.ratelimit.v3.RateLimitService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
        ]
    );
    let symbol = "envoy.service.ratelimit.v3.RateLimitService".to_owned();
    let answer = ask(&site, MessageRequest::FileContainingSymbol(symbol)).await;
    let Some(MessageResponse::FileDescriptorResponse(files)) = answer.message_response else {
        panic!("{answer:?}")
    };
    assert!(
        files.file_descriptor_proto.iter().any(|file| {
            file.windows(b"ShouldRateLimit".len()).any(|window| window == b"ShouldRateLimit")
        })
    );
}

#[tokio::test]
async fn the_older_reflection_answers_too() {
    use tonic_reflection::pb::v1alpha::ServerReflectionRequest;
    use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;

    let site = Site::start();
    let mut client = ServerReflectionClient::new(channel(site.server.grpc_address()).await);
    let asked = MessageRequest::FileByFilename("envoy/service/auth/v3/external_auth.proto".to_owned());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(asked) };
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    assert!(answers.next().await.unwrap().unwrap().message_response.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_as_many_as_there_are_places_for_them() {
    /// Over all connections.
    const MAX_REFLECTIONS: usize = 64;

    let site = Site::start();
    let open = async || {
        let mut client = ServerReflectionClient::new(channel(site.server.grpc_address()).await);
        // Nothing is asked; with the sender gone, nothing more will be.
        let (sender, asked) = tokio::sync::mpsc::channel(1);
        let answers = client.server_reflection_info(ReceiverStream::new(asked)).await;
        answers.map(|answers| (sender, answers))
    };
    let mut streams = Vec::new();
    for _ in 0..MAX_REFLECTIONS {
        streams.push(open().await.expect("a place"));
    }
    assert_eq!(open().await.unwrap_err().code(), Code::Unavailable);
    let asked = request("edge", vec![descriptor(&[("user_id", "u1")])]);
    site.try_ask(asked).await.expect("decisions have nothing to do with it");
    streams.pop();
    let free = async {
        while open().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.expect("who leaves makes room");
}

#[test]
fn a_server_without_the_door_has_none() {
    let server = Tidegate::with(&TidegateOptions::new(env!("CARGO_BIN_EXE_tidegate")));
    assert!(std::net::TcpStream::connect(server.grpc_address()).is_err());
    assert!(!server.logs().contains("gRPC:"));
}
