//! The server: settings, doors, command line. The only crate with a main, an environment and listeners.
//!
//! ```text
//! cli       commands: serve, check-config, check, explain, replay, …
//! settings  what the command is told by flags, environment and file, and by which of them
//! serve     wires store, engine and doors together and runs until told to stop
//! http      the HTTP door
//! net       accepting, bounding and draining connections
//! ```

pub mod cli;
pub mod http;
pub mod net;
pub mod serve;
pub mod settings;
