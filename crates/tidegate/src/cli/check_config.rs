//! `tidegate check-config`: is a rule file all right?

use std::path::PathBuf;

use clap::Args;
use tidegate_config::{Style, parse_rules, read_text};
use tidegate_core::rule::RuleSet;

use super::{NEGATIVE, SUCCESS, terminal};

#[derive(Debug, Args)]
pub(super) struct CheckConfigArguments {
    /// Rule files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
}

pub(super) fn run(arguments: &CheckConfigArguments) -> anyhow::Result<u8> {
    let style = if terminal::colours_on_stdout() { Style::Colour } else { Style::Plain };
    let mut code = SUCCESS;
    for file in &arguments.files {
        let text = match read_text(file) {
            Ok(text) => text,
            Err(errors) => {
                terminal::print(&errors.render("", style))?;
                code = NEGATIVE;
                continue;
            }
        };
        match parse_rules(&text, &file.display().to_string()) {
            Ok(parsed) => {
                for warning in &parsed.warnings {
                    terminal::print(&warning.render(&text, style))?;
                }
                let (domains, warnings) = (parsed.rules.domains.len(), parsed.warnings.len());
                let rules = RuleSet::compile(parsed.rules)?.rule_count();
                terminal::print(&format!(
                    "{}: {rules} rules in {domains} domains, {warnings} warnings",
                    file.display()
                ))?;
                if arguments.strict && warnings > 0 {
                    code = NEGATIVE;
                }
            }
            Err(errors) => {
                terminal::print(&errors.render(&text, style))?;
                code = NEGATIVE;
            }
        }
    }
    Ok(code)
}
