//! What the benchmark programs share: servers and load, reports, the machine's counters, keys, and Tidegate's own set-up.
//!
//! Every program prints a table and, with `--json`, JSON; both name the core count and the command that repeats
//! the run. Absolute figures hold for one machine and one hour: compare ratios, which are taken in one run.

pub mod contest;
pub mod http_load;
pub mod keys;
pub mod machine;
pub mod redis_benchmark;
pub mod report;
pub mod server;
pub mod shape;
pub mod subject;
pub mod template;

/// Every contender allocates with what the `tidegate` binary allocates with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The middle of the values, or of two middle ones the upper; NaN where there is none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 3.0);
        assert!(median(&[]).is_nan());
    }
}
