//! What is told of traces, in the words of OpenTelemetry and Jaeger beside our own.

use super::*;

/// Where traces go, how, and how many spans wait for it.
fn traces(call: &Call) -> Option<(String, &'static str, usize)> {
    let trace = call.serve().unwrap().trace?;
    Some((trace.endpoint.uri.to_string(), trace.endpoint.protocol.name(), trace.queue_spans))
}

#[test]
fn nothing_is_traced_until_a_collector_is_told() {
    assert_eq!(traces(&call()), None);
    assert_eq!(traces(&call().env("OTEL_TRACES_EXPORTER", "otlp").env("JAEGER_HOST", "jaeger")), None);
    assert_eq!(traces(&call().env("JAEGER_ENABLED", "false").env("JAEGER_HOST", "jaeger")), None);
    for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
        assert_eq!(traces(&call().flag("--otlp-endpoint http://c:4318").env(off.0, off.1)), None, "{off:?}");
    }
}

#[test]
fn the_collector_is_told_in_everybodys_words() {
    let at = |uri: &str, protocol| Some((uri.to_owned(), protocol, 2_048));
    for (variables, expected) in [
        (
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")],
            at("http://c:4318/v1/traces", "http/protobuf"),
        ),
        (vec![("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1/x")], at("http://c:1/x", "http/protobuf")),
        (
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
            at("http://c:1/", "grpc"),
        ),
        (
            vec![
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:1"),
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:2"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
            ],
            at("http://traces:2/", "http/protobuf"),
        ),
        (vec![("JAEGER_ENABLED", "true")], at("http://localhost:4317/", "grpc")),
        (vec![("JAEGER_ENABLED", "1"), ("JAEGER_HOST", "jaeger")], at("http://jaeger:4317/", "grpc")),
        (vec![("JAEGER_ENABLED", "1"), ("JAEGER_HOST", "jaeger:9")], at("http://jaeger:9/", "grpc")),
        (
            vec![("JAEGER_ENABLED", "true"), ("TIDEGATE_OTLP_ENDPOINT", "https://c")],
            at("https://c/v1/traces", "http/protobuf"),
        ),
    ] {
        let told = variables.iter().fold(call(), |call, (name, value)| call.env(name, value));
        assert_eq!(traces(&told), expected, "{variables:?}");
    }
    let queue = call().flag("--otlp-endpoint http://c:4317").env("OTEL_BSP_MAX_QUEUE_SIZE", "100");
    assert_eq!(traces(&queue), Some(("http://c:4317/".to_owned(), "grpc", 100)));
}

#[test]
fn what_else_is_told_of_traces_counts() {
    use crate::telemetry::trace::{ParentSays, Sampler};

    let told = call()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")
        .env("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization=Bearer%20{PASSWORD}"))
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "2500")
        .env("OTEL_SERVICE_NAME", "limits")
        .env("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,team=edge")
        .env("OTEL_TRACES_SAMPLER", "traceidratio")
        .env("OTEL_TRACES_SAMPLER_ARG", "0.25")
        .env("OTEL_BSP_EXPORT_TIMEOUT", "30000")
        .env("OTEL_BSP_SCHEDULE_DELAY", "100");
    let trace = told.serve().unwrap().trace.unwrap();
    assert_eq!(trace.headers[0].0, "authorization");
    assert_eq!(trace.headers[0].1, format!("Bearer {PASSWORD}"));
    assert_eq!([trace.timeout.as_millis(), trace.delay.as_millis()], [2_500, 100]);
    let resource: Vec<_> = trace.resource.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(resource, ["team=edge", "service.name=limits"]);
    assert_eq!(trace.sampler, Sampler::new(0.25, ParentSays::Nothing));
    assert!(!format!("{trace:?}").contains(PASSWORD), "{trace:?}");
    let usual = call().flag("--otlp-endpoint http://c:4318").serve().unwrap().trace.unwrap();
    assert_eq!(usual.sampler, Sampler::new(1.0, ParentSays::Counts));
    assert_eq!([usual.timeout.as_millis(), usual.delay.as_millis()], [10_000, 5_000]);
}

#[test]
fn what_cannot_be_told_of_traces_is_refused_where_it_stands() {
    let traced = || call().flag("--otlp-endpoint http://c:4318");
    for (wrong, parts) in [
        (
            call().env("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
            ["OTEL_EXPORTER_OTLP_ENDPOINT", "http://"],
        ),
        (call().env("JAEGER_ENABLED", "true").env("JAEGER_HOST", "a b"), ["JAEGER_HOST", "http://"]),
        (
            traced().env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ["OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"],
        ),
        (traced().env("OTEL_EXPORTER_OTLP_HEADERS", PASSWORD), ["OTEL_EXPORTER_OTLP_HEADERS", "key=value"]),
        (
            traced().env("TIDEGATE_OTLP_HEADERS", &format!("a%20b={PASSWORD}, c d={PASSWORD}")),
            ["TIDEGATE_OTLP_HEADERS", "header"],
        ),
        (traced().env("OTEL_RESOURCE_ATTRIBUTES", "a=1,a=2"), ["OTEL_RESOURCE_ATTRIBUTES", "twice"]),
        (traced().env("OTEL_TRACES_SAMPLER_ARG", "1.5"), ["OTEL_TRACES_SAMPLER_ARG", "0 to 1"]),
        (traced().env("OTEL_TRACES_SAMPLER", "jaeger_remote"), ["OTEL_TRACES_SAMPLER", "jaeger_remote"]),
        (traced().env("OTEL_BSP_SCHEDULE_DELAY", "0"), ["OTEL_BSP_SCHEDULE_DELAY", "1ms to 1m"]),
        (traced().env("OTEL_BSP_MAX_QUEUE_SIZE", "63"), ["OTEL_BSP_MAX_QUEUE_SIZE", "64"]),
    ] {
        let error = wrong.error();
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
        assert!(!error.contains(PASSWORD), "{error}");
    }
}
