//! How much is kept, and what an entry and a hit cost.

use tidegate_testkit::Stopwatch;

use super::*;

#[test]
fn entries_are_bounded_and_heavy_ones_count_more() {
    let (cache, _) = cache(0, |options| options.entries = 1_000);
    let plain = |number: u32| (key(&number.to_string()), Subject { tier: pro(), ..Subject::default() });
    cache.preload((0..20_000).map(plain), cache.mark(), NOW);
    let entries = cache.stats().entries;
    assert!((900..=1_100).contains(&entries), "{entries}");
    let banned = |number: u32| {
        let ban =
            Ban { reason: "x".repeat(1_000), until_us: None, by: String::new(), since_us: i64::from(number) };
        (key(&number.to_string()), Subject { ban: Some(ban), ..Subject::default() })
    };
    cache.preload((0..20_000).map(banned), cache.mark(), NOW);
    let entries = cache.stats().entries;
    assert!((10..=100).contains(&entries), "{entries}");
}

#[test]
fn subjects_fit_the_stated_memory() {
    const COUNT: u32 = 100_000;
    let (cache, _) = cache(0, |options| options.entries = COUNT as usize);
    let row = |number: u32| (key(&number.to_string()), Subject { tier: pro(), ..Subject::default() });
    // Three times as many: those that were evicted leave traces, which take memory, too.
    cache.preload((0..3 * COUNT).map(row), cache.mark(), NOW);
    let each = cache.0.kept.memory_used().total() as f64 / f64::from(COUNT);
    println!("{each:.0} bytes an entry");
    assert!(each < 128.0, "{each} bytes an entry");
}

/// Prints what a hit costs; in a release build, that is the figure of the module's documentation.
#[test]
fn a_hit_is_quick() {
    const ROUNDS: u32 = 200_000;
    let (cache, _) = cache(0, |_| ());
    let names: Vec<String> = (0..1_000).map(|number| format!("user-{number}@example.com")).collect();
    let row = |name: &String| (key(name), Subject { tier: pro(), ..Subject::default() });
    cache.preload(names.iter().map(row), cache.mark(), NOW);
    let watch = Stopwatch::start();
    let mut hits = 0;
    for name in names.iter().cycle().take(ROUNDS as usize) {
        if let Cached::Hit(known) = cache.cached("acme", "pay", name, NOW) {
            hits += u32::from(known.tier() == Some("pro"));
        }
    }
    println!("{} ns a hit", watch.elapsed().as_nanos() / u128::from(ROUNDS));
    assert_eq!(hits, ROUNDS);
}
