//! One suite for the catalog's database, run on SQLite and on PostgreSQL; and what only a server can suffer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod ceilings;
mod concurrency;
mod database;
mod keys;
mod migrations;
mod outages;
mod rules;
mod sql;
mod subjects;
mod tenants;
mod usage;

/// Each function, given an empty database with its tables, as a test on both kinds.
#[macro_export]
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name($crate::database::Database::sqlite().await).await;
                }
            )*
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name($crate::database::Database::postgres().await).await;
                }
            )*
        }
    };
}
