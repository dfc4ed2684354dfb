//! A server that is killed, paused and started again, in the middle of everything.

use std::time::Duration;

use tidegate_catalog::model::{Resolution, UsageCounts};
use tidegate_catalog::repository::{CatalogError, DatabaseSettings, Repository};
use tidegate_testkit::{FaultProxy, Link, Postgres, Stopwatch, wait_until};

use crate::database::*;

/// The longest a call may last, with some room for a busy machine.
const BOUND: Duration = Duration::from_secs(8);

fn open(url: &str) -> Repository {
    Repository::open(&DatabaseSettings::parse(url).unwrap()).unwrap()
}

fn is_unavailable<T>(result: &Result<T, CatalogError>) -> bool {
    matches!(result, Err(CatalogError::Unavailable(_)))
}

/// It works again by itself, at the latest when connections and calls that were given up are gone.
async fn wait_until_available(repository: &Repository) {
    let watch = Stopwatch::start();
    while is_unavailable(&repository.versions().await) {
        assert!(watch.elapsed() < 2 * BOUND);
    }
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
    wait_until_available(&repository).await;
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
    wait_until_available(&repository).await;
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

/// Goal: a network that loses answers, also that of a commit, makes no usage count twice or not at all. Method: batches sent
/// again until they are acknowledged, through a proxy that closes connections instead of delivering one in twenty of the answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_counts_once_where_answers_get_lost() {
    let server = Postgres::start();
    let direct = open(&server.database("lossy"));
    direct.migrate().await.unwrap();
    let proxy = FaultProxy::start(([127, 0, 0, 1], server.port()).into(), 7);
    let repository = open(&format!("postgres://postgres@{}/lossy", proxy.address()));
    proxy.change(|faults| faults.drop_replies = 0.05);
    let mut lost = 0;
    for batch in 0..40 {
        let rows = [(crate::usage::row("a", "", 0), UsageCounts { allowed: 1, denied: 0, cost: 1 })];
        while is_unavailable(&repository.add_usage("n", batch, NOW, &rows).await) {
            lost += 1;
            assert!(lost < 1_000);
        }
    }
    assert!(proxy.replies_dropped() > 0);
    assert_eq!(crate::usage::total(&direct, Resolution::Minute).await.unwrap().allowed, 40);
}

/// Goal: connections that a network holds for ever do not keep a pool from working. Method: as many lookups as there are vital
/// connections, and as many changes as are made at a time, wait for locks that somebody holds when the network becomes a black hole;
/// while it is one, later calls still knock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_in_a_black_hole_are_given_up() {
    use sqlx::Connection;
    let server = Postgres::start();
    let url = server.database("hole");
    open(&url).migrate().await.unwrap();
    let proxy = FaultProxy::start(([127, 0, 0, 1], server.port()).into(), 7);
    let repository = open(&format!("postgres://postgres@{}/hole", proxy.address()));
    let mut holder = sqlx::PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE versions, subjects").execute(&mut holder).await.unwrap();
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let repository = repository.clone();
            tokio::spawn(async move {
                let change = [put_domain("pay")];
                let subject = key("u");
                tokio::join!(edit(&repository, &change), repository.subject(&subject, NOW))
            })
        })
        .collect();
    let waiters = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    wait_until("two changes and two lookups wait", BOUND, || server.sql("hole", waiters) == "4");
    proxy.change(|faults| faults.link = Link::BlackHole);
    for calls in waiting {
        let (change, lookup) = calls.await.unwrap();
        assert!(is_unavailable(&change) && is_unavailable(&lookup));
    }
    let before = proxy.connections();
    let watch = Stopwatch::start();
    while proxy.connections() < before + 2 {
        assert!(is_unavailable(&repository.versions().await));
        assert!(watch.elapsed() < 2 * BOUND, "no call tries another connection");
    }
    drop(holder);
    proxy.heal();
    wait_until_available(&repository).await;
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
        find_out(&repository).await;
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

/// Connections of the pools may still be to the server that was killed: a call finds out, and says that another may succeed. As
/// many calls at once as there are connections, so that none of them is left for later.
async fn find_out(repository: &Repository) {
    let vital = || async { is_unavailable(&repository.versions().await) };
    let desk = || async { is_unavailable(&repository.tenants(None, 1).await) };
    for _ in 0..4 {
        let (a, b, c, d) = tokio::join!(vital(), vital(), vital(), vital());
        let (e, f, g, h) = tokio::join!(desk(), desk(), desk(), desk());
        if ![a, b, c, d, e, f, g, h].contains(&true) {
            return;
        }
    }
    panic!("the database is back, and is not found after a call for every connection");
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
        find_out(&repository).await;
        repository.migrate().await.unwrap();
        with_rules(&repository, &["a"]).await;
    }
}
