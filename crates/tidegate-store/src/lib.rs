//! The ports to buckets and to waiting rooms, their embedded stores, and the suites that every store runs.
//!
//! A store of buckets answers plans: all buckets of one request, decided and charged in one atomic step,
//! all or nothing. It knows no sockets, no rule files and no clocks; `now` is an argument, and a store that decides
//! by its own clock says so in [`Outcome::decided_at`]. A store of [`rooms`] knows the time, by a clock it is given.

#[cfg(feature = "conformance")]
#[allow(clippy::expect_used, clippy::panic, reason = "a test suite fails by panicking")]
pub mod conformance;
mod error;
mod memory;
mod plan;
mod port;
pub mod rooms;

pub use error::StoreError;
pub use memory::{
    DEFAULT_MEMORY_BYTES, MIN_MEMORY_BYTES, MemoryOptions, MemoryStats, MemoryStore, SnapshotError, Swept,
};
pub use plan::{BucketResult, Outcome, Plan, PlannedBucket, UnknownRevisions};
pub use port::{Applied, BucketAddress, BucketStore};
