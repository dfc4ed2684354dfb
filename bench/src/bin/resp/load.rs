//! `redis-benchmark` as the load: the same generator for every server, and one that does next to nothing itself.

use std::process::Command;
use std::time::Duration;

use tidegate_bench::machine::ProcessCpu;
use tidegate_bench::redis_benchmark::{self, Said};
use tidegate_bench::server::Server;

/// Commands of the run by which the length of the measured one is chosen; they warm the server up, too.
const TRIAL: u64 = 20_000;

/// How a server is driven.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) connections: usize,
    /// Commands that a connection sends before it waits for their replies.
    pub(crate) pipeline: usize,
    pub(crate) keys: u64,
    pub(crate) measured: Duration,
    /// The fewest commands, however long they take.
    pub(crate) least: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Driven {
    commands: u64,
    server: ProcessCpu,
    /// Commands per second, as `redis-benchmark` has it.
    pub(crate) rate: f64,
    /// Latency of a pipeline, µs.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl Driven {
    /// A part of the server's CPU time per command, µs.
    pub(crate) fn micros_each(&self, part: fn(ProcessCpu) -> Duration) -> f64 {
        part(self.server).as_secs_f64() * 1e6 / self.commands as f64
    }
}

/// Sends one command with random keys for about the length of the pace.
pub(crate) fn drive(server: &Server, command: &[&str], pace: &Pace) -> anyhow::Result<Driven> {
    let trial = run(server, command, pace, TRIAL)?;
    let commands = (trial.rate * pace.measured.as_secs_f64()) as u64;
    run(server, command, pace, commands.max(pace.least))
}

/// Sends so many commands with random keys.
pub(crate) fn run(server: &Server, sent: &[&str], pace: &Pace, commands: u64) -> anyhow::Result<Driven> {
    let mut command = Command::new("redis-benchmark");
    command.args(["-h", "127.0.0.1", "--csv", "-p", &server.address.port().to_string()]);
    command.args(["-c", &pace.connections.to_string(), "-P", &pace.pipeline.to_string()]);
    command.args(["-n", &commands.to_string(), "-r", &pace.keys.to_string()]).args(sent);
    let before = ProcessCpu::of(server.pid())?;
    let Said { rate, p50_us, p99_us } = redis_benchmark::run(&mut command)?;
    let used = ProcessCpu::of(server.pid())?.since(before);
    Ok(Driven { commands, server: used, rate, p50_us, p99_us })
}
