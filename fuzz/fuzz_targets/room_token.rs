//! What a visitor sends to a room: tokens, cookies, bodies. What must hold is in `properties/room_token.rs`.

#![no_main]

#[path = "../properties/room_token.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::holds(data));
