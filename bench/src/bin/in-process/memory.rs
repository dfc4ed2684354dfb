//! Resident bytes a key: each holder is filled in a fresh process, before and after which the process asks the
//! kernel for its resident memory.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tidegate_bench::keys::write_key;
use tidegate_bench::machine::resident_bytes;
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

/// How long the allocator gets to give back what it no longer needs.
const SETTLE: Duration = Duration::from_millis(200);

/// Fills one holder and prints what that took, as JSON.
pub(crate) fn hold(holder: Holder, keys: u64) -> anyhow::Result<()> {
    let resident_before = resident_bytes()?;
    let held = match holder {
        Holder::Tidegate => {
            let tidegate = OneRule::new(Load::Passes)?;
            let resident_after = fill(&tidegate, keys)?;
            let stats = tidegate.0.store().stats();
            let (accounted, keys) = (Some(stats.bytes as u64), Some(stats.keys as u64));
            Held { resident_before, resident_after, accounted, keys }
        }
        Holder::Governor => without_account(resident_before, fill(&Governor::new(Load::Passes)?, keys)?),
        Holder::BareMap => without_account(resident_before, fill(&BareMap::new(Load::Passes), keys)?),
    };
    println!("{}", serde_json::to_string(&held)?);
    Ok(())
}

const fn without_account(resident_before: u64, resident_after: u64) -> Held {
    Held { resident_before, resident_after, accounted: None, keys: None }
}

fn fill(holder: &impl Contender, keys: u64) -> anyhow::Result<u64> {
    let mut key = String::with_capacity(32);
    for number in 0..keys {
        write_key(&mut key, number);
        ensure!(holder.passes(&key), "the first request of {key} was denied");
    }
    std::thread::sleep(SETTLE);
    let resident = resident_bytes()?;
    ensure!(holder.passes(&key), "the second request of {key} was denied");
    Ok(resident)
}

/// Asks a fresh process for each holder.
pub(crate) fn measure(keys: u64) -> anyhow::Result<Table> {
    let program = std::env::current_exe().context("this program's own path")?;
    let columns = ["", "resident bytes a key", "accounted bytes a key", "keys kept"];
    let mut table = Table::new(format!("memory of {keys} keys of 14 bytes"), &columns);
    for holder in Holder::ALL {
        let keys_argument = keys.to_string();
        let output = Command::new(&program)
            .args(["--hold", holder.argument(), "--memory-keys", &keys_argument])
            .output()
            .context("a fresh process cannot be started")?;
        ensure!(output.status.success(), "{}: {}", holder.name(), String::from_utf8_lossy(&output.stderr));
        let held: Held = serde_json::from_slice(&output.stdout)?;
        let a_key = |bytes: u64| Cell::Figure(bytes as f64 / keys as f64, 1);
        table.row([
            Cell::text(holder.name()),
            a_key(held.resident_after.saturating_sub(held.resident_before)),
            held.accounted.map_or(Cell::Empty, a_key),
            held.keys.map_or(Cell::Empty, |keys| Cell::Figure(keys as f64, 0)),
        ]);
    }
    Ok(table)
}
