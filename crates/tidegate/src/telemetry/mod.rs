//! What a node tells others about itself while it serves.

pub mod metrics;
pub mod trace;
