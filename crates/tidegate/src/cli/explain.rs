//! `tidegate explain`: which rules match a request, why, and what each would say.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use tidegate_core::decision::Verdict;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::model::{Condition, Denies, EntryCondition, Exceptions, Mode};
use tidegate_core::rule::pattern::Pattern;
use tidegate_core::rule::{CompiledDomain, CompiledRule};
use tidegate_core::time::Micros;
use tidegate_engine::{Decision, Engine, Request, random_seed};
use tidegate_store::{MemoryOptions, MemoryStore};
use tidegate_wire::check::{MAX_COST, parse_check};
use tidegate_wire::identity::Ipv6Prefix;

use super::check::{Entry, block_on, body_of, entry_argument};
use super::{SUCCESS, rule_file, terminal};

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  tidegate explain --rules payments.yaml --domain payments user_id=u1 path=/v1/charges/7 method=POST"
)]
pub(super) struct ExplainArguments {
    /// Rule file; without one, the shipped example rules
    #[arg(long, short, env = "TIDEGATE_RULES", value_name = "FILE")]
    rules: Option<PathBuf>,

    #[command(flatten)]
    rules_format: rule_file::FormatArgument,

    /// Domain of the request
    #[arg(long, short, default_value = "default", value_name = "NAME")]
    domain: String,

    /// Units the request would take
    #[arg(long, short, default_value_t = 1, value_name = "UNITS", value_parser = clap::value_parser!(u64).range(1..=MAX_COST))]
    cost: u64,

    /// The request's entries
    #[arg(required = true, value_name = "ENTRY=VALUE", value_parser = entry_argument)]
    entries: Vec<Entry>,
}

pub(super) fn run(arguments: &ExplainArguments) -> anyhow::Result<u8> {
    let loaded = rule_file::load(arguments.rules.as_deref(), arguments.rules_format)?;
    let engine = Engine::new(loaded.rules, MemoryStore::new(&MemoryOptions::new(random_seed())));
    let rules = engine.rules();
    let Some(domain) = rules.domain(&arguments.domain) else {
        let known: Vec<&str> = rules.domains().iter().map(CompiledDomain::name).collect();
        anyhow::bail!("there is no domain '{}'; the rules have: {}", arguments.domain, known.join(", "));
    };
    let body = body_of(&arguments.domain, &arguments.entries, arguments.cost, true)?;
    let parsed = parse_check(body.as_bytes(), Ipv6Prefix::default())?;
    let entries: Vec<(&str, &str)> = parsed.entries.iter().map(|(name, value)| (&**name, &**value)).collect();
    let request = Request::new(&parsed.domain, &entries).with_cost(parsed.cost);
    let decision = block_on(engine.peek(&request))??;
    terminal::print(&page(domain, &entries, &decision))?;
    Ok(SUCCESS)
}

fn page(domain: &CompiledDomain, entries: &[(&str, &str)], decision: &Decision) -> String {
    let mut out = format!("Domain {}, cost {}\n", domain.name(), decision.cost());
    let (matched, replaced) = (domain.matches(entries), domain.replaced(entries));
    for (position, rule) in (0_u32..).zip(domain.rules()) {
        let applies = matched.as_slice().contains(&position);
        let standing = match (applies, replaced.contains(&rule.name())) {
            (true, _) => Standing::Applies,
            (false, true) => Standing::Replaced,
            (false, false) => Standing::Apart,
        };
        let _ =
            writeln!(out, "\n{} {}", if applies { "matches       " } else { "does not match" }, rule.name());
        for reason in reasons(rule, entries, standing) {
            let _ = writeln!(out, "    {reason}");
        }
        let _ = options(&mut out, rule);
        if let Some(verdict) = decision.verdicts().find(|verdict| verdict.rule.name() == rule.name()) {
            let quota = verdict.quota;
            let _ = writeln!(
                out,
                "    {} {} per {}, burst {}: {}",
                rule.model().algorithm,
                quota.limit(),
                quota.window(),
                quota.burst(),
                says(&verdict.verdict, verdict.is_enforced())
            );
            let _ = leased(&mut out, rule, &quota);
        }
    }
    let _ = match decision.binding() {
        Some(binding) => writeln!(out, "\nFrom rest the binding rule is {}.", binding.rule.name()),
        None => writeln!(out, "\nNo enforced rule applies: the request passes without a limit."),
    };
    out
}

/// What becomes of a rule beside the others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Applies,
    /// Another one that applies is in its place, if it matches.
    Replaced,
    /// It does not match, or leaves the request to others.
    Apart,
}

/// What else the rule says that changes a verdict.
fn options(out: &mut String, rule: &CompiledRule) -> std::fmt::Result {
    for reserve in &rule.model().reserve {
        writeln!(out, "    keeps {} % for priority={} and higher", reserve.percent, reserve.priority)?;
    }
    if !rule.model().replaces.is_empty() {
        writeln!(out, "    replaces {}", rule.model().replaces.join(", "))?;
    }
    if rule.model().denies == Denies::Together {
        writeln!(out, "    denies a call with several descriptors only together with others")?;
    }
    if let Some(queue) = rule.model().queue {
        writeln!(out, "    lets {} units wait for up to {}", queue.max_depth, queue.max_wait)?;
    }
    let tiers: Vec<&str> = rule.model().tiers.iter().map(|(tier, _)| tier.as_str()).collect();
    if !tiers.is_empty() {
        writeln!(out, "    has its own quota for tier={}", tiers.join(", tier="))?;
    }
    Ok(())
}

/// What nodes take in advance, and the bound that is left of the quota.
fn leased(out: &mut String, rule: &CompiledRule, quota: &Quota) -> std::fmt::Result {
    let (Some(lease), Some(added)) = (rule.model().lease(), rule.model().overshoot_per_node(quota)) else {
        return Ok(());
    };
    let (units, hold) = (lease.units(quota), lease.hold());
    writeln!(
        out,
        "    leased: a node takes {units} units in advance and gives back what is left after {hold}"
    )?;
    let (limit, window, burst) = (quota.limit(), quota.window(), quota.burst());
    let bound = match rule.model().algorithm {
        Algorithm::FixedWindow => {
            format!("{limit} in each window, as if it were exact: a lease ends with its window")
        }
        Algorithm::SlidingWindow => {
            format!("what is exact, {limit} at one instant: a lease ends with its window")
        }
        Algorithm::SlidingWindowLog => {
            format!("{limit} + N × {added} in any {window}, with leases on N nodes")
        }
        _ => format!("{burst} + {limit}/{window} × τ + N × {added} in any time τ, with leases on N nodes"),
    };
    writeln!(out, "    passes at most {bound}")
}

fn says(verdict: &Verdict, enforced: bool) -> String {
    let shadow = if enforced { "" } else { " (shadow: reported, not obeyed)" };
    match verdict {
        Verdict::Allow { wait } if *wait > Micros::ZERO => {
            format!("would allow after a wait of {wait}{shadow}")
        }
        Verdict::Allow { .. } => format!("would allow{shadow}"),
        Verdict::Deny { retry_after: Some(after) } => format!("would deny for {after}{shadow}"),
        Verdict::Deny { retry_after: None } => format!("would deny, whenever it is asked{shadow}"),
    }
}

fn reasons(rule: &CompiledRule, entries: &[(&str, &str)], standing: Standing) -> Vec<String> {
    let value = |name: &str| entries.iter().find(|(entry, _)| *entry == name).map(|(_, value)| *value);
    let mark = |holds: bool| if holds { "yes" } else { "NO " };
    let mut reasons = Vec::new();
    let holds = |wanted: &EntryCondition| wanted.condition.matches(value(&wanted.entry));
    let reason = |wanted: &EntryCondition| {
        let found = value(&wanted.entry).map_or("absent".to_owned(), |value| format!("'{value}'"));
        format!("{} {}: it is {found}", wanted.entry, describe(&wanted.condition))
    };
    for wanted in &rule.model().conditions {
        reasons.push(format!("{}  {}", mark(holds(wanted)), reason(wanted)));
    }
    if !rule.model().any.is_empty() {
        let any = &rule.model().any;
        let is_one_met = any.iter().any(|one| one.iter().all(holds));
        reasons.push(format!("{}  one of {} alternatives holds", mark(is_one_met), any.len()));
        for one in any.iter().take(MAX_SHOWN) {
            let all: Vec<String> = one.iter().map(reason).collect();
            reasons.push(format!("  {}  {}", mark(one.iter().all(holds)), all.join("; ")));
        }
    }
    for entry in &rule.model().key {
        let found = value(entry);
        let part = found.map_or("absent".to_owned(), |value| format!("'{}'", rule.key_part(entry, value)));
        reasons.push(format!("{}  its key needs {entry}: it is {part}", mark(found.is_some())));
    }
    if rule.model().only {
        let others: Vec<&str> = rule.others(entries).take(MAX_SHOWN).collect();
        let found = if others.is_empty() { "there are none".to_owned() } else { others.join(", ") };
        reasons.push(format!("{}  without other entries: {found}", mark(others.is_empty())));
    }
    if !rule.model().order.is_empty() {
        let is_in_order = rule.is_in_order(entries);
        reasons.push(format!("{}  in this order: {}", mark(is_in_order), rule.model().order.join(", ")));
    }
    if rule.model().mode == Mode::Off {
        reasons.push("NO   its mode is off".to_owned());
    } else if standing == Standing::Replaced && rule.applies_to(entries) {
        reasons.push("NO   another rule that matched replaces it".to_owned());
    } else if rule.model().otherwise && standing == Standing::Apart && rule.applies_to(entries) {
        reasons.push("NO   it is an 'otherwise' rule, and another enforced rule matched".to_owned());
    } else if reasons.is_empty() {
        reasons.push("yes  it has no conditions".to_owned());
    }
    reasons
}

/// The most exceptions, or other entries, that are named.
const MAX_SHOWN: usize = 8;

fn describe_exceptions(exceptions: &Exceptions) -> String {
    let mut texts: Vec<String> =
        exceptions.but().take(MAX_SHOWN).map(|pattern| describe_pattern(&pattern)).collect();
    if exceptions.len() > MAX_SHOWN {
        texts.push(format!("is one of {} more", exceptions.len() - MAX_SHOWN));
    }
    let within: Vec<String> = exceptions.within().iter().map(describe_pattern).collect();
    let within = if within.is_empty() { "is there".to_owned() } else { within.join(" or ") };
    format!("{within}, except where it {}", texts.join(" or "))
}

fn describe(condition: &Condition) -> String {
    match condition {
        Condition::Present => "is there".to_owned(),
        Condition::Absent => "is absent".to_owned(),
        Condition::OneOf(patterns) => {
            let texts: Vec<String> = patterns.iter().map(describe_pattern).collect();
            texts.join(" or ")
        }
        Condition::NoneOf(exceptions) => describe_exceptions(exceptions),
        Condition::AllOf(parts) => {
            let texts: Vec<String> = parts.iter().map(describe).collect();
            texts.join(", and ")
        }
    }
}

fn describe_pattern(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Exact(text) => format!("is '{text}'"),
        Pattern::Prefix(text) => format!("begins with '{text}'"),
        Pattern::Template(template) => format!("fits {template}"),
        Pattern::Glob(glob) => format!("fits '{glob}'"),
        Pattern::Regex(regex) => format!("has a match of '{}'", regex.text()),
    }
}
