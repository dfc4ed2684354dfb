//! Commands and replies, byte by byte.

use super::*;

#[test]
fn cl_throttle_answers_as_redis_cell_does() {
    let node = Node::start(&[]);
    let mut raw = node.raw();
    raw.send(command("CL.THROTTLE user123 15 30 60 1"));
    raw.expect(numbers(&[0, 16, 15, -1, 2]));
    raw.send(command("CL.THROTTLE user123 15 30 60 15"));
    raw.expect(numbers(&[0, 16, 0, -1, 32]));
    raw.send(command("CL.THROTTLE user123 15 30 60"));
    raw.expect(numbers(&[1, 16, 0, 2, 32]));
    raw.send(command("CL.THROTTLE user123 15 30 60 17"));
    raw.expect(numbers(&[1, 16, 0, -1, 32]));
    raw.send(command("CL.THROTTLE user123 15 30 60 0"));
    raw.expect(numbers(&[0, 16, 0, -1, 32]));
    // The other dialect, the same bucket.
    raw.send(command("THROTTLE user123 15 30 60 1"));
    raw.expect(numbers(&[0, 16, 0, 32, 2]));
    raw.send(command("throttle other 15 30 60 1"));
    raw.expect(numbers(&[1, 16, 15, 2, -1]));
    raw.send(command("CL.THROTTLE user123 15 0 60"));
    raw.expect("-ERR count must be a whole number from 1 to 1000000000000\r\n");
    raw.send(command("CL.THROTTLE fresh 0 1 1 0"));
    raw.expect(numbers(&[0, 1, 1, -1, 0]));
}

#[test]
fn rules_are_asked_by_name() {
    let node = Node::start(&[]);
    let mut raw = node.raw();
    raw.send(command("TIDEGATE.CHECK default client_id api_client COST 20"));
    raw.expect("*6\r\n:1\r\n:20\r\n:0\r\n:-1\r\n:60000\r\n$10\r\napi-client\r\n");
    raw.send(command("TIDEGATE.CHECK default client_id api_client COST 21 PEEK"));
    raw.expect("*6\r\n:0\r\n:20\r\n:0\r\n:-1\r\n:");
    drop(raw);
    let mut raw = node.raw();
    raw.send(command("TIDEGATE.CHECK nowhere user u1"));
    raw.expect("*6\r\n:1\r\n$-1\r\n$-1\r\n:-1\r\n$-1\r\n$-1\r\n");
    raw.send(command("HELLO 3"));
    raw.expect("%7\r\n$6\r\nserver\r\n$8\r\ntidegate\r\n");
    drop(raw);
    let mut raw = node.raw();
    raw.send([command("HELLO 3"), command("TIDEGATE.CHECK nowhere user u1"), command("QUIT")].concat());
    let said = raw.rest();
    let map = "%7\r\n$7\r\nallowed\r\n#t\r\n$5\r\nlimit\r\n_\r\n$9\r\nremaining\r\n_\r\n$14\r\nretry_after_ms\r\n:-1\r\n\
               $14\r\nreset_after_ms\r\n_\r\n$4\r\nrule\r\n_\r\n$8\r\ndegraded\r\n_\r\n+OK\r\n";
    assert!(said.ends_with(map), "{said}");
}

#[test]
fn a_pipeline_is_answered_in_order_however_it_is_torn() {
    let node = Node::start(&[]);
    let (mut sent, mut wanted) = (Vec::new(), String::new());
    for call in 0..40_i64 {
        sent.extend(command(&format!("CL.THROTTLE KEY 99 1 60 {}", call % 2)));
        // One unit a minute: nothing comes back meanwhile.
        let taken = (call + 1) / 2;
        let reset_after = taken * 60;
        wanted.push_str(&numbers(&[0, 100, 100 - taken, -1, reset_after]));
        sent.extend(b"ECHO \"a b\"\r\n\r\n*0\r\n");
        wanted.push_str("$3\r\na b\r\n");
        sent.extend(command("NO.SUCH command"));
        wanted.push_str("-ERR unknown command 'NO.SUCH'\r\n");
    }
    for (piece, key) in [(sent.len(), "whole"), (1, "torn-1"), (7, "torn-7"), (1_000, "torn-1000")] {
        let mut raw = node.raw();
        let text = String::from_utf8(sent.clone()).unwrap();
        let text = text.replace("$3\r\nKEY\r\n", &format!("${}\r\n{key}\r\n", key.len()));
        text.as_bytes().chunks(piece).for_each(|piece| raw.send(piece));
        let come = String::from_utf8(raw.take(wanted.len())).unwrap();
        // Time goes on: a second less is right, too.
        let lines = |text: &str| {
            text.lines()
                .filter(|line| !line.ends_with("0") || line.len() < 4)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(come.lines().count(), wanted.lines().count(), "{key}");
        assert_eq!(lines(&come), lines(&wanted), "{key}");
    }
}

#[test]
fn a_long_pipeline_is_exact_over_many_connections() {
    let node = Node::start(&[]);
    let allowed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut raw = node.raw();
                    let mut reader = Raw(raw.0.try_clone().unwrap());
                    let writer = std::thread::spawn(move || {
                        raw.send(command("CL.THROTTLE hot 2999 1 3600").repeat(2_500));
                        raw.send(command("QUIT"));
                    });
                    let said = reader.rest();
                    writer.join().unwrap();
                    assert!(said.ends_with("+OK\r\n"));
                    let allowed = said.matches("*5\r\n:0\r\n").count();
                    assert_eq!(allowed + said.matches("*5\r\n:1\r\n").count(), 2_500);
                    allowed
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(allowed, 3_000);
}

#[test]
fn an_error_leaves_the_connection_alive_and_a_torn_protocol_ends_it() {
    let node = Node::start(&[]);
    let mut raw = node.raw();
    for (wrong, said) in [
        ("GET k", "-ERR unknown command 'GET'\r\n"),
        ("SELECT 1", "-ERR DB index is out of range: there is only database 0\r\n"),
        (
            "CL.THROTTLE k",
            "-ERR wrong number of arguments: write CL.THROTTLE key max_burst count period [quantity]\r\n",
        ),
        ("HELLO 4", "-NOPROTO unsupported protocol version: 2 or 3\r\n"),
        (
            "AUTH secret",
            "-ERR AUTH called, but this server has no API keys: leave it out, or start with --database-url\r\n",
        ),
    ] {
        raw.send(command(wrong));
        raw.expect(said);
    }
    raw.send(command("PING"));
    raw.expect("+PONG\r\n");
    raw.send([command("PING"), b"*1\r\n:1\r\n".to_vec(), command("PING")].concat());
    assert_eq!(
        raw.rest(),
        "+PONG\r\n-ERR Protocol error: expected '$': a command is an array of strings\r\n"
    );
    for bad in ["*1\r\n$99999999\r\n", "*9999\r\n", "*1\r\n$1\r\nabc"] {
        let mut raw = node.raw();
        raw.send(bad);
        assert!(raw.rest().starts_with("-ERR Protocol error: "), "{bad:?}");
    }
    let mut raw = node.raw();
    raw.send([b"CL.THROTTLE k\xff 1 1 1\r\n".as_slice(), b"PING\r\n"].concat());
    raw.expect("-ERR key must be UTF-8\r\n+PONG\r\n");
}

/// A page in a browser on the same machine can send requests to any port, with bodies of its own choice.
#[test]
fn a_request_of_http_carries_no_commands() {
    let node = Node::start(&[]);
    for head in ["POST / HTTP/1.1\r\nHost: x", "PUT / HTTP/1.1\r\nAccept: */*\r\nhost: x"] {
        let mut raw = node.raw();
        raw.send(format!("{head}\r\nContent-Type: text/plain\r\n\r\nCL.THROTTLE victim 0 1 3600\r\n"));
        let said = raw.rest();
        assert!(
            said.ends_with("-ERR Protocol error: this port speaks RESP, the protocol of Redis, not HTTP\r\n")
        );
    }
    let reply = node.client().command(&["CL.THROTTLE", "victim", "0", "1", "3600"]);
    assert_eq!(reply.items()[0].integer(), 0, "nothing was taken");
}
