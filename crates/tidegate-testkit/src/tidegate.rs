//! Tidegate as people run it: its binary, in a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::http::get_status;
use crate::port::PortLease;
use crate::process::ServerProcess;
use crate::wait::wait_for;

/// How long the server may take until it is ready.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// How long it may take to end after SIGTERM: more than its own drain timeout.
const STOP_DEADLINE: Duration = Duration::from_secs(45);
/// How often a start is tried on other ports.
const START_ATTEMPTS: u32 = 5;
/// Environment variables that would set up the server behind the test's back begin so.
const ENVIRONMENT_PREFIXES: [&str; 3] = ["TIDEGATE_", "OTEL_", "JAEGER_"];

/// How the server is started.
#[derive(Clone, Debug)]
pub struct TidegateOptions {
    binary: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    awaited_path: &'static str,
    catalog: Option<Database>,
    grpc: bool,
}

/// The catalog of a server: its database, and where its admin API listens.
#[derive(Clone, Debug)]
struct Database {
    url: String,
    admin_token: String,
    last_good: PathBuf,
}

impl TidegateOptions {
    /// The binary, mostly `env!("CARGO_BIN_EXE_tidegate")`, with no arguments but where to listen.
    pub fn new(binary: impl AsRef<Path>) -> Self {
        Self {
            binary: binary.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            awaited_path: "/ready",
            catalog: None,
            grpc: false,
        }
    }

    /// Gives the server a catalog in this database (`postgres://…` or a path), an operator's token, and a file for the last
    /// good rules. Without this it has none, and writes nothing into the working directory.
    #[must_use]
    pub fn catalog(mut self, url: impl Into<String>, admin_token: &str, last_good: impl AsRef<Path>) -> Self {
        let last_good = last_good.as_ref().to_owned();
        self.catalog = Some(Database { url: url.into(), admin_token: admin_token.to_owned(), last_good });
        self
    }

    /// Gives the server its gRPC door. Without this it has none.
    #[must_use]
    pub fn grpc(mut self) -> Self {
        self.grpc = true;
        self
    }

    /// Adds arguments; `--listen` is given already.
    #[must_use]
    pub fn arguments(mut self, arguments: impl IntoIterator<Item = impl ToString>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.to_string()));
        self
    }

    /// Sets an environment variable. Those of the test's own environment that set up the server are not passed on.
    #[must_use]
    pub fn environment(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Waits for 200 at this path instead of `/ready`, for a server whose store is away at its start.
    #[must_use]
    pub fn await_path(mut self, path: &'static str) -> Self {
        self.awaited_path = path;
        self
    }
}

/// A running server on a port of its own; killed when dropped.
#[derive(Debug)]
pub struct Tidegate {
    process: ServerProcess,
    options: TidegateOptions,
    lease: PortLease,
    admin: PortLease,
    grpc: PortLease,
    logs: Logs,
}

/// Lines of standard output and standard error, as they come, and the threads that read them.
#[derive(Clone, Debug, Default)]
struct Logs {
    lines: Arc<Mutex<Vec<String>>>,
    readers: Arc<Mutex<Vec<thread::JoinHandle<()>>>>,
}

impl Tidegate {
    /// Starts `binary` with these arguments and waits until `/ready` says 200.
    pub fn start(binary: impl AsRef<Path>, arguments: &[&str]) -> Self {
        Self::with(&TidegateOptions::new(binary).arguments(arguments))
    }

    /// Starts a server and waits until it is ready.
    ///
    /// # Panics
    ///
    /// Panics with its logs where it ends or is not ready within twenty seconds.
    pub fn with(options: &TidegateOptions) -> Self {
        for _ in 0..START_ATTEMPTS {
            let (lease, admin, grpc) = (PortLease::new(), PortLease::new(), PortLease::new());
            let logs = Logs::default();
            let addresses = [lease.address(), admin.address(), grpc.address()];
            if let Some(process) = spawn(options, addresses, &logs) {
                return Self { process, options: options.clone(), lease, admin, grpc, logs };
            }
        }
        panic!("{START_ATTEMPTS} ports in a row were taken");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.lease.address()
    }

    /// Where its admin API listens, if it has a catalog.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// Where its gRPC door listens, if it has one.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc.address()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its process, for other signals.
    pub fn process(&self) -> &ServerProcess {
        &self.process
    }

    /// The processor time it has used since it was started.
    pub fn cpu_micros(&self) -> u64 {
        self.process.cpu_micros()
    }

    /// What it has printed so far, both streams, over all its starts. What it printed at the start may not be read yet when it
    /// is ready: all of it is there once it was ended by [`Tidegate::terminate`].
    pub fn logs(&self) -> String {
        self.logs.text()
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to end (SIGTERM) and waits until it has finished what it had accepted, and all that it printed is read.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.terminate();
        let status = self.process.wait(STOP_DEADLINE);
        self.logs.wait();
        status
    }

    /// Ends it at once, if it runs, and starts it again on the same port.
    pub fn restart(&mut self) {
        self.kill();
        let addresses = [self.lease.address(), self.admin.address(), self.grpc.address()];
        self.process = wait_for("the port is free again", START_DEADLINE, || {
            spawn(&self.options, addresses, &self.logs)
        });
    }

    /// Stops it in its tracks (SIGSTOP): its sockets stay open and silent.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) {
        self.process.resume();
    }
}

/// Starts a process and waits until it is ready; `None` where somebody listens on its port.
fn spawn(
    options: &TidegateOptions,
    [address, admin, grpc]: [SocketAddr; 3],
    logs: &Logs,
) -> Option<ServerProcess> {
    let mut command = Command::new(&options.binary);
    command.args(["--listen", &address.to_string()]);
    match &options.catalog {
        Some(catalog) => {
            command.args(["--database-url", &catalog.url, "--admin-listen", &admin.to_string()]);
            command.arg("--last-good-rules").arg(&catalog.last_good);
        }
        None => {
            command.args(["--database-url", "none", "--admin-listen", "off"]);
        }
    }
    let grpc = if options.grpc { grpc.to_string() } else { "none".to_owned() };
    command.args(["--grpc-listen", &grpc]);
    command.args(&options.arguments);
    for (name, _) in std::env::vars_os() {
        if ENVIRONMENT_PREFIXES.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    // A test that wants the RESP door says where: a variable gives way to a flag.
    command.env("TIDEGATE_RESP_LISTEN", "none");
    if let Some(catalog) = &options.catalog {
        command.env("TIDEGATE_ADMIN_TOKEN", &catalog.admin_token);
    }
    command.envs(options.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = ServerProcess::spawn(&mut command, "tidegate (cargo build)");
    let (output, errors) = process.take_streams();
    logs.follow(output);
    logs.follow(errors);
    let before = logs.text().len();
    let ready = wait_for("tidegate is ready", START_DEADLINE, || match process.exited() {
        Some(status) => Some(Err(status)),
        None => get_status(address, "localhost", options.awaited_path)
            .is_ok_and(|status| status == 200)
            .then_some(Ok(())),
    });
    let Err(status) = ready else { return Some(process) };
    logs.wait();
    let text = logs.text();
    assert!(text[before..].contains("in use"), "tidegate ended with {status}:\n{text}");
    None
}

impl Logs {
    fn text(&self) -> String {
        self.lines.lock().expect("never poisoned").join("\n")
    }

    /// Takes lines until the stream ends, so that the server never waits for a reader.
    fn follow(&self, stream: impl Read + Send + 'static) {
        let lines = Arc::clone(&self.lines);
        let reader = thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                lines.lock().expect("never poisoned").push(line);
            }
        });
        self.readers.lock().expect("never poisoned").push(reader);
    }

    /// Waits until the streams so far have ended.
    fn wait(&self) {
        for reader in self.readers.lock().expect("never poisoned").drain(..) {
            let _ = reader.join();
        }
    }
}
