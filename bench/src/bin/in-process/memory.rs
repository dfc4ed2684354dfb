//! Resident bytes a key: each holder is filled in a fresh process, before and after which the process asks the
//! kernel for its resident memory.

use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

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
    /// Right after the last key.
    resident_at_once: u64,
    /// When the allocator had time to give back what tables left behind as they grew.
    resident_settled: u64,
    /// Bytes by the holder's own account.
    accounted: Option<u64>,
    keys: Option<u64>,
}

/// How long the allocator gets to give back what it no longer needs; mimalloc waits a second before it does.
const SETTLE: Duration = Duration::from_millis(1_500);
/// What is taken and given back then: the allocator looks at its free pages only when it is called.
const NUDGE_BYTES: usize = 8 << 20;

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
    let resident_at_once = resident_bytes()?;
    std::thread::sleep(SETTLE);
    drop(black_box(vec![1_u8; NUDGE_BYTES]));
    std::thread::sleep(SETTLE);
    drop(black_box(vec![1_u8; NUDGE_BYTES]));
    let resident_settled = resident_bytes()?;
    ensure!(holder.passes(&key), "the second request of {key} was denied");
    Ok(Held { resident_before, resident_at_once, resident_settled, accounted: None, keys: None })
}

/// Asks fresh processes, `rounds` of them for each holder: where freed pages stay resident is a matter of chance.
pub(crate) fn measure(keys: u64, rounds: usize) -> anyhow::Result<Table> {
    let columns = ["", "resident B a key at once", "settled", "accounted", "keys kept"];
    let mut table = Table::new(format!("memory of {keys} keys of 14 bytes"), &columns);
    for holder in Holder::ALL {
        let held: Vec<Held> = (0..rounds).map(|_| ask(holder, keys)).collect::<Result<_, _>>()?;
        let of = |figure: fn(&Held) -> Option<u64>| {
            let figures: Vec<f64> = held.iter().filter_map(figure).map(|figure| figure as f64).collect();
            (!figures.is_empty()).then(|| median(&figures))
        };
        let a_key = |bytes: f64| Cell::Figure(bytes / keys as f64, 1);
        table.row([
            Cell::text(holder.name()),
            of(|held| held.resident_at_once.checked_sub(held.resident_before)).map_or(Cell::Empty, a_key),
            of(|held| held.resident_settled.checked_sub(held.resident_before)).map_or(Cell::Empty, a_key),
            of(|held| held.accounted).map_or(Cell::Empty, a_key),
            of(|held| held.keys).map_or(Cell::Empty, |keys| Cell::Figure(keys, 0)),
        ]);
    }
    Ok(table)
}

fn ask(holder: Holder, keys: u64) -> anyhow::Result<Held> {
    let program = std::env::current_exe().context("this program's own path")?;
    let keys = keys.to_string();
    let arguments = ["--hold", holder.argument(), "--memory-keys", &keys];
    let output =
        Command::new(program).args(arguments).output().context("a fresh process cannot be started")?;
    ensure!(output.status.success(), "{}: {}", holder.name(), String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}
