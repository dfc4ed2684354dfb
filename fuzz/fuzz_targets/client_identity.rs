//! Headers and texts that say who is asking, and paths. What must hold is in `properties/client_identity.rs`.

#![no_main]

#[path = "../properties/client_identity.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::holds(data));
