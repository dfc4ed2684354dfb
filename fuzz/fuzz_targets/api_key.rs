//! Texts that come as API keys. What must hold is in `properties/api_key.rs`.

#![no_main]

#[path = "../properties/api_key.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::holds(data));
