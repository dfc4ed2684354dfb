//! Load on one thread. In a closed loop every connection has one request in flight. In an open loop requests are due at their
//! times whatever becomes of those before them, and their latency counts from then on: it holds the waiting for a connection,
//! too.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use tidegate_bench::template::Template;

use crate::wire::{Door, MAX_ANSWER_BYTES, Outcome};

/// How finely time is looked at: a request is sent so much later than it is due, at most, where a connection is free.
const STEP: Duration = Duration::from_millis(1);
/// Whoever could not be sent for so long has given up.
const PATIENCE: Duration = Duration::from_secs(1);
/// What is still in flight at the end is waited for so long.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
/// What is read at once, in bytes.
const READ_BYTES: usize = 16 << 10;

/// How much is asked, for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Demand {
    /// By so many connections, one request after the other.
    Closed { connections: usize, time: Duration },
    /// So many requests a second.
    Open { rate: f64, time: Duration },
}

/// What came of requests that were due in one stretch of time.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) decided: Histogram<u64>,
    pub(crate) shed: Histogram<u64>,
    pub(crate) others: u64,
    /// Due, and never sent for want of a free connection.
    pub(crate) given_up: u64,
}

impl Tally {
    fn new() -> anyhow::Result<Self> {
        // Microseconds, up to a minute.
        let latency = Histogram::new_with_bounds(1, 60_000_000, 3)?;
        Ok(Self { decided: latency.clone(), shed: latency, others: 0, given_up: 0 })
    }

    /// All of them as one.
    pub(crate) fn sum(tallies: &[Self]) -> anyhow::Result<Self> {
        let mut sum = Self::new()?;
        for tally in tallies {
            sum.decided.add(&tally.decided)?;
            sum.shed.add(&tally.shed)?;
            sum.others += tally.others;
            sum.given_up += tally.given_up;
        }
        Ok(sum)
    }
}

/// A latency, in ms; NaN where there is none.
pub(crate) fn millis(latency: &Histogram<u64>, share: f64) -> f64 {
    if latency.is_empty() { f64::NAN } else { latency.value_at_quantile(share) as f64 / 1e3 }
}

struct Connection {
    stream: TcpStream,
    request: Template,
    /// Requests before this one.
    number: u32,
    /// What goes before the rest of a request.
    owed: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
    /// The demand that the request in flight belongs to, and when it was due.
    asked: Option<(usize, Instant)>,
}

/// The connections to a door.
pub(crate) struct Load {
    door: Door,
    keys: u64,
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    random: fastrand::Rng,
}

impl Load {
    /// Connects.
    pub(crate) fn new(
        address: SocketAddr,
        door: Door,
        request: &Template,
        connections: usize,
        keys: u64,
    ) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let connect = |index: usize| -> anyhow::Result<Connection> {
            let mut stream = std::net::TcpStream::connect(address).context("a connection is not taken")?;
            stream.set_nodelay(true)?;
            stream.write_all(door.opening())?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
            let (request, owed, answer) = (request.clone(), Vec::new(), Vec::new());
            Ok(Connection { stream, request, number: 0, owed, sent: 0, answer, asked: None })
        };
        let all = (0..connections).map(connect).collect::<Result<Vec<_>, _>>()?;
        let idle = (0..connections).collect();
        let (events, random) = (Events::with_capacity(connections.max(1)), fastrand::Rng::with_seed(7));
        Ok(Self { door, keys, poll, events, connections: all, idle, random })
    }

    /// Makes these demands one after the other, without a pause. Tells of each by windows of so much time, in which requests
    /// were due. `at` is called before each of them, and when the last is over.
    pub(crate) fn run(
        &mut self,
        demands: &[Demand],
        window: Duration,
        mut at: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<Vec<Tally>>> {
        let mut stretches: Vec<Stretch> = Vec::with_capacity(demands.len());
        for demand in demands {
            at()?;
            stretches.push(Stretch::new(*demand, window)?);
            self.make(*demand, &mut stretches)?;
        }
        at()?;
        let end = Instant::now();
        while self.idle.len() < self.connections.len() && end.elapsed() < LAST_ANSWERS {
            self.hear(&mut stretches)?;
        }
        Ok(stretches.into_iter().map(|stretch| stretch.windows).collect())
    }

    /// Makes the newest demand.
    fn make(&mut self, demand: Demand, stretches: &mut [Stretch]) -> anyhow::Result<()> {
        let Some(newest) = stretches.len().checked_sub(1) else { return Ok(()) };
        let start = stretches[newest].start;
        let mut due_so_far = 0_u64;
        while start.elapsed() < demand.time() {
            match demand {
                Demand::Closed { connections, .. } => {
                    while self.connections.len() - self.idle.len() < connections {
                        let Some(connection) = self.idle.pop() else { break };
                        self.send(connection, (newest, Instant::now()))?;
                    }
                }
                Demand::Open { rate, .. } => {
                    let now = Instant::now();
                    loop {
                        let due = start + Duration::from_secs_f64(due_so_far as f64 / rate);
                        if due > now {
                            break;
                        }
                        if now - due > PATIENCE {
                            stretches[newest].of(due).given_up += 1;
                        } else if let Some(connection) = self.idle.pop() {
                            self.send(connection, (newest, due))?;
                        } else {
                            break;
                        }
                        due_so_far += 1;
                    }
                }
            }
            self.hear(stretches)?;
        }
        if let Demand::Open { rate, time } = demand {
            let all = (rate * time.as_secs_f64()) as u64;
            for unsent in due_so_far..all {
                let due = start + Duration::from_secs_f64(unsent as f64 / rate);
                stretches[newest].of(due).given_up += 1;
            }
        }
        Ok(())
    }

    fn send(&mut self, index: usize, asked: (usize, Instant)) -> anyhow::Result<()> {
        let connection = &mut self.connections[index];
        connection.request.draw(&mut self.random, self.keys);
        self.door.set_number(&mut connection.request.bytes, connection.number);
        connection.number += 1;
        (connection.sent, connection.asked) = (0, Some(asked));
        connection.send()
    }

    /// Takes the answers that have come, or come within a step.
    fn hear(&mut self, stretches: &mut [Stretch]) -> anyhow::Result<()> {
        self.poll.poll(&mut self.events, Some(STEP))?;
        for event in &self.events {
            let index = event.token().0;
            let connection = self.connections.get_mut(index).context("an unknown connection")?;
            if event.is_writable() {
                connection.send()?;
            }
            connection.receive()?;
            if connection.asked.is_none() {
                let length = self.door.aside(&connection.answer, &mut connection.owed)?;
                connection.answer.drain(..length);
                connection.send()?;
            }
            let Some((length, outcome)) = self.door.answer(&connection.answer, &mut connection.owed)? else {
                continue;
            };
            let (stretch, due) = connection.asked.take().context("an answer to nothing")?;
            connection.answer.drain(..length);
            // HTTP/2 says things about the connection between answers.
            ensure!(
                connection.answer.is_empty() || self.door == Door::Grpc,
                "more than the answer to one request"
            );
            self.idle.push(index);
            let late = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
            let tally = stretches[stretch].of(due);
            match outcome {
                Outcome::Decided => tally.decided.saturating_record(late),
                Outcome::Shed => tally.shed.saturating_record(late),
                Outcome::Other => tally.others += 1,
            }
        }
        Ok(())
    }
}

impl Demand {
    const fn time(self) -> Duration {
        match self {
            Demand::Closed { time, .. } | Demand::Open { time, .. } => time,
        }
    }
}

/// What came of one demand, so far.
struct Stretch {
    start: Instant,
    window: Duration,
    windows: Vec<Tally>,
}

impl Stretch {
    fn new(demand: Demand, window: Duration) -> anyhow::Result<Self> {
        let count = demand.time().as_micros().div_ceil(window.as_micros()).max(1);
        let windows = (0..count).map(|_| Tally::new()).collect::<Result<_, _>>()?;
        Ok(Self { start: Instant::now(), window, windows })
    }

    /// What came of those that were due then.
    fn of(&mut self, due: Instant) -> &mut Tally {
        let window = due.saturating_duration_since(self.start).as_micros() / self.window.as_micros();
        let last = self.windows.len() - 1;
        &mut self.windows[usize::try_from(window).unwrap_or(last).min(last)]
    }
}

impl Connection {
    fn send(&mut self) -> anyhow::Result<()> {
        loop {
            let is_owed = !self.owed.is_empty();
            let rest = match self.request.bytes.get(self.sent..) {
                _ if is_owed => &self.owed[..],
                Some(rest) if self.asked.is_some() && !rest.is_empty() => rest,
                _ => break,
            };
            match self.stream.write(rest) {
                Ok(0) => bail!("the server hung up"),
                Ok(count) if is_owed => drop(self.owed.drain(..count)),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("the server hung up"),
            }
        }
        Ok(())
    }

    /// Reads what there is.
    fn receive(&mut self) -> anyhow::Result<()> {
        loop {
            ensure!(self.answer.len() < MAX_ANSWER_BYTES, "an answer of more than {MAX_ANSWER_BYTES} bytes");
            let filled = self.answer.len();
            self.answer.resize(filled + READ_BYTES, 0);
            let read = self.stream.read(&mut self.answer[filled..]);
            self.answer.truncate(filled + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => bail!("the server hung up"),
                // What came whole is mostly all there is, and looking again costs as much as the answer.
                Ok(count) if count < READ_BYTES => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("the server hung up"),
            }
        }
    }
}
