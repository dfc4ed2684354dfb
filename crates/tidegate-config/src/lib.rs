//! Rule files to validated rules, with errors that name the place and the remedy.
//!
//! [`parse_rules`] turns the text of a rule file into [`Rules`](tidegate_core::rule::model::Rules). A file that is
//! wrong gives every [`Finding`] at once, each with file, line, column, the field's path, what is wrong and what to
//! do; a file that is right may still give warnings about rules that look unintended. [`json_schema`] describes the
//! same format to editors.
//!
//! Reading has three steps, one module each: [`yaml`] makes a tree in which every node knows its place; [`rules`]
//! reads the tree into the model, without stopping at the first error; and the checks that need more than one rule
//! come last.

mod duration;
mod finding;
mod foreign;
mod path;
mod quotas;
mod report;
mod rules;
mod schema;
mod suggest;
mod write;
mod yaml;

pub use duration::{DurationError, parse_duration};
pub use finding::{Finding, RuleFileError, RuleFileErrors, RuleFileWarning, Severity, Style};
pub use foreign::{Format, UnknownFormat};
pub use quotas::{
    LIMIT_SUFFIX, QuotaSetting, QuotaSettingProblem, QuotaVariableError, WINDOW_SUFFIX, apply_quota_settings,
    quota_of_tier, quota_settings_from,
};
pub use rules::{
    Defaults, MAX_FILE_BYTES, MAX_PATTERNS, MAX_QUEUE_DEPTH, MAX_QUEUE_WAIT, MAX_RESERVES,
    MAX_ROOM_ASSET_ORIGINS, MAX_ROOM_HOSTS, MAX_ROOM_MESSAGE_CHARS, MAX_ROOM_TEMPLATE_BYTES,
    MAX_ROOM_TITLE_CHARS, MAX_ROOMS, MAX_VALUE_BYTES, Parsed, ParsedDomain, ParsedRule, RoomCheck,
    RoomDefinition, RoomFault, RoomSeatPer, RoomsOfRules, load_rules, parse_domain_with, parse_room,
    parse_room_checked, parse_rule_with, parse_rules, parse_rules_checked, parse_rules_with, read_text,
};
pub use schema::json_schema;
pub use write::{domain_settings_json, room_json, rule_json, rules_yaml};

/// The most errors, and the most warnings, that one run reports; the rest is counted.
pub const MAX_FINDINGS: usize = 100;

/// The rule file that a fresh installation starts with: examples/rules/default.yaml.
pub const EXAMPLE_RULES: &str = include_str!("../../../examples/rules/default.yaml");
