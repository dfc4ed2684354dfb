//! Rule files, from text to matched requests. What must hold is in `properties/rule_file.rs`.

#![no_main]

#[path = "../properties/rule_file.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::holds(data));
