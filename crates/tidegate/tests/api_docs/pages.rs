//! The pages and their files, as they are sent; and that what is vendored is what was fetched.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::site::Site;

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/api-docs")
}

#[test]
fn the_document_sent_is_the_one_kept() {
    let site = Site::start();
    let sent = site.door("GET", "/openapi.json").send().expect(200);
    assert_eq!(sent.field("content-type"), Some("application/json"));
    let kept: Value = serde_json::from_str(&tidegate::http::open_api_document()).unwrap();
    assert_eq!(sent.json(), kept);
    let sent = site.operator("GET", "/openapi.json").send().expect(200).json();
    let kept: Value = serde_json::from_str(&tidegate::admin::open_api_document()).unwrap();
    assert_eq!(sent, kept);
    site.bare("GET", "/openapi.json").send().expect(401);
}

/// Nothing may be fetched from elsewhere, nothing run that is not a file of the server, and no page may frame these.
#[test]
fn pages_are_strict() {
    let site = Site::start();
    for path in ["/docs", "/redoc", "/docs/redoc.standalone.js"] {
        let page = site.door("GET", path).send().expect(200);
        let policy = page.field("content-security-policy").unwrap();
        for part in
            ["default-src 'none'", "script-src 'self';", "connect-src 'self'", "frame-ancestors 'none'"]
        {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        for forbidden in ["unsafe", "http", "*"] {
            assert!(!policy.contains(forbidden), "{path}: {policy}");
        }
        assert_eq!(page.field("x-content-type-options"), Some("nosniff"));
        assert_eq!(page.field("cache-control"), Some("no-cache"));
    }
    for page in ["swagger-ui.html", "redoc.html", "start-swagger-ui.js", "start-redoc.js", "page.css"] {
        let text = std::fs::read_to_string(assets().join(page)).unwrap();
        assert!(!text.contains("://") && !text.contains("src=\"//"), "{page} names another host");
    }
}

/// Every file that a page names is there.
#[test]
fn pages_have_their_files() {
    let site = Site::start();
    for path in ["/docs", "/redoc"] {
        let page = site.door("GET", path).send().expect(200).body;
        let named: Vec<&str> = page.split('"').filter(|text| text.starts_with("docs/")).collect();
        assert!(named.len() >= 3, "{named:?}");
        for file in named {
            site.door("GET", &format!("/{file}")).send().expect(200);
        }
    }
}

#[test]
fn what_is_large_is_sent_compressed_to_who_takes_it() {
    let site = Site::start();
    let length = |fields: &str| {
        let mut stream = TcpStream::connect(site.server.address()).unwrap();
        write!(
            stream,
            "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{fields}\r\n"
        )
        .unwrap();
        let mut answer = Vec::new();
        BufReader::new(stream).read_to_end(&mut answer).unwrap();
        let head: Vec<String> =
            answer.lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        let tag = head.iter().find(|line| line.starts_with("etag")).unwrap().clone();
        assert!(head.contains(&"vary: accept-encoding".to_owned()));
        (head.contains(&"content-encoding: gzip".to_owned()), answer.len(), tag)
    };
    let (plain, gzip) = (length(""), length("Accept-Encoding: br, gzip\r\n"));
    assert!(!plain.0 && plain.1 > 1_500_000, "{plain:?}");
    assert!(gzip.0 && gzip.1 < 500_000, "{gzip:?}");
    assert_ne!(plain.2, gzip.2, "one tag for different bytes");
}

#[test]
fn what_is_vendored_is_what_was_fetched() {
    let checked =
        Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(assets()).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    assert!(checked.stdout.lines().count() >= 8);
}
