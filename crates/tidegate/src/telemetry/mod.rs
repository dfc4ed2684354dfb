//! What the server tells others about itself while it serves.

pub mod trace;
