#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use tidegate_core::time::Micros;

use super::command::{Command, Table, parse};
use super::frame::{Arguments, FrameError, Progress, read};
use super::reply::{self, Version};
use super::throttle::{Dialect, Throttled};
use super::*;
use crate::identity::Ipv6Prefix;

fn encoded(arguments: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    reply::array(&mut out, arguments.len());
    arguments.iter().for_each(|argument| reply::bulk(&mut out, argument));
    out
}

fn command(line: &str) -> Result<Command<'_>, String> {
    let mut arguments = Arguments::new();
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    arguments.extend(words);
    parse(&arguments, Ipv6Prefix::default()).map_err(|error| error.text().to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However a pipeline is torn, the same commands come out, and never one too early.
    #[test]
    fn torn_at_every_byte_the_frames_are_the_same(
        commands in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..6), 1..4)
    ) {
        let stream: Vec<u8> = commands.iter().flat_map(|command| encoded(command)).collect();
        let (mut at, mut wanted, mut read_back) = (0, 1, Vec::new());
        for come in 1..=stream.len() {
            if come - at < wanted {
                continue;
            }
            let mut arguments = Arguments::new();
            match read(&stream[at..come], &mut arguments).unwrap() {
                Progress::Partial { bytes } => {
                    prop_assert!(bytes > come - at);
                    wanted = bytes;
                }
                Progress::Whole { bytes } => {
                    prop_assert_eq!(at + bytes, come, "not one byte later than its last");
                    read_back.push(arguments.iter().map(|argument| argument.to_vec()).collect::<Vec<_>>());
                    (at, wanted) = (come, 1);
                }
            }
        }
        prop_assert_eq!(read_back, commands);
    }

    /// Bytes from anywhere are read or refused.
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut arguments = Arguments::new();
        if let Ok(Progress::Whole { bytes: taken }) = read(&bytes, &mut arguments) {
            prop_assert!(taken <= bytes.len());
            let _ = parse(&arguments, Ipv6Prefix::default());
        }
    }
}

#[test]
fn what_makes_no_sense_ends_the_stream() {
    let error = |bytes: &[u8]| read(bytes, &mut Arguments::new()).unwrap_err();
    for bytes in ["*a\r\n", "*1025\r\n", "*12345678901\r\n", "*\r\n", "*-2\r\n", "*1\rx", "*99999999999"] {
        assert_eq!(error(bytes.as_bytes()), FrameError::ArrayLength, "{bytes}");
    }
    for bytes in ["*1\r\n$-1\r\n", "*1\r\n$65537\r\n", "*1\r\n$x\r\n", "*1\r\n$\r\n"] {
        assert_eq!(error(bytes.as_bytes()), FrameError::BulkLength, "{bytes}");
    }
    for bytes in ["*1\r\n:1\r\n", "*1\r\n*1\r\n", "*1\r\n+OK\r\n"] {
        assert_eq!(error(bytes.as_bytes()), FrameError::NotAString, "{bytes}");
    }
    assert_eq!(error(b"*1\r\n$1\r\nabc"), FrameError::NoLineEnd);
    assert_eq!(error(b"*1\r\n$1\r\nab"), FrameError::NoLineEnd);
    assert_eq!(error(b"*2\r\n$65530\r\n"), FrameError::TooLong);
    assert_eq!(error(&[b'x'; MAX_INLINE_BYTES]), FrameError::InlineTooLong);
    for line in ["ECHO \"a\r\n", "ECHO \"a\"b\r\n", "ECHO \"a\\n\"\r\n"] {
        assert_eq!(error(line.as_bytes()), FrameError::Quotes, "{line}");
    }
    for line in ["POST / HTTP/1.1\r\n", "post /\n", "Host: 127.0.0.1:6380\r\n", "host:\n"] {
        assert_eq!(error(line.as_bytes()), FrameError::Http, "{line}");
    }
    let mut arguments = Arguments::new();
    for other in ["GET / HTTP/1.1\r\n", "ECHO POST\r\n", "*1\r\n$4\r\nPOST\r\n"] {
        assert!(read(other.as_bytes(), &mut arguments).is_ok(), "{other}");
    }
}

/// With how many bytes, come one by one, a command is refused, by a reader that looks only when enough have come.
fn refused_at(command: &[u8]) -> Option<usize> {
    let mut wanted = 1;
    for come in 1..=command.len() {
        if come < wanted {
            continue;
        }
        match read(&command[..come], &mut Arguments::new()) {
            Ok(Progress::Partial { bytes }) => wanted = bytes,
            Ok(Progress::Whole { .. }) => return None,
            Err(_) => return Some(come),
        }
    }
    None
}

#[test]
fn a_wrong_command_is_refused_at_its_first_wrong_byte_although_more_is_to_come() {
    for (wrong, what) in [
        (&b"*6\r\n$1\r\n1\r\n*"[..], "no string, and five arguments are missing"),
        (b"*2\r\n$1\r\n12", "no line end"),
        (b"*2\r\n$1\r\n1\r\r", "half a line end"),
        (b"*2\r\n$a", "no length"),
        (b"*2\r\n$-1\r\n", "no string is missing"),
        (b"*a", "no count"),
    ] {
        let with_more = [wrong, b"$4\r\nPING\r\n"].concat();
        assert_eq!(refused_at(&with_more), Some(wrong.len()), "{what}");
    }
}

#[test]
fn lines_are_commands_too() {
    let mut arguments = Arguments::new();
    let line = b"  ECHO\t\"a b\" '' c\r\nPING\r\n";
    assert_eq!(read(line, &mut arguments), Ok(Progress::Whole { bytes: 19 }));
    assert_eq!(arguments.as_slice(), [b"ECHO".as_slice(), b"a b", b"", b"c"]);
    for nothing in [b"\r\n".as_slice(), b"\n", b"*0\r\n", b"*-1\r\n"] {
        assert_eq!(read(nothing, &mut arguments), Ok(Progress::Whole { bytes: nothing.len() }));
        assert!(arguments.is_empty());
    }
}

#[test]
fn throttles_are_read_as_redis_cell_reads_them() {
    let Ok(Command::Throttle(throttle)) = command("cl.throttle user123 15 30 60") else { panic!("not read") };
    assert_eq!((throttle.key, throttle.quantity, throttle.dialect), ("user123", 1, Dialect::RedisCell));
    let quota = throttle.quota;
    assert_eq!((quota.burst(), quota.limit(), quota.window()), (16, 30, Micros::from_secs(60)));
    let Ok(Command::Throttle(throttle)) = command("THROTTLE k 0 1 1 0") else { panic!("not read") };
    assert_eq!((throttle.quantity, throttle.quota.burst(), throttle.dialect), (0, 1, Dialect::Throttlecrab));
    for (line, named) in [
        ("CL.THROTTLE k 15 0 60", "count must be"),
        ("CL.THROTTLE k 15 30 0", "period must be"),
        ("CL.THROTTLE k -1 30 60", "max_burst must be"),
        ("CL.THROTTLE k 15 30 60 -1", "quantity must be"),
        ("CL.THROTTLE k 15 30 1.5", "period must be"),
        ("CL.THROTTLE k 15 30 999999999", "longer than"),
        ("CL.THROTTLE k 15 30", "CL.THROTTLE key max_burst count period [quantity]"),
        ("THROTTLE k 1 2 3 4 5", "THROTTLE key max_burst count period [quantity]"),
    ] {
        let error = command(line).unwrap_err();
        assert!(error.starts_with("ERR ") && error.contains(named), "{line}: {error}");
    }
}

#[test]
fn replies_to_throttles_round_up() {
    let said = Throttled {
        is_allowed: false,
        limit: 16,
        remaining: 0,
        retry_after: Some(Micros::from_micros(1)),
        reset_after: Micros::from_micros(2_000_001),
    };
    let written = |said: Throttled, dialect| {
        let mut out = Vec::new();
        said.write(dialect, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(written(said, Dialect::RedisCell), "*5\r\n:1\r\n:16\r\n:0\r\n:1\r\n:3\r\n");
    assert_eq!(written(said, Dialect::Throttlecrab), "*5\r\n:0\r\n:16\r\n:0\r\n:3\r\n:1\r\n");
    let said = Throttled { is_allowed: true, retry_after: None, ..said };
    assert_eq!(written(said, Dialect::RedisCell), "*5\r\n:0\r\n:16\r\n:0\r\n:-1\r\n:3\r\n");
}

#[test]
fn checks_take_pairs_a_cost_and_peek() {
    let Ok(Command::Check(check)) = command("TIDEGATE.CHECK pay user u1 path //a/../b COST 3 peek") else {
        panic!("not read")
    };
    assert_eq!((&*check.domain, check.cost, check.peek), ("pay", 3, true));
    assert_eq!(check.entries.as_slice(), [("user".into(), "u1".into()), ("path".into(), "/b".into())]);
    for (line, named) in [
        ("TIDEGATE.CHECK", "wrong number of arguments"),
        ("TIDEGATE.CHECK pay", "entries"),
        ("TIDEGATE.CHECK pay user", "wrong number of arguments"),
        ("TIDEGATE.CHECK pay user u1 COST 0", "COST must be"),
        ("TIDEGATE.CHECK pay user u1 user u2", "stands twice"),
        ("TIDEGATE.CHECK pay us/er u1", "letters, digits"),
        ("TIDEGATE.CHECK pay client_ip nowhere", "client_ip"),
    ] {
        let error = command(line).unwrap_err();
        assert!(error.contains(named), "{line}: {error}");
    }
}

#[test]
fn clients_can_connect() {
    assert_eq!(command("ping"), Ok(Command::Ping(None)));
    assert_eq!(command("AUTH me secret"), Ok(Command::Auth("secret")));
    assert_eq!(command("SELECT 0"), Ok(Command::Select));
    assert_eq!(command("COMMAND DOCS get"), Ok(Command::Table(Table::Docs)));
    assert_eq!(command("CLIENT SETINFO LIB-NAME x"), Ok(Command::SetInfo));
    let Ok(Command::Hello(hello)) = command("HELLO 3 AUTH default key SETNAME me") else {
        panic!("not read")
    };
    assert_eq!((hello.version, hello.key, hello.name), (Some(3), Some("key"), Some(b"me".as_slice())));
    assert!(command("HELLO 4").unwrap_err().starts_with("NOPROTO "));
    assert_eq!(command("GET \r\n").unwrap_err(), "ERR unknown command 'GET'");
    assert_eq!(command("G\r\nT x").unwrap_err(), "ERR unknown command 'G\\r\\nT'");
}

#[test]
fn versions_differ_in_what_only_the_later_has() {
    let written = |version| {
        let mut out = Vec::new();
        reply::map(&mut out, 1, version);
        reply::boolean(&mut out, true, version);
        reply::null(&mut out, version);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(written(Version::Resp2), "*2\r\n:1\r\n$-1\r\n");
    assert_eq!(written(Version::Resp3), "%1\r\n#t\r\n_\r\n");
    let mut out = Vec::new();
    reply::error(&mut out, "ERR a\r\nb");
    assert_eq!(out, b"-ERR a  b\r\n");
}
