//! Addresses good and bad; and that no secret is ever shown.

use super::*;

fn parse(address: &str) -> RedisSettings {
    RedisSettings::parse(address).unwrap()
}

fn tcp(host: &str, port: u16) -> Address {
    Address::tcp(host, port)
}

#[test]
fn one_server() {
    for (address, host, port, database) in [
        ("redis://localhost", "localhost", 6_379, 0),
        ("redis://localhost/", "localhost", 6_379, 0),
        ("redis://10.0.0.1:7000/3", "10.0.0.1", 7_000, 3),
        ("redis://[::1]:7000", "::1", 7_000, 0),
        ("redis://[2001:db8::1]/15", "2001:db8::1", 6_379, 15),
        ("redis://h?db=2", "h", 6_379, 2),
    ] {
        let settings = parse(address);
        assert_eq!(settings.servers(), &Servers::Single(tcp(host, port)), "{address}");
        assert_eq!(settings.database(), database, "{address}");
        assert!(!settings.is_tls() && settings.login().is_none());
    }
    assert!(parse("rediss://h").is_tls());
    assert_eq!(
        parse("unix:///run/redis.sock?db=1").servers(),
        &Servers::Single(Address::unix("/run/redis.sock"))
    );
    assert_eq!(
        parse("redis+unix:///run/a%20b.sock").servers(),
        &Servers::Single(Address::unix("/run/a b.sock"))
    );
    assert_eq!(parse("unix://u:p@/run/redis.sock?db=1").database(), 1);
}

#[test]
fn several_servers() {
    let sentinel = parse("rediss+sentinel://:pw@a,b:1/mymaster/2?sentinel_password=s3");
    let sentinels = vec![tcp("a", 26_379), tcp("b", 1)];
    assert_eq!(sentinel.servers(), &Servers::Sentinel { sentinels, primary: "mymaster".into() });
    assert_eq!(sentinel.database(), 2);
    assert_eq!(&*sentinel.sentinel_login().unwrap().password, "s3");
    assert!(sentinel.is_tls());
    let cluster = parse("redis+cluster://a:7000,[::1]:7001,c");
    assert_eq!(
        cluster.servers(),
        &Servers::Cluster { seeds: vec![tcp("a", 7_000), tcp("::1", 7_001), tcp("c", 6_379)] }
    );
    let hundred = vec!["h"; 100].join(",");
    assert!(RedisSettings::parse(&format!("redis+cluster://{hundred}")).is_ok());
    assert!(RedisSettings::parse(&format!("redis+cluster://{hundred},h")).is_err());
}

#[test]
fn logins_are_decoded() {
    for (address, user, password) in [
        ("redis://:pw@h", None, "pw"),
        ("redis://ann:pw@h", Some("ann"), "pw"),
        ("redis://ann:a%40b%3A%2F%25@h", Some("ann"), "a@b:/%"),
        ("redis://ann:a@b:c@h", Some("ann"), "a@b:c"),
    ] {
        let settings = parse(address);
        let login = settings.login().unwrap();
        assert_eq!((login.user.as_deref(), &*login.password), (user, password), "{address}");
    }
}

#[test]
fn parameters() {
    let settings = parse(
        "rediss://h/1?connections=20&deadline_ms=50&connect_timeout_ms=40&prefix=shop&layout=packed:12&ca_file=/etc/ca.pem",
    );
    assert_eq!(settings.connections(), MAX_CONNECTIONS);
    assert_eq!(settings.call_deadline(), Duration::from_millis(50));
    assert_eq!(settings.connect_timeout(), Duration::from_millis(40));
    assert_eq!(settings.key_prefix(), "shop");
    assert_eq!(settings.layout().to_string(), "packed:12");
    assert_eq!(settings.tls().unwrap().ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
    let plain = parse("redis://h?deadline_ms=30");
    assert_eq!((plain.connections(), plain.key_prefix()), (2, "t"));
    assert_eq!(plain.connect_timeout(), plain.call_deadline(), "no connect takes longer than a call");
    assert_eq!(parse("redis://h").call_deadline(), Duration::from_millis(100));
}

#[test]
fn host_and_port() {
    assert_eq!(RedisSettings::from_host_port("cache", 6_380), Ok(parse("redis://cache:6380")));
    assert_eq!(RedisSettings::from_host_port("[::1]", 1).unwrap().servers(), &Servers::Single(tcp("::1", 1)));
    for (host, port) in [("", 1), ("h", 0), ("a b", 1), ("redis://h", 1)] {
        assert_eq!(RedisSettings::from_host_port(host, port), Err(SettingsError::Server(1)));
    }
}

#[test]
fn ranges() {
    let settings = || parse("redis://h");
    assert!(settings().with_connections(0).is_err() && settings().with_connections(21).is_err());
    for (deadline, good) in [(999, false), (1_000, true), (10_000_000, true), (10_000_001, false)] {
        assert_eq!(
            settings().with_call_deadline(Duration::from_micros(deadline)).is_ok(),
            good,
            "{deadline} µs"
        );
    }
    assert!(settings().with_connect_timeout(Duration::from_millis(101)).is_err());
    let quick = settings().with_connect_timeout(Duration::from_millis(100)).unwrap();
    assert!(quick.with_call_deadline(Duration::from_millis(99)).is_err());
    for (prefix, good) in [
        ("", true),
        (&*"p".repeat(32), true),
        (&*"p".repeat(33), false),
        ("a{b", false),
        ("a}", false),
        ("a b", false),
    ] {
        assert_eq!(settings().with_key_prefix(prefix).is_ok(), good, "{prefix:?}");
    }
    assert!(settings().with_ca_file("/ca").is_err());
}

#[test]
fn what_is_wrong_is_said() {
    use SettingsError::{Login, Parameter, Path, Range, Scheme, Server, ServerCount};
    for (address, kind) in [
        ("localhost:6379", Scheme),
        ("http://h", Scheme),
        ("REDIS://h", Scheme),
        ("redis://", Server(1)),
        ("redis://h:0", Server(1)),
        ("redis://h:65536", Server(1)),
        ("redis://h:+1", Server(1)),
        ("redis://[::1", Server(1)),
        ("redis://::1", Server(1)),
        ("redis+cluster://a,,b", Server(2)),
        ("redis+cluster://a,b/1", Range("")),
        ("redis://a,b", ServerCount("")),
        ("redis://token@h", Login),
        ("redis://user:@h", Login),
        ("redis://user:%ff@h", Login),
        ("redis://h/x", Path("")),
        ("redis://h/0/1", Path("")),
        ("redis://h/70000", Path("")),
        ("redis+sentinel://h", Path("")),
        ("unix://run/redis.sock", Path("")),
        ("unix:///", Path("")),
        ("redis://h/1?db=1", Parameter("")),
        ("redis://h?db=x", Parameter("")),
        ("redis://h?prefix", Parameter("")),
        ("redis://h?prefix=a&prefix=b", Parameter("")),
        ("redis://h?timeout=1", Parameter("")),
        ("redis://h?ca_file=/x", Parameter("")),
        ("redis://h?sentinel_password=x", Parameter("")),
        ("redis+sentinel://h/m?sentinel_user=x", Parameter("")),
        ("redis://h?connections=21", Range("")),
    ] {
        let error = RedisSettings::parse(address).unwrap_err();
        let same = std::mem::discriminant(&error) == std::mem::discriminant(&kind);
        assert!(same && (!matches!(kind, Server(_)) || error == kind), "{address}: {error:?}");
    }
}

/// However an address is broken, and whatever part the password ends up in, it is not shown.
#[test]
fn secrets_are_not_shown() {
    for address in [
        "redis://user:hunter2@h/0",
        "redis://hunter2:hunter2@h",
        "unix://:hunter2@/run/redis.sock",
        "redis+sentinel://:hunter2@a,b/m/1?sentinel_password=hunter2",
        "rediss+cluster://:hunter2@a,b",
    ] {
        let settings = parse(address);
        let shown = format!("{settings} {settings:?} {settings:#?} {:?}", settings.login());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("***"), "{shown}");
    }
    for address in [
        "hunter2://h",
        "redis://hunter2@h",
        "redis://:hunter2/x@h",
        "redis://:hunter2?x@h",
        "redis://:hunter2?x=y@h",
        "redis://:x#hunter2/@h",
        "redis://u:p@h:hunter2",
        "redis://u:p@h/hunter2",
        "redis://h?hunter2=x",
        "redis://h?prefix={hunter2",
    ] {
        let error = RedisSettings::parse(address).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{address}: {error}");
    }
}

#[test]
fn settings_are_shown_as_an_address() {
    for (address, shown) in [
        ("redis://u:p@h:1/2?prefix=x", "redis://***@h:1/2"),
        ("rediss://[::1]", "rediss://[::1]:6379/0"),
        ("unix:///run/r.sock?db=3", "unix:///run/r.sock?db=3"),
        ("redis+sentinel://a,b:1/m/1", "redis+sentinel://a:26379,b:1/m/1"),
        ("redis+cluster://a,b", "redis+cluster://a:6379,b:6379"),
    ] {
        assert_eq!(parse(address).to_string(), shown);
    }
}
