//! Rules that live: what is limited, for whom, and how it changes while the server serves.
//!
//! ```text
//! model       tenants, domains, subjects, overrides, bans, API keys, usage: plain records
//! repository  the database: SQLite or PostgreSQL, one interface, migrations
//! subjects    whose tier is what: a bounded cache in front of the database
//! keys        API keys: made, hashed, verified
//! usage       who used how much: counted in memory, written in batches; the busiest keys
//! source      rule files, watched
//! last_good   the last rules that worked, on disk, for a start without the database
//! ```
//!
//! Nothing here decides a request. Clocks are arguments; the database's clock is never asked.

pub mod model;
pub mod repository;
