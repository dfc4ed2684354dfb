//! The tables: made once, by whoever comes first; never those of a newer program.

use std::os::unix::fs::PermissionsExt;

use tidegate_catalog::repository::{CatalogError, DatabaseSettings, Repository};
use tidegate_testkit::TempDir;

use crate::database::*;

crate::on_both!(
    a_second_migration_changes_nothing,
    a_database_of_a_newer_tidegate_is_left_alone,
    a_migration_that_was_another_one_is_told,
);

async fn a_second_migration_changes_nothing(database: Database) {
    let repository = database.open();
    with_rules(&repository, &["a"]).await;
    let again = database.open().migrate().await.unwrap();
    assert_eq!(again.from, again.to);
    assert_eq!(rules_of(&repository).await, ["a"]);
}

async fn a_database_of_a_newer_tidegate_is_left_alone(database: Database) {
    database.sql("INSERT INTO tidegate_migrations (version, checksum) VALUES (999, '')").await;
    match database.open().migrate().await {
        Err(CatalogError::Misconfigured(why)) => {
            assert!(why.contains("the database was written by a newer Tidegate"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

async fn a_migration_that_was_another_one_is_told(database: Database) {
    database.sql("UPDATE tidegate_migrations SET checksum = 'other'").await;
    match database.open().migrate().await {
        Err(CatalogError::Misconfigured(why)) => assert!(why.contains("migration 1"), "{why}"),
        other => panic!("{other:?}"),
    }
}

async fn three_nodes_migrate(database: Database) {
    let nodes: Vec<_> = (0..3)
        .map(|_| {
            let node = database.open();
            tokio::spawn(async move { node.migrate().await })
        })
        .collect();
    let mut made = 0;
    for node in nodes {
        let migrated = node.await.unwrap().unwrap();
        made += i32::from(migrated.from == 0 && migrated.to > 0);
    }
    assert!(made >= 1);
    with_rules(&database.open(), &["a"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn three_nodes_may_migrate_a_file_at_once() {
    for _ in 0..5 {
        three_nodes_migrate(Database::empty_sqlite()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn three_nodes_may_migrate_a_server_at_once() {
    three_nodes_migrate(Database::empty_postgres()).await;
}

async fn not_migrated(database: Database) {
    match database.open().versions().await {
        Err(CatalogError::Misconfigured(why)) => assert!(why.contains("migrate"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_database_without_tables_says_what_to_do() {
    not_migrated(Database::empty_sqlite()).await;
    not_migrated(Database::empty_postgres()).await;
}

#[tokio::test]
async fn a_new_file_is_its_owners_only() {
    let dir = TempDir::new("catalog");
    let path = dir.join("tidegate.db");
    Repository::open(&DatabaseSettings::file(&path)).unwrap().migrate().await.unwrap();
    for name in ["tidegate.db", "tidegate.db-wal"] {
        let mode = std::fs::metadata(dir.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_folder_that_is_missing_is_named() {
    let dir = TempDir::new("catalog");
    let path = dir.join("missing").join("tidegate.db");
    match Repository::open(&DatabaseSettings::file(&path)) {
        Err(CatalogError::Misconfigured(why)) => {
            assert!(
                why.contains(&format!("make the folder {} first", dir.join("missing").display())),
                "{why}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told() {
    let dir = TempDir::new("catalog");
    let path = dir.write("notes.txt", &"not a database, but a text that is long enough. ".repeat(100));
    let told = Repository::open(&DatabaseSettings::file(&path)).unwrap().migrate().await;
    assert!(matches!(told, Err(CatalogError::Corrupt(_))), "{told:?}");
}
