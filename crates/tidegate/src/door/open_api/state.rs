//! What more than one door tells of a node.

use schemars::{JsonSchema, json_schema};

use super::schema_only;

schema_only! {
    /// Seconds, or Unix seconds.
    Seconds => json_schema!({ "type": "number", "minimum": 0 });
}

/// How far this node has followed its catalog.
#[derive(JsonSchema)]
#[schemars(rename = "Catalog")]
#[expect(dead_code, reason = "it exists for its schema and is never made")]
pub(crate) struct CatalogSchema {
    /// Whether what is in force is what was written last.
    current: bool,
    database: Database,
    /// Where the rules in force come from.
    rules_from: String,
    /// The version of the catalog's rules in force.
    version: u64,
    newest_version_seen: u64,
    /// Newer rules could not be put in force.
    rules_error: bool,
    /// The rule file could not be put in force.
    rule_file_error: bool,
    reloads: u64,
    failed_reloads: u64,
}

/// The catalog's database.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it exists for its schema and is never made")]
struct Database {
    state: DatabaseState,
    /// Where it is down: since when, in Unix seconds.
    since: Option<Seconds>,
}

#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
#[expect(dead_code, reason = "it exists for its schema and is never made")]
enum DatabaseState {
    Unknown,
    Up,
    Down,
}
