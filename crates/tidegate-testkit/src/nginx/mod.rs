//! nginx with a real configuration, moved to free ports and a folder of its own.

mod config;
mod directive;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::port::PortLease;
use crate::process::{ServerProcess, kill_descendant, tail};
use crate::temp_dir::TempDir;
use crate::wait::{wait_for, wait_until};

/// How long nginx may take to listen.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// How long it may take to end after SIGTERM, by which it drops all connections.
const STOP_DEADLINE: Duration = Duration::from_secs(3);
/// How often a start is tried on other ports.
const START_ATTEMPTS: u32 = 5;
/// Where Debian keeps the binary; not everybody's PATH has it.
const USUAL_PATH: &str = "/usr/sbin/nginx";

const CONFIG_FILE: &str = "nginx.conf";
const ERROR_LOG: &str = "error.log";
const OUTPUT_LOG: &str = "output.log";

/// What nginx is told.
#[derive(Clone, Debug)]
pub struct NginxOptions {
    template: String,
    replacements: Vec<(String, String)>,
    upstreams: BTreeMap<String, Vec<SocketAddr>>,
}

impl NginxOptions {
    /// A configuration as text: a whole `nginx.conf`, or what goes into its `http` block.
    ///
    /// It runs as it is but for what ties it to a machine: every `listen` gets a free port of 127.0.0.1 (further
    /// ones for the same server, as for IPv6, are left out), logs, the pid and temporary files go to a folder of this
    /// nginx, and `user` and `daemon` are set for a test.
    pub fn template(text: impl Into<String>) -> Self {
        Self { template: text.into(), replacements: Vec::new(), upstreams: BTreeMap::new() }
    }

    /// A configuration as a file, as [`template`](Self::template).
    ///
    /// # Panics
    ///
    /// Panics where it cannot be read.
    pub fn template_file(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        Self::template(fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// Replaces the servers of `upstream name { … }`; the parameters of its first server go to each, and its other
    /// directives stay.
    #[must_use]
    pub fn upstream(mut self, name: &str, servers: &[SocketAddr]) -> Self {
        self.upstreams.insert(name.to_owned(), servers.to_vec());
        self
    }

    /// Replaces a text of the template wherever it stands, for example a path or `{{name}}`.
    #[must_use]
    pub fn replace(mut self, text: &str, by: impl Into<String>) -> Self {
        self.replacements.push((text.to_owned(), by.into()));
        self
    }
}

/// A running nginx with its workers; ended when dropped.
#[derive(Debug)]
pub struct Nginx {
    process: ServerProcess,
    ports: Vec<PortLease>,
    options: NginxOptions,
    dir: TempDir,
}

impl Nginx {
    /// A plain proxy in front of these servers, taken in turn.
    pub fn in_front_of(servers: &[SocketAddr]) -> Self {
        let template = "upstream tidegate { server 127.0.0.1:1; keepalive 16; }\n\
            server { listen 80; location / { proxy_pass http://tidegate; proxy_http_version 1.1; \
            proxy_set_header Connection \"\"; } }";
        Self::start(&NginxOptions::template(template).upstream("tidegate", servers))
    }

    /// Starts nginx and waits until it listens on all its ports.
    ///
    /// # Panics
    ///
    /// Panics with its log where it does not, or where the template has no `listen` or lacks a named upstream.
    pub fn start(options: &NginxOptions) -> Self {
        for _ in 0..START_ATTEMPTS {
            let dir = TempDir::new("nginx");
            let mut ports = Vec::new();
            write_config(options, &dir, |index| {
                assert!(index == ports.len(), "ports are asked for in order");
                ports.push(PortLease::new());
                ports[index].address()
            });
            assert!(!ports.is_empty(), "the template listens nowhere");
            if let Some(process) = spawn(&dir, &ports) {
                return Self { process, ports, options: options.clone(), dir };
            }
        }
        panic!("{START_ATTEMPTS} ports in a row were taken");
    }

    /// Where the first `listen` of the template is now.
    pub fn address(&self) -> SocketAddr {
        self.ports[0].address()
    }

    /// Where each server's first `listen` is now, in the order of the template.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.ports.iter().map(PortLease::address).collect()
    }

    /// The master's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Replaces the servers of an upstream and lets nginx read its configuration again (SIGHUP), as operators do:
    /// new workers take over, old ones finish their requests.
    pub fn reload_upstream(&mut self, name: &str, servers: &[SocketAddr]) {
        let before = self.process.children();
        self.options.upstreams.insert(name.to_owned(), servers.to_vec());
        let ports = &self.ports;
        write_config(&self.options, &self.dir, |index| ports[index].address());
        self.process.hang_up();
        wait_until("new workers run", START_DEADLINE, || {
            self.process.children().iter().any(|worker| !before.contains(worker))
        });
    }

    /// A file of its folder as text, `error.log` or the access log by its name in the template; empty if absent.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }
}

impl Drop for Nginx {
    /// Workers outlive a killed master, so nginx is asked first.
    fn drop(&mut self) {
        if self.process.exited().is_some() {
            return;
        }
        let workers = self.process.children();
        self.process.terminate();
        if !self.process.ended(STOP_DEADLINE) {
            self.process.kill();
            workers.into_iter().for_each(kill_descendant);
        }
    }
}

fn write_config(options: &NginxOptions, dir: &TempDir, listen: impl FnMut(usize) -> SocketAddr) {
    let mut template = options.template.clone();
    for (text, by) in &options.replacements {
        assert!(template.contains(text), "the template has no {text}");
        template = template.replace(text, by);
    }
    let types = Path::new("/etc/nginx/mime.types");
    if types.exists() {
        fs::copy(types, dir.join("mime.types")).expect("mime.types");
    }
    dir.write(CONFIG_FILE, &config::relocate(&template, dir.path(), &options.upstreams, listen));
}

/// Starts nginx and waits until it listens; `None` where somebody else does.
fn spawn(dir: &TempDir, ports: &[PortLease]) -> Option<ServerProcess> {
    let output = File::create(dir.join(OUTPUT_LOG)).expect("a file for its output");
    let mut command = Command::new(program());
    command.arg("-p").arg(dir.path()).arg("-c").arg(dir.join(CONFIG_FILE)).arg("-e").arg(dir.join(ERROR_LOG));
    command.stdin(Stdio::null()).stdout(output.try_clone().expect("a second handle")).stderr(output);
    let mut process = ServerProcess::spawn(&mut command, "nginx");
    let listens = wait_for("nginx listens", START_DEADLINE, || {
        if process.exited().is_some() {
            return Some(false);
        }
        ports.iter().all(|port| TcpStream::connect(port.address()).is_ok()).then_some(true)
    });
    if listens {
        return Some(process);
    }
    let log = format!("{}\n{}", tail(&dir.join(OUTPUT_LOG)), tail(&dir.join(ERROR_LOG)));
    let config = fs::read_to_string(dir.join(CONFIG_FILE)).unwrap_or_default();
    assert!(log.contains("in use"), "nginx ended at once:\n{log}\nwith\n{config}");
    None
}

fn program() -> OsString {
    let usual = if Path::new(USUAL_PATH).exists() { USUAL_PATH } else { "nginx" };
    crate::process::program("TEST_NGINX_BIN", usual)
}
