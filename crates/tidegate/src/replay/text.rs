//! The report for people.

use std::io::{self, Write};

use super::chart::{self, Cell};
use super::keys::{MAX_KEYS, MAX_KEYS_TEXT_BYTES};
use super::summary::{KeyRow, RuleSummary, Summary};
use super::time::{readable, readable_length};
use table::{Align, Style, Table, grouped, percent, shown};

mod table;
#[cfg(test)]
mod tests;

/// The height of the chart, in lines.
const CHART_HEIGHT: usize = 8;

/// The most characters of a key or name that are shown.
const MAX_SHOWN_CHARS: usize = 60;

/// Whether to use colours. The caller decides: a terminal, `NO_COLOR`, an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Off,
    /// ANSI colours.
    On,
}

/// Which characters to draw with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// Block characters.
    Unicode,
    /// ASCII only; other characters in names and keys are written as escapes.
    Ascii,
}

/// How the text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextOptions {
    /// Whether to use colours.
    pub colour: Colour,
    /// Which characters to draw with.
    pub charset: Charset,
}

/// Writes the report as text.
///
/// # Errors
/// Those of the writer.
pub fn write_text(summary: &Summary, options: TextOptions, out: &mut dyn Write) -> io::Result<()> {
    let mut page = Page { summary, options, out };
    page.title()?;
    if summary.requests.total > 0 {
        page.requests()?;
        page.rules()?;
        page.keys()?;
        page.timeline()?;
    }
    page.lines()
}

struct Page<'a> {
    summary: &'a Summary,
    options: TextOptions,
    out: &'a mut dyn Write,
}

impl Page<'_> {
    fn title(&mut self) -> io::Result<()> {
        let Some(period) = self.summary.period else {
            return writeln!(self.out, "{}", self.paint(Style::Heading, "No request in the logs"));
        };
        let title = format!("Replay of {}", counted(self.summary.requests.total, "request"));
        writeln!(
            self.out,
            "{}, {} to {} UTC ({})",
            self.paint(Style::Heading, &title),
            readable(period.start_us),
            readable(period.end_us),
            readable_length(period.end_us - period.start_us)
        )
    }

    fn requests(&mut self) -> io::Result<()> {
        let requests = self.summary.requests;
        let mut table = Table::new(vec![Align::Left, Align::Right, Align::Right, Align::Left]);
        let mut row = |name: &str, count: u64, style: Style, note: &str| {
            table.row(vec![
                plain(name),
                (grouped(count), style),
                plain(percent(count, requests.total)),
                (note.to_owned(), Style::Faint),
            ]);
        };
        row("allowed", requests.allowed, Style::Good, "");
        if requests.waited > 0 {
            row("waited", requests.waited, Style::Good, "let through after waiting their turn");
        }
        row("denied", requests.denied, bad_if(requests.denied), "");
        if requests.unmatched > 0 {
            row("no rule", requests.unmatched, Style::Plain, "matched by no rule; also counted above");
        }
        self.section("Requests", &table)
    }

    fn rules(&mut self) -> io::Result<()> {
        use Align::{Left, Right};
        let rules = &self.summary.rules;
        if rules.is_empty() {
            return Ok(());
        }
        let mut table =
            Table::new(vec![Left, Left, Right, Right, Right, Right, Right, Right, Right, Right, Left]);
        table.titles(&[
            "DOMAIN",
            "RULE",
            "MATCHED",
            "ALLOWED",
            "DENIED",
            "",
            "BINDING",
            "SHADOW",
            "KEYS",
            "LOWEST",
            "FIRST DENIAL",
        ]);
        for RuleSummary { row, .. } in rules {
            let refused = row.denied + row.shadow_denied;
            let lower_bound = if row.keys_complete { "" } else { ">=" };
            table.row(vec![
                plain(self.shown(&row.domain)),
                plain(self.shown(&row.rule)),
                plain(grouped(row.evaluated)),
                plain(grouped(row.allowed)),
                (grouped(row.denied), bad_if(row.denied)),
                plain(percent(refused, row.evaluated)),
                plain(grouped(row.binding_denials)),
                plain(grouped(row.shadow_denied)),
                plain(format!("{lower_bound}{}", grouped(row.distinct_keys))),
                plain(row.lowest_remaining.map(grouped).unwrap_or_default()),
                plain(row.first_denial_us.map_or_else(|| "never".to_owned(), readable)),
            ]);
        }
        self.section("Rules", &table)?;
        let never: Vec<_> = rules.iter().filter(|rule| rule.row.evaluated == 0).map(rule_name).collect();
        if !never.is_empty() {
            let names = self.shown_list(&never);
            let note = format!(
                "  Matched by no request: {names}. Check what they match and which entries the log has."
            );
            writeln!(self.out, "{}", self.paint(Style::Faint, &note))?;
        }
        Ok(())
    }

    fn keys(&mut self) -> io::Result<()> {
        if !self.summary.top_keys.is_empty() {
            let table = self.key_table(&self.summary.top_keys);
            self.section("Keys denied most", &table)?;
        }
        let denying: Vec<_> = self.summary.rules.iter().filter(|rule| !rule.top_keys.is_empty()).collect();
        if denying.len() > 1 {
            for rule in denying {
                let table = self.key_table(&rule.top_keys);
                let title = format!("Keys denied most by {}", self.shown(&rule_name(rule)));
                self.section(&title, &table)?;
            }
        }
        if !self.summary.keys_complete {
            let note = format!(
                "  More than {} keys or {} MiB of them: the later ones are not counted by key.",
                grouped(MAX_KEYS as u64),
                MAX_KEYS_TEXT_BYTES / 1024 / 1024
            );
            writeln!(self.out, "{}", self.paint(Style::Bad, &note))?;
        }
        Ok(())
    }

    fn key_table(&self, rows: &[KeyRow]) -> Table {
        let mut table =
            Table::new(vec![Align::Right, Align::Right, Align::Right, Align::Left, Align::Left, Align::Left]);
        table.titles(&["DENIED", "OF", "", "RULE", "KEY", ""]);
        for row in rows {
            let refused = row.denied + row.shadow_denied;
            let key = if row.key.is_empty() { "(one for all)".to_owned() } else { self.shown(&row.key) };
            table.row(vec![
                (grouped(refused), if row.denied > 0 { Style::Bad } else { Style::Plain }),
                plain(grouped(row.evaluated)),
                plain(percent(refused, row.evaluated)),
                plain(self.shown(&format!("{}/{}", row.domain, row.rule))),
                plain(key),
                (if row.denied == 0 { "shadow" } else { "" }.to_owned(), Style::Faint),
            ]);
        }
        table
    }

    fn timeline(&mut self) -> io::Result<()> {
        let timeline = &self.summary.timeline;
        let (Some(first), Some(last)) = (timeline.buckets.first(), timeline.buckets.last()) else {
            return Ok(());
        };
        let charset = self.options.charset;
        let width = readable_length(timeline.bucket_seconds * 1_000_000);
        self.heading(&format!("Over time, {width} a column"))?;
        let peak = grouped(chart::peak(&timeline.buckets));
        let rows = chart::rows(&timeline.buckets, CHART_HEIGHT);
        for (index, row) in rows.iter().enumerate() {
            let label = if index == 0 { peak.as_str() } else { "" };
            let cells: String = row.chunk_by(|a, b| a == b).map(|run| self.run(run)).collect();
            writeln!(self.out, "  {label:>width$} {}{cells}", axis(charset), width = peak.len())?;
        }
        let (start, end) = (readable(first.start_us), readable(last.start_us));
        let gap = (timeline.buckets.len() + 1).saturating_sub(start.len() + end.len()).max(2);
        writeln!(self.out, "  {:width$} {start}{}{end}", "", " ".repeat(gap), width = peak.len())?;
        writeln!(
            self.out,
            "  {:width$} {} let through  {} denied",
            "",
            self.paint(Style::Good, &Cell::Admitted.glyph(charset).to_string()),
            self.paint(Style::Bad, &Cell::Denied.glyph(charset).to_string()),
            width = peak.len()
        )
    }

    fn run(&self, cells: &[Cell]) -> String {
        let Some(cell) = cells.first() else { return String::new() };
        let text: String = std::iter::repeat_n(cell.glyph(self.options.charset), cells.len()).collect();
        match cell {
            Cell::Empty => text,
            Cell::Admitted => self.paint(Style::Good, &text),
            Cell::Denied => self.paint(Style::Bad, &text),
        }
    }

    fn lines(&mut self) -> io::Result<()> {
        let lines = &self.summary.lines;
        let mut text = format!("{} in {}", counted(lines.lines, "line"), counted(lines.files as u64, "log"));
        for (count, what) in [
            (lines.unreadable, "unreadable"),
            (lines.blank, "blank"),
            (lines.late, "too late for their time and replayed at a later one"),
        ] {
            if count > 0 {
                text.push_str(&format!("; {} {what}", grouped(count)));
            }
        }
        self.heading("Lines")?;
        writeln!(self.out, "  {text}")?;
        for line in &lines.first_unreadable {
            let file = self.shown(&line.file);
            let reason = self.shown(&line.reason);
            writeln!(self.out, "  {}", self.paint(Style::Faint, &format!("{file}:{}: {reason}", line.line)))?;
        }
        if lines.unreadable > lines.first_unreadable.len() as u64 {
            let more = grouped(lines.unreadable - lines.first_unreadable.len() as u64);
            writeln!(self.out, "  {}", self.paint(Style::Faint, &format!("and {more} more")))?;
        }
        for damaged in &lines.damaged {
            let (file, reason) = (self.shown(&damaged.file), self.shown(&damaged.reason));
            let read = counted(damaged.lines, "line");
            let note = format!("{file} is damaged after {read} and was read no further: {reason}");
            writeln!(self.out, "  {}", self.paint(Style::Bad, &note))?;
        }
        Ok(())
    }

    fn section(&mut self, title: &str, table: &Table) -> io::Result<()> {
        self.heading(title)?;
        table.write(self.options.colour, self.out)
    }

    fn heading(&mut self, title: &str) -> io::Result<()> {
        writeln!(self.out, "\n{}", self.paint(Style::Heading, title))
    }

    fn paint(&self, style: Style, text: &str) -> String {
        style.paint(self.options.colour, text)
    }

    fn shown(&self, text: &str) -> String {
        shown(text, self.options.charset)
    }

    fn shown_list(&self, names: &[String]) -> String {
        names.iter().map(|name| self.shown(name)).collect::<Vec<_>>().join(", ")
    }
}

fn rule_name(rule: &RuleSummary) -> String {
    format!("{}/{}", rule.row.domain, rule.row.rule)
}

fn plain(text: impl Into<String>) -> (String, Style) {
    (text.into(), Style::Plain)
}

const fn bad_if(count: u64) -> Style {
    if count > 0 { Style::Bad } else { Style::Plain }
}

const fn axis(charset: Charset) -> char {
    match charset {
        Charset::Unicode => '│',
        Charset::Ascii => '|',
    }
}

fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(count), if count == 1 { "" } else { "s" })
}
