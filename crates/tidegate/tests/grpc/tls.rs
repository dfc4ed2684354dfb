//! Goal: with a certificate the door speaks to those who encrypt and want HTTP/2, and to nobody else.
//! Method: the real program and a certificate made for the test; tonic's client, one of rustls itself, and raw sockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tidegate_testkit::{Stopwatch, TempDir};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use crate::site::{PATIENCE, Site, descriptor, request};

struct Encrypted {
    site: Site,
    folder: TempDir,
}

impl Encrypted {
    fn start(arguments: &[&str]) -> Self {
        let folder = TempDir::new("grpc-tls");
        let path = |name: &str| folder.join(name).display().to_string();
        let (certificate, key) = (path("cert.pem"), path("key.pem"));
        let wanted = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
                      -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost";
        let made = Command::new("openssl")
            .args(wanted.split_whitespace())
            .args(["-keyout", &key, "-out", &certificate])
            .output();
        let made = made.expect("openssl is needed (apt-get install openssl)");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let tls = ["--grpc-tls-cert", &certificate, "--grpc-tls-key", &key];
        let site = Site::with(&[&tls, arguments].concat());
        Self { site, folder }
    }

    fn certificate(&self) -> Vec<u8> {
        std::fs::read(self.folder.join("cert.pem")).unwrap()
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.site.server.grpc_address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// The protocol that the door agrees on with a client that offers these, or why there is none.
    fn agreed(&self, offered: &[&[u8]]) -> Result<Vec<u8>, String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&self.certificate()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let mut config = config
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(connection, self.connect());
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .map_err(|error| error.to_string())?;
        // The first frame of a server of HTTP/2 is SETTINGS (RFC 9113, section 3.4).
        let mut head = [0; 9];
        stream.read_exact(&mut head).map_err(|error| error.to_string())?;
        assert_eq!(head[3], 4, "{head:?}");
        Ok(stream.conn.alpn_protocol().unwrap_or_default().to_vec())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tonic_is_answered_encrypted_and_nobody_is_unencrypted() {
    let door = Encrypted::start(&[]);
    let address = door.site.server.grpc_address();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(door.certificate()))
        .domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().timeout(PATIENCE);
    let channel = endpoint.tls_config(tls).unwrap().connect().await.unwrap();
    let mut client = RateLimitServiceClient::new(channel);
    let asked = || request("edge", vec![descriptor(&[("user_id", "u1")])]);
    for remaining in [2, 1, 0] {
        let answer = client.should_rate_limit(asked()).await.unwrap().into_inner();
        assert_eq!(answer.overall_code(), Code::Ok);
        assert_eq!(answer.statuses[0].limit_remaining, remaining);
    }
    assert_eq!(client.should_rate_limit(asked()).await.unwrap().into_inner().overall_code(), Code::OverLimit);

    let plain = Endpoint::from_shared(format!("http://{address}")).unwrap().timeout(PATIENCE);
    let refused = match plain.connect().await {
        Ok(channel) => RateLimitServiceClient::new(channel).should_rate_limit(asked()).await.is_err(),
        Err(_) => true,
    };
    assert!(refused, "unencrypted nobody is answered");
    let mut raw = door.connect();
    raw.write_all(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    let mut said = Vec::new();
    // An alert of TLS, and the end; or the end at once.
    let _ = raw.read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
}

#[test]
fn a_client_must_want_http2() {
    let door = Encrypted::start(&[]);
    assert_eq!(door.agreed(&[b"h2", b"http/1.1"]).unwrap(), b"h2");
    let refused = door.agreed(&[b"http/1.1"]).unwrap_err();
    assert!(refused.contains("ApplicationProtocol"), "{refused}");
    door.agreed(&[]).expect_err("gRPC over TLS is agreed on by ALPN");
}

#[test]
fn a_handshake_that_takes_too_long_ends() {
    let door = Encrypted::start(&["--header-timeout", "200ms"]);
    for begun in [&b""[..], b"\x16\x03\x01\x02\x00"] {
        let mut raw = door.connect();
        raw.write_all(begun).unwrap();
        let mut said = Vec::new();
        raw.read_to_end(&mut said).expect("closed before the test loses its patience");
        assert_eq!(said, b"");
    }
    assert_eq!(door.agreed(&[b"h2"]).unwrap(), b"h2", "others are served");
}

#[test]
fn a_drain_does_not_wait_for_who_has_only_connected() {
    let mut door = Encrypted::start(&[]);
    let _silent = door.connect();
    let start = Stopwatch::start();
    assert!(door.site.server.terminate().success());
    assert!(start.elapsed() < Duration::from_secs(15), "the drain timeout is 30 s: {:?}", start.elapsed());
}

#[test]
fn half_a_pair_is_no_pair() {
    let refused = |arguments: &[&str]| {
        let started = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["--database-url", "none"])
            .args(arguments)
            .output();
        let started = started.unwrap();
        assert!(!started.status.success());
        String::from_utf8(started.stderr).unwrap()
    };
    let said = refused(&["--grpc-tls-cert", "c.pem"]);
    assert!(said.contains("--grpc-tls-cert and --grpc-tls-key go together"), "{said}");
    let said = refused(&["--grpc-listen", "none", "--grpc-tls-cert", "c.pem", "--grpc-tls-key", "k.pem"]);
    assert!(said.contains("no effect with --grpc-listen none"), "{said}");
}
