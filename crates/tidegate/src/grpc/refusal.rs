//! Refusals of calls about which the engine is not asked: too large, or no message that can be read.
//!
//! They are decisions. Envoy lets a request pass, by default, whose check ends in an error, and what makes a call too large can
//! be its client's doing.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tidegate_wire::problem::{Problem, ProblemType};
use tonic::Status;
use tonic::body::Body;

use super::utf8::{CHECK, PREFIX_BYTES, RATE_LIMIT, TooManyParts};
use super::{GrpcOptions, authorize, to_wire};
use crate::door;

/// The services that decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decides {
    RateLimit,
    Authorize,
}

impl Decides {
    /// The body of a call with texts that can be read.
    pub(super) fn mend(self, body: Bytes) -> Result<Bytes, TooManyParts> {
        match self {
            Self::RateLimit => RATE_LIMIT.mend(body),
            Self::Authorize => CHECK.mend(body),
        }
    }

    /// OVER_LIMIT without statuses, since the descriptors were not read, or the response that Envoy is to send.
    pub(super) async fn refuse(self, problem: &Problem, options: &GrpcOptions) -> Response<Body> {
        let refusal = door::problem(problem);
        match self {
            Self::RateLimit => answer(&to_wire::refused(refusal, options.denied_body).await),
            Self::Authorize => answer(&authorize::denied_as(refusal).await),
        }
    }
}

/// A message of this many bytes at most is read.
pub(super) fn too_large(max_bytes: usize) -> Problem {
    let detail = format!("what there is to say of the request may have {max_bytes} bytes at most");
    Problem::new(ProblemType::TooLarge, detail)
}

pub(super) fn too_many_parts() -> Problem {
    Problem::new(ProblemType::TooLarge, "what there is to say of the request has too many parts")
}

pub(super) fn too_many_fields() -> Problem {
    Problem::new(ProblemType::HeadersTooLarge, "the call has too many header fields")
}

pub(super) fn unreadable() -> Problem {
    Problem::new(ProblemType::Malformed, "what there is to say of the request cannot be read")
}

/// A message as the answer to a call that went well.
fn answer(message: &impl Message) -> Response<Body> {
    let length = message.encoded_len();
    let mut body = BytesMut::with_capacity(PREFIX_BYTES + length);
    body.put_u8(0);
    body.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    body.put_slice(&message.encode_to_vec());
    let mut trailers = HeaderMap::new();
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::new(body.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
