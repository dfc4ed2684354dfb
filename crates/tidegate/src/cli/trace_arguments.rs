//! `tidegate serve`: where traces go, and which requests are traced. The variables are also those of OpenTelemetry's
//! specification (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).

use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use http::{HeaderName, HeaderValue};
use tidegate_config::parse_duration;
use tidegate_core::time::Micros;

use crate::settings::{Origin, Origins, Secret};
use crate::telemetry::trace::{
    MAX_HEADERS, MAX_RESOURCE_ATTRIBUTES, OtlpEndpoint, OtlpProtocol, ParentSays, Sampler, TraceSettings,
    pairs,
};

/// The variable with an address that nothing is added to.
const WHOLE_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
/// Where Jaeger takes OTLP over gRPC.
const JAEGER_PORT: u16 = 4317;
/// The fewest spans that may wait: all of one request must fit.
const MIN_QUEUE_SPANS: u64 = 64;
/// The most spans that may wait. One takes about half a kilobyte.
const MAX_QUEUE_SPANS: u64 = 1_000_000;
/// The most spans that are sent together: a message of some megabytes, which collectors take.
const MAX_BATCH_SPANS: u64 = 8_192;

const HEADING: &str = "Traces";

#[derive(Debug, Args)]
#[command(next_help_heading = HEADING)]
pub(super) struct TraceArguments {
    /// Collector that traces are sent to by OTLP, like http://collector:4318; without one, nothing is traced.
    /// OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT are taken, too
    #[arg(long, env = "TIDEGATE_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,

    /// How traces travel (grpc to port 4317, else http/protobuf, if not given)
    #[arg(long, env = "TIDEGATE_OTLP_PROTOCOL", value_name = "PROTOCOL")]
    otlp_protocol: Option<Protocol>,

    /// Headers for the collector: name=value,name=value, with % codes
    #[arg(long, env = "TIDEGATE_OTLP_HEADERS", value_name = "LIST", hide_env_values = true)]
    otlp_headers: Option<Secret>,

    /// How long the collector may take for a batch, 1ms to 1m; a number alone is milliseconds
    #[arg(long, env = "TIDEGATE_OTLP_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = span_of_time)]
    otlp_timeout: Micros,

    /// Share of requests that are traced, 0 to 1; a caller that traces, or does not, is followed
    #[arg(long, env = "TIDEGATE_TRACE_SAMPLE_RATIO", value_name = "SHARE", default_value = "1", value_parser = share)]
    trace_sample_ratio: f64,

    /// Which requests are traced: all, none or the share, and whether a caller that traces, or does not, is followed
    #[arg(
        long,
        env = "TIDEGATE_TRACE_SAMPLER",
        value_name = "SAMPLER",
        default_value = "parentbased_traceidratio"
    )]
    trace_sampler: SamplerName,

    /// What this service is called in traces (service.name of --trace-resource, or tidegate, if not given)
    #[arg(long, env = "TIDEGATE_TRACE_SERVICE_NAME", value_name = "NAME")]
    trace_service_name: Option<String>,

    /// Attributes of this node in traces: key=value,key=value, with % codes
    #[arg(long, env = "TIDEGATE_TRACE_RESOURCE", value_name = "LIST")]
    trace_resource: Option<String>,

    /// Most spans that wait to be sent, 64 to 1,000,000; more are dropped and counted
    #[arg(long, env = "TIDEGATE_TRACE_QUEUE_SPANS", value_name = "N", default_value_t = 2_048,
          value_parser = clap::value_parser!(u64).range(MIN_QUEUE_SPANS..=MAX_QUEUE_SPANS))]
    trace_queue_spans: u64,

    /// About how many spans are sent together, 1 to 8,192
    #[arg(long, env = "TIDEGATE_TRACE_BATCH_SPANS", value_name = "N", default_value_t = 512,
          value_parser = clap::value_parser!(u64).range(1..=MAX_BATCH_SPANS))]
    trace_batch_spans: u64,

    /// How long a span waits for others to be sent with, 1ms to 1m; a number alone is milliseconds
    #[arg(long, env = "TIDEGATE_TRACE_DELAY", value_name = "TIME", default_value = "5s", value_parser = span_of_time)]
    trace_delay: Micros,

    /// The same as --otlp-timeout; the shorter of the two counts
    #[arg(long, env = "OTEL_BSP_EXPORT_TIMEOUT", value_name = "TIME", value_parser = span_of_time, hide = true)]
    otel_bsp_export_timeout: Option<Micros>,

    /// Trace nothing, whatever else is told
    #[arg(long, env = "OTEL_SDK_DISABLED", value_parser = BoolishValueParser::new(), hide = true)]
    otel_sdk_disabled: bool,

    /// none: trace nothing
    #[arg(long, env = "OTEL_TRACES_EXPORTER", value_name = "EXPORTER", default_value = "otlp", hide = true)]
    otel_traces_exporter: Exporter,

    /// Send traces to Jaeger at JAEGER_HOST, by OTLP over gRPC, where no other collector is told
    #[arg(long, env = "JAEGER_ENABLED", value_parser = BoolishValueParser::new(), hide = true)]
    jaeger_enabled: bool,

    /// The host of Jaeger, with a port if it is not 4317
    #[arg(long, env = "JAEGER_HOST", value_name = "HOST", default_value = "localhost", hide = true)]
    jaeger_host: String,
}

/// How traces travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// gRPC
    Grpc,
    /// Protobuf in HTTP requests
    #[value(name = "http/protobuf")]
    HttpProtobuf,
}

/// What exports traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Exporter {
    /// OTLP
    Otlp,
    /// Nothing
    None,
}

/// Which requests are traced. The names are those of OTEL_TRACES_SAMPLER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum SamplerName {
    /// All
    AlwaysOn,
    /// None
    AlwaysOff,
    /// The share
    #[value(name = "traceidratio")]
    TraceIdRatio,
    /// As the caller does; without one, all
    #[value(name = "parentbased_always_on")]
    ParentAlwaysOn,
    /// As the caller does; without one, none
    #[value(name = "parentbased_always_off")]
    ParentAlwaysOff,
    /// As the caller does; without one, the share
    #[value(name = "parentbased_traceidratio")]
    ParentTraceIdRatio,
}

impl SamplerName {
    fn sampler(self, share: f64) -> Sampler {
        match self {
            SamplerName::AlwaysOn => Sampler::new(1.0, ParentSays::Nothing),
            SamplerName::AlwaysOff => Sampler::new(0.0, ParentSays::Nothing),
            SamplerName::TraceIdRatio => Sampler::new(share, ParentSays::Nothing),
            SamplerName::ParentAlwaysOn => Sampler::new(1.0, ParentSays::Counts),
            SamplerName::ParentAlwaysOff => Sampler::new(0.0, ParentSays::Counts),
            SamplerName::ParentTraceIdRatio => Sampler::new(share, ParentSays::Counts),
        }
    }
}

/// A time as the other settings have it, or as OpenTelemetry does: in milliseconds.
fn span_of_time(text: &str) -> Result<Micros, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let span = if is_number { parse_duration(&format!("{text}ms")) } else { parse_duration(text) };
    match span.map_err(|error| error.to_string())? {
        span if span < Micros::from_millis(1) || span > Micros::from_secs(60) => {
            Err("write 1ms to 1m, or milliseconds".to_owned())
        }
        span => Ok(span),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("write a number from 0 to 1, such as 0.01".to_owned()),
    }
}

impl TraceArguments {
    /// Where traces go; `None` where nothing is traced. `store` is the kind of store that requests wait for.
    ///
    /// # Errors
    /// The address of the collector, or a list, cannot be one.
    pub(super) fn settings(
        &self,
        origins: &Origins,
        store: &'static str,
    ) -> anyhow::Result<Option<TraceSettings>> {
        let Some(endpoint) = self.endpoint(origins)? else { return Ok(None) };
        if self.otel_sdk_disabled || self.otel_traces_exporter == Exporter::None {
            return Ok(None);
        }
        let timeout =
            self.otel_bsp_export_timeout.map_or(self.otlp_timeout, |other| other.min(self.otlp_timeout));
        let spans = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Some(TraceSettings {
            endpoint,
            headers: self.headers(origins)?,
            timeout: Duration::from(timeout),
            resource: self.resource(origins)?,
            sampler: self.trace_sampler.sampler(self.trace_sample_ratio),
            queue_spans: spans(self.trace_queue_spans),
            batch_spans: spans(self.trace_batch_spans),
            delay: Duration::from(self.trace_delay),
            store,
        }))
    }

    fn endpoint(&self, origins: &Origins) -> anyhow::Result<Option<OtlpEndpoint>> {
        const ID: &str = "otlp_endpoint";
        let protocol = self.otlp_protocol.map(|protocol| match protocol {
            Protocol::Grpc => OtlpProtocol::Grpc,
            Protocol::HttpProtobuf => OtlpProtocol::HttpProtobuf,
        });
        let (endpoint, name) = match &self.otlp_endpoint {
            Some(text) => {
                let is_whole =
                    matches!(origins.of(ID), Origin::Variable(variable) if variable == WHOLE_ENDPOINT);
                (OtlpEndpoint::new(text, protocol, is_whole), origins.name(ID))
            }
            None if self.jaeger_enabled => {
                let host = &self.jaeger_host;
                let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                let address =
                    if has_port { format!("http://{host}") } else { format!("http://{host}:{JAEGER_PORT}") };
                let protocol = protocol.or(Some(OtlpProtocol::Grpc));
                (OtlpEndpoint::new(&address, protocol, false), origins.name("jaeger_host"))
            }
            None => return Ok(None),
        };
        endpoint.map(Some).map_err(anyhow::Error::msg).context(name)
    }

    fn headers(&self, origins: &Origins) -> anyhow::Result<Vec<(HeaderName, HeaderValue)>> {
        let Some(list) = &self.otlp_headers else { return Ok(Vec::new()) };
        let name = || origins.name("otlp_headers");
        let pairs = pairs(list.expose(), MAX_HEADERS).with_context(name)?;
        let header = |(key, value): (String, String)| {
            let key = HeaderName::try_from(key).ok()?;
            let mut value = HeaderValue::try_from(value).ok()?;
            value.set_sensitive(true);
            Some((key, value))
        };
        let headers: Option<Vec<_>> = pairs.into_iter().map(header).collect();
        headers.context("a name or a value cannot be in a header").with_context(name)
    }

    fn resource(&self, origins: &Origins) -> anyhow::Result<Vec<(String, String)>> {
        let list = self.trace_resource.as_deref().unwrap_or_default();
        let name = || origins.name("trace_resource");
        let mut resource = pairs(list, MAX_RESOURCE_ATTRIBUTES).with_context(name)?;
        if let Some(service) = &self.trace_service_name {
            resource.retain(|(key, _)| key != "service.name");
            resource.push(("service.name".to_owned(), service.clone()));
        }
        let mut keys: Vec<&str> = resource.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        if let Some([twice, _]) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            bail!("{}: {twice:?} stands twice: keep one of them", name());
        }
        Ok(resource)
    }
}
