//! The settings room: what the program is told by flags, environment and file, and by which of them.
//!
//! A flag wins over a variable, a variable over the settings file, the file over the default. This is the only place that
//! reads the environment. The arguments themselves are described once, to clap: `resolve` reads names, variables and
//! bounds from there, so a new flag is at once a variable, a key of the file and a row of `tidegate settings`.

mod environment;
mod file;
mod listen;
mod origin;
mod resolve;
mod secret;

pub(crate) use environment::{Environment, is_blank, is_set};
pub(crate) use listen::{OptionalAddress, listen_address, optional_address};
pub(crate) use origin::{Origin, Origins};
pub(crate) use resolve::{ResolveError, Resolved, resolve};
pub use secret::Secret;

/// The flag that names the settings file. It is told by flag or variable only.
pub(crate) const CONFIG: &str = "config";
/// The setting whose port `PORT` changes.
const LISTEN: &str = "listen";
/// The variable by which platforms tell a program its port.
pub(crate) const PORT: &str = "PORT";
/// What follows a secret's variable where it names a file that holds the secret.
pub(crate) const FILE_SUFFIX: &str = "_FILE";
/// Variables that others use, beside ours: the setting, and its variable.
const PLAIN_VARIABLES: [(&str, &str); 18] = [
    ("fail_mode", "FAIL_MODE"),
    ("database_url", "DATABASE_URL"),
    ("algorithm", "ALGORITHM"),
    ("otlp_endpoint", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
    ("otlp_endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ("otlp_protocol", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
    ("otlp_protocol", "OTEL_EXPORTER_OTLP_PROTOCOL"),
    ("otlp_headers", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"),
    ("otlp_headers", "OTEL_EXPORTER_OTLP_HEADERS"),
    ("otlp_timeout", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"),
    ("otlp_timeout", "OTEL_EXPORTER_OTLP_TIMEOUT"),
    ("trace_sample_ratio", "OTEL_TRACES_SAMPLER_ARG"),
    ("trace_sampler", "OTEL_TRACES_SAMPLER"),
    ("trace_service_name", "OTEL_SERVICE_NAME"),
    ("trace_resource", "OTEL_RESOURCE_ATTRIBUTES"),
    ("trace_queue_spans", "OTEL_BSP_MAX_QUEUE_SIZE"),
    ("trace_batch_spans", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
    ("trace_delay", "OTEL_BSP_SCHEDULE_DELAY"),
];

/// The variables of an argument, the one that wins first. None where it is not a setting but of one call.
pub(crate) fn variables(argument: &clap::Arg) -> Vec<String> {
    let Some(own) = argument.get_env().and_then(|name| name.to_str()) else { return Vec::new() };
    let plain = PLAIN_VARIABLES.iter().filter(|(id, _)| argument.get_id() == *id);
    std::iter::once(own).chain(plain.map(|(_, variable)| *variable)).map(str::to_owned).collect()
}

/// Whether an argument holds a secret: those whose variables no help shows.
pub(crate) fn is_secret(argument: &clap::Arg) -> bool {
    argument.is_hide_env_values_set()
}
