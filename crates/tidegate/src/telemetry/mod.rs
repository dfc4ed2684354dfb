//! What a node tells about itself to those who run it.

pub mod metrics;
