//! Texts that come as places to return to. What must hold is in `properties/return_to.rs`.

#![no_main]

#[path = "../properties/return_to.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::holds(data));
