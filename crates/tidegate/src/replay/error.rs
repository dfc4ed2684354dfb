//! What can go wrong: [`ReplayError`] ends the run, [`Unreadable`] costs one line.

use std::io;

use thiserror::Error;

use super::format::{LogFormat, MAX_FIELD_MAPPINGS};
use super::input::MAX_LINE_BYTES;
use super::stream::MAX_LOG_FILES;

/// A fault that ends a replay: the logs cannot be read as asked.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// A log could not be opened.
    #[error("cannot open the log {file}: check the path and its permissions")]
    Open {
        /// The path as given.
        file: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A log is a directory.
    #[error("{file} is a directory: name the log files in it, for example {file}/*.log")]
    Directory {
        /// The path as given.
        file: String,
    },
    /// A log could not be read on.
    #[error("cannot read the log {file} after line {line}")]
    Read {
        /// The path as given.
        file: String,
        /// Lines read before the fault.
        line: u64,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// No log was named.
    #[error("no log to replay: name at least one file, or - for standard input")]
    NoLogs,
    /// Standard input was named more than once.
    #[error("standard input (-) is named more than once: it can be read only once")]
    StdinTwice,
    /// More logs than may be open at once.
    #[error("{count} logs are more than {MAX_LOG_FILES}: join some of them, for example with cat, and use -")]
    TooManyLogs {
        /// How many were named.
        count: usize,
    },
    /// None of the first lines of a log is in a known format.
    #[error(
        "{file}: none of the first {lines} lines is common, combined or JSON ({first}): \
         choose the format with --log-format, or convert the log to JSON lines"
    )]
    UnknownFormat {
        /// The path as given.
        file: String,
        /// How many lines were tried.
        lines: usize,
        /// Why the first of them could not be read.
        first: Unreadable,
    },
    /// A `--field` argument that cannot be used.
    #[error("--field {text}: {reason}")]
    BadField {
        /// The argument as given.
        text: String,
        /// What is wrong and what to write instead.
        reason: &'static str,
    },
    /// More `--field` arguments than allowed.
    #[error("more than {MAX_FIELD_MAPPINGS} --field arguments: name only entries that the rules use")]
    TooManyFields,
    /// A `--field` argument names something that a log's format does not have.
    #[error(
        "{file}: --field {entry}={source_name}: a {format} log has no field {source_name}; it has {available}"
    )]
    FieldNotInFormat {
        /// The path as given.
        file: String,
        /// The entry to be filled.
        entry: String,
        /// The field asked for.
        source_name: String,
        /// The log's format.
        format: LogFormat,
        /// The fields that exist.
        available: &'static str,
    },
}

/// Why one line could not be read. The line is counted and skipped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// Longer than [`MAX_LINE_BYTES`].
    #[error("longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// No `[time]` where the common log format has it.
    #[error("no [time] after the client and user")]
    NoTime,
    /// A time that does not exist or is not in a known notation.
    #[error("the time is not one this reader knows, or does not exist")]
    BadTime,
    /// Before 1970 or after the year 2255.
    #[error("the time is outside the years 1970 to 2255")]
    TimeOutOfRange,
    /// No quoted request after the time.
    #[error("no quoted request after the time")]
    NoRequest,
    /// A quoted field without its closing quote: usually a torn line.
    #[error("a quoted field does not end: the line is torn")]
    OpenQuote,
    /// No status code after the request.
    #[error("no status after the request")]
    NoStatus,
    /// Not a JSON object.
    #[error("not a JSON object: {0}")]
    BadJson(String),
    /// A JSON object without any of the known time fields.
    #[error("no time: name its field with --field time=PATH")]
    NoTimeField,
}
