//! The bodies of `/v1/check`, `/v1/checks` and `/v1/refund`. What must hold is in `properties/check_body.rs`.

#![no_main]

#[path = "../properties/check_body.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::holds(data));
