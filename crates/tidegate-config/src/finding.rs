//! What is wrong, or looks unintended, in a rule file: the place, the field, the fact and the remedy.

use std::fmt;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but probably does not do what was meant.
    Warning,
}

/// How [`Finding::render`] may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Style {
    /// Text only.
    Plain,
    /// With ANSI colours, for a terminal.
    Colour,
}

/// One finding. `Display` is one line: `rules.yaml:12:17: domains[0].rules[1].window: the window is 0s; write …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether the file can still be used.
    pub severity: Severity,
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1; 0 where the finding is about the file as a whole.
    pub line: u32,
    /// The column in characters, from 1; 0 where the finding is about the file as a whole.
    pub column: u32,
    /// The path of the field, for example `domains[0].rules[2].window`; empty for the file as a whole.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// A [`Finding`] that makes a rule file unusable.
pub type RuleFileError = Finding;
/// A [`Finding`] about a rule file that can be used.
pub type RuleFileWarning = Finding;

/// All errors of one rule file, in the order of the file; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFileErrors {
    /// The errors, at most [`MAX_FINDINGS`](crate::MAX_FINDINGS).
    pub errors: Vec<RuleFileError>,
    /// How many more there are.
    pub omitted: usize,
}

/// The most characters of a source line that are shown.
const MAX_SHOWN_CHARS: usize = 110;

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(": ")?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{}; {}", self.message, self.remedy)
    }
}

impl std::error::Error for Finding {}

impl Finding {
    /// Several lines for a person: the finding, the line of `source` (the text of the file) with a caret, and the
    /// remedy. Control characters of the source are not passed on to the terminal.
    #[must_use]
    pub fn render(&self, source: &str, style: Style) -> String {
        let paint = Paint(style);
        let word = match self.severity {
            Severity::Error => paint.in_colour("error", RED),
            Severity::Warning => paint.in_colour("warning", YELLOW),
        };
        let mut out = format!("{word}: {}\n", self.message);
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let bar = paint.in_colour("|", BLUE);
        let arrow = paint.in_colour("-->", BLUE);
        out.push_str(&format!("{margin}{arrow} {}", self.file));
        if self.line > 0 {
            out.push_str(&format!(":{}:{}", self.line, self.column));
        }
        if !self.field.is_empty() {
            out.push_str(&format!(" ({})", self.field));
        }
        out.push('\n');
        if let Some(excerpt) = Excerpt::new(source, self.line, self.column) {
            let number = paint.in_colour(&number, BLUE);
            let carets = paint.in_colour(&"^".repeat(excerpt.width), RED);
            let indent = " ".repeat(excerpt.indent);
            out.push_str(&format!("{margin} {bar}\n{number} {bar} {}\n", excerpt.text));
            out.push_str(&format!("{margin} {bar} {indent}{carets}\n"));
        }
        out.push_str(&format!("{margin} {} {}\n", paint.in_colour("= help:", BLUE), self.remedy));
        out
    }
}

impl RuleFileErrors {
    /// Every error as [`Finding::render`] writes it, with an empty line between them.
    #[must_use]
    pub fn render(&self, source: &str, style: Style) -> String {
        let mut parts: Vec<String> = self.errors.iter().map(|error| error.render(source, style)).collect();
        if self.omitted > 0 {
            parts.push(format!("and {} more\n", self.omitted));
        }
        parts.join("\n")
    }
}

impl fmt::Display for RuleFileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        if self.omitted > 0 {
            write!(f, "\nand {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for RuleFileErrors {}

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const BLUE: &str = "\x1b[1;34m";
const RESET: &str = "\x1b[0m";

struct Paint(Style);

impl Paint {
    fn in_colour(&self, text: &str, colour: &str) -> String {
        match self.0 {
            Style::Plain => text.to_owned(),
            Style::Colour => format!("{colour}{text}{RESET}"),
        }
    }
}

/// The part of a source line around a column, safe to print.
struct Excerpt {
    text: String,
    /// Characters of `text` before the caret.
    indent: usize,
    /// How many characters are underlined.
    width: usize,
}

impl Excerpt {
    fn new(source: &str, line: u32, column: u32) -> Option<Self> {
        let text = source.lines().nth(usize::try_from(line.checked_sub(1)?).ok()?)?;
        let column = usize::try_from(column.saturating_sub(1)).ok()?;
        let length = text.chars().count();
        let hidden = length.saturating_sub(MAX_SHOWN_CHARS);
        let skipped = column.saturating_sub(MAX_SHOWN_CHARS / 2).min(hidden);
        let shown: Vec<char> = text.chars().skip(skipped).take(MAX_SHOWN_CHARS).map(printable).collect();
        let indent = (column - skipped).min(shown.len());
        let width = token_width(&shown[indent..]);
        let (before, cut) = if skipped > 0 { ("… ", 2) } else { ("", 0) };
        let after = if skipped < hidden { " …" } else { "" };
        let text = format!("{before}{}{after}", shown.into_iter().collect::<String>());
        Some(Self { text, indent: indent + cut, width })
    }
}

fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// How far a YAML token reaches, well enough for underlining it.
fn token_width(rest: &[char]) -> usize {
    let width = match rest.first() {
        Some(quote @ ('"' | '\'')) => {
            rest.iter().skip(1).position(|c| c == quote).map_or(rest.len(), |end| end + 2)
        }
        Some('[' | '{') => 1,
        _ => rest.iter().take_while(|c| !c.is_whitespace() && !",:]}#".contains(**c)).count(),
    };
    width.max(1)
}
