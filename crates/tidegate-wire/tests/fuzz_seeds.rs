//! The properties that fuzzing looks for hold for its seeds, with any toolchain and without a fuzzer.

#[path = "../../../fuzz/properties/check_body.rs"]
mod check_body;
#[path = "../../../fuzz/properties/client_identity.rs"]
mod client_identity;
#[path = "../../../fuzz/properties/resp_frame.rs"]
mod resp_frame;
#[path = "../../../fuzz/properties/return_to.rs"]
mod return_to;
#[path = "../../../fuzz/properties/room_token.rs"]
mod room_token;
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

#[test]
fn places_to_return_to() {
    seeds::replay("return_to", return_to::holds);
}

#[test]
fn tokens_of_rooms() {
    seeds::replay("room_token", room_token::holds);
}
