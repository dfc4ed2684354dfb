//! Clients, a proxy, a node that it asks, and an application.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tidegate_testkit::{PortLease, Proxy, ProxyOptions, TempDir, Tidegate, TidegateOptions};

use crate::common::{Answer, Client, echo};

/// What a node is told that stands behind a proxy which says whose request it is.
pub const TRUSTED: [&str; 4] = ["--trusted-proxy", "127.0.0.1", "--proxy-header", "x-forwarded-for"];

/// Where everything behind the proxy listens.
pub struct Places {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub app: SocketAddr,
}

pub struct Site {
    pub proxy: Proxy,
    pub node: Tidegate,
    _rules: TempDir,
}

impl Site {
    /// A node with its own store.
    pub async fn start(rules: &str, arguments: &[&str], proxy: impl FnOnce(&Places) -> ProxyOptions) -> Self {
        let dir = TempDir::new("proxies");
        let rules = dir.write("rules.yaml", rules).display().to_string();
        // With a catalog, where keys are that an application's own could be taken for.
        let options = TidegateOptions::new(env!("CARGO_BIN_EXE_tidegate")).grpc().catalog(
            dir.join("tidegate.db").display().to_string(),
            "a-token-of-an-operator-for-this-test",
            dir.join("last-good.json"),
        );
        let node = Tidegate::with(&options.arguments(["--rules", &rules]).arguments(arguments));
        let places = Places { http: node.address(), grpc: node.grpc_address(), app: echo::serve().await };
        Self { proxy: Proxy::start(&proxy(&places)), node, _rules: dir }
    }

    /// A node whose store nobody answers for.
    pub async fn without_store(
        rules: &str,
        arguments: &[&str],
        proxy: impl FnOnce(&Places) -> ProxyOptions,
    ) -> Self {
        let nowhere = format!("redis://{}", PortLease::new().address());
        Self::start(rules, &[arguments, &["--store", &nowhere]].concat(), proxy).await
    }

    pub async fn get(&self, target: &str, fields: &[&str]) -> Answer {
        self.ask(&Asked { fields, ..Asked::of(target) }).await
    }

    /// One request through the proxy, on a connection of its own.
    pub async fn ask(&self, asked: &Asked<'_>) -> Answer {
        let fields: String = asked.fields.iter().map(|field| format!("{field}\r\n")).collect();
        let Asked { method, target, host, body, .. } = asked;
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}Content-Length: {}\r\n\r\n",
            body.len()
        );
        let mut client = Client::to_proxy_from(asked.source, self.proxy.address()).await;
        client.send(&[head.as_bytes(), body.as_bytes()].concat()).await;
        let answer = client.answer(*method == "HEAD").await;
        answer.unwrap_or_else(|| panic!("no answer to {method} {target}: {}", self.said()))
    }

    /// What both servers have printed, for a message.
    pub fn said(&self) -> String {
        format!("proxy:\n{}\nnode:\n{}", self.proxy.log(), self.node.logs())
    }
}

/// A client's request.
pub struct Asked<'a> {
    pub source: IpAddr,
    pub method: &'a str,
    pub target: &'a str,
    pub host: &'a str,
    /// Each without its line end.
    pub fields: &'a [&'a str],
    pub body: &'a str,
}

impl<'a> Asked<'a> {
    pub fn of(target: &'a str) -> Self {
        Self { source: machine(1), method: "GET", target, host: "shop.example", fields: &[], body: "" }
    }

    pub fn from(self, source: IpAddr) -> Self {
        Self { source, ..self }
    }
}

/// One of this machine's addresses, each of which is another client.
pub const fn machine(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, number))
}

/// A file in `deploy/`.
pub fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(path)
}
