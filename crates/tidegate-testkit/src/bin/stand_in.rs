//! A stand-in for the `tidegate` binary in this crate's own tests: says what it was told and is ready at once.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a part of tests")]

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::exit;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    eprintln!("arguments {}", arguments[2..].join(" "));
    let variables = env::vars().filter(|(name, _)| name.starts_with("TIDEGATE_"));
    variables.for_each(|(name, value)| eprintln!("variable {name}={value}"));
    if arguments.contains(&"--fail".to_owned()) {
        eprintln!("error: told to fail");
        exit(3);
    }
    let listener = TcpListener::bind(&arguments[1]).unwrap();
    println!("listening on http://{}", arguments[1]);
    for stream in listener.incoming() {
        let mut stream = BufReader::new(stream.unwrap());
        let mut line = String::new();
        if stream.read_line(&mut line).is_ok() {
            let status = if line.starts_with("GET /ready ") { 200 } else { 404 };
            let _ = write!(
                stream.get_mut(),
                "HTTP/1.1 {status} -\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        }
    }
}
