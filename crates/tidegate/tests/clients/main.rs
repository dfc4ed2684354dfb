//! Goal: client libraries that people use get along with the doors, without knowing of them.
//! Method: the real program, and scripts beside this file with grpcio, redis-py and ioredis. `scripts/test` installs those
//! under `target`; `TEST_CLIENTS_PYTHON` and `TEST_CLIENTS_NPM` name another Python and another folder. Without them the test
//! fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::Command;

use tidegate_testkit::{PortLease, Tidegate, TidegateOptions, installed};

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

/// A server with the example rules and every door.
struct Site {
    server: Tidegate,
    resp: PortLease,
}

impl Site {
    fn start() -> Self {
        let resp = PortLease::new();
        let options = TidegateOptions::new(env!("CARGO_BIN_EXE_tidegate"))
            .grpc()
            .arguments(["--resp-listen", &resp.address().to_string()]);
        Self { server: Tidegate::with(&options), resp }
    }
}

/// Runs a script, which has to end well and say so.
#[track_caller]
fn run(command: &mut Command, what: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{what} is needed: {error}"));
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what} ended with {}:\n{said}{errors}", output.status);
    assert!(said.ends_with("answered as promised\n"), "{what}: {said}{errors}");
}

#[test]
fn grpcio_and_redis_py_are_answered() {
    let python = installed("TEST_CLIENTS_PYTHON", "clients-venv/bin/python");
    let site = Site::start();
    let mut command = Command::new(python);
    command
        .arg(format!("{CRATE}/tests/clients/client.py"))
        .arg(format!("{CRATE}/../tidegate-proto/src/generated/descriptors.bin"))
        .args([site.server.grpc_address().to_string(), site.resp.address().to_string()]);
    run(&mut command, "Python");
}

#[test]
fn ioredis_is_answered() {
    let modules = installed("TEST_CLIENTS_NPM", "clients-npm");
    let site = Site::start();
    let mut command = Command::new("node");
    command
        .env("TEST_CLIENTS_NPM", modules)
        .arg(format!("{CRATE}/tests/clients/client.mjs"))
        .arg(site.resp.address().to_string());
    run(&mut command, "Node.js");
}
