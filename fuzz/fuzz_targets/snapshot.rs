//! Snapshots of the memory store. What must hold is in `properties/snapshot.rs`.

#![no_main]

#[path = "../properties/snapshot.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::holds(data));
