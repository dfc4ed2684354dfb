//! Structured logs on standard error.

use std::io;

use clap::ValueEnum;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::terminal;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line, for machines
    Json,
}

/// What is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogLevel {
    /// Nothing
    Off,
    /// What needs somebody to act
    Error,
    /// What will, if it goes on
    Warn,
    /// Starts, stops and changes
    #[default]
    Info,
    /// What connections do
    Debug,
    /// Everything
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => LevelFilter::OFF,
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }
}

/// Starts logging for the whole process.
pub(super) fn init(format: LogFormat, level: LogLevel) {
    let level = LevelFilter::from(level);
    let builder = tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(level);
    match format {
        LogFormat::Text => {
            builder.with_ansi(terminal::colours_on_stderr()).finish().with(targets(level)).init();
        }
        LogFormat::Json => builder.json().flatten_event(true).finish().with(targets(level)).init(),
    }
}

/// What a library warns of that reads what clients send is not for somebody to act on, and a client can have it warn as often
/// as it likes. It is part of what connections do.
fn targets(level: LevelFilter) -> Targets {
    let of_frames = if level < LevelFilter::DEBUG { level.min(LevelFilter::ERROR) } else { level };
    Targets::new().with_default(level).with_target("h2", of_frames)
}
