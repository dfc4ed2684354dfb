//! JSON lines of the usual servers, mappings, and what is no usable line.

use super::*;

const AT: u64 = 1_431_857_103_000_000;

fn read(line: &str) -> Result<LogRecord, Unreadable> {
    JsonReader::new(&FieldMap::default()).parse(line.as_bytes())
}

fn read_with(mappings: &[&str], line: &str) -> Result<LogRecord, Unreadable> {
    let mut fields = FieldMap::default();
    for mapping in mappings {
        fields.add(mapping).unwrap();
    }
    JsonReader::new(&fields).parse(line.as_bytes())
}

#[track_caller]
fn assert_usual(line: &str) {
    let record = read(line).unwrap();
    assert_eq!(record.at_us, AT, "{line}");
    let entries: Vec<_> = record.entries().collect();
    let wanted = [
        ("client_ip", "192.0.2.1"),
        ("method", "GET"),
        ("path", "/a"),
        ("host", "shop.example"),
        ("user_agent", "curl/8"),
        ("status", "200"),
    ];
    assert_eq!(entries, wanted, "{line}");
}

#[test]
fn the_usual_servers() {
    // nginx, as most log_format examples name things
    assert_usual(
        r#"{"time_iso8601":"2015-05-17T10:05:03+00:00","remote_addr":"192.0.2.1","request":"GET /a?b HTTP/1.1","http_host":"shop.example","http_user_agent":"curl/8","status":"200","remote_user":"-"}"#,
    );
    assert_usual(
        r#"{"msec":"1431857103.000","remote_addr":"192.0.2.1","request_method":"GET","request_uri":"/a?b","host":"shop.example","http_user_agent":"curl/8","status":200,"remote_user":""}"#,
    );
    // Caddy
    assert_usual(
        r#"{"level":"info","ts":1431857103.0,"request":{"remote_ip":"192.0.2.1","remote_port":"5","method":"GET","uri":"/a?b","host":"shop.example","headers":{"User-Agent":["curl/8","other"],"X":[]}},"status":200}"#,
    );
    // Traefik: the line is written at the end, the request began at StartUTC
    assert_usual(
        r#"{"ClientHost":"192.0.2.1","RequestMethod":"GET","RequestPath":"/a?b","RequestHost":"shop.example","request_User-Agent":"curl/8","DownstreamStatus":200,"StartUTC":"2015-05-17T10:05:03Z","time":"2015-05-17T10:05:09Z"}"#,
    );
    // Envoy
    assert_usual(
        r#"{"start_time":"2015-05-17T10:05:03.000Z","downstream_remote_address":"192.0.2.1:40404","method":"GET","path":"/a","authority":"shop.example","user_agent":"curl/8","response_code":200}"#,
    );
    // Elastic Common Schema, nested and flat
    assert_usual(
        r#"{"@timestamp":"2015-05-17T10:05:03Z","client":{"ip":"192.0.2.1"},"http":{"request":{"method":"GET"},"response":{"status_code":200}},"url":{"path":"/a","domain":"shop.example"},"user_agent":{"original":"curl/8"}}"#,
    );
    assert_usual(
        r#"{"@timestamp":"2015-05-17T10:05:03Z","client.ip":"192.0.2.1","http.request.method":"GET","http.response.status_code":200,"url.path":"/a","url.domain":"shop.example","user_agent.original":"curl/8"}"#,
    );
}

#[test]
fn the_better_name_wins_in_any_order() {
    let one = r#"{"time":1431857103,"ip":"192.0.2.2","client_ip":"192.0.2.1","ts":5000000000}"#;
    let other = r#"{"ts":5000000000,"client_ip":"192.0.2.1","ip":"192.0.2.2","time":1431857103}"#;
    for line in [one, other] {
        let record = read(line).unwrap();
        assert_eq!((record.at_us, record.get(Field::ClientIp)), (AT, Some("192.0.2.1")), "{line}");
    }
    // A name written twice counts as written last, as in most JSON readers.
    let record = read(r#"{"time":1,"time":1431857103}"#).unwrap();
    assert_eq!(record.at_us, AT);
    // null is as good as absent.
    let record = read(r#"{"time":null,"ts":1431857103,"client_ip":null,"ip":"192.0.2.3"}"#).unwrap();
    assert_eq!(record.get(Field::ClientIp), Some("192.0.2.3"));
}

#[test]
fn mappings_reach_into_objects() {
    let line = r#"{"when":{"at":"2015-05-17T10:05:03Z"},"auth":{"user":{"id":42,"vip":true}},"client_ip":"192.0.2.1","edge":{"ip":"192.0.2.7"},"load":1.5,"debt":-3,"list":[["x","y"]],"flat.name":"f"}"#;
    let mappings = [
        "time=when.at",
        "user_id=auth.user.id",
        "vip=auth.user.vip",
        "client_ip=edge.ip",
        "load=load",
        "debt=debt",
        "first=list",
        "again=auth.user.id",
        "flat=flat.name",
        "none=auth.user",
        "none2=auth.user.id.x",
    ];
    let record = read_with(&mappings, line).unwrap();
    assert_eq!(record.at_us, AT);
    for (entry, value) in [
        ("user_id", Some("42")),
        ("again", Some("42")),
        ("vip", Some("true")),
        ("client_ip", Some("192.0.2.7")),
        ("load", Some("1.5")),
        ("debt", Some("-3")),
        ("first", Some("x")),
        ("flat", Some("f")),
        ("none", None),
        ("none2", None),
    ] {
        assert_eq!(record.entry(entry), value, "{entry}");
    }
    // A mapping replaces the usual names: without the mapped field there is no client.
    let record = read_with(&["client_ip=edge.ip"], r#"{"ts":1431857103,"client_ip":"192.0.2.1"}"#).unwrap();
    assert_eq!(record.get(Field::ClientIp), None);
}

#[test]
fn offered_entries_are_taken_where_they_are() {
    let mut fields = FieldMap::default();
    for entry in ["user_id", "client_ip", "time", "", "tenant.id"] {
        fields.offer(entry);
    }
    assert_eq!(fields.len(), 2, "known and unusable entries are not mapped");
    let line = br#"{"ts":1431857103,"user_id":7,"client_ip":"192.0.2.1","tenant":{"id":"t1"}}"#;
    let record = JsonReader::new(&fields).parse(line).unwrap();
    assert_eq!(record.entry("user_id"), Some("7"));
    assert_eq!(record.entry("tenant.id"), Some("t1"));
    assert_eq!(record.entry("client_ip"), Some("192.0.2.1"));
}

#[test]
fn text_with_escapes_and_bad_bytes() {
    let record = read(r#"{"ts":1431857103,"path":"/\u00e4\"\n","\u0068ost":"h"}"#).unwrap();
    assert_eq!(record.get(Field::Path), Some("/ä\"\n"));
    assert_eq!(record.get(Field::Host), Some("h"));
    let line = b"{\"ts\":1431857103,\"path\":\"/\xff\",\"x\":\"\xfe\"}";
    let record = JsonReader::new(&FieldMap::default()).parse(line).unwrap();
    assert_eq!(record.get(Field::Path), Some("/\u{fffd}"));
}

#[test]
fn what_is_no_usable_line() {
    assert_eq!(read("{}").unwrap_err(), Unreadable::NoTimeField);
    assert_eq!(read(r#"{"ts":"soon"}"#).unwrap_err(), Unreadable::BadTime);
    assert_eq!(read(r#"{"ts":true}"#).unwrap_err(), Unreadable::BadTime);
    assert_eq!(read(r#"{"ts":-1}"#).unwrap_err(), Unreadable::TimeOutOfRange);
    let deep = format!(r#"{{"request":{}1{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let deep_unwanted = format!(r#"{{"x":{}1{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    for line in [
        "",
        "[]",
        "1",
        "null",
        r#"{"ts":1431857103"#,
        r#"{"ts":1431857103}x"#,
        r#"{"ts":1431857103,}"#,
        "{'ts':1}",
        &deep,
    ] {
        assert!(matches!(read(line).unwrap_err(), Unreadable::BadJson(_)), "{line}");
    }
    assert!(read(&deep_unwanted).is_err());
}

#[test]
fn a_line_torn_anywhere() {
    let line = r#"{"ts":1431857103,"request":{"uri":"/a","n":[1,{"b":null}]},"status":200}"#;
    assert!(read(line).is_ok());
    for end in 0..line.len() {
        assert!(read(&line[..end]).is_err(), "{end}");
    }
}
