//! Access logs, as `tidegate replay` reads them. What must hold is in `properties/log_line.rs`.

#![no_main]

#[path = "../properties/log_line.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::holds(data));
