//! Arguments of `tidegate serve` about the RESP door.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::serve::RespSettings;
use crate::settings::listen_address;

/// The heading of the help, and of the reference page.
const RESP: &str = "RESP";

#[derive(Debug, Args)]
pub(super) struct RespArguments {
    /// Address and port of the RESP door, for Redis clients, or none
    #[arg(long, help_heading = RESP, env = "TIDEGATE_RESP_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:6380", value_parser = resp_address)]
    resp_listen: RespAddress,

    /// Socket in the file system where the RESP door listens as well
    #[arg(long, help_heading = RESP, env = "TIDEGATE_RESP_UNIX", value_name = "PATH")]
    resp_unix: Option<PathBuf>,

    /// Certificate of the RESP door (PEM, with those that vouch for it): connections from the network are then encrypted
    #[arg(long, help_heading = RESP, env = "TIDEGATE_RESP_TLS_CERT", value_name = "FILE")]
    resp_tls_cert: Option<PathBuf>,

    /// Key of that certificate (PEM)
    #[arg(long, help_heading = RESP, env = "TIDEGATE_RESP_TLS_KEY", value_name = "FILE")]
    resp_tls_key: Option<PathBuf>,
}

/// Where the RESP door listens, if it does.
#[derive(Clone, Copy, Debug)]
struct RespAddress(Option<SocketAddr>);

fn resp_address(text: &str) -> Result<RespAddress, String> {
    match text {
        "none" => Ok(RespAddress(None)),
        text => listen_address(text)
            .map(|address| RespAddress(Some(address)))
            .map_err(|error| error + ", or none"),
    }
}

impl RespArguments {
    /// The settings that the arguments mean.
    ///
    /// # Errors
    /// They contradict one another.
    pub(super) fn settings(self) -> anyhow::Result<RespSettings> {
        let tls = match (self.resp_tls_cert, self.resp_tls_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            _ => anyhow::bail!("--resp-tls-cert and --resp-tls-key go together: give both, or neither"),
        };
        let listen = self.resp_listen.0;
        if tls.is_some() && listen.is_none() {
            anyhow::bail!(
                "--resp-tls-cert has no effect with --resp-listen none: only the network is encrypted"
            );
        }
        Ok(RespSettings { listen, unix: self.resp_unix, tls })
    }
}
