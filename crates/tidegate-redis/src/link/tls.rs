//! TLS to a server: its certificate is always checked, against the system's roots or one file.

use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::ConnectError;
use crate::settings::TlsSettings;

/// How TLS is spoken with every server of one store.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    /// Reads the roots.
    ///
    /// # Errors
    ///
    /// There are no roots, or the file cannot be read.
    pub(super) fn new(settings: &TlsSettings) -> Result<Self, ConnectError> {
        let roots = match &settings.ca_file {
            Some(file) => roots_of(file)?,
            None => roots_of_system()?,
        };
        // The provider is named here, so that nothing depends on which one the process has installed.
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ConnectError::Tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(super) async fn handshake(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| ConnectError::Tls(format!("{host} cannot be the name in a certificate")))?;
        self.0.connect(name, stream).await.map_err(|error| match error.kind() {
            // What the certificate or the protocol is at fault for; the rest is the connection.
            std::io::ErrorKind::InvalidData => ConnectError::Tls(format!("{host}: {error}")),
            _ => ConnectError::Unreachable(format!("{host}: TLS: {error}")),
        })
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

fn roots_of(file: &Path) -> Result<RootCertStore, ConnectError> {
    let problem = |what: String| ConnectError::Tls(format!("CA file {}: {what}", file.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| problem(error.to_string()))? {
        let certificate = certificate.map_err(|error| problem(error.to_string()))?;
        roots.add(certificate).map_err(|error| problem(error.to_string()))?;
    }
    if roots.is_empty() { Err(problem("it holds no certificate".to_owned())) } else { Ok(roots) }
}

fn roots_of_system() -> Result<RootCertStore, ConnectError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(ConnectError::Tls("the system trusts no certificates; name a CA file".to_owned()));
    }
    Ok(roots)
}
