//! One table of the report for spreadsheets (RFC 4180, but with `\n` line ends as tools on Unix expect).

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use super::summary::Summary;
use super::time::rfc3339;

#[cfg(test)]
mod tests;

/// Which table to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CsvSection {
    /// One row a rule.
    Rules,
    /// The keys denied most, by rule.
    Keys,
    /// One row a bucket of time.
    Timeline,
}

impl CsvSection {
    /// The sections as an argument may name them.
    pub const NAMES: [&'static str; 3] = ["rules", "keys", "timeline"];
}

impl fmt::Display for CsvSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rules => "rules",
            Self::Keys => "keys",
            Self::Timeline => "timeline",
        })
    }
}

impl FromStr for CsvSection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Rules, Self::Keys, Self::Timeline]
            .into_iter()
            .find(|section| section.to_string() == text)
            .ok_or_else(|| format!("{text:?} is no section: use one of {}", Self::NAMES.join(", ")))
    }
}

/// Writes one table with a header line. Text that a spreadsheet would run as a formula gets a `'` in front:
/// keys come from strangers.
///
/// # Errors
/// Those of the writer.
pub fn write_csv(summary: &Summary, section: CsvSection, out: &mut dyn Write) -> io::Result<()> {
    match section {
        CsvSection::Rules => write_rules(summary, out),
        CsvSection::Keys => write_keys(summary, out),
        CsvSection::Timeline => write_timeline(summary, out),
    }
}

fn write_rules(summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "domain,rule,evaluated,allowed,denied,binding_denials,shadow_denied,distinct_keys,keys_complete,\
         lowest_remaining,first_denial"
    )?;
    for rule in &summary.rules {
        let row = &rule.row;
        writeln!(
            out,
            "{},{},{},{},{},{},{},{},{},{},{}",
            cell(&row.domain),
            cell(&row.rule),
            row.evaluated,
            row.allowed,
            row.denied,
            row.binding_denials,
            row.shadow_denied,
            row.distinct_keys,
            row.keys_complete,
            row.lowest_remaining.map(|remaining| remaining.to_string()).unwrap_or_default(),
            row.first_denial_us.map(rfc3339).unwrap_or_default(),
        )?;
    }
    Ok(())
}

fn write_keys(summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "domain,rule,key,evaluated,denied,shadow_denied")?;
    for row in summary.rules.iter().flat_map(|rule| &rule.top_keys) {
        writeln!(
            out,
            "{},{},{},{},{},{}",
            cell(&row.domain),
            cell(&row.rule),
            cell(&row.key),
            row.evaluated,
            row.denied,
            row.shadow_denied
        )?;
    }
    Ok(())
}

fn write_timeline(summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "start,seconds,allowed,waited,denied")?;
    for bucket in &summary.timeline.buckets {
        writeln!(
            out,
            "{},{},{},{},{}",
            rfc3339(bucket.start_us),
            summary.timeline.bucket_seconds,
            bucket.allowed,
            bucket.waited,
            bucket.denied
        )?;
    }
    Ok(())
}

fn cell(text: &str) -> Cow<'_, str> {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let quoted = text.contains(['"', ',', '\n', '\r']);
    match (formula, quoted) {
        (false, false) => Cow::Borrowed(text),
        (true, false) => Cow::Owned(format!("'{text}")),
        _ => Cow::Owned(format!("\"{}{}\"", if formula { "'" } else { "" }, text.replace('"', "\"\""))),
    }
}
