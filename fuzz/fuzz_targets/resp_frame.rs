//! Streams of RESP. What must hold is in `properties/resp_frame.rs`.

#![no_main]

#[path = "../properties/resp_frame.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::holds(data));
