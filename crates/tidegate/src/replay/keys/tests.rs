//! Bounded key tables.

use super::*;

#[test]
fn the_worst_first_and_equal_ones_by_name() {
    let mut table = KeyTable::default();
    let mut budget = KeyBudget::new(100, 1_000);
    for (key, denied, shadow_denied) in
        [("b", 3, 0), ("a", 3, 0), ("c", 9, 0), ("d", 0, 50), ("e", 0, 0), ("f", 3, 1)]
    {
        *table.entry(key, &mut budget).unwrap() = KeyCounts { evaluated: 100, denied, shadow_denied };
    }
    let names = |count| table.top(count).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(names(10), ["c", "f", "a", "b", "d"], "e was never denied");
    assert_eq!(names(2), ["c", "f"]);
    assert_eq!(names(0), [""; 0]);
}

#[test]
fn the_best_of_many_are_those_of_a_sort() {
    let seed = 0xbe57_u64;
    let mut random = fastrand::Rng::with_seed(seed);
    let numbers: Vec<u32> = (0..5_000).map(|_| random.u32(..2_000)).collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    sorted.truncate(77);
    assert_eq!(top_by(numbers.into_iter(), 77, u32::cmp), sorted, "seed {seed}");
}

#[test]
fn a_full_table_still_counts_the_keys_it_has() {
    let mut table = KeyTable::default();
    let mut budget = KeyBudget::new(2, 1_000);
    assert!(table.entry("a", &mut budget).is_some());
    assert!(table.entry("b", &mut budget).is_some());
    assert!(!budget.exhausted());
    assert!(table.entry("c", &mut budget).is_none());
    assert!(budget.exhausted());
    assert!(table.entry("a", &mut budget).is_some());
    assert_eq!(table.len(), 2);
}

#[test]
fn long_keys_use_up_the_budget_as_well() {
    let mut table = KeyTable::default();
    let mut budget = KeyBudget::new(100, 10);
    assert!(table.entry("123456", &mut budget).is_some());
    assert!(table.entry("12345", &mut budget).is_none());
    assert!(table.entry("1", &mut budget).is_none(), "later short ones do not slip in");
}
