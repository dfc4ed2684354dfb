//! One PostgreSQL server, with data of its own.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, io};

use rustix::process::geteuid;

use crate::port::PortLease;
use crate::process::{ServerProcess, continue_process, kill_descendant, stop_process, tail};
use crate::temp_dir::TempDir;
use crate::wait::{wait_for, wait_until};

/// How long a server may take to answer; after a kill it repairs its data first.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long killed processes may take to be gone.
const END_DEADLINE: Duration = Duration::from_secs(10);
/// How often a start is tried on other ports.
const START_ATTEMPTS: u32 = 5;

/// The folder of the programs.
const VARIABLE: &str = "TEST_POSTGRES_BIN";
const PACKAGE: &str = "postgresql";
const LOG_FILE: &str = "postgres.log";
const DATA: &str = "data";

/// A PostgreSQL server on a port of its own, with a folder of its own; killed when dropped.
///
/// Everyone is trusted, and only connections to 127.0.0.1 are taken. Text is ordered as in English unless a column says
/// otherwise, so that a program that relies on the order of bytes must say so. What is committed lasts over
/// [`kill`](Self::kill), not over a loss of power: `fsync` is off unless the settings say otherwise.
#[derive(Debug)]
pub struct Postgres {
    process: Option<ServerProcess>,
    settings: Vec<(String, String)>,
    port: PortLease,
    dir: TempDir,
    programs: Programs,
}

/// The programs, and as whom they run.
#[derive(Clone, Debug)]
struct Programs {
    folder: PathBuf,
    /// PostgreSQL refuses to run as root.
    user: Option<(u32, u32)>,
}

impl Postgres {
    /// Starts a server with the defaults.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with settings of `postgresql.conf` and waits until it answers.
    ///
    /// # Panics
    ///
    /// Panics with the end of its log where it does not.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        let programs = Programs::find();
        let dir = TempDir::new("postgres");
        if let Some((uid, gid)) = programs.user {
            chown(dir.path(), Some(uid), Some(gid)).expect("the folder for its user");
        }
        programs.make_data(&dir);
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut server = Self { process: None, settings, port: PortLease::new(), dir, programs };
        for _ in 0..START_ATTEMPTS {
            if let Some(process) = server.spawn() {
                server.process = Some(process);
                return server;
            }
            server.port = PortLease::new();
        }
        panic!("{START_ATTEMPTS} ports in a row were taken");
    }

    /// The URL of the database `postgres`.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The URL of a database.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.port.address())
    }

    /// Makes an empty database and gives its URL.
    pub fn database(&self, name: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\""));
        self.url_of(name)
    }

    /// Runs statements as an operator would, and gives what `psql` prints: a line for each row, `|` between columns.
    ///
    /// # Panics
    ///
    /// Panics where they fail.
    #[track_caller]
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let mut command = self.programs.command("psql", &self.dir);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statements]);
        let output = command.arg(self.url_of(database)).output().expect("psql");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{statements}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port.port()
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        tail(&self.dir.join(LOG_FILE))
    }

    /// Ends all its processes at once (SIGKILL).
    pub fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // A stopped postmaster starts no others.
        stop_process(process.pid());
        let children = process.children();
        for child in &children {
            kill_descendant(*child);
        }
        process.kill();
        wait_until("the server's processes are gone", END_DEADLINE, || {
            children.iter().all(|child| !is_running(*child))
        });
    }

    /// Ends it at once, if it runs, and starts it again on the same port and with the same data.
    pub fn restart(&mut self) {
        self.kill();
        let process = wait_for("the port is free again", START_DEADLINE, || self.spawn());
        self.process = Some(process);
    }

    /// Stops all its processes in their tracks (SIGSTOP): their sockets stay open and silent.
    pub fn pause(&self) {
        let process = self.process.as_ref().expect("the server runs");
        process.pause();
        for child in process.children() {
            stop_process(child);
        }
    }

    /// Lets them go on (SIGCONT).
    pub fn resume(&self) {
        let process = self.process.as_ref().expect("the server runs");
        for child in process.children() {
            continue_process(child);
        }
        process.resume();
    }

    /// The running server, or nothing where its port is taken.
    fn spawn(&self) -> Option<ServerProcess> {
        let log_file = self.dir.join(LOG_FILE);
        File::create(&log_file).expect("the log");
        let open_log = || OpenOptions::new().append(true).open(&log_file).expect("the log");
        let mut command = self.programs.command("postgres", &self.dir);
        command.arg("-D").arg(self.dir.join(DATA)).arg("-p").arg(self.port().to_string());
        let usual = [
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", ""),
            ("fsync", "off"),
            ("max_connections", "100"),
            ("shared_buffers", "32MB"),
        ];
        for (name, value) in usual {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdin(Stdio::null()).stdout(open_log()).stderr(open_log());
        let mut process = ServerProcess::spawn(&mut command, PACKAGE);
        let ready = wait_for("the server answers", START_DEADLINE, || {
            if process.exited().is_some() {
                return Some(false);
            }
            self.answers().then_some(true)
        });
        if ready {
            return Some(process);
        }
        let log = self.log();
        assert!(log.contains("in use"), "postgres ended at once:\n{log}");
        None
    }

    fn answers(&self) -> bool {
        let mut command = self.programs.command("pg_isready", &self.dir);
        command.args(["-q", "-t", "1", "-d", &self.url()]);
        command.status().is_ok_and(|status| status.success())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Programs {
    fn find() -> Self {
        let folder = folder().unwrap_or_else(|| {
            panic!("no PostgreSQL found: this test needs it, install the package {PACKAGE} or set {VARIABLE}")
        });
        let user = geteuid().is_root().then(|| {
            let found = ["postgres", "nobody"].iter().find_map(|name| user(name));
            found.expect("a user postgres or nobody, for PostgreSQL does not run as root")
        });
        Self { folder, user }
    }

    fn command(&self, name: &str, dir: &TempDir) -> Command {
        let mut command = Command::new(self.folder.join(name));
        command.current_dir(dir.path()).env_remove("PGDATA").env("LC_ALL", "C");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn make_data(&self, dir: &TempDir) {
        let mut command = self.command("initdb", dir);
        command.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-instructions"]);
        command.args(["--locale=C", "--locale-provider=icu", "--icu-locale=en-US", "-D"]).arg(dir.join(DATA));
        let output = command.output().expect("initdb");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "initdb: {errors}");
    }
}

/// Where the programs are: where the variable says, where Debian has them, or in `PATH`.
fn folder() -> Option<PathBuf> {
    if let Some(folder) = env::var_os(VARIABLE) {
        return Some(folder.into());
    }
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin")))
        })
        .filter(|(_, folder)| has_programs(folder))
        .collect();
    versions.sort();
    let newest = versions.pop().map(|(_, folder)| folder);
    newest.or_else(|| env::split_paths(&env::var_os("PATH")?).find(|folder| has_programs(folder)))
}

fn has_programs(folder: &Path) -> bool {
    ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).is_file())
}

/// Number of a user and of their group.
fn user(name: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let fields = fields.into_iter().find(|fields| fields.first() == Some(&name))?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

/// Whether a process that is not a child of this one is there; one that ended and is not yet collected is not.
fn is_running(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z')),
        Err(error) => error.kind() != io::ErrorKind::NotFound && error.raw_os_error() != Some(3),
    }
}
