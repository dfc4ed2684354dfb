//! Aligned columns, ANSI styles and numbers for people.

use std::io::{self, Write};

use super::{Charset, Colour, MAX_SHOWN_CHARS};

/// How a piece of text is set off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Not at all.
    Plain,
    /// A heading.
    Heading,
    /// Requests let through.
    Good,
    /// Requests refused.
    Bad,
    /// What matters less.
    Faint,
}

impl Style {
    /// The text in this style.
    pub(super) fn paint(self, colour: Colour, text: &str) -> String {
        let code = match (colour, self) {
            (Colour::Off, _) | (_, Self::Plain) => return text.to_owned(),
            (Colour::On, Self::Heading) => "1",
            (Colour::On, Self::Good) => "32",
            (Colour::On, Self::Bad) => "31",
            (Colour::On, Self::Faint) => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// On which side a column is flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows of aligned cells.
pub(super) struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<(String, Style)>>,
}

impl Table {
    /// A table of such columns, without rows.
    pub(super) const fn new(columns: Vec<Align>) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row of cells.
    pub(super) fn row(&mut self, cells: Vec<(String, Style)>) {
        self.rows.push(cells);
    }

    /// Adds a row of column titles.
    pub(super) fn titles(&mut self, titles: &[&str]) {
        self.row(titles.iter().map(|title| ((*title).to_owned(), Style::Faint)).collect());
    }

    /// Writes the rows, indented by two.
    pub(super) fn write(&self, colour: Colour, out: &mut dyn Write) -> io::Result<()> {
        let mut widths = vec![0; self.columns.len()];
        for row in &self.rows {
            for (width, (text, _)) in widths.iter_mut().zip(row) {
                *width = text.chars().count().max(*width);
            }
        }
        for row in &self.rows {
            let mut gap = String::from("  ");
            for (((text, style), width), align) in row.iter().zip(&widths).zip(&self.columns) {
                let padding = " ".repeat(width - text.chars().count());
                // Padding is kept back until a text follows it: no line ends in spaces.
                if *align == Align::Right {
                    gap.push_str(&padding);
                }
                if !text.is_empty() {
                    write!(out, "{gap}{}", style.paint(colour, text))?;
                    gap.clear();
                }
                if *align == Align::Left {
                    gap.push_str(&padding);
                }
                gap.push_str("  ");
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share to two decimals; empty of nothing. 0 % is said only of nothing at all and 100 % only of all.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    let (part, whole) = (u128::from(part), u128::from(whole));
    match (part * 10_000 + whole / 2) / whole {
        0 if part > 0 => "<0.01 %".to_owned(),
        10_000.. if part < whole => ">99.99 %".to_owned(),
        hundredths => format!("{}.{:02} %", hundredths / 100, hundredths % 100),
    }
}

/// A name or key as a terminal may show it: one line, no control or direction characters (they come from
/// strangers), not too long.
pub(super) fn shown(text: &str, charset: Charset) -> String {
    let mut safe = String::new();
    for (index, letter) in text.chars().enumerate() {
        if index == MAX_SHOWN_CHARS {
            safe.push_str(if charset == Charset::Unicode { "…" } else { "..." });
            break;
        }
        let is_hidden = letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if is_hidden || (charset == Charset::Ascii && !letter.is_ascii()) {
            safe.extend(letter.escape_unicode());
        } else {
            safe.push(letter);
        }
    }
    safe
}
