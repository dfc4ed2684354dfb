//! Goal: `Authorization/Check` decides by what the request says about itself, and Envoy can answer with what it gets.

use std::collections::HashMap;

use prost::Message;
use tidegate_proto::envoy::config::core::v3::address::Address as AnyAddress;
use tidegate_proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use tidegate_proto::envoy::config::core::v3::{Address, HeaderValueOption, SocketAddress};
use tidegate_proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use tidegate_proto::envoy::service::auth::v3::authorization_server::SERVICE_NAME;
use tidegate_proto::envoy::service::auth::v3::check_response::HttpResponse;
use tidegate_proto::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use tonic::Code;

use crate::site::{Site, channel};

/// A request as Envoy describes it.
struct Described {
    source: &'static str,
    http: HttpRequest,
    extensions: Vec<(&'static str, &'static str)>,
}

fn described() -> Described {
    let http = HttpRequest {
        method: "GET".to_owned(),
        path: "/a?b=c".to_owned(),
        host: "Example.com:443".to_owned(),
        headers: HashMap::from([("user-agent".to_owned(), "t/1".to_owned())]),
        ..Default::default()
    };
    Described { source: "192.0.2.1", http, extensions: Vec::new() }
}

impl Described {
    fn source(self, source: &'static str) -> Self {
        Self { source, ..self }
    }

    fn path(mut self, path: &str) -> Self {
        self.http.path = path.to_owned();
        self
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.http.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    fn extension(mut self, name: &'static str, value: &'static str) -> Self {
        self.extensions.push((name, value));
        self
    }

    fn request(self) -> CheckRequest {
        let socket = SocketAddress { address: self.source.to_owned(), ..Default::default() };
        let address = Address { address: Some(AnyAddress::SocketAddress(socket)) };
        let extensions = self.extensions.into_iter();
        CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(Peer { address: Some(address), ..Default::default() }),
                request: Some(Request { http: Some(self.http), ..Default::default() }),
                context_extensions: extensions.map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
                ..Default::default()
            }),
        }
    }
}

async fn check(site: &Site, described: Described) -> CheckResponse {
    site.authorization().await.check(described.request()).await.unwrap().into_inner()
}

fn passed(response: CheckResponse) -> OkHttpResponse {
    assert_eq!(response.status.as_ref().unwrap().code, i32::from(Code::Ok));
    match response.http_response {
        Some(HttpResponse::OkResponse(ok)) => ok,
        other => panic!("{other:?}"),
    }
}

fn denied(response: CheckResponse, code: Code) -> DeniedHttpResponse {
    assert_eq!(response.status.as_ref().unwrap().code, i32::from(code));
    match response.http_response {
        Some(HttpResponse::DeniedResponse(denied)) => denied,
        other => panic!("{other:?}"),
    }
}

fn field(fields: &[HeaderValueOption], name: &str) -> Option<String> {
    let field = fields.iter().find(|field| field.header.as_ref().unwrap().key == name)?;
    assert_eq!(field.append_action(), HeaderAppendAction::OverwriteIfExistsOrAdd);
    Some(field.header.as_ref().unwrap().value.clone())
}

#[tokio::test]
async fn a_client_is_let_through_until_its_quota_is_used_up() {
    let site = Site::start();
    for left in ["1", "0"] {
        let ok = passed(check(&site, described()).await);
        let rate_limit = field(&ok.response_headers_to_add, "ratelimit").unwrap();
        assert!(rate_limit.starts_with(&format!("\"per-client\";r={left}")), "{rate_limit}");
        assert_eq!(ok.headers, ok.response_headers_to_add, "the application sees what the client sees");
    }
    let denied = denied(check(&site, described()).await, Code::ResourceExhausted);
    assert_eq!(denied.status.unwrap().code, 429);
    assert_eq!(field(&denied.headers, "content-type").as_deref(), Some("application/problem+json"));
    let retry_after: u64 = field(&denied.headers, "retry-after").unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&retry_after));
    let body: serde_json::Value = serde_json::from_str(&denied.body).unwrap();
    assert_eq!((&body["status"], &body["allowed"]), (&429.into(), &false.into()));
    passed(check(&site, described().source("192.0.2.2")).await);
}

#[tokio::test]
async fn nobody_is_believed_about_addresses_but_proxies_that_are_trusted() {
    let names_another = |client: &'static str| described().header("x-forwarded-for", client);
    let site = Site::start();
    passed(check(&site, names_another("198.51.100.1")).await);
    passed(check(&site, names_another("198.51.100.2")).await);
    denied(check(&site, names_another("198.51.100.3")).await, Code::ResourceExhausted);

    let site = Site::with(&["--trusted-proxy", "192.0.2.0/24", "--proxy-header", "x-forwarded-for"]);
    for spoofed in ["203.0.113.1", "203.0.113.2"] {
        let header = format!("{spoofed}, 198.51.100.1");
        passed(check(&site, described().header("x-forwarded-for", &header)).await);
    }
    denied(check(&site, names_another("198.51.100.1")).await, Code::ResourceExhausted);
    passed(check(&site, names_another("198.51.100.2")).await);
    let from_elsewhere = names_another("198.51.100.2").source("198.18.0.1");
    passed(check(&site, from_elsewhere).await);
}

#[tokio::test]
async fn extensions_choose_the_domain_and_are_entries() {
    let site = Site::start();
    let plan = |plan| described().extension("domain", "routes").extension("plan", plan);
    passed(check(&site, plan("a")).await);
    let other_spelling = || {
        let mut described = plan("a").path("//./a?x=y");
        described.http.host = "example.COM".to_owned();
        described
    };
    denied(check(&site, other_spelling()).await, Code::ResourceExhausted);
    for different in [plan("b"), plan("a").path("/b"), plan("a").header("user-agent", "t/2")] {
        passed(check(&site, different).await);
    }
    let elsewhere = passed(check(&site, described().extension("domain", "nowhere")).await);
    assert!(elsewhere.response_headers_to_add.is_empty());
}

#[tokio::test]
async fn an_extension_comes_before_what_the_request_says() {
    let site = Site::start();
    let as_one = |source| described().source(source).extension("client_ip", "203.0.113.9");
    passed(check(&site, as_one("192.0.2.1")).await);
    passed(check(&site, as_one("192.0.2.2")).await);
    denied(check(&site, as_one("192.0.2.3")).await, Code::ResourceExhausted);
}

#[tokio::test]
async fn a_path_without_a_normal_form_does_not_pass() {
    let site = Site::start();
    let denied = denied(check(&site, described().path("/a%2fb")).await, Code::PermissionDenied);
    assert_eq!(denied.status.unwrap().code, 400);
    let body: serde_json::Value = serde_json::from_str(&denied.body).unwrap();
    assert_eq!(body["type"], "urn:tidegate:problem:malformed");
}

/// Envoy passes on what its client has sent, and a message with such a path is none (protobuf's strings are UTF-8).
#[tokio::test]
async fn a_path_that_is_no_utf8_is_decided_all_the_same() {
    let site = Site::start();
    let attributes = described().path("/caf?").request().attributes.unwrap();
    let mut attributes = attributes.encode_to_vec();
    let at = attributes.windows(5).position(|found| found == b"/caf?").unwrap();
    attributes[at + 4] = 0xe9;
    let mut client = tonic::client::Grpc::new(channel(site.server.grpc_address()).await);
    for code in [Code::Ok, Code::Ok, Code::ResourceExhausted] {
        client.ready().await.unwrap();
        // Bytes are a message whose field 1 they are, as attributes are of a check.
        let codec = tonic_prost::ProstCodec::<Vec<u8>, CheckResponse>::default();
        let path = format!("/{SERVICE_NAME}/Check").parse().unwrap();
        let answer = client.unary(tonic::Request::new(attributes.clone()), path, codec).await;
        assert_eq!(answer.unwrap().into_inner().status.unwrap().code, i32::from(code));
    }
}

#[tokio::test]
async fn what_is_too_long_is_cut_and_decided() {
    let site = Site::start();
    let long = |end: &str| {
        let path = format!("/{}{end}", "x".repeat(2_000));
        described().path(&path).extension("domain", "routes").extension("plan", "a")
    };
    passed(check(&site, long("1")).await);
    denied(check(&site, long("2")).await, Code::ResourceExhausted);
}

#[tokio::test]
async fn what_an_operator_wrote_wrong_is_an_error() {
    let site = Site::start();
    let refuses = async |request: CheckRequest| {
        let refused = site.authorization().await.check(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        refused.message().to_owned()
    };
    let domain = refuses(described().extension("domain", "").request()).await;
    assert!(domain.starts_with("context_extensions.domain: "), "{domain}");
    let name = refuses(described().extension("a b", "c").request()).await;
    assert!(name.starts_with("context_extensions: "), "{name}");
    assert!(refuses(CheckRequest::default()).await.starts_with("attributes: "));
}

#[tokio::test]
async fn a_request_that_is_no_http_is_known_by_its_address() {
    let site = Site::start();
    let bare = || {
        let mut request = described().request();
        request.attributes.as_mut().unwrap().request = None;
        request
    };
    let mut client = site.authorization().await;
    for code in [Code::Ok, Code::Ok, Code::ResourceExhausted] {
        let answer = client.check(bare()).await.unwrap().into_inner();
        assert_eq!(answer.status.unwrap().code, i32::from(code));
    }
}

/// Without the entry, rules whose key it is would not hold, and nobody would say so.
#[tokio::test]
async fn all_without_an_address_are_one_client() {
    use tidegate_proto::envoy::config::core::v3::Pipe;

    let site = Site::start();
    let mut client = site.authorization().await;
    let of = |source: Option<Peer>| {
        let mut request = described().request();
        request.attributes.as_mut().unwrap().source = source;
        request
    };
    let at = |address: Option<AnyAddress>| {
        of(Some(Peer { address: Some(Address { address }), ..Default::default() }))
    };
    let socket =
        |text: &str| AnyAddress::SocketAddress(SocketAddress { address: text.into(), ..Default::default() });
    let asked = [
        of(None),
        of(Some(Peer::default())),
        at(None),
        at(Some(AnyAddress::Pipe(Pipe { path: "/run/x.sock".into(), mode: 0 }))),
        at(Some(socket(""))),
        at(Some(socket("somewhere"))),
    ];
    for (nth, request) in asked.into_iter().enumerate() {
        let answer = client.check(request).await.unwrap().into_inner();
        let code = if nth < 2 { Code::Ok } else { Code::ResourceExhausted };
        assert_eq!(answer.status.unwrap().code, i32::from(code), "the {nth}th");
    }
    passed(check(&site, described()).await);
    let named = described().extension("client_ip", "203.0.113.9");
    let mut named = named.request();
    named.attributes.as_mut().unwrap().source = None;
    passed(client.check(named).await.unwrap().into_inner());
}

#[tokio::test]
async fn the_shipped_rules_bound_logins() {
    let site = Site::shipped();
    let login = || {
        let mut described = described().path("/login").extension("domain", "authz");
        described.http.method = "POST".to_owned();
        described
    };
    for _ in 0..5 {
        passed(check(&site, login()).await);
    }
    let refused = denied(check(&site, login()).await, Code::ResourceExhausted);
    let body: serde_json::Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!(body["violated-policies"], serde_json::json!(["logins"]));
}
