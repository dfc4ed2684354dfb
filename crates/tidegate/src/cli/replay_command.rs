//! `tidegate replay`: drives the engine with the requests of an access log, on the log's own clock.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tidegate_config::parse_duration;
use tidegate_core::rule::model::Mode;
use tidegate_core::rule::{CompiledDomain, CompiledRule, RuleSet};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::{Answer, Decision, Engine, ManualClock, Request, random_seed};
use tidegate_store::{MemoryOptions, MemoryStore};

use super::check::block_on;
use super::{SUCCESS, rule_file, terminal};
use crate::replay::{
    Charset, Colour, CsvSection, FieldMap, LogFormat, LogStream, Normalized, Outcome, Progress, ReadOptions,
    ReadStats, Report, RuleSample, Sample, TextOptions, entries_used_by, write_csv, write_json, write_text,
};

/// How much the store of a replay may hold: the keys of a large log.
const STORE_BYTES: usize = 1 << 30;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidegate replay --rules rules.yaml access.log.gz\n  tidegate replay --rules rules.yaml --format csv --section timeline access.log > timeline.csv\n  zcat *.gz | tidegate replay --rules rules.yaml -\n  tidegate replay --rules rules.yaml --field user_id=auth.user.id --field time=ts app.jsonl"
)]
pub(super) struct ReplayArguments {
    /// Rule file; without one, the shipped example rules
    #[arg(long, short, env = "TIDEGATE_RULES", value_name = "FILE")]
    rules: Option<PathBuf>,

    #[command(flatten)]
    rules_format: rule_file::FormatArgument,

    /// Domain the requests belong to; needed where the rules have several
    #[arg(long, short, value_name = "NAME")]
    domain: Option<String>,

    /// What the log lines look like: auto, common, combined or json
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    log_format: LogFormat,

    /// Take an entry from a named field of the log (repeatable)
    #[arg(long = "field", value_name = "ENTRY=FIELD")]
    fields: Vec<String>,

    /// How far lines may be out of order
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    horizon: Micros,

    /// How to print the report
    #[arg(long, short, value_name = "FORMAT", default_value = "text")]
    format: ReportFormat,

    /// Which table of the report, for csv: rules, keys or timeline
    #[arg(long, value_name = "TABLE", default_value = "rules")]
    section: CsvSection,

    /// How many keys to name
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    top: u16,

    /// Draw with ASCII characters only
    #[arg(long)]
    ascii: bool,

    /// Show no progress
    #[arg(long, short)]
    quiet: bool,

    /// Access logs, plain or gzip; - is standard input
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
}

/// How the report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    /// For people
    Text,
    /// Everything, for programs
    Json,
    /// One table, for spreadsheets
    Csv,
}

pub(super) fn run(arguments: &ReplayArguments) -> anyhow::Result<u8> {
    let loaded = rule_file::load(arguments.rules.as_deref(), arguments.rules_format)?;
    for warning in &loaded.warnings {
        terminal::print_note(&format!("warning: {warning}"));
    }
    let domain = domain_name(&loaded.rules, arguments.domain.as_deref())?;
    let stream = LogStream::open(&arguments.logs, &read_options(arguments, &loaded.rules, &domain)?)?;
    let (report, stream) = block_on(replay(loaded.rules, &domain, stream, arguments.quiet))??;
    let summary = report.summary(stream.stats(), usize::from(arguments.top));
    if arguments.format != ReportFormat::Text {
        for note in notes(stream.stats()) {
            terminal::print_note(&note);
        }
    }
    let mut out = BufWriter::new(io::stdout().lock());
    match arguments.format {
        ReportFormat::Text => {
            let colour = if terminal::colours_on_stdout() { Colour::On } else { Colour::Off };
            let charset = if arguments.ascii { Charset::Ascii } else { Charset::Unicode };
            write_text(&summary, TextOptions { colour, charset }, &mut out)?;
        }
        ReportFormat::Json => write_json(&summary, &mut out)?,
        ReportFormat::Csv => write_csv(&summary, arguments.section, &mut out)?,
    }
    out.flush()?;
    Ok(SUCCESS)
}

/// What a reader of bare numbers should know about them; the text report says it itself.
fn notes(stats: &ReadStats) -> Vec<String> {
    let mut notes: Vec<String> = stats
        .damaged
        .iter()
        .map(|damaged| {
            format!("warning: {}: only {} lines were read: {}", damaged.file, damaged.lines, damaged.reason)
        })
        .collect();
    if stats.unreadable > 0 {
        notes.push(format!("warning: {} of {} lines could not be read", stats.unreadable, stats.lines));
    }
    if stats.late > 0 {
        notes.push(format!("note: {} lines were further out of order than --horizon", stats.late));
    }
    notes
}

/// The domain to replay into: the one named, or the only one.
fn domain_name(rules: &RuleSet, named: Option<&str>) -> anyhow::Result<String> {
    let names: Vec<&str> = rules.domains().iter().map(CompiledDomain::name).collect();
    match (named, names.as_slice()) {
        (Some(name), names) if names.contains(&name) => Ok(name.to_owned()),
        (Some(name), names) => {
            anyhow::bail!("there is no domain '{name}'; the rules have: {}", names.join(", "))
        }
        (None, [only]) => Ok((*only).to_owned()),
        (None, names) => {
            anyhow::bail!("the rules have several domains; choose one with --domain: {}", names.join(", "))
        }
    }
}

fn read_options(arguments: &ReplayArguments, rules: &RuleSet, domain: &str) -> anyhow::Result<ReadOptions> {
    let mut fields = FieldMap::default();
    for field in &arguments.fields {
        fields.add(field)?;
    }
    let of_domain = rules.domain(domain).into_iter().flat_map(CompiledDomain::rules);
    fields.offer_used_by(of_domain.map(CompiledRule::model));
    Ok(ReadOptions { format: arguments.log_format, fields, horizon_us: arguments.horizon.as_micros() })
}

async fn replay(
    rules: RuleSet,
    domain: &str,
    mut stream: LogStream,
    quiet: bool,
) -> anyhow::Result<(Report, LogStream)> {
    let mut report = Report::new();
    for rule in rules.domain(domain).into_iter().flat_map(CompiledDomain::rules) {
        if rule.model().mode != Mode::Off {
            report.declare_rule(domain, rule.name());
        }
    }
    // A log has more fields than a caller would send: those that no rule speaks of are not there for `only`.
    let of_domain = rules.domain(domain).into_iter().flat_map(CompiledDomain::rules);
    let named: BTreeSet<String> =
        entries_used_by(of_domain.map(CompiledRule::model)).map(str::to_owned).collect();
    let clock = ManualClock::default();
    let options = MemoryOptions { max_bytes: STORE_BYTES, ..MemoryOptions::new(random_seed()) };
    let engine = Engine::with_parts(rules, MemoryStore::new(&options), clock.clone(), None);
    let mut progress = if quiet { Progress::hidden() } else { Progress::on_stderr(stream.total_bytes()) };
    while let Some(record) = stream.next() {
        let record = record?;
        clock.set(Timestamp::from_micros(record.at_us));
        let normalized = Normalized::of(&record);
        let entries: Vec<(&str, &str)> = record
            .entries()
            .filter(|(name, _)| named.contains(*name))
            .map(|(name, value)| (name, normalized.value(name, value)))
            .collect();
        let decision = engine.decide(&Request::new(domain, &entries)).await?;
        record_decision(&mut report, record.at_us, &entries, &decision);
        progress.update(&stream);
    }
    progress.finish();
    Ok((report, stream))
}

fn record_decision(report: &mut Report, at_us: u64, entries: &[(&str, &str)], decision: &Decision) {
    let binding = decision.binding().map(|binding| binding.rule.name().to_owned());
    let keys: Vec<String> = decision.verdicts().map(|verdict| key_text(verdict.rule, entries)).collect();
    let verdicts: Vec<RuleSample<'_>> = decision
        .verdicts()
        .zip(&keys)
        .map(|(verdict, key)| RuleSample {
            domain: verdict.rule.domain(),
            rule: verdict.rule.name(),
            key,
            allowed: verdict.verdict.is_allow(),
            shadow: !verdict.is_enforced(),
            binding: binding.as_deref() == Some(verdict.rule.name()),
            remaining: verdict.gauge.remaining,
        })
        .collect();
    let outcome = match decision.answer() {
        Answer::Allow => Outcome::Allowed,
        Answer::Wait(_) => Outcome::Waited,
        Answer::Deny => Outcome::Denied,
    };
    report.record(&Sample { at_us, outcome, verdicts: &verdicts });
}

/// The partition key for people: the values, one after the other.
fn key_text(rule: &CompiledRule, entries: &[(&str, &str)]) -> String {
    let value = |name: &str| entries.iter().find(|(entry, _)| *entry == name).map_or("", |(_, value)| *value);
    let parts: Vec<&str> = rule.model().key.iter().map(|entry| rule.key_part(entry, value(entry))).collect();
    parts.join(" ")
}
