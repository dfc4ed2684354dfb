//! A server that is killed, paused and started again, in the middle of everything.

use std::time::Duration;

use tidegate_catalog::repository::{CatalogError, DatabaseSettings, Repository};
use tidegate_testkit::{Postgres, Stopwatch};

use crate::database::*;

/// The longest a call may last, with some room for a busy machine.
const BOUND: Duration = Duration::from_secs(8);

fn open(url: &str) -> Repository {
    Repository::open(&DatabaseSettings::parse(url).unwrap()).unwrap()
}

fn is_unavailable<T>(result: &Result<T, CatalogError>) -> bool {
    matches!(result, Err(CatalogError::Unavailable(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_down_is_unavailable_until_it_is_back() {
    let mut server = Postgres::start();
    let repository = open(&server.database("outage"));
    server.kill();
    let watch = Stopwatch::start();
    assert!(is_unavailable(&repository.migrate().await));
    assert!(is_unavailable(&repository.listen().await));
    assert!(watch.elapsed() < 2 * BOUND, "{:?}", watch.elapsed());
    server.restart();
    repository.migrate().await.unwrap();
    let version = with_rules(&repository, &["a"]).await;
    // Connections that were open when it went down are found out.
    server.kill();
    assert!(is_unavailable(&repository.versions().await));
    server.restart();
    assert_eq!(repository.versions().await.unwrap().rules, version);
    assert_eq!(rules_of(&repository).await, ["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_server_is_unavailable_in_time() {
    let server = Postgres::start();
    let repository = open(&server.database("pause"));
    repository.migrate().await.unwrap();
    let version = with_rules(&repository, &["a"]).await;
    server.pause();
    let watch = Stopwatch::start();
    let (subject, actor) = (key("u"), actor());
    let (reads, reads_subject, writes) = tokio::join!(
        repository.versions(),
        repository.subject(&subject, NOW),
        repository.edit_rules(&actor, NOW, "default", &[], &[]),
    );
    assert!(watch.elapsed() < BOUND, "{:?}", watch.elapsed());
    assert!(is_unavailable(&reads) && is_unavailable(&reads_subject) && is_unavailable(&writes));
    server.resume();
    // It works again by itself, at the latest when the calls that were given up are over.
    let mut answers = repository.versions().await;
    let watch = Stopwatch::start();
    while is_unavailable(&answers) {
        assert!(watch.elapsed() < 2 * BOUND);
        answers = repository.versions().await;
    }
    assert!(repository.versions().await.unwrap().rules >= version);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_hears_that_its_server_is_gone() {
    let mut server = Postgres::start();
    let repository = open(&server.database("listen"));
    repository.migrate().await.unwrap();
    let mut listener = repository.listen().await.unwrap().unwrap();
    server.kill();
    let lost = tokio::time::timeout(BOUND, listener.changed()).await.expect("it notices");
    assert!(is_unavailable(&lost));
    server.restart();
    let mut listener = repository.listen().await.unwrap().unwrap();
    with_rules(&repository, &["a"]).await;
    tokio::time::timeout(BOUND, listener.changed()).await.expect("told").unwrap();
}

/// Goal: whatever a kill interrupts is there as a whole or not at all. Method: an editor that writes pairs of rules as fast as it
/// can, and five kills; afterwards every pair is whole, and whatever was promised is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_of_edits_leaves_all_or_nothing() {
    let mut server = Postgres::start();
    let repository = open(&server.database("edits"));
    repository.migrate().await.unwrap();
    with_rules(&repository, &[]).await;
    for round in 0..5 {
        let editor = tokio::spawn({
            let repository = repository.clone();
            async move {
                let mut promised = 0;
                loop {
                    let pair =
                        ["a", "b"].map(|half| put_rule("pay", &format!("{round}-{promised}-{half}"), "{}"));
                    match edit(&repository, &pair).await {
                        Ok(_) => promised += 1,
                        Err(CatalogError::Unavailable(_)) => return promised,
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        });
        // Until some edits are made; when exactly the kill comes is up to the machine.
        while repository.versions().await.unwrap().rules % 7 != round {}
        server.kill();
        let promised: usize = editor.await.unwrap();
        server.restart();
        let rules = rules_of(&repository).await;
        let of_round = rules.iter().filter(|name| name.starts_with(&format!("{round}-"))).count();
        assert!(
            of_round == 2 * promised || of_round == 2 * promised + 2,
            "{of_round} rules, {promised} promised"
        );
        let history = repository.history("default", "pay", None, None, 200).await.unwrap();
        let versions = repository.versions().await.unwrap();
        assert_eq!(history[0].version, versions.rules);
    }
}

/// The same with the tables: a kill at some time in the migration, and the next one does it all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_of_a_migration_leaves_all_or_nothing() {
    let mut server = Postgres::start();
    for round in 0_u64..6 {
        let name = format!("migration{round}");
        let repository = open(&server.database(&name));
        let migration = tokio::spawn({
            let repository = repository.clone();
            async move { repository.migrate().await }
        });
        tokio::time::sleep(Duration::from_millis(round * 8)).await;
        server.kill();
        let _ = migration.await.unwrap();
        server.restart();
        let tables = server.sql(&name, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'");
        let noted = match tables.as_str() {
            "0" => "0".to_owned(),
            _ => server.sql(&name, "SELECT count(*) FROM tidegate_migrations"),
        };
        assert!((tables == "0") == (noted == "0"), "{tables} tables, {noted} noted");
        repository.migrate().await.unwrap();
        with_rules(&repository, &["a"]).await;
    }
}
