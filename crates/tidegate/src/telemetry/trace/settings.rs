//! What tracing is told, checked.

use std::time::Duration;

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::sampler::Sampler;

/// The most headers that are sent to a collector beside our own.
pub const MAX_HEADERS: usize = 32;
/// The most attributes of this node.
pub const MAX_RESOURCE_ATTRIBUTES: usize = 64;
/// The longest list of headers or attributes, in bytes.
const MAX_LIST_BYTES: usize = 8_192;
/// The longest address, in bytes.
const MAX_ENDPOINT_BYTES: usize = 2_048;
/// What follows the address of a collector for traces over HTTP.
const TRACES_PATH: &str = "/v1/traces";
/// The usual port of OTLP over gRPC.
const GRPC_PORT: u16 = 4317;

/// Everything tracing is told.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// Where spans are sent.
    pub endpoint: OtlpEndpoint,
    /// What is sent with them; marked as sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long the collector may take for a batch.
    pub timeout: Duration,
    /// Attributes of this node, `service.name` among them.
    pub resource: Vec<(String, String)>,
    /// Which requests are traced.
    pub sampler: Sampler,
    /// The most spans that wait to be sent; more are dropped.
    pub queue_spans: usize,
    /// About how many spans are sent together.
    pub batch_spans: usize,
    /// How long a span waits for others.
    pub delay: Duration,
    /// The kind of store that requests wait for.
    pub store: &'static str,
}

/// A collector's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpEndpoint {
    /// Where batches go, with the path.
    pub uri: Uri,
    /// How.
    pub protocol: OtlpProtocol,
}

/// How batches travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// Protobuf in the body of an HTTP request.
    HttpProtobuf,
}

impl OtlpProtocol {
    /// The name in settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            OtlpProtocol::Grpc => "grpc",
            OtlpProtocol::HttpProtobuf => "http/protobuf",
        }
    }
}

impl OtlpEndpoint {
    /// A collector at an address like `http://collector:4318`. Without a protocol, one at port 4317 speaks gRPC and any other HTTP.
    /// Where `is_whole` does not say that batches go to the address as it is, they go to `/v1/traces` below it, over HTTP.
    ///
    /// # Errors
    /// It is no such address. The text does not repeat it.
    pub fn new(text: &str, protocol: Option<OtlpProtocol>, is_whole: bool) -> Result<Self, &'static str> {
        if text.len() > MAX_ENDPOINT_BYTES {
            return Err("the address is longer than 2,048 bytes");
        }
        let uri: Uri = text.parse().map_err(|_| "write an address like http://collector:4318")?;
        if !matches!(uri.scheme(), Some(scheme) if [Scheme::HTTP, Scheme::HTTPS].contains(scheme)) {
            return Err("the address begins with http:// or https://, like http://collector:4318");
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("a login does not belong in the address: send it as a header (--otlp-headers)");
        }
        let usual =
            if uri.port_u16() == Some(GRPC_PORT) { OtlpProtocol::Grpc } else { OtlpProtocol::HttpProtobuf };
        let protocol = protocol.unwrap_or(usual);
        let uri = match protocol {
            OtlpProtocol::HttpProtobuf if !is_whole => below(uri, TRACES_PATH)?,
            OtlpProtocol::HttpProtobuf | OtlpProtocol::Grpc => uri,
        };
        Ok(Self { uri, protocol })
    }
}

/// The address of a path below another.
fn below(uri: Uri, path: &str) -> Result<Uri, &'static str> {
    let mut parts = uri.into_parts();
    let above = parts.path_and_query.as_ref().map_or("", |above| above.path());
    let path = format!("{}{path}", above.trim_end_matches('/'));
    parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| "the path is no path")?);
    Uri::from_parts(parts).map_err(|_| "write an address like http://collector:4318")
}

/// Why a list of keys and values cannot be one. The text never repeats it: it may hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairsError {
    /// Not `key=value,key=value`.
    #[error("write key=value,key=value, and % with two hexadecimal digits for what is special")]
    Form,
    /// More than its most.
    #[error("the list is longer than {MAX_LIST_BYTES} bytes, or has more than {0} entries")]
    TooMany(usize),
}

/// The pairs of a list `key=value,key=value`, values with % codes (as `OTEL_EXPORTER_OTLP_HEADERS` and
/// `OTEL_RESOURCE_ATTRIBUTES` have them).
///
/// # Errors
/// [`PairsError`].
pub fn pairs(text: &str, most: usize) -> Result<Vec<(String, String)>, PairsError> {
    if text.len() > MAX_LIST_BYTES {
        return Err(PairsError::TooMany(most));
    }
    let mut pairs = Vec::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or(PairsError::Form)?;
        let key = key.trim_end();
        let value = percent_decode_str(value.trim_start()).decode_utf8().map_err(|_| PairsError::Form)?;
        if key.is_empty() {
            return Err(PairsError::Form);
        }
        pairs.push((key.to_owned(), value.into_owned()));
    }
    if pairs.len() > most { Err(PairsError::TooMany(most)) } else { Ok(pairs) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_completed_as_opentelemetry_has_it() {
        use OtlpProtocol::{Grpc, HttpProtobuf};
        for (text, protocol, is_whole, uri, expected) in [
            ("http://c:4318", None, false, "http://c:4318/v1/traces", HttpProtobuf),
            ("http://c:4318/", None, false, "http://c:4318/v1/traces", HttpProtobuf),
            ("https://c/otlp/", None, false, "https://c/otlp/v1/traces", HttpProtobuf),
            ("https://c/otlp/", None, true, "https://c/otlp/", HttpProtobuf),
            ("http://c:4318", None, true, "http://c:4318/", HttpProtobuf),
            ("http://c:4317", None, false, "http://c:4317/", Grpc),
            ("http://c:4317", Some(HttpProtobuf), false, "http://c:4317/v1/traces", HttpProtobuf),
            ("http://[::1]:9", Some(Grpc), false, "http://[::1]:9/", Grpc),
        ] {
            let endpoint = OtlpEndpoint::new(text, protocol, is_whole).unwrap();
            assert_eq!((endpoint.uri.to_string().as_str(), endpoint.protocol), (uri, expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        let long = format!("http://hunter2/{}", "x".repeat(MAX_ENDPOINT_BYTES));
        for text in ["", "hunter2", "hunter2:4317", "ftp://hunter2", "http://", "http://u:hunter2@c", &long] {
            let error = OtlpEndpoint::new(text, None, false).unwrap_err();
            assert!(!error.contains("hunter2"), "{text}: {error}");
        }
    }

    #[test]
    fn pairs_are_read_with_their_codes() {
        let read = |text| pairs(text, 2);
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(read(" a = b%20c , d==e,"), Ok(vec![pair("a", "b c"), pair("d", "=e")]));
        assert_eq!(read("a="), Ok(vec![pair("a", "")]));
        for bad in ["a", "=b", "a=%ff", "a=b,c"] {
            assert_eq!(read(bad), Err(PairsError::Form), "{bad}");
        }
        assert_eq!(read("a=1,b=2,c=3"), Err(PairsError::TooMany(2)));
        assert_eq!(read(&"x".repeat(MAX_LIST_BYTES + 1)), Err(PairsError::TooMany(2)));
    }
}
