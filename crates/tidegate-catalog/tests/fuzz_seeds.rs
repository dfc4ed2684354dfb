//! The property that fuzzing looks for holds for its seeds, with any toolchain and without a fuzzer.

#[path = "../../../fuzz/properties/api_key.rs"]
mod api_key;
#[path = "../../../fuzz/properties/seeds.rs"]
mod seeds;

#[test]
fn api_keys() {
    seeds::replay("api_key", api_key::holds);
}
