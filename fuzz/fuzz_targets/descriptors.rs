//! Messages of Envoy's services. What must hold is in `properties/descriptors.rs`.

#![no_main]

#[path = "../properties/descriptors.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::holds(data));
