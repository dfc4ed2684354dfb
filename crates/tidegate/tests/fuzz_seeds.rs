//! The properties that fuzzing looks for hold for its seeds, with any toolchain and without a fuzzer.

#[path = "../../../fuzz/properties/descriptors.rs"]
mod descriptors;
#[path = "../../../fuzz/properties/log_line.rs"]
mod log_line;
#[path = "../../../fuzz/properties/seeds.rs"]
mod seeds;

#[test]
fn log_lines() {
    seeds::replay("log_line", log_line::holds);
}

#[test]
fn messages_of_envoy() {
    seeds::replay("descriptors", descriptors::holds);
}
