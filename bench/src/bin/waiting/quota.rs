//! Visitors who wait and poll as told, and a server that has a tenth of a core.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use tidegate::crowd::{FirstCall, Habits, Node, Plan, Progress, run};
use tidegate_bench::machine::ProcessCpu;
use tidegate_bench::report::{Cell, Table};
use tidegate_bench::server::{Affinity, Door, Tidegate, words};
use tidegate_core::time::Micros;

use super::Arguments;

/// CPU time in each period: a tenth.
const QUOTA_US: u64 = 10_000;
const PERIOD_US: u64 = 100_000;
/// Visitors that come in a second.
const ARRIVALS_PER_S: u32 = 100;

pub(crate) fn measure(arguments: &Arguments, folder: &Path) -> anyhow::Result<Table> {
    let mut columns = vec!["one tenth of a core", "requests", "p50 ms", "p90", "p95", "p99", "longest"];
    columns.push("CPU us each");
    let mut table = Table::new(
        format!("{} who wait and poll as told, 10/s let in, synced journal", arguments.visitors),
        &columns,
    );
    for quota in [None, Some(QUOTA_US)] {
        let subject = &arguments.subject;
        let state = folder.join(format!("quota-{quota:?}")).display().to_string();
        let (program, rules) = (&subject.tidegate, &subject.rules);
        let server = Tidegate { program, rules, door: Door::Http, database: "none" }
            .start(Affinity::Free, &words(&["--state-file", &state]))?;
        let group = quota.map(|quota| Group::of(server.pid(), quota)).transpose()?;
        let before = ProcessCpu::of(server.pid())?;
        let plan = Plan {
            nodes: vec![Node::parse(&format!("http://{}", server.address))?],
            room: "slow".parse()?,
            visitors: arguments.visitors,
            arrivals_per_s: ARRIVALS_PER_S,
            connections: 512,
            at_most: Micros::from_secs(arguments.slow_seconds),
            timeout: Micros::from_secs(10),
            max_age: Micros::ZERO,
            first_call: FirstCall::Page,
            habits: Habits::PATIENT,
            seed: 3,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let report = runtime.block_on(run(&plan, std::future::pending(), &mut Progress::hidden()))?;
        let cpu = ProcessCpu::of(server.pid())?.since(before).total();
        ensure!(report.is_fair, "the room was not fair: {:?}", report.violations);
        for (call, took) in &report.latency_ms {
            table.row([
                Cell::text(format!("{call}, {}", if quota.is_some() { "0.1 core" } else { "no quota" })),
                Cell::Figure(took.count as f64, 0),
                Cell::Figure(took.p50, 1),
                Cell::Figure(took.p90, 1),
                Cell::Figure(took.p95, 1),
                Cell::Figure(took.p99, 1),
                Cell::Figure(took.max, 1),
                Cell::Figure(cpu.as_micros() as f64 / report.requests.max(1) as f64, 1),
            ]);
        }
        drop(server);
        drop(group);
    }
    Ok(table)
}

/// A control group of one process; gone when dropped, after the process.
struct Group(PathBuf);

impl Group {
    /// Puts a process into a group with this quota: of the unified hierarchy where that can be, else of the `cpu` controller of old.
    fn of(pid: u32, quota_us: u64) -> anyhow::Result<Self> {
        let name = format!("tidegate-bench-{}", std::process::id());
        let ways: [(&str, &[(&str, String)]); 2] = [
            ("/sys/fs/cgroup", &[("cpu.max", format!("{quota_us} {PERIOD_US}"))]),
            (
                "/sys/fs/cgroup/cpu",
                &[("cpu.cfs_period_us", PERIOD_US.to_string()), ("cpu.cfs_quota_us", quota_us.to_string())],
            ),
        ];
        let mut refusals = Vec::new();
        for (root, settings) in ways {
            let group = Self(Path::new(root).join(&name));
            let made = fs::create_dir(&group.0).and_then(|()| {
                settings.iter().try_for_each(|(file, value)| fs::write(group.0.join(file), value))?;
                fs::write(group.0.join("cgroup.procs"), pid.to_string())
            });
            match made {
                Ok(()) => return Ok(group),
                Err(error) => refusals.push(format!("{root}: {error}")),
            }
        }
        Err(anyhow!("no control group can be made: {}", refusals.join("; "))).context("a CPU quota")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel lets it go once the process is reaped.
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
