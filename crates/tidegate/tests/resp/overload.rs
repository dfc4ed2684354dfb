//! Goal: a RESP door that has as much in progress as it takes says BUSY to the rest at once, in its place in the pipeline, and
//! is itself again as soon as there is room.
//! Method: the real program with a tiny maximum, on a Redis that falls silent.

use tidegate_testkit::{FaultProxy, Link, RedisServer, Stopwatch, wait_until};

use super::*;

/// Commands that the door takes at one time: 8 of them for those that say nothing of their importance.
const CAPACITY: usize = 10;
const BUSY: &str = "-BUSY this node decides as many requests as it can at one time: try again in 1000 ms\r\n";
/// How long an answer may take that does not wait for the store, on a machine that has much else to do; those that do wait take
/// ten seconds.
const AT_ONCE: Duration = Duration::from_secs(2);

fn until(node: &Node, in_progress: usize) {
    let line = format!("tidegate_requests_in_progress{{door=\"resp\"}} {in_progress}\n");
    wait_until(&format!("{in_progress} are in progress"), DEADLINE, || metrics(node).contains(&line));
}

fn metrics(node: &Node) -> String {
    let mut raw = Raw::to(TcpStream::connect(node.server.address()).unwrap());
    raw.send("GET /metrics HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    raw.rest()
}

/// One answer, at once.
#[track_caller]
fn answered(node: &Node, asked: &str, said: &str) {
    let (mut raw, start) = (node.raw(), Stopwatch::start());
    raw.send(command(asked));
    raw.expect(said);
    assert!(start.elapsed() < AT_ONCE, "{asked} took {:?}", start.elapsed());
}

#[test]
fn beyond_the_maximum_commands_are_told_busy_at_once_and_afterwards_all_is_well() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address(), 17);
    let (url, capacity) = (format!("redis://{}", proxy.address()), CAPACITY.to_string());
    let node = Node::start(&[
        "--store",
        &url,
        "--store-deadline",
        "10s",
        "--fail-mode",
        "deny",
        "--max-concurrent-requests",
        &capacity,
    ]);
    answered(&node, "CL.THROTTLE k 99 1 3600", &numbers(&[0, 100, 99, -1, 3600]));
    proxy.change(|faults| faults.link = Link::BlackHole);

    // Twelve decisions and a word that is none: eight of them are in progress, each with a permit of its own.
    let mut pipeline = node.raw();
    pipeline.send([command("CL.THROTTLE k 99 1 3600").repeat(12), command("PING")].concat());
    until(&node, 8);
    let check = |priority: &str| format!("TIDEGATE.CHECK nowhere user u1 priority {priority}");
    for priority in ["low", "normal"] {
        answered(&node, &check(priority), BUSY);
    }
    let mut held = Vec::new();
    for (priority, most) in [("high", 9), ("critical", 10)] {
        let mut raw = node.raw();
        raw.send(command("CL.THROTTLE k 99 1 3600"));
        raw.expect(BUSY);
        // A check of a domain without rules asks no store; this one does.
        raw.send(command(&format!("TIDEGATE.CHECK default client_id held priority {priority}")));
        until(&node, most);
        held.push(raw);
        answered(&node, &check(priority), BUSY);
    }
    // What asks for no decision is answered.
    answered(&node, "PING", "+PONG\r\n");
    answered(&node, "ECHO there", "$5\r\nthere\r\n");
    answered(&node, "HELLO 2", "*14\r\n");
    answered(&node, "AUTH key", "-ERR AUTH called, ");
    answered(&node, "CL.THROTTLE k", "-ERR wrong number of arguments");

    proxy.heal();
    for call in 2..=9_i64 {
        pipeline.expect(format!("*5\r\n:0\r\n:100\r\n:{}\r\n:-1\r\n:", 100 - call));
        while pipeline.take(1) != b"\n" {}
    }
    pipeline.expect(BUSY.repeat(4) + "+PONG\r\n");
    for mut raw in held {
        raw.expect("*6\r\n:1\r\n");
    }
    until(&node, 0);
    answered(&node, &check("low"), "*6\r\n:1\r\n");
    let page = metrics(&node);
    for (priority, shed) in [("low", 1), ("normal", 4 + 1 + 2), ("high", 1), ("critical", 1)] {
        let line = format!("tidegate_requests_shed_total{{door=\"resp\",priority=\"{priority}\"}} {shed}\n");
        assert!(page.contains(&line), "{line} in {page}");
    }
}
