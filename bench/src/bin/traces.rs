//! Latency of a check while requests are traced, and the collector takes spans, refuses them, hangs or is killed, beside the same
//! server without traces, in turn.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Parser;
use tidegate_bench::contest::{self, Driven, LOAD, Subject, middle, ratio};
use tidegate_bench::http_load::{Pace, drive};
use tidegate_bench::report::{Cell, Format, Report, Table};
use tidegate_bench::server::{Affinity, Door, Server, Tidegate};
use tidegate_bench::template::Template;

/// What a collector over HTTP answers to every batch.
const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Latency with traces beside latency without.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Rounds; each server is driven once in each, and medians are taken
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each measured stretch
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Keep-alive connections, each with one request in flight
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Shares of requests that are traced
    #[arg(long, value_delimiter = ',', default_value = "0.01,1")]
    shares: Vec<f64>,
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
    arguments.subject.is_built()?;
    let (affinity, place) = contest::placed("load and collectors");
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
        keys: arguments.subject.keys,
        measured: Duration::from_secs_f64(arguments.seconds),
    };
    let template = Template::checks("/v1/check", 1);
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
    report.note(LOAD);
    report.note(place);
    report.add(table(&contenders));
    report.print(Format::from_switch(arguments.subject.json))
}

fn contender(
    arguments: &Arguments,
    affinity: Affinity,
    name: &str,
    traced: Option<(&Collector, f64)>,
) -> anyhow::Result<Contender> {
    let Subject { tidegate: program, rules, .. } = &arguments.subject;
    let further: Vec<String> = traced
        .into_iter()
        .flat_map(|(collector, share)| {
            let endpoint = format!("http://{}", collector.address);
            ["--otlp-endpoint".to_owned(), endpoint, "--trace-sample-ratio".to_owned(), share.to_string()]
        })
        .collect();
    let tidegate = Tidegate { program, rules, door: Door::Http, database: "none" };
    let server = tidegate.start(affinity, &further)?;
    Ok(Contender { name: name.to_owned(), server, driven: Vec::new() })
}

fn table(contenders: &[Contender]) -> Table {
    let columns = ["", "req/s", "CPU µs/req", "p50 µs", "p99 µs", "p50 ratio", "p99 ratio", "load %"];
    let mut table = Table::new("latency of a check, beside a server without traces", &columns);
    let Some(plain) = contenders.first() else { return table };
    for Contender { name, driven, .. } in contenders {
        let latency = |share| middle(driven, |run| run.latency_us(share));
        let beside = |share| ratio(driven, &plain.driven, |run| run.latency_us(share));
        table.row([
            Cell::text(name.as_str()),
            Cell::Figure(middle(driven, Driven::rate), 0),
            Cell::Figure(middle(driven, Driven::cpu_us), 2),
            Cell::Figure(latency(0.5), 0),
            Cell::Figure(latency(0.99), 0),
            Cell::Figure(beside(0.5), 3),
            Cell::Figure(beside(0.99), 3),
            Cell::Figure(middle(driven, |run| run.load_share * 100.0), 0),
        ]);
    }
    table
}
