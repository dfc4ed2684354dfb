//! `tidegate serve`: the gRPC door.

use std::path::PathBuf;

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

    /// Certificate of the gRPC door (PEM, with those that vouch for it): connections are then encrypted
    #[arg(long, env = "TIDEGATE_GRPC_TLS_CERT", value_name = "FILE")]
    grpc_tls_cert: Option<PathBuf>,

    /// Key of that certificate (PEM)
    #[arg(long, env = "TIDEGATE_GRPC_TLS_KEY", value_name = "FILE")]
    grpc_tls_key: Option<PathBuf>,
}

impl GrpcArguments {
    /// The settings that the arguments mean.
    ///
    /// # Errors
    /// They contradict one another.
    pub(super) fn settings(self) -> anyhow::Result<GrpcSettings> {
        let tls = match (self.grpc_tls_cert, self.grpc_tls_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            _ => anyhow::bail!("--grpc-tls-cert and --grpc-tls-key go together: give both, or neither"),
        };
        let listen = self.grpc_listen.0;
        if tls.is_some() && listen.is_none() {
            anyhow::bail!("--grpc-tls-cert has no effect with --grpc-listen none: give an address");
        }
        let denied_body = if self.grpc_denied_body { DeniedBody::Send } else { DeniedBody::Omit };
        Ok(GrpcSettings { listen, denied_body, tls })
    }
}
