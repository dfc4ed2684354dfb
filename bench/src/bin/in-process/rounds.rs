//! Interleaved rounds: every contender runs once in each, so a busy neighbour slows all of them alike.

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::Instant;

use anyhow::ensure;
use tidegate_bench::keys::write_key;
use tidegate_bench::report::{Cell, Table};
use tidegate_bench::subject::Load;
use tidegate_bench::{machine, median};
use tidegate_engine::SystemClock;

use crate::contenders::{
    BareMap, Contender, Governor, KeyAndClock, KeyOnly, OneRule, StoreAlone, ThreeRules,
};

/// Decisions before each measured stretch, which bring the contender's memory back into the caches.
const WARM_UP_SHARE: u64 = 10;

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) keys: u64,
    pub(crate) threads: usize,
    pub(crate) load: Load,
    pub(crate) rounds: usize,
    pub(crate) decisions: u64,
    pub(crate) only: Option<String>,
}

/// One thread's stretch.
#[derive(Clone, Copy, Debug)]
struct Lap {
    cpu_ns: f64,
    wall_ns: f64,
    passed: u64,
}

/// Runs a number of decisions over a number of keys, in random order from a seed.
type Run = Box<dyn Fn(u64, u64, u64) -> u64 + Send + Sync>;

struct Runner {
    name: &'static str,
    run: Run,
    fill: Box<dyn Fn(u64) + Send + Sync>,
    laps: Vec<Lap>,
}

impl Runner {
    /// One loop per contender, so that each is compiled into its own.
    fn new(name: &'static str, contender: impl Contender) -> Self {
        let contender = Arc::new(contender);
        let filled = Arc::clone(&contender);
        Self {
            name,
            run: Box::new(move |keys, seed, decisions| decide(&*contender, keys, seed, decisions)),
            fill: Box::new(move |keys| fill(&*filled, keys)),
            laps: Vec::new(),
        }
    }

    fn cpu_ns(&self) -> f64 {
        median(&self.laps.iter().map(|lap| lap.cpu_ns).collect::<Vec<_>>())
    }

    fn wall_ns(&self) -> f64 {
        median(&self.laps.iter().map(|lap| lap.wall_ns).collect::<Vec<_>>())
    }
}

/// Has every contender decide, and compares them with governor.
pub(crate) fn measure(setting: &Setting) -> anyhow::Result<Table> {
    let mut runners = runners(setting)?;
    for runner in &runners {
        (runner.fill)(setting.keys);
    }
    for round in 0..setting.rounds {
        let count = runners.len();
        for turn in 0..count {
            let runner = &mut runners[(turn + round) % count];
            let laps = laps(runner, setting, round as u64);
            ensure!(!laps.is_empty(), "no thread has measured anything");
            runner.laps.extend(laps);
        }
    }
    check(&runners, setting)?;
    Ok(table(&runners, setting))
}

const KEY_ONLY: &str = "harness: random key";
const GOVERNOR: &str = "governor keyed String";

fn runners(setting: &Setting) -> anyhow::Result<Vec<Runner>> {
    let load = setting.load;
    let mut runners = vec![
        Runner::new(KEY_ONLY, KeyOnly),
        Runner::new("harness: key and clock", KeyAndClock(SystemClock::new())),
        Runner::new(GOVERNOR, Governor::new(load)?),
        Runner::new("tidegate, one rule", OneRule::new(load)?),
        Runner::new("tidegate, three rules", ThreeRules::new(load)?),
        Runner::new("tidegate, store alone", StoreAlone::new(load)?),
        Runner::new("bare map, 64 locks", BareMap::new(load)),
    ];
    if let Some(only) = &setting.only {
        runners.retain(|runner| runner.name.contains(only) || [KEY_ONLY, GOVERNOR].contains(&runner.name));
    }
    Ok(runners)
}

fn decide(contender: &impl Contender, keys: u64, seed: u64, decisions: u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut key = String::with_capacity(32);
    let mut passed = 0;
    for _ in 0..decisions {
        write_key(&mut key, random.u64(..keys));
        passed += u64::from(black_box(contender.passes(black_box(&key))));
    }
    passed
}

fn fill(contender: &impl Contender, keys: u64) {
    let mut key = String::with_capacity(32);
    for number in 0..keys {
        write_key(&mut key, number);
        black_box(contender.passes(&key));
    }
}

fn laps(runner: &Runner, setting: &Setting, round: u64) -> Vec<Lap> {
    let start = Barrier::new(setting.threads);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..setting.threads as u64)
            .map(|thread| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    lap(runner, setting, round << 8 | thread)
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

fn lap(runner: &Runner, setting: &Setting, seed: u64) -> Lap {
    let decisions = setting.decisions;
    (runner.run)(setting.keys, !seed, decisions / WARM_UP_SHARE);
    let (cpu, wall) = (machine::thread_cpu(), Instant::now());
    let passed = (runner.run)(setting.keys, seed, decisions);
    let (cpu, wall) = (machine::thread_cpu().saturating_sub(cpu), wall.elapsed());
    let each = |nanoseconds: u128| nanoseconds as f64 / decisions as f64;
    Lap { cpu_ns: each(cpu.as_nanos()), wall_ns: each(wall.as_nanos()), passed }
}

/// A contender that answers something else than the others would be measured for nothing.
fn check(runners: &[Runner], setting: &Setting) -> anyhow::Result<()> {
    for runner in runners.iter().filter(|runner| !runner.name.starts_with("harness")) {
        let passed: u64 = runner.laps.iter().map(|lap| lap.passed).sum();
        let asked = setting.decisions * runner.laps.len() as u64;
        let share = passed as f64 / asked as f64;
        let expected = match setting.load {
            Load::Passes => share > 0.999,
            Load::Denied => share < 0.001,
        };
        ensure!(expected, "{}: {share} of all requests passed under {:?}", runner.name, setting.load);
    }
    Ok(())
}

fn table(runners: &[Runner], setting: &Setting) -> Table {
    let cpu_of = |name| runners.iter().find(|runner| runner.name == name).map_or(f64::NAN, Runner::cpu_ns);
    let (key, rival) = (cpu_of(KEY_ONLY), cpu_of(GOVERNOR));
    let rival_wall = runners.iter().find(|runner| runner.name == GOVERNOR).map_or(f64::NAN, Runner::wall_ns);
    let title = format!(
        "{} keys, {} thread(s), {}",
        setting.keys,
        setting.threads,
        match setting.load {
            Load::Passes => "all pass",
            Load::Denied => "nearly all denied",
        }
    );
    let columns = ["", "CPU ns", "net ns", "wall ns", "net / governor", "CPU / governor", "wall / governor"];
    let mut table = Table::new(title, &columns);
    for runner in runners {
        let (cpu, wall) = (runner.cpu_ns(), runner.wall_ns());
        table.row([
            Cell::text(runner.name),
            Cell::Figure(cpu, 1),
            Cell::Figure(cpu - key, 1),
            Cell::Figure(wall, 1),
            Cell::Figure((cpu - key) / (rival - key), 2),
            Cell::Figure(cpu / rival, 2),
            Cell::Figure(wall / rival_wall, 2),
        ]);
    }
    table
}
