//! What the machine says about itself and about processes: cores, memory, CPU time.

use std::fs;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::time::{ClockId, clock_gettime};

/// Cores of the machine, whichever of them this process is pinned to.
#[must_use]
pub fn cores() -> usize {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    cpuinfo.lines().filter(|line| line.starts_with("processor")).count().max(1)
}

/// CPU time of the calling thread. What other programs on the machine use is not in it; what waiting for a lock
/// costs is in it only while the thread spins.
#[must_use]
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Time since some moment in the past.
#[must_use]
pub fn monotonic() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// CPU time of this process, all its threads.
#[must_use]
pub fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Resident bytes of this process.
///
/// # Errors
/// `/proc` cannot be read.
pub fn resident_bytes() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status cannot be read")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kibibytes.ok_or_else(|| anyhow!("/proc/self/status names no VmRSS"))?.trim().parse::<u64>()? * 1_024)
}

/// CPU time that a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessCpu {
    /// In its own code.
    pub user: Duration,
    /// In the kernel on its behalf.
    pub kernel: Duration,
}

impl ProcessCpu {
    /// What `pid` has used until now, in steps of a clock tick (10 ms).
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("the process {pid} is gone"))?;
        // The name, in parentheses, may hold spaces; utime and stime are fields 14 and 15 of the line.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks = |index: usize| -> anyhow::Result<Duration> {
            let field = fields.split_whitespace().nth(index).ok_or_else(|| anyhow!("stat is too short"))?;
            let seconds = field.parse::<u64>()? as f64 / rustix::param::clock_ticks_per_second() as f64;
            Ok(Duration::from_secs_f64(seconds))
        };
        Ok(Self { user: ticks(11)?, kernel: ticks(12)? })
    }

    /// What was used after `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            kernel: self.kernel.saturating_sub(before.kernel),
        }
    }

    /// User and kernel together.
    #[must_use]
    pub fn total(self) -> Duration {
        self.user + self.kernel
    }
}
