//! The database killed again and again while a node makes its tables.

use std::thread;
use std::time::Duration;

use tidegate_testkit::{Postgres, TempDir, Tidegate};

use crate::machine::{alone, hold, is_strict, rounds};
use crate::site::options;

const COUNTS: &str = "SELECT (SELECT count(*) FROM tidegate_migrations), (SELECT count(*) FROM domains), \
    (SELECT count(*) FROM rules), (SELECT count(*) FROM rule_history), (SELECT count(*) FROM audit)";

#[test]
fn a_database_that_dies_while_its_tables_are_made_is_whole_after_the_next_start() {
    let _alone = alone();
    let mut postgres = Postgres::start();
    let dir = TempDir::new("living");
    let undisturbed = Tidegate::with(&options(&dir, 0, &postgres.database("undisturbed"), &[]));
    drop(undisturbed);
    let wanted = postgres.sql("undisturbed", COUNTS);
    println!("migrations|domains|rules|history|audit: {wanted}");
    let mut random = fastrand::Rng::new();
    println!("seed {}", random.get_seed());
    for round in 1..=rounds(if is_strict() { 30 } else { 3 }) {
        let name = format!("disturbed_{round}");
        let options = options(&dir, round as usize, &postgres.database(&name), &[]);
        let starting = thread::spawn(move || Tidegate::with(&options));
        let mut kills = 0;
        while !starting.is_finished() && kills < 3 {
            hold(Duration::from_millis(random.u64(40..200)));
            postgres.kill();
            postgres.restart();
            kills += 1;
        }
        let node = starting.join().unwrap();
        assert!(!node.logs().contains("panicked"), "{}", node.logs());
        let counts = postgres.sql(&name, COUNTS);
        println!("round {round}: {kills} kills, {counts}");
        assert_eq!(counts, wanted);
    }
}
