//! The properties that fuzzing looks for hold for its seeds, with any toolchain and without a fuzzer.

#[path = "../../../fuzz/properties/rule_file.rs"]
mod rule_file;
#[path = "../../../fuzz/properties/seeds.rs"]
mod seeds;

#[test]
fn rule_files() {
    seeds::replay("rule_file", rule_file::holds);
}
