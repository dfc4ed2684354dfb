//! `tidegate replay`: a rule file tried against real access logs before it is enforced.
//!
//! This folder holds everything but the engine call. Lines flow one way:
//!
//! ```text
//! input (files, stdin, gzip)  →  format (clf, json_lines)  →  order (virtual clock)  =  LogStream
//!                                                                                          │
//!            text / json / csv  ←  Summary  ←  Report  ←  engine's decisions  ←  LogRecord ┘
//! ```
//!
//! [`LogStream`] yields [`LogRecord`]s whose times never go back, so that the engine can be driven by a
//! virtual clock; [`Report`] takes what the engine decided as plain data and knows no engine type.
//! Log lines are written by strangers: every line, key, file count and table here has a named maximum.

mod chart;
mod clf;
mod csv;
mod error;
mod format;
mod input;
mod json;
mod json_lines;
mod json_paths;
mod keys;
mod normalized;
mod order;
mod progress;
mod record;
mod report;
mod stream;
mod summary;
mod text;
mod time;
mod timeline;

pub use csv::{CsvSection, write_csv};
pub use error::{ReplayError, Unreadable};
pub use format::{FieldMap, LogFormat, MAX_FIELD_MAPPINGS, entries_used_by};
pub use input::{LogInput, MAX_LINE_BYTES};
pub use json::write_json;
pub use keys::{MAX_KEYS, MAX_KEYS_TEXT_BYTES};
pub use normalized::{Normalized, trial_requests, trial_requests_with};
pub use order::{HORIZON_US, MAX_HELD_LINES, ReorderBuffer};
pub use progress::Progress;
pub use record::{Field, LogRecord};
pub use report::{Outcome, Report, RuleSample, Sample};
pub use stream::{DamagedFile, LogStream, MAX_LOG_FILES, ReadOptions, ReadStats, UnreadableLine};
pub use summary::{
    KeyRow, Period, RequestTotals, RuleRow, RuleSummary, Summary, TimelineBucket, TimelineSummary,
};
pub use text::{Charset, Colour, TextOptions, write_text};
