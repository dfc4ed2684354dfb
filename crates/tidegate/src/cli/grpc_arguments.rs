//! `tidegate serve`: the gRPC door.

use clap::Args;
use clap::builder::BoolishValueParser;

use crate::grpc::DeniedBody;
use crate::serve::GrpcSettings;
use crate::settings::{OptionalAddress, optional_address};

#[derive(Debug, Args)]
#[command(next_help_heading = "gRPC")]
pub(super) struct GrpcArguments {
    /// Address and port of the gRPC door (Envoy's rate limit and authorization services), or none
    #[arg(long, env = "TIDEGATE_GRPC_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8081", value_parser = optional_address)]
    grpc_listen: OptionalAddress,

    /// Give Envoy a body for the clients that it refuses (raw_body, problem details)
    #[arg(long, env = "TIDEGATE_GRPC_DENIED_BODY", value_parser = BoolishValueParser::new())]
    grpc_denied_body: bool,
}

impl GrpcArguments {
    /// The settings that the arguments mean.
    pub(super) const fn settings(&self) -> GrpcSettings {
        let denied_body = if self.grpc_denied_body { DeniedBody::Send } else { DeniedBody::Omit };
        GrpcSettings { listen: self.grpc_listen.0, denied_body }
    }
}
