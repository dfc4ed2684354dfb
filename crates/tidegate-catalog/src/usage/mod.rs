//! Who used how much: counted in memory on the path of every request, written in batches beside it; and the busiest keys.
//!
//! ```text
//! request → UsageMeter (per minute) ──drained by──→ Writer ──numbered batches──→ the database
//!         → TopKeys (the busiest keys lately, in memory only)
//! ```
//!
//! A request never waits for the database, and usage that could not be written for long is dropped and counted, so memory
//! is bounded.

mod meter;
mod top;
mod writer;

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use meter::{Counted, Names, UsageMeter};
pub use top::{Told, TopKey, TopKeys};
pub use writer::{UsageSink, Writer, WriterOptions, WriterStats, Written};

/// On cache lines of its own, so that what threads write side by side does not slow them down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// A small number of the calling thread, to spread threads over shards.
pub(crate) fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    NUMBER.with(Cell::get)
}
