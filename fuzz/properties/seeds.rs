//! Replays the seeds of a fuzz target without a fuzzer: every seed, and every beginning of a small one.

#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

/// The largest seed whose beginnings are replayed too, in bytes.
const MAX_CUT_BYTES: usize = 512;
/// The fewest seeds of a target: fewer means that they are looked for in the wrong place.
const MIN_SEEDS: usize = 5;

/// Fails with the names of all seeds, and the lengths they were cut to, for which the property does not hold.
pub(crate) fn replay(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut failed = Vec::new();
    let mut count = 0;
    for file in fs::read_dir(&folder).expect("the folder of seeds is there") {
        let path = file.expect("the folder can be listed").path();
        let seed = fs::read(&path).expect("a seed can be read");
        count += 1;
        let shortest = if seed.len() <= MAX_CUT_BYTES { 0 } else { seed.len() };
        for length in shortest..=seed.len() {
            if catch_unwind(|| property(seed.get(..length).unwrap_or_default())).is_err() {
                failed.push((path.display().to_string(), length));
            }
        }
    }
    assert!(count >= MIN_SEEDS, "only {count} seeds in {}", folder.display());
    assert!(failed.is_empty(), "the property does not hold for {failed:?}");
}
