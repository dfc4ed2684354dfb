//! The `tidegate` program: see `tidegate --help`.

use std::process::ExitCode;

/// Requests allocate small things on many threads; mimalloc keeps that off the profile (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate::cli::run()
}
