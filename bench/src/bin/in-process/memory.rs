//! Resident bytes a key: each holder is filled in a fresh process, before and after which the process asks the
//! kernel for its resident memory.

use std::process::Command;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tidegate_bench::keys::write_key;
use tidegate_bench::machine::resident_bytes;
use tidegate_bench::median;
use tidegate_bench::report::{Cell, Table};
use tidegate_bench::subject::Load;

use crate::contenders::{BareMap, Contender, Governor, OneRule};

/// Who holds keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Holder {
    /// Tidegate's engine with one rule.
    Tidegate,
    /// governor, keyed by String.
    Governor,
    /// A bare map of fingerprints.
    BareMap,
}

impl Holder {
    const ALL: [Holder; 3] = [Holder::Governor, Holder::Tidegate, Holder::BareMap];

    /// The name on the command line.
    const fn argument(self) -> &'static str {
        match self {
            Holder::Tidegate => "tidegate",
            Holder::Governor => "governor",
            Holder::BareMap => "bare-map",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Holder::Tidegate => "tidegate, one rule",
            Holder::Governor => "governor keyed String",
            Holder::BareMap => "bare map, 64 locks",
        }
    }
}

/// What a process found about itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Held {
    resident_before: u64,
    resident_after: u64,
    /// Bytes by the holder's own account.
    accounted: Option<u64>,
    keys: Option<u64>,
}

/// How mimalloc is told not to keep freed pages for a second before it gives them back.
const PURGE_AT_ONCE: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "0");

/// Whether freed pages are given back at once; otherwise when the allocator sees fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purge {
    Default,
    AtOnce,
}

/// Fills one holder and prints what that took, as JSON.
pub(crate) fn hold(holder: Holder, keys: u64) -> anyhow::Result<()> {
    let resident_before = resident_bytes()?;
    let held = match holder {
        Holder::Tidegate => {
            let tidegate = OneRule::new(Load::Passes)?;
            let held = fill(&tidegate, keys, resident_before)?;
            let stats = tidegate.0.store().stats();
            Held { accounted: Some(stats.bytes as u64), keys: Some(stats.keys as u64), ..held }
        }
        Holder::Governor => fill(&Governor::new(Load::Passes)?, keys, resident_before)?,
        Holder::BareMap => fill(&BareMap::new(Load::Passes), keys, resident_before)?,
    };
    println!("{}", serde_json::to_string(&held)?);
    Ok(())
}

fn fill(holder: &impl Contender, keys: u64, resident_before: u64) -> anyhow::Result<Held> {
    let mut key = String::with_capacity(32);
    for number in 0..keys {
        write_key(&mut key, number);
        ensure!(holder.passes(&key), "the first request of {key} was denied");
    }
    let resident_after = resident_bytes()?;
    ensure!(holder.passes(&key), "the second request of {key} was denied");
    Ok(Held { resident_before, resident_after, accounted: None, keys: None })
}

/// Asks fresh processes, `rounds` of them for each holder and each way to treat freed pages.
pub(crate) fn measure(keys: u64, rounds: usize) -> anyhow::Result<Table> {
    let columns = ["", "resident B a key", "freed pages purged", "accounted", "keys kept"];
    let mut table = Table::new(format!("memory of {keys} keys of 14 bytes"), &columns);
    for holder in Holder::ALL {
        let ask = |purge| (0..rounds).map(|_| ask(holder, keys, purge)).collect::<Result<Vec<Held>, _>>();
        let (held, purged) = (ask(Purge::Default)?, ask(Purge::AtOnce)?);
        let of = |held: &[Held], figure: fn(&Held) -> Option<u64>| {
            let figures: Vec<f64> = held.iter().filter_map(figure).map(|figure| figure as f64).collect();
            (!figures.is_empty()).then(|| median(&figures))
        };
        let a_key = |bytes: f64| Cell::Figure(bytes / keys as f64, 1);
        let grown: fn(&Held) -> Option<u64> = |held| held.resident_after.checked_sub(held.resident_before);
        table.row([
            Cell::text(holder.name()),
            of(&held, grown).map_or(Cell::Empty, a_key),
            of(&purged, grown).map_or(Cell::Empty, a_key),
            of(&held, |held| held.accounted).map_or(Cell::Empty, a_key),
            of(&held, |held| held.keys).map_or(Cell::Empty, |keys| Cell::Figure(keys, 0)),
        ]);
    }
    Ok(table)
}

fn ask(holder: Holder, keys: u64, purge: Purge) -> anyhow::Result<Held> {
    let program = std::env::current_exe().context("this program's own path")?;
    let mut command = Command::new(program);
    command.args(["--hold", holder.argument(), "--memory-keys", &keys.to_string()]);
    if purge == Purge::AtOnce {
        command.env(PURGE_AT_ONCE.0, PURGE_AT_ONCE.1);
    }
    let output = command.output().context("a fresh process cannot be started")?;
    ensure!(output.status.success(), "{}: {}", holder.name(), String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}
