//! Goal: a server process is started, watched and ended as told.
//! Method: a stand-in for the binary, which cannot be built from here.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use tidegate_testkit::{Tidegate, TidegateOptions, wait_until};

const STAND_IN: &str = env!("CARGO_BIN_EXE_tidegate-stand-in");
const SOON: Duration = Duration::from_secs(5);

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn arguments_and_environment_arrive_and_logs_are_kept() {
    let options = TidegateOptions::new(STAND_IN).arguments(["--threads", "2"]).environment("TIDEGATE_X", "7");
    let server = Tidegate::with(&options);
    assert!(TcpStream::connect(server.address()).is_ok());
    for line in [
        "listening on http://",
        "arguments --database-url none --admin-listen off --grpc-listen none --threads 2",
        "variable TIDEGATE_X=7",
    ] {
        wait_until(line, SOON, || server.logs().contains(line));
    }
    let pid = server.pid();
    drop(server);
    assert!(!is_alive(pid));
}

#[test]
fn it_is_paused_terminated_and_started_again_on_its_port() {
    let mut server = Tidegate::start(STAND_IN, &[]);
    let (address, pid) = (server.address(), server.pid());
    server.pause();
    server.resume();
    assert!(server.cpu_micros() < 5_000_000);
    assert_eq!(server.terminate().signal(), Some(15));
    assert!(!is_alive(pid));
    assert!(TcpStream::connect(address).is_err());
    server.restart();
    assert_eq!(server.address(), address);
    assert!(TcpStream::connect(address).is_ok());
    server.kill();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
#[should_panic(expected = "told to fail")]
fn a_server_that_ends_is_reported_with_its_logs() {
    Tidegate::start(STAND_IN, &["--fail"]);
}

#[test]
#[should_panic(expected = "install the package")]
fn a_binary_that_is_missing_is_reported() {
    Tidegate::start("/nowhere/tidegate", &[]);
}
