//! `tidegate convert`: rules of other products as a rule file of this one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use tidegate_config::{Format, Parsed, Style, rules_yaml};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::Rules;

use super::rule_file::counted;
use super::{FAILURE, NEGATIVE, SUCCESS, rule_file, terminal};

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 converted, 1 a file has errors, 2 a file cannot be read or written.\n\nExamples:\n  tidegate convert envoy.yaml > rules.yaml\n  tidegate convert --from limitador --out rules.yaml limits.yaml\n  tidegate convert --out rules.yaml config/*.yaml    several domains of Envoy into one file"
)]
pub(super) struct ConvertArguments {
    /// Files of one of these products; - is standard input. Their domains go into one file
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Whose files they are. auto finds out
    #[arg(long, value_name = "FORMAT", default_value = "auto", value_parser = source())]
    from: Format,

    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Names of the formats that can be converted.
fn source() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new([Format::Auto, Format::Envoy, Format::Limitador].map(Format::name))
        .try_map(|name| name.parse::<Format>())
}

pub(super) fn run(arguments: &ConvertArguments) -> anyhow::Result<u8> {
    let style = if terminal::colours_on_stderr() { Style::Colour } else { Style::Plain };
    let mut code = SUCCESS;
    let (mut rules, mut header) = (Rules::default(), String::new());
    let mut origins: HashMap<String, &Path> = HashMap::new();
    for file in &arguments.files {
        let text = match rule_file::text_of(file)? {
            Ok(text) => text,
            Err(errors) => {
                terminal::print_note(&errors.render("", style));
                code = FAILURE;
                continue;
            }
        };
        let parsed = match rule_file::parse(&text, &file.display().to_string(), arguments.from) {
            Ok(parsed) => parsed,
            Err(errors) => {
                terminal::print_note(&errors.render(&text, style));
                code = code.max(NEGATIVE);
                continue;
            }
        };
        parsed.warnings.iter().for_each(|warning| terminal::print_note(&warning.render(&text, style)));
        if parsed.format == Format::Tidegate {
            terminal::print_note(&format!("error: {} is a rule file of Tidegate already", file.display()));
            code = code.max(NEGATIVE);
            continue;
        }
        for domain in &parsed.rules.domains {
            if let Some(first) = origins.insert(domain.name.clone(), file) {
                terminal::print_note(&format!(
                    "error: the domain '{}' is in {} and in {}: a domain is in one file",
                    domain.name,
                    first.display(),
                    file.display()
                ));
                code = code.max(NEGATIVE);
            }
        }
        header.push_str(&origin_of(file, &parsed));
        rules.domains.extend(parsed.rules.domains);
    }
    if code == SUCCESS {
        let yaml = format!("{header}# What differs: docs/guide/migrating.md\n{}", rules_yaml(&rules));
        proven(&yaml, rules)?;
        write(arguments, &yaml)?;
    }
    Ok(code)
}

/// A line of comment that says where rules come from.
fn origin_of(file: &Path, parsed: &Parsed) -> String {
    // A name may have line breaks.
    let name = file.display().to_string();
    let domains = &parsed.rules.domains;
    let count: usize = domains.iter().map(|domain| domain.rules.len()).sum();
    format!(
        "# From {} ({}), by tidegate {}: {} in {}\n",
        name.escape_debug(),
        parsed.format.product(),
        env!("CARGO_PKG_VERSION"),
        counted(count, "rule"),
        counted(domains.len(), "domain")
    )
}

/// Makes sure that what is written says what was read, and can be put in force.
fn proven(yaml: &str, rules: Rules) -> anyhow::Result<()> {
    let read = rule_file::parse(yaml, "the converted rules", Format::Tidegate)
        .map_err(|errors| anyhow::anyhow!("{errors}"))
        .context("the rules have no form in a rule file")?;
    ensure!(read.rules == rules, "the rules have no form in a rule file: what was written reads differently");
    RuleSet::compile(rules)?;
    Ok(())
}

fn write(arguments: &ConvertArguments, yaml: &str) -> anyhow::Result<()> {
    let Some(out) = &arguments.out else { return terminal::print(yaml) };
    let place = |path: &Path| path.canonicalize().ok();
    if place(out).is_some_and(|out| arguments.files.iter().any(|file| place(file).as_ref() == Some(&out))) {
        bail!("{} is one of the files that are read; write to another one", out.display());
    }
    std::fs::write(out, yaml).with_context(|| format!("{} cannot be written", out.display()))
}
