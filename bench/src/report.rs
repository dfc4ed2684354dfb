//! What a program says when it is done: tables for people, JSON for programs.

use std::fmt;
use std::io::Write as _;

use serde::{Serialize, Serializer};

use crate::machine;

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Tables.
    Text,
    /// One JSON document.
    Json,
}

impl Format {
    /// The format that the `--json` switch asks for.
    #[must_use]
    pub const fn from_switch(json: bool) -> Self {
        if json { Format::Json } else { Format::Text }
    }
}

/// The result of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    program: &'static str,
    command: String,
    cores: usize,
    notes: Vec<String>,
    tables: Vec<Table>,
}

/// Rows under a heading.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// One field of a table.
#[derive(Clone, Debug)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A figure, and how many decimals a person sees.
    Figure(f64, usize),
    /// Nothing to say here.
    Empty,
}

impl Report {
    /// A report of a program, with the command that repeats the run.
    #[must_use]
    pub fn new(program: &'static str) -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let command = format!("cargo run --release --bin {program} -- {}", arguments.join(" "));
        let command = command.trim_end_matches(" -- ").to_owned();
        Self { program, command, cores: machine::cores(), notes: Vec::new(), tables: Vec::new() }
    }

    /// Adds a sentence that the figures must be read with.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Adds a table.
    pub fn add(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// Prints everything to standard output.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn print(&self, format: Format) -> anyhow::Result<()> {
        let text = match format {
            Format::Text => self.to_string(),
            Format::Json => serde_json::to_string_pretty(self)? + "\n",
        };
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }
}

impl Table {
    /// A table without rows yet.
    #[must_use]
    pub fn new(title: impl Into<String>, columns: &[&'static str]) -> Self {
        Self { title: title.into(), columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl Cell {
    /// Words.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Cell::Text(text.into())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Text(text) => f.write_str(text),
            Cell::Figure(value, decimals) => write!(f, "{value:.decimals$}"),
            Cell::Empty => f.write_str("-"),
        }
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cell::Text(text) => serializer.serialize_str(text),
            Cell::Figure(value, _) => serializer.serialize_f64(*value),
            Cell::Empty => serializer.serialize_none(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} on {} cores", self.program, self.cores)?;
        writeln!(f, "again: {}", self.command)?;
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        self.tables.iter().try_for_each(|table| write!(f, "\n{table}"))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(Cell::to_string).collect()).collect();
        let width_of = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([self.columns[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width_of).collect();
        writeln!(f, "{}", self.title)?;
        let heading: Vec<String> = self.columns.iter().map(|column| (*column).to_owned()).collect();
        for row in std::iter::once(&heading).chain(&rows) {
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match index {
                    0 => write!(f, "  {cell:<width$}")?,
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
