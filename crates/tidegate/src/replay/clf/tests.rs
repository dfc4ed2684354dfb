//! Lines of the common and combined formats, whole, odd and torn.

use super::*;

const AT: u64 = 1_431_857_103_000_000;
const FRONT: &str = "192.0.2.1 - - [17/May/2015:10:05:03 +0000]";

fn read(line: &str) -> Result<LogRecord, Unreadable> {
    parse(line.as_bytes(), &FieldMap::default())
}

fn entries(record: &LogRecord) -> Vec<(&str, &str)> {
    record.entries().collect()
}

#[test]
fn a_combined_line() {
    let line = r#"192.0.2.1 - jane [17/May/2015:10:05:03 +0000] "POST /v1/charges?x=1 HTTP/1.1" 201 512 "http://a/" "curl/8""#;
    let record = parse(line.as_bytes(), &FieldMap::default()).unwrap();
    assert_eq!(record.at_us, AT);
    assert_eq!(
        entries(&record),
        [
            ("client_ip", "192.0.2.1"),
            ("method", "POST"),
            ("path", "/v1/charges"),
            ("user_agent", "curl/8"),
            ("user", "jane"),
            ("status", "201"),
        ]
    );
}

#[test]
fn a_common_line_has_no_agent() {
    let line = format!(r#"{FRONT} "GET / HTTP/1.0" 200 -"#);
    assert_eq!(read(&line).unwrap().get(Field::UserAgent), None);
}

#[test]
fn the_front_in_its_variants() {
    let tail = r#"[17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1"#;
    let record = read(&format!("2001:db8::1 - Jane Q. Public {tail}")).unwrap();
    assert_eq!(record.get(Field::ClientIp), Some("2001:db8::1"));
    assert_eq!(record.get(Field::User), Some("Jane Q. Public"));
    let record = read(&format!("shop.example:443 192.0.2.9 - - {tail}")).unwrap();
    assert_eq!(record.get(Field::Host), Some("shop.example"));
    assert_eq!(record.get(Field::ClientIp), Some("192.0.2.9"));
    assert_eq!(record.get(Field::User), None);
    let record = read(&format!("client.example - - {tail}")).unwrap();
    assert_eq!(record.get(Field::ClientIp), Some("client.example"));
    assert_eq!(read(&format!("192.0.2.1 - {tail}")).unwrap_err(), Unreadable::NoTime);
}

#[test]
fn escapes_are_undone() {
    let line = format!(r#"{FRONT} "GET /a\"b\\c\x41\xzz HTTP/1.1" 200 1 "-" "say \"hi\"\t\q\""#) + r#"""#;
    let record = read(&line).unwrap();
    assert_eq!(record.get(Field::Path), Some(r#"/a"b\cA\xzz"#));
    assert_eq!(record.get(Field::UserAgent), Some("say \"hi\"\t\\q\""));
    // Bytes that are no UTF-8 once the escapes are undone.
    let record = read(&format!(r#"{FRONT} "GET /\xff\xc3\xa4 HTTP/1.1" 200 1"#)).unwrap();
    assert_eq!(record.get(Field::Path), Some("/\u{fffd}ä"));
}

#[test]
fn raw_bytes_that_are_no_utf8() {
    let mut line = format!(r#"{FRONT} "GET /"#).into_bytes();
    line.extend_from_slice(b"\xfe\xff HTTP/1.1\" 200 1");
    let record = parse(&line, &FieldMap::default()).unwrap();
    assert_eq!(record.get(Field::Path), Some("/\u{fffd}\u{fffd}"));
}

#[test]
fn garbage_for_a_request_is_a_request_all_the_same() {
    for request in
        [r"-", r"", r"\x16\x03\x01\x00", r"quit", r"GET", r"() { :; } HTTP/1.1", r"GET example HTTP/1.1"]
    {
        let record = read(&format!(r#"{FRONT} "{request}" 400 0"#)).unwrap();
        assert_eq!(entries(&record), [("client_ip", "192.0.2.1"), ("status", "400")], "{request}");
    }
}

#[test]
fn request_targets() {
    let read = |request: &str| read(&format!(r#"{FRONT} "{request}" 200 0"#)).unwrap();
    let path = |request| read(request).get(Field::Path).map(str::to_owned);
    assert_eq!(path("GET /a b c HTTP/1.1").as_deref(), Some("/a b c"));
    assert_eq!(path("GET /old").as_deref(), Some("/old"));
    assert_eq!(path("OPTIONS * HTTP/1.1").as_deref(), Some("*"));
    assert_eq!(path("GET /a#b?c HTTP/1.1").as_deref(), Some("/a"));
    let absolute = read("GET http://shop.example:8080/buy?x HTTP/1.1");
    assert_eq!(absolute.get(Field::Path), Some("/buy"));
    assert_eq!(absolute.get(Field::Host), Some("shop.example:8080"));
    assert_eq!(path("GET https://shop.example?x HTTP/1.1").as_deref(), Some("/"));
    let connect = read("CONNECT shop.example:443 HTTP/1.1");
    assert_eq!((connect.get(Field::Method), connect.get(Field::Path)), (Some("CONNECT"), None));
}

/// A line cut behind the status is the request that it was; cut before it, it is refused.
#[test]
fn a_line_torn_anywhere() {
    let line = format!(r#"{FRONT} "GET /a\"b HTTP/1.1" 200 5120 "http://a/" "curl\\""#);
    assert_eq!(read(&line).unwrap().get(Field::UserAgent), Some(r"curl\"));
    let status_end = line.find("200").unwrap() + 3;
    for end in 0..line.len() {
        match parse(&line.as_bytes()[..end], &FieldMap::default()) {
            Ok(record) => {
                assert!(end >= status_end, "{end}");
                let wanted =
                    [("client_ip", "192.0.2.1"), ("method", "GET"), ("path", "/a\"b"), ("status", "200")];
                assert_eq!(entries(&record), wanted, "{end}");
                assert_eq!(record.at_us, AT);
            }
            Err(_) => assert!(end < status_end, "{end}"),
        }
    }
}

#[test]
fn every_reason() {
    let reason = |line: &str| read(line).unwrap_err();
    assert_eq!(reason("hello"), Unreadable::NoTime);
    assert_eq!(reason("[17/May/2015:10:05:03 +0000]"), Unreadable::NoTime);
    assert_eq!(reason("192.0.2.1 - - [17/May/2015"), Unreadable::NoTime);
    assert_eq!(reason("192.0.2.1 - - [yesterday] \"GET / HTTP/1.1\" 200 1"), Unreadable::BadTime);
    assert_eq!(reason(FRONT), Unreadable::NoRequest);
    assert_eq!(reason(&format!("{FRONT} GET / 200")), Unreadable::NoRequest);
    assert_eq!(reason(&format!("{FRONT} \"GET /")), Unreadable::OpenQuote);
    assert_eq!(reason(&format!("{FRONT} \"GET / HTTP/1.1\\")), Unreadable::OpenQuote);
    assert_eq!(reason(&format!("{FRONT} \"GET / HTTP/1.1\" 20")), Unreadable::NoStatus);
}

#[test]
fn mappings_name_fields_of_the_format() {
    let mut fields = FieldMap::default();
    for field in ["user_id=user", "from=referer", "client_ip=user", "user=ident", "method=ident"] {
        fields.add(field).unwrap();
    }
    let line = format!(r#"192.0.2.1 - jane {} "GET / HTTP/1.1" 200 1 "http://a/" "x""#, &FRONT[14..]);
    let record = parse(line.as_bytes(), &fields).unwrap();
    assert_eq!(record.entry("user_id"), Some("jane"));
    assert_eq!(record.entry("from"), Some("http://a/"));
    assert_eq!(record.entry("client_ip"), Some("jane"));
    assert_eq!(record.entry("user"), None, "ident is absent, and user was mapped to it");
    assert_eq!(record.entry("method"), None);
    assert_eq!(record.entry("nothing"), None);
}

#[test]
fn ports_of_clients() {
    for (given, wanted) in [
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("host:80", "host:80"),
        ("192.0.2.1", "192.0.2.1"),
    ] {
        assert_eq!(without_client_port(given), wanted);
    }
}

/// Random bytes and damaged lines: no panic, and never a record without a client.
#[test]
fn no_line_panics() {
    let seed = 0x5eed_u64;
    let mut random = fastrand::Rng::with_seed(seed);
    let line = format!(r#"v:80 {FRONT} "GET /a\"b HTTP/1.1" 200 5120 "http://a/" "curl\x41""#);
    for round in 0..20_000 {
        let mut bytes = line.as_bytes().to_vec();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] = random.u8(..),
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, *random.choice(br#""\[] :x"#.iter()).unwrap()),
            }
        }
        if let Ok(record) = parse(&bytes, &FieldMap::default()) {
            assert!(record.get(Field::ClientIp).is_some(), "seed {seed} round {round}: {bytes:?}");
        }
    }
}
