//! A long line in Redis: its memory, what Redis has to do for it, and how long another node takes to have it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, ensure};
use tidegate_bench::report::{Cell, Table};
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::{
    Answer, Command, Identity, QueueNumber, RoomName, Settings, Spec, Ticket, Visitor,
};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_redis::{RedisRoomLog, RedisSettings};
use tidegate_store::rooms::shared::{NodeId, SharedOptions, SharedRooms};
use tidegate_store::rooms::{Clock, RoomError, RoomStore};
use tidegate_testkit::{RedisOptions, RedisServer, Reply};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Joins that are under way at one time.
const AT_ONCE: u64 = 1_024;
/// Joins and polls that Redis is watched during, when the line is as long as it is to be.
const FURTHER: u64 = 50_000;
/// How long it is watched while nobody asks anything.
const IDLE: Duration = Duration::from_secs(5);
/// How long anything may take at all.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(10);

/// What has to be known to read the table.
pub(crate) const NOTE: &str = "line: joins by 1,024 tasks over three nodes; bytes are used_memory of Redis beyond that of an empty room; \
    polls are early ones, one at a time; takeover is from the end of a keeper that says nothing, with a lease of 3 s, to the next number";

type Rooms = Arc<SharedRooms<RedisRoomLog>>;

/// Rows for lines of so many visitors, with and without something that names each of them.
pub(crate) async fn measure(lengths: &[u64]) -> anyhow::Result<Table> {
    let mut table = Table::new(
        "three nodes at one Redis, everybody waits in one room",
        &[
            "visitors",
            "named",
            "joins/s",
            "bytes each",
            "log only",
            "idle, cmd/s",
            "joins, cmd/s",
            "cmd each",
            "polls/s",
            "cmd each",
            "a node more, s",
            "takeover, s",
        ],
    );
    for length in lengths {
        for is_named in [true, false] {
            table.row(Line::start().await?.measure(*length, is_named).await?);
        }
    }
    Ok(table)
}

/// The nodes and the room that all wait in.
struct Line {
    server: RedisServer,
    settings: RedisSettings,
    nodes: Vec<Rooms>,
    room: RoomName,
}

impl Line {
    async fn start() -> anyhow::Result<Self> {
        let options = RedisOptions::new().setting("appendonly", "yes").setting("appendfsync", "everysec");
        let server = RedisServer::with(&options);
        let settings = RedisSettings::parse(&server.url())?.with_call_deadline(Duration::from_secs(5))?;
        let room = RoomName::new("sale").map_err(|error| anyhow!("{error}"))?;
        let mut line = Self { server, settings, nodes: Vec::new(), room };
        for number in 1..=3 {
            let node = line.node(number)?;
            line.nodes.push(node);
        }
        let release = Quota::new(Algorithm::TokenBucket, 1, Micros::from_secs(60), None)?;
        let settings = Settings::new(Spec::new(0, release))?;
        line.nodes[0].put(&line.room, &settings).await?;
        let began = Instant::now();
        for node in &line.nodes {
            while let Err(error) = node.status(&line.room).await {
                ensure!(began.elapsed() < PATIENCE, "a node does not know the room: {error}");
                sleep(PAUSE).await;
            }
        }
        Ok(line)
    }

    fn node(&self, number: u64) -> anyhow::Result<Rooms> {
        let log = RedisRoomLog::new(&self.settings, clock())?;
        Ok(Arc::new(SharedRooms::new(log, NodeId(number), clock(), SharedOptions::default())))
    }

    async fn measure(mut self, length: u64, is_named: bool) -> anyhow::Result<[Cell; 12]> {
        let empty = self.memory()?;
        let began = Instant::now();
        self.join(1..=length, is_named).await?;
        let joined = began.elapsed();
        // A snapshot that is being written takes the place of what it stands for.
        sleep(Duration::from_secs(1)).await;
        let bytes = (self.memory()? - empty) as f64 / length as f64;
        let idle = {
            let before = self.commands()?;
            sleep(IDLE).await;
            (self.commands()? - before) as f64 / IDLE.as_secs_f64()
        };
        let (began, before) = (Instant::now(), self.commands()?);
        self.join(length + 1..=length + FURTHER, is_named).await?;
        let (join_commands, join_time) = (self.commands()? - before, began.elapsed());
        let (began, before) = (Instant::now(), self.commands()?);
        self.poll(length).await?;
        let (poll_commands, poll_time) = (self.commands()? - before, began.elapsed());
        let loaded = self.another_node(length).await?;
        let log_bytes = self.log_bytes()? as f64 / (length + FURTHER) as f64;
        let taken = self.takeover().await?;
        let of = |count: u64, time: Duration| count as f64 / time.as_secs_f64();
        Ok([
            Cell::Figure(length as f64, 0),
            Cell::text(if is_named { "yes" } else { "no" }),
            Cell::Figure(of(length, joined), 0),
            Cell::Figure(bytes, 1),
            Cell::Figure(log_bytes, 1),
            Cell::Figure(idle, 1),
            Cell::Figure(of(join_commands, join_time), 0),
            Cell::Figure(join_commands as f64 / FURTHER as f64, 4),
            Cell::Figure(of(FURTHER, poll_time), 0),
            Cell::Figure(poll_commands as f64 / FURTHER as f64, 4),
            Cell::Figure(loaded.as_secs_f64(), 2),
            Cell::Figure(taken.as_secs_f64(), 2),
        ])
    }

    /// Visitors come, some at one time, to one node after the other.
    async fn join(&self, numbers: std::ops::RangeInclusive<u64>, is_named: bool) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        for task in 0..AT_ONCE {
            let node = Arc::clone(&self.nodes[task as usize % self.nodes.len()]);
            let (room, first, last) = (self.room.clone(), *numbers.start() + task, *numbers.end());
            tasks.spawn(async move {
                for number in (first..=last).step_by(AT_ONCE as usize) {
                    node.ask(&room, &Command::Join(visitor(number, is_named))).await?;
                }
                Ok::<_, RoomError>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }

    /// Visitors poll as early as they can, spread over the line, each at another node.
    async fn poll(&self, length: u64) -> anyhow::Result<()> {
        let epoch = self.nodes[0].status(&self.room).await?.status.epoch;
        for poll in 0..FURTHER {
            let ticket = ticket(epoch, 1 + poll * length / FURTHER);
            let node = &self.nodes[poll as usize % self.nodes.len()];
            let told = node.ask(&self.room, &Command::Poll(ticket)).await?;
            ensure!(matches!(told.answer, Answer::Waiting(_)), "{told:?}");
        }
        Ok(())
    }

    /// Until one more node tells how a visitor stands.
    async fn another_node(&self, length: u64) -> anyhow::Result<Duration> {
        let epoch = self.nodes[0].status(&self.room).await?.status.epoch;
        let (node, began) = (self.node(4)?, Instant::now());
        loop {
            let looked = node.look(&self.room, &ticket(epoch, length)).await;
            match looked {
                Ok(_) => return Ok(began.elapsed()),
                Err(error) => ensure!(began.elapsed() < PATIENCE, "a node does not load the line: {error}"),
            }
            sleep(PAUSE).await;
        }
    }

    /// From the end of the keeper, which says nothing, to the next number.
    async fn takeover(&mut self) -> anyhow::Result<Duration> {
        drop(self.nodes.remove(0));
        let began = Instant::now();
        loop {
            match self.nodes[0].ask(&self.room, &Command::Join(visitor(u64::MAX, true))).await {
                Ok(_) => return Ok(began.elapsed()),
                Err(error) => ensure!(began.elapsed() < PATIENCE, "nobody takes the room: {error}"),
            }
            sleep(PAUSE).await;
        }
    }

    fn memory(&self) -> anyhow::Result<u64> {
        self.info("memory", "used_memory")
    }

    fn commands(&self) -> anyhow::Result<u64> {
        self.info("stats", "total_commands_processed")
    }

    fn info(&self, section: &str, name: &str) -> anyhow::Result<u64> {
        Ok(self.server.info(section).get(name).with_context(|| format!("Redis tells no {name}"))?.parse()?)
    }

    /// What Redis keeps for the room, in bytes, by its own count.
    fn log_bytes(&self) -> anyhow::Result<u64> {
        let mut client = self.server.client();
        let keys = client.command(&["KEYS", "*"]);
        let of = |key: &Reply| client.command(&["MEMORY", "USAGE", &key.text(), "SAMPLES", "0"]).integer();
        Ok(u64::try_from(keys.items().iter().map(of).sum::<i64>())?)
    }
}

fn clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    })
}

fn visitor(number: u64, is_named: bool) -> Visitor {
    let identity = is_named.then(|| Identity::new(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    Visitor { identity, prefix: None }
}

/// One of the line. Numbers are given in the order of coming: who has it plays no part here.
fn ticket(epoch: u32, number: u64) -> Ticket {
    Ticket { epoch, number: QueueNumber::new(number), visitor: Visitor::default() }
}
