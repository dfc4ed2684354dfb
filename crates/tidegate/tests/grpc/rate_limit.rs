//! Goal: `ShouldRateLimit` says what Envoy expects of it.

use tidegate_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::RateLimitOverride;
use tidegate_proto::envoy::service::ratelimit::v3::RateLimitRequest;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_response::{Code, RateLimit};
use tidegate_proto::envoy::r#type::v3::RateLimitUnit;
use tonic::metadata::MetadataValue;
use tonic::{Code as GrpcCode, Request};

use crate::site::{Site, codes, descriptor, field, request};

const DAY: i64 = 86_400;

#[tokio::test]
async fn statuses_have_the_order_and_number_of_the_descriptors() {
    let site = Site::start();
    let both = || vec![descriptor(&[("user_id", "u1")]), descriptor(&[("remote_address", "192.0.2.1")])];
    for left in [2, 1, 0] {
        let answer = site.ask(both()).await;
        assert_eq!(answer.overall_code(), Code::Ok);
        assert_eq!(codes(&answer), [Code::Ok, Code::Ok]);
        assert_eq!(answer.statuses[0].limit_remaining, left);
        assert_eq!(answer.statuses[1].limit_remaining, left + 2);
    }
    let answer = site.ask(both()).await;
    assert_eq!(answer.overall_code(), Code::OverLimit, "one is enough");
    assert_eq!(codes(&answer), [Code::OverLimit, Code::Ok]);
    assert_eq!(answer.statuses[1].limit_remaining, 1, "each is charged on its own");

    let [user, address] = &answer.statuses[..] else { panic!("{answer:?}") };
    let limit = |name: &str, requests_per_unit, unit: Unit| RateLimit {
        name: name.to_owned(),
        requests_per_unit,
        unit: unit.into(),
    };
    assert_eq!(address.current_limit, Some(limit("per-address", 5, Unit::Day)));
    assert_eq!(user.current_limit, Some(limit("per-user", 3, Unit::Unknown)), "90 s is none of the units");
    let reset = address.duration_until_reset.unwrap().seconds;
    assert!((1..=DAY).contains(&reset), "{reset}");
    assert!((0..=90).contains(&user.duration_until_reset.unwrap().seconds));
}

#[tokio::test]
async fn header_fields_are_those_of_the_http_door_and_speak_for_the_strictest() {
    let site = Site::start();
    let both = || vec![descriptor(&[("remote_address", "192.0.2.1")]), descriptor(&[("path", "/strict")])];
    let answer = site.ask(both()).await;
    let fields = &answer.response_headers_to_add;
    assert_eq!(field(fields, "ratelimit-policy"), Some("\"strict\";q=1;w=86400"));
    assert!(field(fields, "ratelimit").unwrap().starts_with("\"strict\";r=0"), "{fields:?}");
    assert_eq!(field(fields, "retry-after"), None);
    assert!(answer.raw_body.is_empty());

    let answer = site.ask(both()).await;
    assert_eq!(codes(&answer), [Code::Ok, Code::OverLimit]);
    let fields = &answer.response_headers_to_add;
    let retry_after: i64 = field(fields, "retry-after").unwrap().parse().unwrap();
    assert!((1..=DAY).contains(&retry_after), "{retry_after}");
    assert!(field(fields, "ratelimit").unwrap().starts_with("\"strict\";r=0"), "{fields:?}");
    assert!(answer.raw_body.is_empty() && field(fields, "content-type").is_none(), "not asked for");
    assert_eq!(field(fields, "x-ratelimit-limit"), None, "not asked for");
}

#[tokio::test]
async fn a_body_for_the_refused_and_the_legacy_fields_come_when_asked_for() {
    let site = Site::with(&["--grpc-denied-body", "--legacy-fields"]);
    let strict = || vec![descriptor(&[("path", "/strict")])];
    let answer = site.ask(strict()).await;
    assert!(answer.raw_body.is_empty(), "it passes");
    assert_eq!(field(&answer.response_headers_to_add, "x-ratelimit-limit"), Some("1"));
    let answer = site.ask(strict()).await;
    let body: serde_json::Value = serde_json::from_slice(&answer.raw_body).unwrap();
    assert_eq!(body["status"], 429);
    assert_eq!(body["violated-policies"], serde_json::json!(["strict"]));
    let fields = &answer.response_headers_to_add;
    assert_eq!(field(fields, "content-type"), Some("application/problem+json"));
    assert!(field(fields, "retry-after").is_some());
}

#[tokio::test]
async fn hits_are_one_if_none_are_said_and_a_descriptor_says_its_own() {
    let site = Site::start();
    let left = async |hits_addend: u32, own: Option<u64>, give_back: bool| {
        let mut descriptor = descriptor(&[("remote_address", "192.0.2.2")]);
        descriptor.hits_addend = own;
        descriptor.is_negative_hits = give_back;
        let request = RateLimitRequest { hits_addend, ..request("edge", vec![descriptor]) };
        let answer = site.try_ask(request).await.unwrap().into_inner();
        (answer.overall_code(), answer.statuses[0].limit_remaining)
    };
    assert_eq!(left(0, None, false).await, (Code::Ok, 4));
    assert_eq!(left(2, None, false).await, (Code::Ok, 2));
    assert_eq!(left(2, Some(1), false).await, (Code::Ok, 1));
    assert_eq!(left(9, Some(0), false).await, (Code::Ok, 1), "0 charges nothing");
    assert_eq!(left(2, None, false).await, (Code::OverLimit, 1), "a denial charges nothing");
    assert_eq!(left(0, None, false).await, (Code::Ok, 0));
    assert_eq!(left(0, Some(0), false).await, (Code::OverLimit, 0), "one more would not pass");
    assert_eq!(left(2, None, true).await, (Code::Ok, 2), "given back");
    assert_eq!(left(2, None, false).await, (Code::Ok, 0));
}

#[tokio::test]
async fn no_spelling_of_a_path_or_host_evades_its_rule() {
    let site = Site::start();
    let mut spellings = vec![
        "/strict".to_owned(),
        "//strict?x=y".to_owned(),
        r"/x/..\../strict".to_owned(),
        "/x/..%2fstrict".to_owned(),
        "strict".to_owned(),
    ];
    spellings.extend(["./", "/", "x/../"].map(|filler| format!("/{}strict", filler.repeat(2_100))));
    for (nth, path) in spellings.iter().enumerate() {
        let answer = site.ask(vec![descriptor(&[("path", path)])]).await;
        let expected = if nth == 0 { Code::Ok } else { Code::OverLimit };
        assert_eq!(answer.overall_code(), expected, "{:.40}", path);
    }
    for (host, expected) in [("example.com", Code::Ok), ("Example.COM", Code::OverLimit)] {
        let answer = site.ask(vec![descriptor(&[("host", host)])]).await;
        assert_eq!(answer.overall_code(), expected, "{host}");
    }
}

#[tokio::test]
async fn a_rule_names_an_address_in_any_spelling() {
    let site = Site::start();
    for (address, expected) in [
        ("2001:db8:7::1", Code::Ok),
        ("2001:DB8:7:0:1::2", Code::OverLimit),
        ("192.0.2.77", Code::Ok),
        ("::ffff:192.0.2.77", Code::OverLimit),
    ] {
        let answer = site.ask(vec![descriptor(&[("remote_address", address), ("by", "name")])]).await;
        assert_eq!(answer.overall_code(), expected, "{address}");
    }
}

#[tokio::test]
async fn what_no_rule_limits_passes_without_a_limit() {
    let site = Site::start();
    let unlimited = [
        request("edge", vec![descriptor(&[("unheard_of", "x")])]),
        request("nowhere", vec![descriptor(&[("user_id", "x")])]),
        request("edge", vec![descriptor(&[("watched", "shadow rules are not obeyed")])]),
    ];
    for request in unlimited {
        let answer = site.try_ask(request).await.unwrap().into_inner();
        assert_eq!((answer.overall_code(), codes(&answer)), (Code::Ok, vec![Code::Ok]));
        assert_eq!(answer.statuses[0].current_limit, None);
        assert_eq!(answer.statuses[0].limit_remaining, u32::MAX);
        assert_eq!(answer.response_headers_to_add, []);
    }
    let answer = site.ask(vec![descriptor(&[("huge", "x")])]).await;
    assert_eq!(answer.statuses[0].limit_remaining, u32::MAX, "as much as the message can hold");
}

#[tokio::test]
async fn a_descriptor_may_bring_its_own_limit() {
    let site = Site::start();
    let with = |limit: u32, unit: RateLimitUnit, user: &str| {
        let mut descriptor = descriptor(&[("user_id", user)]);
        descriptor.limit = Some(RateLimitOverride { requests_per_unit: limit, unit: unit.into() });
        descriptor
    };
    let day = |user| with(2, RateLimitUnit::Day, user);
    let answer = site.ask(vec![day("u"), descriptor(&[("user_id", "u")]), day("u"), day("v")]).await;
    assert_eq!(codes(&answer), [Code::Ok; 4]);
    let left: Vec<u32> = answer.statuses.iter().map(|status| status.limit_remaining).collect();
    assert_eq!(left, [1, 2, 0, 1], "the rules' bucket is another one");
    let limit = answer.statuses[0].current_limit.as_ref().unwrap();
    assert_eq!((limit.name.as_str(), limit.requests_per_unit, limit.unit()), ("edge", 2, Unit::Day));
    let policy = field(&answer.response_headers_to_add, "ratelimit-policy");
    assert_eq!(policy, Some("\"edge\";q=2;w=86400"));

    let mut peek = day("u");
    peek.hits_addend = Some(0);
    let answer = site.ask(vec![day("u"), peek, with(3, RateLimitUnit::Day, "u")]).await;
    assert_eq!(
        codes(&answer),
        [Code::OverLimit, Code::OverLimit, Code::Ok],
        "a higher limit goes on from there"
    );
    let elsewhere = site.try_ask(request("elsewhere", vec![day("u")])).await.unwrap().into_inner();
    assert_eq!(elsewhere.statuses[0].limit_remaining, 1, "another domain has other buckets");
    let nothing = site.ask(vec![with(0, RateLimitUnit::Minute, "u")]).await;
    assert_eq!(nothing.overall_code(), Code::OverLimit);

    let mut given_back = day("u");
    given_back.is_negative_hits = true;
    let no_unit = with(1, RateLimitUnit::Unknown, "u");
    for (descriptor, field) in [(no_unit, "limit"), (given_back, "is_negative_hits")] {
        let refused = site.try_ask(request("edge", vec![descriptor])).await.unwrap_err();
        assert_eq!(refused.code(), GrpcCode::InvalidArgument);
        assert!(refused.message().starts_with(&format!("descriptors[0].{field}: ")), "{refused}");
    }
}

#[tokio::test]
async fn keys_that_repeat_have_numbers() {
    let site = Site::start();
    let twice = |second| vec![descriptor(&[("generic_key", "a"), ("generic_key", second)])];
    assert_eq!(site.ask(twice("b")).await.overall_code(), Code::Ok);
    assert_eq!(site.ask(twice("c")).await.overall_code(), Code::Ok);
    assert_eq!(site.ask(twice("b")).await.overall_code(), Code::OverLimit);
}

#[tokio::test]
async fn one_client_has_one_bucket_however_its_address_is_written() {
    let site = Site::start();
    for (address, left) in [
        ("2001:db8::1", 4),
        ("2001:db8::ffff:1", 3),
        ("::ffff:192.0.2.9", 4),
        ("192.0.2.9", 3),
        ("no address at all", 4),
    ] {
        let answer = site.ask(vec![descriptor(&[("remote_address", address)])]).await;
        assert_eq!(answer.statuses[0].limit_remaining, left, "{address}");
    }
    let strict = site.ask(vec![descriptor(&[("path", "//a/..//strict")])]).await;
    assert_eq!(strict.statuses[0].limit_remaining, 0, "paths have one spelling");
    assert!(strict.statuses[0].current_limit.is_some());
}

#[tokio::test]
async fn never_more_than_the_limit_pass_at_once() {
    let site = Site::start();
    let mut asking = Vec::new();
    for _ in 0..8 {
        let mut client = site.rate_limit().await;
        for _ in 0..20 {
            let mut client = client.clone();
            asking.push(tokio::spawn(async move {
                let request = request("edge", vec![descriptor(&[("crowd", "all")])]);
                client.should_rate_limit(request).await.unwrap().into_inner().overall_code()
            }));
        }
        client.should_rate_limit(request("edge", vec![descriptor(&[("user_id", "x")])])).await.unwrap();
    }
    let mut passed = 0;
    for answer in asking {
        passed += u32::from(answer.await.unwrap() == Code::Ok);
    }
    assert_eq!(passed, 50);
}

#[tokio::test]
async fn what_an_operator_wrote_wrong_is_named() {
    let site = Site::start();
    let user = || descriptor(&[("user_id", "u")]);
    let with_hits = |hits| {
        let mut descriptor = user();
        descriptor.hits_addend = Some(hits);
        descriptor
    };
    let many = |count: usize| -> Vec<(String, String)> {
        (0..count).map(|index| (format!("k{index}"), "v".to_owned())).collect()
    };
    let entries = |entries: Vec<(String, String)>| {
        let entries: Vec<_> = entries.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        descriptor(&entries)
    };
    for (request, field) in [
        (request("", vec![user()]), "domain"),
        (request(&"d".repeat(129), vec![user()]), "domain"),
        (request("edge", vec![]), "descriptors"),
        (request("edge", vec![user(); 101]), "descriptors"),
        (request("edge", vec![user(), descriptor(&[])]), "descriptors[1].entries"),
        (request("edge", vec![entries(many(33))]), "descriptors[0].entries"),
        (request("edge", vec![descriptor(&[("", "x")])]), "descriptors[0].entries[0].key"),
        (request("edge", vec![descriptor(&[("a", "x"), ("b c", "x")])]), "descriptors[0].entries[1].key"),
        (request("edge", vec![with_hits(1_000_000_000_001)]), "descriptors[0].hits_addend"),
    ] {
        let refused = site.try_ask(request).await.unwrap_err();
        assert_eq!(refused.code(), GrpcCode::InvalidArgument, "{field}");
        assert!(refused.message().starts_with(&format!("{field}: ")), "{}", refused.message());
    }
    let at_most = site.try_ask(request("edge", vec![user(); 100])).await.unwrap().into_inner();
    assert_eq!(at_most.statuses.len(), 100);
    let answer = site.try_ask(request("edge", vec![entries(many(32))])).await.unwrap().into_inner();
    assert_eq!(answer.overall_code(), Code::Ok);
}

/// Envoy lets requests pass whose check ends in an error, so no client of Envoy may be able to cause one.
#[tokio::test]
async fn no_value_of_a_client_is_an_error() {
    let site = Site::start();
    let long = |end: &str| format!("{}{end}", "x".repeat(2_000));
    let (long_1, long_2) = (long("1"), long("2"));
    let mut left = Vec::new();
    for value in ["", "\u{0}\n", "é", &long_1, &long_2, "%2f%00"] {
        let answer = site.ask(vec![descriptor(&[("user_id", value)]), descriptor(&[("path", value)])]).await;
        left.push(answer.statuses[0].limit_remaining);
    }
    assert_eq!(left, [2, 2, 2, 2, 1, 2], "what is too long is cut, and then the same");
}

#[tokio::test]
async fn a_correlation_id_comes_back() {
    let site = Site::start();
    let mut client = site.rate_limit().await;
    let mut asked = Request::new(request("edge", vec![descriptor(&[("user_id", "u")])]));
    asked.metadata_mut().insert("x-correlation-id", MetadataValue::from_static("abc-1"));
    let answer = client.should_rate_limit(asked).await.unwrap();
    assert_eq!(answer.metadata().get("x-correlation-id").unwrap(), "abc-1");
    let refused = client.should_rate_limit(request("", vec![])).await.unwrap_err();
    assert_eq!(refused.metadata().get("x-correlation-id").unwrap().len(), 32, "made, and on errors, too");
}

/// The descriptors are those that `deploy/envoy/envoy.yaml` makes.
#[tokio::test]
async fn the_shipped_rules_are_those_that_the_shipped_configuration_asks_for() {
    let site = Site::shipped();
    let of_user = |method| descriptor(&[("method", method), ("user_id", "u")]);
    let answer =
        site.ask(vec![descriptor(&[("remote_address", "192.0.2.1")]), of_user("POST"), of_user("GET")]).await;
    let limits: Vec<_> = answer.statuses.iter().map(|status| status.current_limit.as_ref()).collect();
    let limits: Vec<_> = limits
        .iter()
        .map(|limit| limit.map(|limit| (limit.name.as_str(), limit.requests_per_unit)))
        .collect();
    assert_eq!(limits, [Some(("per-address", 100)), Some(("per-user-writes", 10)), None]);
}
