//! Rule files for the commands: read, checked, compiled, with errors ready for a person.

use std::fmt;
use std::io::Read;
use std::path::Path;

use anyhow::Context;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use tidegate_config::{
    Defaults, EXAMPLE_RULES, Format, MAX_FILE_BYTES, Parsed, RuleFileErrors, RuleFileWarning, Style,
    parse_rules_checked, parse_rules_with, read_text,
};
use tidegate_core::rule::{RuleSet, RuleSetError};

use super::terminal;
use crate::rooms::Pages;

/// How the example rules are called in findings.
const EXAMPLE_NAME: &str = "the shipped example rules";

/// How rule files are written, for every command that reads one.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct FormatArgument {
    /// How the rule file is written. auto finds out: Tidegate's own YAML, that of envoyproxy/ratelimit, or that of Limitador
    #[arg(long, env = "TIDEGATE_RULES_FORMAT", value_name = "FORMAT", default_value = "auto", value_parser = format_parser())]
    pub(crate) rules_format: Format,
}

/// Names of formats.
pub(crate) fn format_parser() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::name)).try_map(|name| name.parse::<Format>())
}

/// Reads the text of a rule file that is written in this way.
pub(crate) fn parse(text: &str, name: &str, format: Format) -> Result<Parsed, RuleFileErrors> {
    parse_rules_with(text, name, &Defaults { format, ..Defaults::default() })
}

/// As [`parse`], with a look at what the server would refuse of the rooms.
pub(crate) fn parse_checked(
    text: &str,
    name: &str,
    format: Format,
    pages: &Pages,
) -> Result<Parsed, RuleFileErrors> {
    let defaults = Defaults { format, ..Defaults::default() };
    parse_rules_checked(text, name, &defaults, &|room| pages.check(room))
}

/// Rules that can be used.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) rules: RuleSet,
    pub(crate) warnings: Vec<RuleFileWarning>,
}

/// Why a rule file cannot be used.
#[derive(Debug)]
pub(crate) enum RuleFileProblem {
    Findings { source: String, errors: RuleFileErrors },
    Set(RuleSetError),
}

impl fmt::Display for RuleFileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleFileProblem::Findings { source, errors } => {
                let style = if terminal::colours_on_stderr() { Style::Colour } else { Style::Plain };
                write!(f, "the rules cannot be used\n\n{}", errors.render(source, style))
            }
            RuleFileProblem::Set(error) => write!(f, "the rules cannot be used: {error}"),
        }
    }
}

impl std::error::Error for RuleFileProblem {}

/// Reads a rule file, or the shipped example rules.
pub(crate) fn load(path: Option<&Path>, format: FormatArgument) -> Result<Loaded, RuleFileProblem> {
    let (text, name, format) = match path {
        Some(path) => {
            let text = read_text(path)
                .map_err(|errors| RuleFileProblem::Findings { source: String::new(), errors })?;
            (text, path.display().to_string(), format.rules_format)
        }
        None => (EXAMPLE_RULES.to_owned(), EXAMPLE_NAME.to_owned(), Format::Tidegate),
    };
    let parsed =
        parse(&text, &name, format).map_err(|errors| RuleFileProblem::Findings { source: text, errors })?;
    let rules = RuleSet::compile(parsed.rules).map_err(RuleFileProblem::Set)?;
    Ok(Loaded { rules, warnings: parsed.warnings })
}

/// The text of a rule file; `-` is standard input.
pub(crate) fn text_of(file: &Path) -> anyhow::Result<Result<String, RuleFileErrors>> {
    if file.as_os_str() != "-" {
        return Ok(read_text(file));
    }
    let mut text = String::new();
    let limit = MAX_FILE_BYTES as u64 + 1;
    std::io::stdin()
        .lock()
        .take(limit)
        .read_to_string(&mut text)
        .context("standard input cannot be read as UTF-8")?;
    Ok(Ok(text))
}

/// What there is, for people: `3 rules in 2 domains, 1 room`. Rooms are left out where there are none, and rules and domains where
/// there are rooms alone.
pub(crate) fn contents(rules: &RuleSet, rooms: usize) -> String {
    let of_rules =
        format!("{} in {}", counted(rules.rule_count(), "rule"), counted(rules.domains().len(), "domain"));
    match (rules.domains().len(), rooms) {
        (_, 0) => of_rules,
        (0, rooms) => counted(rooms, "room"),
        (_, rooms) => format!("{of_rules}, {}", counted(rooms, "room")),
    }
}

/// `1 rule`, `2 rules`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
