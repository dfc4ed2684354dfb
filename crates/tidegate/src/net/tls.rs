//! A door's certificate.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use super::streams::Socket;

/// HTTP/2 as clients and servers agree on it (RFC 9113, section 3.2).
const H2: &[u8] = b"h2";

/// A certificate and its key. Clones share them.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("{}: {reason}; give a PEM file", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key do not go together.
    #[error("the certificate and the key cannot be used together: {0}")]
    Pair(String),
}

impl Tls {
    /// Reads a certificate, with those that vouch for it, and its key.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Self::offering(&[], certificate, key)
    }

    /// The same for a door that speaks HTTP/2 and nothing else.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn read_for_http2(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Self::offering(&[H2], certificate, key)
    }

    fn offering(protocols: &[&[u8]], certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let file = |path: &Path, reason: String| TlsError::File { path: path.to_owned(), reason };
        let chain =
            CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.map_err(|error| file(certificate, error.to_string()))?;
        if chain.is_empty() {
            return Err(file(certificate, "there is no certificate in it".to_owned()));
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| file(key, error.to_string()))?;
        // The provider is named here, so that nothing depends on which one the process has installed.
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Pair(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|error| TlsError::Pair(error.to_string()))?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Agrees with a client on keys.
    ///
    /// # Errors
    /// The client, which has been told why.
    pub async fn accept<T: Socket>(&self, socket: T) -> io::Result<TlsStream<T>> {
        self.0.accept(socket).await
    }

    /// The same, where the client must want HTTP/2.
    pub(super) async fn accept_http2<T: Socket>(&self, socket: T) -> io::Result<TlsStream<T>> {
        let socket = self.accept(socket).await?;
        match socket.get_ref().1.alpn_protocol() {
            Some(H2) => Ok(socket),
            // rustls itself turns down those that offer only others; these offer nothing.
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the client has not agreed on HTTP/2")),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}
