//! Goal: nginx runs with a configuration as documented, in front of servers of a test.
//! Method: tiny servers that say who they are; the workers are looked for afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use tidegate_testkit::{Nginx, NginxOptions, TempDir, wait_until};

/// A server that answers every request with its name; lives as long as the test's process.
fn backend(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 4_096];
                while let Ok(1..) = stream.read(&mut buffer) {
                    let length = name.len();
                    let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{name}");
                }
            });
        }
    });
    address
}

fn get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn body(address: SocketAddr) -> String {
    get(address).split("\r\n\r\n").nth(1).unwrap().to_owned()
}

fn children(pid: u32) -> Vec<String> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    listed.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn requests_are_spread_and_nothing_is_left_behind() {
    let nginx = Nginx::in_front_of(&[backend("one"), backend("two")]);
    let seen: BTreeSet<String> = (0..8).map(|_| body(nginx.address())).collect();
    assert_eq!(seen, BTreeSet::from(["one".to_owned(), "two".to_owned()]));
    let mut processes = children(nginx.pid());
    assert!(!processes.is_empty(), "workers");
    processes.push(nginx.pid().to_string());
    drop(nginx);
    for pid in processes {
        assert!(!Path::new("/proc").join(&pid).exists(), "{pid} runs still");
    }
}

#[test]
fn a_whole_configuration_runs_as_documented() {
    let folder = TempDir::new("template");
    let template = folder.write(
        "nginx.conf",
        "user www-data;\nworker_processes 2;\npid /run/nginx.pid;\ninclude_here\n\
         events { worker_connections 128; }\n\
         http {\n  include mime.types;\n  log_format main '$status {$request}';\n\
           access_log /var/log/nginx/access.log main;\n\
           upstream tidegate { server tidegate-1:8080 max_fails=1; server tidegate-2:8080; }\n\
           server {\n    listen 80 default_server;\n    listen [::]:80 default_server;\n\
             add_header X-From {{place}} always;\n    location / { proxy_pass http://tidegate; }\n  }\n\
           server { listen 8081; location / { return 204; } }\n}\n",
    );
    let options = NginxOptions::template_file(template)
        .replace("include_here", "")
        .replace("{{place}}", "test")
        .upstream("tidegate", &[backend("one")]);
    let mut nginx = Nginx::start(&options);
    let answer = get(nginx.address());
    assert!(answer.contains("X-From: test\r\n") && answer.ends_with("one"), "{answer}");
    assert!(get(nginx.addresses()[1]).starts_with("HTTP/1.1 204"));
    let logged = || nginx.log("access.log").contains("200 {GET / HTTP/1.1}");
    wait_until("the request is logged", Duration::from_secs(5), logged);

    nginx.reload_upstream("tidegate", &[backend("two")]);
    wait_until("the new upstream answers", Duration::from_secs(5), || body(nginx.address()) == "two");
}

#[test]
#[should_panic(expected = "unknown directive")]
fn a_mistake_is_reported_with_nginx_s_words() {
    Nginx::start(&NginxOptions::template("server { listen 80; no_such_directive on; }"));
}
