//! The server: settings, doors, command line. The only crate with a main, an environment and listeners.
//!
//! ```text
//! cli       commands: serve, check-config, check, explain, replay, …
//! crowd     made-up visitors of a waiting room, and what they were told
//! settings  what the command is told by flags, environment and file, and by which of them
//! replay    access logs, read
//! trial     other rules tried on requests that were made
//! gate      whose request it is, what is known of its subject, what is remembered of it
//! rooms     waiting rooms
//! serve     wires store, catalog, engine and doors together and runs until told to stop
//! door      what doors have in common
//! http      the HTTP door
//! grpc      the gRPC door: Envoy's rate limit and authorization services
//! resp      the RESP door
//! admin     the admin API
//! net       accepting, bounding and draining connections
//! telemetry what a node tells about itself
//! ```

pub mod admin;
pub mod cli;
pub mod crowd;
pub mod door;
pub mod gate;
pub mod grpc;
pub mod http;
pub mod net;
pub mod replay;
pub mod resp;
pub mod rooms;
pub mod serve;
pub mod settings;
pub mod telemetry;
pub mod trial;
