//! The decoder against written replies, against the parser of the `redis` crate, and cut at every byte.

use proptest::prelude::*;
use redis::Value;

use super::*;

fn address() -> Address {
    Address::tcp("127.0.0.1", 6_379)
}

fn value(bytes: &[u8]) -> Value {
    match decode(bytes, &address()) {
        Ok(Decoded::Reply(Ok(value), used)) if used == bytes.len() => value,
        other => panic!("{other:?}"),
    }
}

fn malformed(bytes: &[u8]) -> bool {
    decode(bytes, &address()).is_err()
}

#[test]
fn each_type_is_read() {
    assert_eq!(value(b"+OK\r\n"), Value::Okay);
    assert_eq!(value(b"+PONG\r\n"), Value::SimpleString("PONG".into()));
    assert_eq!(value(b":-12\r\n"), Value::Int(-12));
    assert_eq!(value(b":-9223372036854775808\r\n"), Value::Int(i64::MIN));
    assert_eq!(value(b"$4\r\na\r\nb\r\n"), Value::BulkString(b"a\r\nb".to_vec()));
    assert_eq!(value(b"$0\r\n\r\n"), Value::BulkString(Vec::new()));
    assert_eq!(value(b"$-1\r\n"), Value::Nil);
    assert_eq!(value(b"*-1\r\n"), Value::Nil);
    assert_eq!(value(b"*2\r\n:1\r\n*1\r\n+x\r\n"), {
        Value::Array(vec![Value::Int(1), Value::Array(vec![Value::SimpleString("x".into())])])
    });
}

#[test]
fn an_error_is_a_refusal_and_within_an_array_a_value() {
    let reply = decode(b"-NOSCRIPT No matching script.\r\n+OK\r\n", &address());
    assert_eq!(reply, Ok(Decoded::Reply(Err(Refusal::NoScript), 31)));
    let Value::Array(values) = value(b"*2\r\n-ERR no\r\n:1\r\n") else { panic!() };
    assert!(matches!(&values[0], Value::ServerError(error) if error.details() == Some("no")));
}

#[test]
fn what_is_no_reply_ends_the_connection() {
    for bytes in [
        &b"HTTP/1.1 400 Bad Request\r\n"[..],
        b"+OK\n",
        b":\r\n",
        b":-\r\n",
        b":1x\r\n",
        b":9223372036854775808\r\n",
        b"$-2\r\n",
        b"*-2\r\n",
        b"$2\r\nabc\r\n",
        b"%1\r\n+a\r\n+b\r\n",
        b"\n",
        b"\r\n",
    ] {
        assert!(malformed(bytes), "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn claims_take_no_memory_and_have_a_limit() {
    assert_eq!(decode(b"*1000000\r\n:1\r\n", &address()), Ok(Decoded::Incomplete(10 + 3_000_000)));
    assert_eq!(decode(b"$16000000\r\nab", &address()), Ok(Decoded::Incomplete(11 + 16_000_002)));
    for claim in ["*9223372036854775807\r\n", "$9223372036854775807\r\n", "*6000000\r\n", "$16777216\r\n"] {
        assert!(malformed(claim.as_bytes()), "{claim}");
    }
    let nested = |depth| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
    assert!(!malformed(&nested(MAX_DEPTH)));
    assert!(malformed(&nested(MAX_DEPTH + 1)));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        Just(Value::Okay),
        any::<i64>().prop_map(Value::Int),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::BulkString),
        "[A-Za-z ]{0,20}".prop_filter("is read as Okay", |text| text != "OK").prop_map(Value::SimpleString),
    ];
    leaf.prop_recursive(4, 60, 8, |inner| prop::collection::vec(inner, 0..8).prop_map(Value::Array))
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Nil => out.extend(b"$-1\r\n"),
        Value::Okay => out.extend(b"+OK\r\n"),
        Value::Int(number) => out.extend(format!(":{number}\r\n").bytes()),
        Value::SimpleString(text) => out.extend(format!("+{text}\r\n").bytes()),
        Value::BulkString(bytes) => {
            out.extend(format!("${}\r\n", bytes.len()).bytes());
            out.extend(bytes);
            out.extend(b"\r\n");
        }
        Value::Array(values) => {
            out.extend(format!("*{}\r\n", values.len()).bytes());
            values.iter().for_each(|value| write(value, out));
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn reads_what_the_library_reads(expected in any_value()) {
        let mut bytes = Vec::new();
        write(&expected, &mut bytes);
        prop_assert_eq!(&redis::parse_redis_value(&bytes).unwrap(), &expected);
        let length = bytes.len();
        bytes.extend(b":7\r\n");
        prop_assert_eq!(decode(&bytes, &address()), Ok(Decoded::Reply(Ok(expected), length)));
    }

    #[test]
    fn a_reply_that_is_cut_is_incomplete_and_never_claims_too_much(expected in any_value()) {
        let mut bytes = Vec::new();
        write(&expected, &mut bytes);
        for cut in 0..bytes.len() {
            match decode(&bytes[..cut], &address()) {
                Ok(Decoded::Incomplete(needed)) => prop_assert!(cut < needed && needed <= bytes.len()),
                other => prop_assert!(false, "cut at {}: {:?}", cut, other),
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(prop::sample::select(&b"*$:+-019\r\nOKab"[..]), 0..60)) {
        if let Ok(Decoded::Reply(_, used)) = decode(&bytes, &address()) {
            prop_assert!(used <= bytes.len());
        }
    }
}
