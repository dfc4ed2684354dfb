//! The server that the catalog's tests run on.

use tidegate_testkit::Postgres;

#[test]
fn a_killed_server_has_its_data_after_a_restart_on_the_same_port() {
    let mut server = Postgres::start();
    let url = server.database("kept");
    server.sql("kept", "CREATE TABLE t (n BIGINT); INSERT INTO t VALUES (7)");
    server.kill();
    server.restart();
    assert_eq!(server.url_of("kept"), url);
    assert_eq!(server.sql("kept", "SELECT n FROM t"), "7");
}

#[test]
fn a_paused_server_goes_on_where_it_was() {
    let server = Postgres::start();
    server.pause();
    server.resume();
    assert_eq!(server.sql("postgres", "SELECT 1, 2"), "1|2");
}
