//! The report for programs.
//!
//! One object: `format` ("tidegate-replay"), `version` (1; grows only if a field changes its meaning or goes
//! away, not when one is added) and the fields of [`Summary`]. Times are RFC 3339 in UTC.

use std::io::{self, Write};

use serde::Serialize;

use super::summary::Summary;

#[cfg(test)]
mod tests;

const FORMAT: &str = "tidegate-replay";
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    format: &'static str,
    version: u32,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// Writes the report as one indented JSON document.
///
/// # Errors
/// Those of the writer.
pub fn write_json(summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    let document = Document { format: FORMAT, version: VERSION, summary };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}
