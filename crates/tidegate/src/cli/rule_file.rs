//! Rule files for the commands: read, checked, compiled, with errors ready for a person.

use std::fmt;
use std::path::Path;

use tidegate_config::{EXAMPLE_RULES, RuleFileErrors, RuleFileWarning, Style, parse_rules, read_text};
use tidegate_core::rule::{RuleSet, RuleSetError};

use super::terminal;

/// How the example rules are called in findings.
const EXAMPLE_NAME: &str = "the shipped example rules";

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
pub(crate) fn load(path: Option<&Path>) -> Result<Loaded, RuleFileProblem> {
    let (text, name) = match path {
        Some(path) => {
            let text = read_text(path)
                .map_err(|errors| RuleFileProblem::Findings { source: String::new(), errors })?;
            (text, path.display().to_string())
        }
        None => (EXAMPLE_RULES.to_owned(), EXAMPLE_NAME.to_owned()),
    };
    let parsed =
        parse_rules(&text, &name).map_err(|errors| RuleFileProblem::Findings { source: text, errors })?;
    let rules = RuleSet::compile(parsed.rules).map_err(RuleFileProblem::Set)?;
    Ok(Loaded { rules, warnings: parsed.warnings })
}
