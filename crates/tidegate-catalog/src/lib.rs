//! Rules that live: what is limited, for whom, and how it changes while the server serves.
//!
//! ```text
//! model       tenants, domains, subjects, overrides, bans, API keys, usage: plain records
//! repository  the database: SQLite or PostgreSQL, one interface, migrations
//! edit        changes of rules: validated as a whole, written in one step
//! compose     what is kept, to rules that can be put in force
//! follow      what changes is in force on this node a moment later
//! state       how far a node has followed
//! subjects    whose tier is what: a bounded cache in front of the database
//! keys        API keys: made, hashed, verified
//! usage       who used how much: counted in memory, written in batches; the busiest keys
//! recent      requests of the last minutes, to try a change on
//! source      rule files, watched
//! last_good   the last rules that worked, on disk, for a start without the database
//! digest      SHA-256, and bytes as text
//! seed        what a new database begins with
//! ```
//!
//! Nothing here decides a request. Clocks are arguments; the database's clock is never asked.

pub mod compose;
mod digest;
pub mod edit;
pub mod follow;
pub mod keys;
pub mod last_good;
pub mod model;
pub mod recent;
pub mod repository;
pub mod seed;
pub mod source;
pub mod state;
pub mod subjects;
pub mod usage;
