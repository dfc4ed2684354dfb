//! Clients that people use.

use std::path::Path;
use std::process::Command;

use tidegate_testkit::TempDir;

use super::*;

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output =
        output.unwrap_or_else(|error| panic!("{program} is needed (apt-get install redis): {error}"));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{program}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn redis_cli_speaks_both_versions() {
    let node = Node::start(&[]);
    let port = node.address().port().to_string();
    let cli = |arguments: &[&str]| run("redis-cli", &[&["-p", &port], arguments].concat());
    assert_eq!(cli(&["CL.THROTTLE", "user123", "15", "30", "60", "1"]), "0\n16\n15\n-1\n2\n");
    let check = cli(&["-3", "TIDEGATE.CHECK", "default", "client_id", "api_client"]);
    assert!(check.starts_with("allowed (true)\nlimit 20\nremaining 19\n"), "{check}");
    assert_eq!(cli(&["-n", "0", "PING"]), "PONG\n");
    assert!(cli(&["INFO"]).contains("tidegate_version:"));
    assert_eq!(cli(&["COMMAND", "COUNT"]), "12\n");
    assert_eq!(cli(&["-r", "3", "ECHO", "x"]), "x\nx\nx\n");
}

#[test]
fn redis_benchmark_runs_with_and_without_pipelines() {
    let node = Node::start(&[]);
    let port = node.address().port().to_string();
    for depth in ["1", "16"] {
        let key = format!("k{depth}:__rand_int__");
        let said = run(
            "redis-benchmark",
            &[
                "-p",
                &port,
                "-P",
                depth,
                "-n",
                "8000",
                "-c",
                "20",
                "-r",
                "100",
                "--csv",
                "CL.THROTTLE",
                &key,
                "15",
                "1",
                "3600",
            ],
        );
        assert!(said.contains("CL.THROTTLE"), "{said}");
        // 8,000 calls for at most 100 keys of 16 units: the keys that it asked are used up.
        let reply =
            node.client().command(&["CL.THROTTLE", &format!("k{depth}:000000000000"), "15", "1", "3600"]);
        assert_eq!((reply.items()[0].integer(), reply.items()[2].integer()), (1, 0), "-P {depth}");
    }
}

#[test]
fn the_redis_crate_speaks_both_versions_and_pipelines() {
    let node = Node::start(&[]);
    for protocol in ["resp2", "resp3"] {
        let url = format!("redis://{}/0?protocol={protocol}", node.address());
        let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        let mut throttle = redis::cmd("CL.THROTTLE");
        throttle.arg(protocol).arg(15).arg(30).arg(60);
        let first: Vec<i64> = throttle.query(&mut connection).unwrap();
        assert_eq!(first, [0, 16, 15, -1, 2]);
        let mut pipeline = redis::pipe();
        for _ in 0..20 {
            pipeline.add_command(throttle.clone());
        }
        let replies: Vec<Vec<i64>> = pipeline.query(&mut connection).unwrap();
        let limited: Vec<i64> = replies.iter().map(|reply| reply[0]).collect();
        assert_eq!(limited, [vec![0; 15], vec![1; 5]].concat());
        let error = redis::cmd("GET").arg("k").query::<()>(&mut connection).unwrap_err();
        assert!(error.to_string().contains("unknown command 'GET'"), "{error}");
        let check: redis::Value =
            redis::cmd("TIDEGATE.CHECK").arg(&["pay", "user", "u1"]).query(&mut connection).unwrap();
        assert_eq!(matches!(check, redis::Value::Map(_)), protocol == "resp3", "{check:?}");
    }
}

/// A certificate for localhost that vouches for itself, and its key.
fn certificate(folder: &Path) -> (String, String) {
    let path = |name: &str| folder.join(name).display().to_string();
    let (certificate, key) = (path("cert.pem"), path("key.pem"));
    let wanted = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1";
    let arguments: Vec<&str> = wanted.split(' ').chain(["-keyout", &key, "-out", &certificate]).collect();
    run("openssl", &arguments);
    (certificate, key)
}

#[test]
fn redis_cli_speaks_tls() {
    let folder = TempDir::new("resp");
    let (certificate, key) = certificate(folder.path());
    let node = Node::start(&["--resp-tls-cert", &certificate, "--resp-tls-key", &key]);
    let port = node.address().port().to_string();
    let said = run(
        "redis-cli",
        &["-p", &port, "--tls", "--cacert", &certificate, "CL.THROTTLE", "user123", "15", "30", "60"],
    );
    assert_eq!(said, "0\n16\n15\n-1\n2\n");
    let mut plain = node.raw();
    plain.send(command("PING"));
    let mut said = Vec::new();
    // An alert of TLS, and the end; or the end at once.
    let _ = plain.0.read_to_end(&mut said);
    assert!(!said.starts_with(b"+"), "unencrypted nobody is answered: {said:?}");
}
