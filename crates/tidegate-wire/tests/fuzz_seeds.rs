//! The properties that fuzzing looks for hold for its seeds, with any toolchain and without a fuzzer.

#[path = "../../../fuzz/properties/check_body.rs"]
mod check_body;
#[path = "../../../fuzz/properties/client_identity.rs"]
mod client_identity;
#[path = "../../../fuzz/properties/resp_frame.rs"]
mod resp_frame;
#[path = "../../../fuzz/properties/seeds.rs"]
mod seeds;

#[test]
fn bodies() {
    seeds::replay("check_body", check_body::holds);
}

#[test]
fn identities() {
    seeds::replay("client_identity", client_identity::holds);
}

#[test]
fn streams_of_resp() {
    seeds::replay("resp_frame", resp_frame::holds);
}
