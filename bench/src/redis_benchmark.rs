//! What `redis-benchmark --csv` says.

use std::process::Command;

use anyhow::{Context, bail, ensure};

/// Rate and latency of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Said {
    /// Commands per second.
    pub rate: f64,
    /// Latency that half of all did not exceed, µs; of a pipeline, where there is one.
    pub p50_us: f64,
    /// Latency that 99 of 100 did not exceed, µs.
    pub p99_us: f64,
}

/// Runs a `redis-benchmark` that was told `--csv` and one command.
///
/// # Errors
/// It is not there, fails, or says something else.
pub fn run(command: &mut Command) -> anyhow::Result<Said> {
    let output = command.output().context("redis-benchmark cannot be started: install redis-tools")?;
    ensure!(output.status.success(), "redis-benchmark: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    read(text.lines().last().unwrap_or_default())
}

/// `"test","rps","avg_latency_ms","min","p50","p95","p99","max"`; the name may hold commas of its own.
fn read(row: &str) -> anyhow::Result<Said> {
    let fields: Vec<f64> =
        row.rsplit(',').take(7).filter_map(|field| field.trim_matches('"').parse().ok()).collect();
    let [_max, p99, _p95, p50, _min, _average, rate] = fields.as_slice() else {
        bail!("redis-benchmark says {row:?}");
    };
    Ok(Said { rate: *rate, p50_us: p50 * 1e3, p99_us: p99 * 1e3 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_from_its_end() {
        let said = read(r#""EVALSHA a,b","125000.00","0.38","0.12","0.35","0.50","1.25","2.00""#).unwrap();
        assert_eq!(said, Said { rate: 125_000.0, p50_us: 350.0, p99_us: 1_250.0 });
        assert!(read("Could not connect").is_err());
    }
}
