//! `redis-benchmark`, the server's own load generator: what the server can do when the client does next to nothing.

use std::process::Command;
use std::time::{Duration, Instant};

use tidegate_bench::redis_benchmark::{Said, run};
use tidegate_testkit::RedisServer;

use crate::contender::{GCRA, PLAIN_PREFIX};
use crate::drive::{Measured, redis_cpu};
use crate::workload::Limit;

/// Requests of the run by which the length of the measured one is chosen.
const TRIAL: u64 = 20_000;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Incr,
    /// The script that [`EvalshaPerCheck`](crate::contender::EvalshaPerCheck) calls.
    Gcra,
}

/// One way of running it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Benchmark {
    pub(crate) operation: Operation,
    pub(crate) clients: usize,
    pub(crate) pipeline: usize,
}

impl Benchmark {
    /// As it is named in a table.
    pub(crate) fn name(self) -> String {
        let operation = match self.operation {
            Operation::Get => "GET",
            Operation::Incr => "INCR",
            Operation::Gcra => "EVALSHA",
        };
        format!("redis-benchmark {operation} -c {} -P {}", self.clients, self.pipeline)
    }

    /// Runs it for about so long over so many random keys.
    pub(crate) fn run(self, server: &RedisServer, keys: u32, measured: Duration) -> anyhow::Result<Measured> {
        let trial = self.requests(server, keys, TRIAL)?;
        let requests = (trial.rate * measured.as_secs_f64()) as u64;
        self.requests(server, keys, requests.max(TRIAL))
    }

    fn requests(self, server: &RedisServer, keys: u32, requests: u64) -> anyhow::Result<Measured> {
        let mut command = Command::new("redis-benchmark");
        command.args(["-h", "127.0.0.1", "--csv", "-p", &server.port().to_string()]);
        command.args(["-c", &self.clients.to_string(), "-P", &self.pipeline.to_string()]);
        command.args(["-n", &requests.to_string(), "-r", &keys.to_string()]);
        let key = format!("{PLAIN_PREFIX}user:__rand_int__");
        match self.operation {
            Operation::Get => command.args(["GET", &key]),
            Operation::Incr => command.args(["INCR", &format!("counter:{key}")]),
            Operation::Gcra => {
                let name = server.command(&["SCRIPT", "LOAD", GCRA]).text();
                let step = Limit::PASSES.step_micros();
                let tolerance = (step * Limit::PASSES.burst).to_string();
                command.args(["EVALSHA", &name, "1", &key, &step.to_string(), &tolerance])
            }
        };
        let (before, start) = (redis_cpu(server)?, Instant::now());
        let Said { rate, p50_us, p99_us } = run(&mut command)?;
        let wall = start.elapsed().as_secs_f64();
        let redis = redis_cpu(server)?.saturating_sub(before).as_secs_f64();
        Ok(Measured {
            rate,
            denied: f64::NAN,
            redis_us: redis * 1e6 / requests as f64,
            node_us: f64::NAN,
            redis_share: redis / wall,
            calls: f64::NAN,
            p50_us,
            p99_us,
            p999_us: f64::NAN,
            late_us: f64::NAN,
        })
    }
}
