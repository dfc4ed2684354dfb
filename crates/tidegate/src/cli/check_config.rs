//! `tidegate check-config`: is a rule file all right?

use std::path::PathBuf;

use clap::Args;
use tidegate_config::{Format, Style};
use tidegate_core::rule::RuleSet;

use crate::rooms::Pages;

use super::room_arguments::PageArguments;
use super::rule_file::counted;
use super::{FAILURE, NEGATIVE, SUCCESS, rule_file, terminal};

#[derive(Debug, Args)]
pub(super) struct CheckConfigArguments {
    /// Rule files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    rules_format: rule_file::FormatArgument,

    #[command(flatten)]
    pages: PageArguments,

    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
}

pub(super) fn run(arguments: &CheckConfigArguments) -> anyhow::Result<u8> {
    let style = if terminal::colours_on_stdout() { Style::Colour } else { Style::Plain };
    let pages = Pages::load(&arguments.pages.clone().settings())?;
    let mut code = SUCCESS;
    for file in &arguments.files {
        let text = match rule_file::text_of(file)? {
            Ok(text) => text,
            Err(errors) => {
                terminal::print(&errors.render("", style))?;
                code = FAILURE;
                continue;
            }
        };
        let (name, format) = (file.display().to_string(), arguments.rules_format.rules_format);
        match rule_file::parse_checked(&text, &name, format, &pages) {
            Ok(parsed) => {
                for warning in &parsed.warnings {
                    terminal::print(&warning.render(&text, style))?;
                }
                let (rooms, warnings) = (parsed.rooms.len(), parsed.warnings.len());
                let rules = RuleSet::compile(parsed.rules)?;
                let product = match parsed.format {
                    Format::Auto | Format::Tidegate => String::new(),
                    foreign => format!(" ({})", foreign.product()),
                };
                terminal::print(&format!(
                    "{}{product}: {}, {}",
                    file.display(),
                    rule_file::contents(&rules, rooms),
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
