//! Latency of a check while requests are traced, and the collector takes spans, refuses them, hangs or is killed, beside the same
//! server without traces, in turn.

#[path = "http/load.rs"]
mod load;
#[path = "http/request.rs"]
mod request;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use clap::Parser;
use tidegate_bench::median;
use tidegate_bench::report::{Cell, Format, Report, Table};
use tidegate_bench::server::{self, Affinity, Server};

use load::{Driven, Pace, drive};
use request::Template;

/// What a collector over HTTP answers to every batch.
const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Latency with traces beside latency without.
#[derive(Debug, Parser)]
struct Arguments {
    /// The release binary; this program builds nothing
    #[arg(long, default_value = "../target/release/tidegate")]
    tidegate: PathBuf,
    /// The rule file it is started with
    #[arg(long, default_value = "rules/large-limits.yaml")]
    rules: PathBuf,
    /// Rounds; each server is driven once in each, and medians are taken
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each measured stretch
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Keep-alive connections, each with one request in flight
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Distinct values of client_id
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Shares of requests that are traced
    #[arg(long, value_delimiter = ',', default_value = "0.01,1")]
    shares: Vec<f64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a collector does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Takes,
    Refuses,
    Hangs,
    /// Takes, and is gone before anything is measured.
    Killed,
}

const MANNERS: [(Manner, &str); 4] = [
    (Manner::Takes, "the collector takes them"),
    (Manner::Refuses, "nobody listens"),
    (Manner::Hangs, "it never answers"),
    (Manner::Killed, "it was killed"),
];

/// A collector on a port of its own. It lives as long as this program, unless it is killed.
struct Collector {
    address: SocketAddr,
    is_killed: Arc<AtomicBool>,
}

impl Collector {
    fn start(manner: Manner) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let collector = Self { address: listener.local_addr()?, is_killed: Arc::default() };
        if manner == Manner::Refuses {
            return Ok(collector);
        }
        let is_killed = Arc::clone(&collector.is_killed);
        thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                if is_killed.load(Ordering::Relaxed) {
                    return;
                }
                if manner == Manner::Hangs {
                    silent.push(stream);
                } else {
                    let is_killed = Arc::clone(&is_killed);
                    thread::spawn(move || take(stream, &is_killed));
                }
            }
        });
        Ok(collector)
    }

    /// Closes what is open, and listens no more.
    fn kill(&self) {
        self.is_killed.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

/// Answers one connection's batches without a look at them.
fn take(mut stream: TcpStream, is_killed: &AtomicBool) {
    let mut buffer = vec![0; 1 << 20];
    let mut filled = 0;
    while !is_killed.load(Ordering::Relaxed) {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => return,
            Ok(count) => filled += count,
        }
        if request_length(&buffer[..filled]).is_some_and(|length| filled >= length) {
            filled = 0;
            if stream.write_all(TAKEN).is_err() {
                return;
            }
        }
    }
}

/// The length of a request, head and body; `None` while its head is not complete.
fn request_length(request: &[u8]) -> Option<usize> {
    let end = request.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    Some(end + 4 + length.unwrap_or(0))
}

/// A server, and what was measured of it in every round.
struct Contender {
    name: String,
    server: Server,
    driven: Vec<Driven>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        arguments.tidegate.is_file(),
        "{}: not there; build it with `cargo build --release` in the root",
        arguments.tidegate.display()
    );
    let affinity = if server::can_pin() { Affinity::Pinned } else { Affinity::Free };
    let mut killed = Vec::new();
    // The second one without traces shows what a ratio means on this machine, at this hour.
    let mut contenders = vec![
        contender(&arguments, affinity, "no traces", None)?,
        contender(&arguments, affinity, "no traces, again", None)?,
    ];
    for share in &arguments.shares {
        for (manner, what) in MANNERS {
            let collector = Collector::start(manner)?;
            let name = format!("{share} of requests traced: {what}");
            contenders.push(contender(&arguments, affinity, &name, Some((&collector, *share)))?);
            if manner == Manner::Killed {
                killed.push(collector);
            }
        }
    }
    affinity.apply_to_this_process()?;
    let pace = Pace {
        connections: arguments.connections,
        keys: arguments.keys,
        measured: Duration::from_secs_f64(arguments.seconds),
    };
    let template = Template::new("/v1/check", 1);
    for round in 0..=arguments.rounds {
        for contender in &mut contenders {
            let driven = drive(&contender.server, &template, &pace)?;
            // The first round fills tables, and gives the collectors that will be killed something to take.
            if round > 0 {
                contender.driven.push(driven);
            }
        }
        killed.drain(..).for_each(|collector| collector.kill());
    }
    let mut report = Report::new("traces");
    report.note("closed loop over loopback, servers in turn; ratios are medians of the rounds' own ratios");
    report.note(
        "'load' is the share of its core that the load generator was busy; near 100 % it bounds the rate",
    );
    report.add(table(&contenders));
    report.print(Format::from_switch(arguments.json))
}

fn contender(
    arguments: &Arguments,
    affinity: Affinity,
    name: &str,
    traced: Option<(&Collector, f64)>,
) -> anyhow::Result<Contender> {
    let rules = arguments.rules.display().to_string();
    let server = Server::start(&arguments.tidegate, affinity, |address| {
        let given = ["serve", "--listen", address, "--rules", &rules, "--log-level", "error"];
        // Several servers run side by side: only the door that is measured has a port.
        let others_off = ["--grpc-listen", "none", "--resp-listen", "none", "--admin-listen", "off"];
        let mut all: Vec<String> = given.into_iter().chain(others_off).map(str::to_owned).collect();
        all.extend(["--admin-listen", "off", "--database-url", "none"].map(str::to_owned));
        if let Some((collector, share)) = traced {
            all.extend(["--otlp-endpoint".to_owned(), format!("http://{}", collector.address)]);
            all.extend(["--trace-sample-ratio".to_owned(), share.to_string()]);
        }
        all
    })?;
    Ok(Contender { name: name.to_owned(), server, driven: Vec::new() })
}

fn table(contenders: &[Contender]) -> Table {
    let columns = ["", "req/s", "CPU µs/req", "p50 µs", "p99 µs", "p50 ratio", "p99 ratio", "load %"];
    let mut table = Table::new("latency of a check, beside a server without traces", &columns);
    let Some(plain) = contenders.first() else { return table };
    for contender in contenders {
        let of = |figure: &dyn Fn(&Driven) -> f64| {
            median(&contender.driven.iter().map(figure).collect::<Vec<_>>())
        };
        let ratio = |share: f64| {
            let rounds = contender.driven.iter().zip(&plain.driven);
            median(
                &rounds
                    .map(|(one, plain)| one.latency_us(share) / plain.latency_us(share))
                    .collect::<Vec<_>>(),
            )
        };
        table.row([
            Cell::text(contender.name.as_str()),
            Cell::Figure(of(&Driven::rate), 0),
            Cell::Figure(of(&|driven| driven.micros_each(|cpu| cpu.total())), 2),
            Cell::Figure(of(&|driven| driven.latency_us(0.5)), 0),
            Cell::Figure(of(&|driven| driven.latency_us(0.99)), 0),
            Cell::Figure(ratio(0.5), 3),
            Cell::Figure(ratio(0.99), 3),
            Cell::Figure(of(&|driven| driven.load_share * 100.0), 0),
        ]);
    }
    table
}
