//! Servers as processes of their own, started for the length of a run, on a core of their own where that can be.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::machine;
use anyhow::{Context, bail, ensure};

/// How long a server may take until it accepts connections.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Where processes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// The server on core 0 with one worker, the load generator on core 1.
    Pinned,
    /// Anywhere.
    Free,
}

/// Whether there is a way to pin, and cores to pin to.
#[must_use]
pub fn can_pin() -> bool {
    let works = Command::new("taskset").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    machine::cores() >= 2 && works.is_ok_and(|status| status.success())
}

impl Affinity {
    /// Moves the load generator, this process, to where it belongs.
    ///
    /// # Errors
    /// `taskset` does not do it.
    pub fn apply_to_this_process(self) -> anyhow::Result<()> {
        let cores = match self {
            Affinity::Pinned => "1".to_owned(),
            Affinity::Free if can_pin() => format!("0-{}", machine::cores() - 1),
            Affinity::Free => return Ok(()),
        };
        let pid = std::process::id().to_string();
        let status = Command::new("taskset").args(["-cp", &cores, &pid]).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "taskset cannot move the load generator to core {cores}");
        Ok(())
    }

    /// The start of a command on the server's cores.
    fn command(self, program: &Path) -> Command {
        let cores = match self {
            Affinity::Pinned => "0".to_owned(),
            Affinity::Free if can_pin() => format!("0-{}", machine::cores() - 1),
            Affinity::Free => return Command::new(program),
        };
        let mut command = Command::new("taskset");
        command.args(["-c", &cores]).arg(program);
        command
    }
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    process: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

/// The doors of Tidegate, and of throttlecrab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// HTTP.
    Http,
    /// gRPC.
    Grpc,
    /// The protocol of Redis.
    Resp,
}

/// How Tidegate is started: with the door that is measured and no other, so that several servers run side by side.
#[derive(Clone, Copy, Debug)]
pub struct Tidegate<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its rule file.
    pub rules: &'a Path,
    /// The door that has the server's address.
    pub door: Door,
    /// Its catalog: a file, or `none`.
    pub database: &'a str,
}

impl Tidegate<'_> {
    /// Starts it, with `further` arguments, and waits until it accepts connections.
    ///
    /// # Errors
    /// It does not start, or not in time.
    pub fn start(&self, affinity: Affinity, further: &[String]) -> anyhow::Result<Server> {
        let started =
            Server::start(self.program, affinity, |address| [&self.arguments(address)[..], further].concat());
        started.context("tidegate")
    }

    fn arguments(&self, address: &str) -> Vec<String> {
        let rules = self.rules.display().to_string();
        let at = |door, other| if self.door == door { address } else { other };
        let mut all = words(&["serve", "--rules", &rules, "--database-url", self.database]);
        // There is no server without HTTP: where another door is measured, it is anywhere.
        all.extend(words(&["--listen", at(Door::Http, "127.0.0.1:0"), "--admin-listen", "off"]));
        all.extend(words(&["--grpc-listen", at(Door::Grpc, "none")]));
        all.extend(words(&["--resp-listen", at(Door::Resp, "none"), "--log-level", "error"]));
        all
    }
}

/// Starts throttlecrab with one door; `None` where the program is not there.
///
/// # Errors
/// It does not start, or not in time.
pub fn throttlecrab(program: &Path, affinity: Affinity, door: Door) -> anyhow::Result<Option<Server>> {
    if !program.is_file() {
        return Ok(None);
    }
    let name = match door {
        Door::Http => "http",
        Door::Grpc => "grpc",
        Door::Resp => "redis",
    };
    let (host, port) = (format!("--{name}-host"), format!("--{name}-port"));
    let started = Server::start_rival(program, affinity, |address| {
        let at = address.port().to_string();
        words(&[&format!("--{name}"), &host, "127.0.0.1", &port, &at, "--log-level", "error"])
    });
    started.map(Some).context("throttlecrab-server")
}

/// Arguments of a program.
#[must_use]
pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Server {
    /// Starts a program of ours on a free port and waits until it accepts connections.
    ///
    /// # Errors
    /// It does not start, or not in time.
    pub fn start(
        program: &Path,
        affinity: Affinity,
        arguments: impl Fn(&str) -> Vec<String>,
    ) -> anyhow::Result<Self> {
        Self::launch(program, affinity, |address| {
            let mut all = arguments(&address.to_string());
            if affinity == Affinity::Pinned {
                all.extend(["--threads", "1"].map(str::to_owned));
            }
            all
        })
    }

    /// Starts a rival, which knows no `--threads`, on a free port, and waits until it accepts connections.
    ///
    /// # Errors
    /// It does not start, or not in time.
    pub fn start_rival(
        program: &Path,
        affinity: Affinity,
        arguments: impl Fn(SocketAddr) -> Vec<String>,
    ) -> anyhow::Result<Self> {
        Self::launch(program, affinity, arguments)
    }

    fn launch(
        program: &Path,
        affinity: Affinity,
        arguments: impl Fn(SocketAddr) -> Vec<String>,
    ) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = affinity.command(program);
        command.args(arguments(address)).stdout(Stdio::null());
        if affinity == Affinity::Pinned {
            // What a rival on Tokio takes for --threads 1.
            command.env("TOKIO_WORKER_THREADS", "1");
        }
        let process = command.spawn().with_context(|| format!("{} does not start", program.display()))?;
        let mut server = Self { process, address };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.process.try_wait()? {
                bail!("{} ended at once: {status}", program.display());
            }
            ensure!(started.elapsed() < START_TIMEOUT, "{} does not accept connections", program.display());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn only_the_door_that_is_measured_has_the_address_and_nothing_is_said_twice() {
        for (door, flag) in
            [(Door::Http, "--listen"), (Door::Grpc, "--grpc-listen"), (Door::Resp, "--resp-listen")]
        {
            let (program, rules) = (Path::new("t"), Path::new("r"));
            let all = Tidegate { program, rules, door, database: "none" }.arguments("1.2.3.4:5");
            let at = all.iter().position(|word| word == "1.2.3.4:5").unwrap();
            assert_eq!(all[at - 1], flag);
            assert_eq!(all.iter().filter(|word| *word == "1.2.3.4:5").count(), 1);
            let flags: Vec<&String> = all.iter().filter(|word| word.starts_with("--")).collect();
            assert_eq!(flags.iter().collect::<BTreeSet<_>>().len(), flags.len(), "{all:?}");
        }
    }
}
