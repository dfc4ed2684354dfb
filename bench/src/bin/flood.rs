//! A flood of distinct keys against a store that has no room for them: memory stays within its bound, and keys that
//! were there before keep their verdicts.

use std::pin::pin;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Parser;
use tidegate_bench::keys::write_key;
use tidegate_bench::machine::{self, resident_bytes};
use tidegate_bench::report::{Cell, Format, Report, Table};
use tidegate_bench::subject::{self, DOMAIN, at_once};
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::model::Rule;
use tidegate_core::time::Micros;
use tidegate_engine::{Decision, Engine, Request};
use tidegate_store::MemoryStore;

/// Units an hour and at one instant: no bucket comes to rest during the flood.
const LIMIT: u64 = 10;
/// What is left of a hot key that is not exhausted.
const HALF: u64 = 5;
/// After so many keys of the flood one hot key is looked at.
const LOOK_EVERY: u64 = 1_000;
/// First number of a key of the flood; hot keys lie below.
const FLOOD_START: u64 = 100_000_000;

/// Bytes, verdicts and time of a flood.
#[derive(Debug, Parser)]
struct Arguments {
    /// Distinct keys of the flood
    #[arg(long, default_value_t = 5_000_000)]
    keys: u64,
    /// What the store may take, MiB
    #[arg(long, default_value_t = 64)]
    max_mib: usize,
    /// Keys that are there before: half of them exhausted, half of them half used
    #[arg(long, default_value_t = 10_000)]
    hot_keys: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A key that is there before the flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HotKey(u64);

impl HotKey {
    /// Units used before the flood: every other key is exhausted.
    const fn used(self) -> u64 {
        if self.0.is_multiple_of(2) { LIMIT } else { HALF }
    }

    /// Whether it still answers as before: exhausted, or half used.
    fn is_kept(self, engine: &Engine<MemoryStore>, key: &mut String) -> anyhow::Result<bool> {
        write_key(key, self.0);
        let entries = [("client_id", key.as_str())];
        let decision = at_once(pin!(engine.peek(&Request::new(DOMAIN, &entries))))?;
        let binding = decision.binding().context("no rule was asked")?;
        Ok(decision.is_allowed() == (self.used() < LIMIT) && binding.gauge.used == self.used())
    }
}

/// What the flood was told, and what became of hot keys meanwhile.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    allowed: u64,
    denied: u64,
    looked: u64,
    lost: u64,
    most_bytes: usize,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let resident_before = resident_bytes()?;
    let engine = engine(arguments.max_mib << 20)?;
    let mut key = String::with_capacity(32);
    for number in 0..arguments.hot_keys {
        let decision = decide(&engine, number, HotKey(number).used(), &mut key)?;
        ensure!(decision.is_allowed(), "{key} could not be brought up to its use");
    }

    let (cpu, wall) = (machine::thread_cpu(), Instant::now());
    let mut tally = flood(&engine, &arguments, &mut key)?;
    let (cpu, wall) = (machine::thread_cpu().saturating_sub(cpu), wall.elapsed());
    for number in 0..arguments.hot_keys {
        tally.looked += 1;
        tally.lost += u64::from(!HotKey(number).is_kept(&engine, &mut key)?);
    }

    let stats = engine.store().stats();
    let mib = |bytes: u64| Cell::Figure(bytes as f64 / f64::from(1 << 20), 1);
    let count = |count: u64| Cell::Figure(count as f64, 0);
    let title = format!("{} distinct keys against {} MiB", arguments.keys, arguments.max_mib);
    let mut table = Table::new(title, &["", "figure"]);
    let mut row = |name: &str, cell: Cell| table.row([Cell::text(name), cell]);
    row("bytes allowed, MiB", mib(stats.max_bytes as u64));
    row("bytes accounted at the end, MiB", mib(stats.bytes as u64));
    row("bytes accounted at the most, MiB", mib(tally.most_bytes as u64));
    row("growth of resident memory, MiB", mib(resident_bytes()?.saturating_sub(resident_before)));
    row("keys with a bucket of their own", count(stats.keys as u64));
    row("charges to shared buckets", count(stats.spilled));
    row("buckets that lost their state", count(stats.evicted_live));
    row("flood keys allowed", count(tally.allowed));
    row("flood keys denied", count(tally.denied));
    row("looks at hot keys", count(tally.looked));
    row("of them with another verdict or use", count(tally.lost));
    row("seconds", Cell::Figure(wall.as_secs_f64(), 2));
    row("CPU ns a flood key", Cell::Figure(cpu.as_nanos() as f64 / arguments.keys as f64, 1));
    let mut report = Report::new("flood");
    report.note(
        "the first requests of each key; a shared bucket is denied when all who share it have used it up",
    );
    report.add(table);
    report.print(Format::from_switch(arguments.json))?;
    ensure!(tally.lost == 0, "{} hot keys changed their verdict", tally.lost);
    ensure!(tally.most_bytes <= stats.max_bytes, "the store took more than it may");
    Ok(())
}

fn engine(max_bytes: usize) -> anyhow::Result<Engine<MemoryStore>> {
    let quota = Quota::new(Algorithm::TokenBucket, LIMIT, Micros::from_secs(3_600), None)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let rule = Rule::new("per-client", Algorithm::TokenBucket, quota).with_key(["client_id"]);
    Ok(Engine::new(subject::compile(vec![rule])?, subject::store(max_bytes)))
}

fn decide(
    engine: &Engine<MemoryStore>,
    number: u64,
    cost: u64,
    key: &mut String,
) -> anyhow::Result<Decision> {
    write_key(key, number);
    let entries = [("client_id", key.as_str())];
    Ok(at_once(pin!(engine.decide(&Request::new(DOMAIN, &entries).with_cost(cost))))?)
}

fn flood(engine: &Engine<MemoryStore>, arguments: &Arguments, key: &mut String) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    for number in 0..arguments.keys {
        match decide(engine, FLOOD_START + number, 1, key)?.is_allowed() {
            true => tally.allowed += 1,
            false => tally.denied += 1,
        }
        if number.is_multiple_of(LOOK_EVERY) && arguments.hot_keys > 0 {
            let hot = HotKey(number / LOOK_EVERY % arguments.hot_keys);
            tally.looked += 1;
            tally.lost += u64::from(!hot.is_kept(engine, key)?);
        }
        if number.is_multiple_of(LOOK_EVERY * 100) {
            tally.most_bytes = tally.most_bytes.max(engine.store().stats().bytes);
        }
    }
    Ok(tally)
}
