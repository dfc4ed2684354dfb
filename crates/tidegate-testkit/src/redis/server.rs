//! One server.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::options::{Kind, RedisOptions};
use super::resp::{Reply, RespClient};
use crate::port::PortLease;
use crate::process::{ServerProcess, program, tail};
use crate::temp_dir::TempDir;
use crate::wait::{wait_for, wait_until};

/// How long a server may take to answer PING.
const START_DEADLINE: Duration = Duration::from_secs(15);
/// How long one answer may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// How often a start is tried on other ports.
const START_ATTEMPTS: u32 = 5;

const CONFIG_FILE: &str = "redis.conf";
const LOG_FILE: &str = "redis.log";

/// A Redis server on ports of its own, with a folder of its own; killed when dropped.
///
/// It reads a configuration file, so `CONFIG REWRITE` works and lasts over [`restart`](Self::restart).
#[derive(Debug)]
pub struct RedisServer {
    process: Option<ServerProcess>,
    options: RedisOptions,
    ports: Ports,
    dir: TempDir,
}

#[derive(Debug)]
struct Ports {
    plain: PortLease,
    tls: Option<PortLease>,
    bus: Option<PortLease>,
}

/// How a start ended.
enum Started {
    Ready(ServerProcess),
    /// The process ended because somebody listens on its port.
    PortTaken,
}

impl RedisServer {
    /// Starts a server with the defaults: no persistence, no password.
    pub fn start() -> Self {
        Self::with(&RedisOptions::new())
    }

    /// Starts a server and waits until it answers.
    ///
    /// # Panics
    ///
    /// Panics with the end of its log where it does not.
    pub fn with(options: &RedisOptions) -> Self {
        for _ in 0..START_ATTEMPTS {
            let ports = Ports {
                plain: PortLease::new(),
                tls: options.tls.as_ref().map(|_| PortLease::new()),
                bus: (options.kind == Kind::ClusterNode).then(PortLease::new),
            };
            let dir = TempDir::new("redis");
            let mut server = Self { process: None, options: options.clone(), ports, dir };
            server.write_configuration();
            if let Started::Ready(process) = server.spawn() {
                server.process = Some(process);
                return server;
            }
        }
        panic!("{START_ATTEMPTS} ports in a row were taken");
    }

    /// For clients: `redis://[:password@]127.0.0.1:port`.
    pub fn url(&self) -> String {
        let password = self.options.password.as_ref().map(|word| format!(":{word}@")).unwrap_or_default();
        format!("redis://{password}{}", self.address())
    }

    /// Where it listens without TLS.
    pub fn address(&self) -> SocketAddr {
        self.ports.plain.address()
    }

    /// The port without TLS.
    pub fn port(&self) -> u16 {
        self.ports.plain.port()
    }

    /// The port with TLS.
    ///
    /// # Panics
    ///
    /// Panics where the options had no TLS.
    pub fn tls_port(&self) -> u16 {
        self.ports.tls.as_ref().expect("options with tls").port()
    }

    /// The port of the cluster bus.
    pub(super) fn bus_port(&self) -> u16 {
        self.ports.bus.as_ref().expect("a node of a cluster").port()
    }

    /// The password everyone gives.
    pub(super) fn password(&self) -> Option<&str> {
        self.options.password.as_deref()
    }

    /// The Unix socket's path.
    ///
    /// # Panics
    ///
    /// Panics where the options had none.
    pub fn unix_socket(&self) -> PathBuf {
        self.dir.join(self.options.unix_socket.expect("options with a Unix socket"))
    }

    /// Its folder: configuration, log, and what it saves.
    pub fn dir(&self) -> &TempDir {
        &self.dir
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        tail(&self.dir.join(LOG_FILE))
    }

    /// The running process.
    ///
    /// # Panics
    ///
    /// Panics where it was killed.
    pub fn process(&self) -> &ServerProcess {
        self.process.as_ref().expect("the server runs")
    }

    /// Whether it runs; a paused one does.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// The processor time it has used since it was started.
    pub fn cpu_micros(&self) -> u64 {
        self.process().cpu_micros()
    }

    /// Ends it at once (SIGKILL); without persistence its data are gone.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Ends it at once, if it runs, and starts it again on the same ports and with the same folder.
    pub fn restart(&mut self) {
        self.kill();
        let process = wait_for("the port is free again", START_DEADLINE, || match self.spawn() {
            Started::Ready(process) => Some(process),
            Started::PortTaken => None,
        });
        self.process = Some(process);
    }

    /// Stops it in its tracks (SIGSTOP): its sockets stay open and silent.
    pub fn pause(&self) {
        self.process().pause();
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) {
        self.process().resume();
    }

    /// A new connection, signed in.
    ///
    /// # Panics
    ///
    /// Panics where it cannot be had.
    #[track_caller]
    pub fn client(&self) -> RespClient {
        self.try_client(ANSWER_DEADLINE).unwrap_or_else(|error| panic!("{}: {error}", self.address()))
    }

    /// A new connection, signed in, where the server may not be there.
    pub fn try_client(&self, timeout: Duration) -> io::Result<RespClient> {
        let mut client = RespClient::connect(self.address(), timeout)?;
        let answer = match (&self.options.acl, &self.options.password) {
            (Some(acl), _) => client.try_command(&["AUTH", &acl.user, &acl.password])?,
            (None, Some(password)) => client.try_command(&["AUTH", password])?,
            (None, None) => return Ok(client),
        };
        match answer.error() {
            None => Ok(client),
            Some(error) => Err(io::Error::new(io::ErrorKind::PermissionDenied, error)),
        }
    }

    /// Sends one command on a connection of its own.
    #[track_caller]
    pub fn command<A: AsRef<[u8]>>(&self, parts: &[A]) -> Reply {
        self.client().command(parts)
    }

    /// As [`command`](Self::command), where the connection may fail.
    pub fn try_command<A: AsRef<[u8]>>(&self, parts: &[A]) -> io::Result<Reply> {
        self.try_client(ANSWER_DEADLINE)?.try_command(parts)
    }

    /// The fields of `INFO section`.
    #[track_caller]
    pub fn info(&self, section: &str) -> BTreeMap<String, String> {
        let text = self.command(&["INFO", section]).text();
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Waits until a replica has everything that was written so far; `key`, which must be this server's, is lost by that.
    pub fn wait_until_copied(&self, key: &str) {
        let mut client = self.client();
        // WAIT speaks of what its own connection wrote last, and that is sent after everything before it.
        client.command(&["SET", key, "1", "PX", "1"]).ok();
        let copies = client.command(&["WAIT", "1", "5000"]).ok().integer();
        assert!(copies > 0, "no replica has it after 5 s");
    }

    /// Waits until it is a replica whose copy is complete.
    pub fn wait_until_synced_replica(&self, within: Duration) {
        wait_until("the replica is in step with its primary", within, || {
            // A change of roles cuts connections off.
            let reply = self.try_command(&["INFO", "replication"]);
            let text = reply.map(|reply| reply.text()).unwrap_or_default();
            text.contains("role:slave") && text.contains("master_link_status:up")
        });
    }

    fn spawn(&self) -> Started {
        let log_file = self.dir.join(LOG_FILE);
        File::create(&log_file).expect("the log");
        let open_log = || OpenOptions::new().append(true).open(&log_file).expect("the log");
        let mut command = Command::new(program("TEST_REDIS_BIN", "redis-server"));
        command.arg(self.dir.join(CONFIG_FILE)).current_dir(self.dir.path());
        if self.options.kind == Kind::Sentinel {
            command.arg("--sentinel");
        }
        command.stdin(Stdio::null()).stdout(open_log()).stderr(open_log());
        let mut process = ServerProcess::spawn(&mut command, "redis-server");
        let ready = wait_for("the server answers PING", START_DEADLINE, || {
            if process.exited().is_some() {
                return Some(false);
            }
            self.answers_ping().then_some(true)
        });
        if ready {
            return Started::Ready(process);
        }
        let log = self.log();
        assert!(
            log.contains("in use"),
            "{} ended at once:\n{log}",
            program("TEST_REDIS_BIN", "redis-server").display()
        );
        Started::PortTaken
    }

    fn answers_ping(&self) -> bool {
        let answer = self.try_client(ANSWER_DEADLINE).and_then(|mut client| client.try_command(&["PING"]));
        matches!(answer, Ok(Reply::Simple(pong)) if pong == "PONG")
    }

    fn write_configuration(&self) {
        let mut lines = vec![
            ("bind".to_owned(), "127.0.0.1".to_owned()),
            ("port".to_owned(), self.port().to_string()),
            ("dir".to_owned(), self.dir.path().display().to_string()),
        ];
        let mut add = |name: &str, value: &str| lines.push((name.to_owned(), value.to_owned()));
        if self.options.kind != Kind::Sentinel {
            for (name, value) in [
                ("save", "\"\""),
                ("appendonly", "no"),
                // A replica's copy arrives as a file, which must not come back after a restart.
                ("rdb-del-sync-files", "yes"),
                ("repl-diskless-sync-delay", "0"),
            ] {
                add(name, value);
            }
        }
        if let Some(bus) = &self.ports.bus {
            add("cluster-enabled", "yes");
            add("cluster-port", &bus.port().to_string());
        }
        if let Some(password) = &self.options.password {
            add("requirepass", password);
            add("masterauth", password);
        }
        if let Some(acl) = &self.options.acl {
            add("aclfile", &self.dir.write("users.acl", &acl.file).display().to_string());
        }
        if let Some(name) = self.options.unix_socket {
            add("unixsocket", &self.dir.join(name).display().to_string());
        }
        if let (Some(files), Some(lease)) = (&self.options.tls, &self.ports.tls) {
            add("tls-port", &lease.port().to_string());
            add("tls-cert-file", &files.certificate.display().to_string());
            add("tls-key-file", &files.key.display().to_string());
            add("tls-ca-cert-file", &files.authority.display().to_string());
            add("tls-auth-clients", "no");
        }
        lines.extend(self.options.settings.iter().cloned());
        let text: String = lines.iter().map(|(name, value)| format!("{name} {value}\n")).collect();
        self.dir.write(CONFIG_FILE, &text);
    }
}
