//! What matching costs as rules grow: 10 rules against 10,000 that differ in an exact value, or in a path template.

use std::hint::black_box;
use std::pin::pin;

use anyhow::{anyhow, ensure};
use clap::Parser;
use tidegate_bench::report::{Cell, Format, Report, Table};
use tidegate_bench::subject::{self, DOMAIN, Load, at_once};
use tidegate_bench::{machine, median};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Condition, EntryCondition, Rule};
use tidegate_core::rule::pattern::{Pattern, Template};
use tidegate_engine::{Engine, Request};
use tidegate_store::MemoryStore;

/// Nanoseconds to find the rules of a request, and to decide it, among few and many rules.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds; the median is taken
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Requests in a round
    #[arg(long, default_value_t = 500_000)]
    requests: u64,
    /// The small number of rules
    #[arg(long, default_value_t = 10)]
    few: usize,
    /// The large number of rules
    #[arg(long, default_value_t = 10_000)]
    many: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What tells the rules apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Differ {
    ByExactValue,
    ByPathTemplate,
}

impl Differ {
    const fn name(self) -> &'static str {
        match self {
            Differ::ByExactValue => "exact value",
            Differ::ByPathTemplate => "path template",
        }
    }

    fn rule(self, number: usize) -> anyhow::Result<Rule> {
        let mut rule = subject::rule_per("client_id", Load::Passes)?;
        rule.name = format!("rule-{number}");
        Ok(match self {
            Differ::ByExactValue => rule.when("plan", format!("plan-{number}")),
            Differ::ByPathTemplate => {
                let template = Template::parse(&format!("/v1/resource-{number}/{{id}}/items/{{item}}"))
                    .map_err(|error| anyhow!("{error}"))?;
                let condition = Condition::OneOf(vec![Pattern::Template(template)]);
                rule.conditions.push(EntryCondition { entry: "path".to_owned(), condition });
                rule
            }
        })
    }

    fn value(self, number: usize) -> (&'static str, String) {
        match self {
            Differ::ByExactValue => ("plan", format!("plan-{number}")),
            Differ::ByPathTemplate => ("path", format!("/v1/resource-{number}/42/items/7")),
        }
    }
}

/// Rules of one kind and number, with requests that each match exactly one.
struct Subject {
    rules: RuleSet,
    engine: Engine<MemoryStore>,
    values: Vec<(&'static str, String)>,
    matching: Vec<f64>,
    deciding: Vec<f64>,
}

impl Subject {
    fn new(differ: Differ, count: usize) -> anyhow::Result<Self> {
        let rules: Vec<Rule> = (0..count).map(|number| differ.rule(number)).collect::<Result<_, _>>()?;
        let values = (0..count).map(|number| differ.value(number)).collect();
        let (matching, deciding) = (Vec::new(), Vec::new());
        let engine = subject::engine(rules.clone())?;
        Ok(Self { rules: subject::compile(rules)?, engine, values, matching, deciding })
    }

    fn round(&mut self, seed: u64, requests: u64) -> anyhow::Result<()> {
        let domain = self.rules.domain(DOMAIN).ok_or_else(|| anyhow!("there is no domain"))?;
        let (each, matched) =
            timed(seed, requests, &self.values, |entries| domain.matches(entries).as_slice().len());
        ensure!(matched == requests, "{matched} rules matched {requests} requests");
        self.matching.push(each);
        let (each, passed) = timed(seed, requests, &self.values, |entries| {
            let decided = at_once(pin!(self.engine.decide(&Request::new(DOMAIN, entries))));
            usize::from(decided.is_ok_and(|decision| decision.is_allowed()))
        });
        ensure!(passed == requests, "{passed} of {requests} requests passed");
        self.deciding.push(each);
        Ok(())
    }
}

/// CPU nanoseconds of one request, and the sum of what the requests came to.
fn timed(
    seed: u64,
    requests: u64,
    values: &[(&'static str, String)],
    mut ask: impl FnMut(&[(&str, &str)]) -> usize,
) -> (f64, u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut sum = 0;
    let before = machine::thread_cpu();
    for _ in 0..requests {
        let (entry, value) = &values[random.usize(..values.len())];
        let entries = [("client_id", "user:000000001"), ("method", "GET"), (*entry, value.as_str())];
        sum += black_box(ask(black_box(&entries))) as u64;
    }
    let spent = machine::thread_cpu().saturating_sub(before);
    (spent.as_nanos() as f64 / requests as f64, sum)
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut report = Report::new("matching");
    report.note("CPU ns of one thread, with a random request among all rules; one bucket a rule");
    let columns = ["", "few: ns", "many: ns", "many / few"];
    let title = format!("{} and {} rules of one domain", arguments.few, arguments.many);
    let mut table = Table::new(title, &columns);
    for differ in [Differ::ByExactValue, Differ::ByPathTemplate] {
        let mut few = Subject::new(differ, arguments.few)?;
        let mut many = Subject::new(differ, arguments.many)?;
        for round in 0..arguments.rounds as u64 {
            few.round(round, arguments.requests)?;
            many.round(round, arguments.requests)?;
        }
        let mut row = |what: &str, few: &[f64], many: &[f64]| {
            let (few, many) = (median(few), median(many));
            let name = Cell::text(format!("{what} by {}", differ.name()));
            table.row([name, Cell::Figure(few, 1), Cell::Figure(many, 1), Cell::Figure(many / few, 2)]);
        };
        row("matching", &few.matching, &many.matching);
        row("whole decision", &few.deciding, &many.deciding);
    }
    report.add(table);
    report.print(Format::from_switch(arguments.json))
}
