//! `tidegate check-config`: is a rule file all right?

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use tidegate_config::{MAX_FILE_BYTES, RuleFileErrors, Style, parse_rules, read_text};
use tidegate_core::rule::RuleSet;

use super::{FAILURE, NEGATIVE, SUCCESS, terminal};

#[derive(Debug, Args)]
pub(super) struct CheckConfigArguments {
    /// Rule files; - is standard input
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
        let text = match read(file)? {
            Ok(text) => text,
            Err(errors) => {
                terminal::print(&errors.render("", style))?;
                code = FAILURE;
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
                    "{}: {} in {}, {}",
                    file.display(),
                    counted(rules, "rule"),
                    counted(domains, "domain"),
                    counted(warnings, "warning")
                ))?;
                if arguments.strict && warnings > 0 {
                    code = code.max(NEGATIVE);
                }
            }
            Err(errors) => {
                terminal::print(&errors.render(&text, style))?;
                code = code.max(NEGATIVE);
            }
        }
    }
    Ok(code)
}

/// The text of a rule file; `-` is standard input.
fn read(file: &Path) -> anyhow::Result<Result<String, RuleFileErrors>> {
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

/// `1 rule`, `2 rules`.
fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
