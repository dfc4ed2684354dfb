//! A shared store behind the door.

use tidegate_testkit::RedisServer;

use super::*;

#[test]
fn a_pipeline_rides_to_redis_together_and_stays_in_order() {
    let redis = RedisServer::start();
    let url = redis.url();
    let nodes = [Node::start(&["--store", &url]), Node::start(&["--store", &url])];
    let mut raw = nodes[0].raw();
    raw.send(
        [command("CL.THROTTLE hot 99 1 3600").repeat(150), command("ECHO end"), command("QUIT")].concat(),
    );
    let said = raw.rest();
    let remaining: Vec<&str> =
        said.split("*5\r\n").skip(1).map(|reply| reply.lines().nth(2).unwrap()).collect();
    let wanted: Vec<String> = (0..150).map(|call| format!(":{}", 99_u64.saturating_sub(call))).collect();
    assert_eq!(remaining, wanted, "one after the other, none lost");
    assert_eq!(said.matches("*5\r\n:0\r\n").count(), 100);
    assert!(said.ends_with("$3\r\nend\r\n+OK\r\n"));
    // The other node sees the same bucket.
    let reply = nodes[1].client().command(&["CL.THROTTLE", "hot", "99", "1", "3600"]);
    assert_eq!((reply.items()[0].integer(), reply.items()[1].integer()), (1, 100));
}

#[test]
fn a_store_that_is_away_is_named_or_passed_over() {
    for (mode, start) in [("deny", "UNAVAILABLE "), ("allow", "")] {
        let mut redis = RedisServer::start();
        let node = Node::start(&["--store", &redis.url(), "--fail-mode", mode]);
        let mut client = node.client();
        assert_eq!(client.command(&["CL.THROTTLE", "k", "9", "1", "60"]).items()[2].integer(), 9);
        redis.kill();
        let reply = client.command(&["CL.THROTTLE", "k", "9", "1", "60"]);
        match reply.error() {
            Some(error) => assert!(mode == "deny" && error.starts_with(start), "{mode}: {error}"),
            None => {
                assert_eq!((mode, reply.items()[0].integer(), reply.items()[1].integer()), ("allow", 0, 10));
            }
        }
        assert_eq!(client.command(&["PING"]).text(), "PONG");
    }
}
