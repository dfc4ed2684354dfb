//! The property that fuzzing looks for holds for its seeds, with any toolchain and without a fuzzer.

#[path = "../../../fuzz/properties/seeds.rs"]
mod seeds;
#[path = "../../../fuzz/properties/snapshot.rs"]
mod snapshot;

#[test]
fn snapshots() {
    seeds::replay("snapshot", snapshot::holds);
}
