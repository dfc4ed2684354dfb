//! What is measured, without the tables.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tidegate_core::room::RoomName;
use tidegate_core::time::Timestamp;
use tidegate_redis::{RedisRoomLog, RedisSettings};
use tidegate_store::rooms::shared::{Append, Appended, Heard, NodeId, RoomLog, Taken};
use tidegate_testkit::RedisServer;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout};

/// A lease that does not end meanwhile.
const LEASE: Duration = Duration::from_secs(600);
/// How long an answer may take at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Nothing is under way any more when nothing came for so long.
const QUIET: Duration = Duration::from_millis(500);

/// A row of figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// How many in a second.
    pub(crate) rate: f64,
    /// How long half of them, and 99 of 100, took at most, in µs.
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    /// CPU of the server for each, in µs.
    pub(crate) server_cpu: f64,
}

impl Figures {
    fn of(mut took: Vec<u64>, wall: Duration, server_cpu: u64) -> Self {
        took.sort_unstable();
        let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied().unwrap_or_default();
        let count = took.len().max(1) as f64;
        Self {
            rate: count / wall.as_secs_f64(),
            p50: at(0.5),
            p99: at(0.99),
            server_cpu: server_cpu as f64 / count,
        }
    }
}

/// Two nodes at one server, which both listen.
pub(crate) struct Nodes {
    server: RedisServer,
    logs: [RedisRoomLog; 2],
    heard: [Receiver<Heard>; 2],
}

const IDS: [NodeId; 2] = [NodeId(1), NodeId(2)];

impl Nodes {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let server = RedisServer::start();
        let settings = RedisSettings::parse(&server.url())?.with_call_deadline(Duration::from_secs(5))?;
        let log = || RedisRoomLog::new(&settings, Arc::new(|| Timestamp::from_micros(1)));
        let logs = [log()?, log()?];
        let mut heard = [logs[0].listen(IDS[0]), logs[1].listen(IDS[1])];
        for heard in &mut heard {
            let first = timeout(PATIENCE, heard.recv()).await.context("a node does not come to listen")?;
            ensure!(first == Some(Heard::Up), "{first:?} instead of a connection");
        }
        Ok(Self { server, logs, heard })
    }

    /// A keeper of so many rooms appends one entry of `bytes` at a time in each, and tells as many bytes with it, which both nodes hear.
    pub(crate) async fn appends(
        &mut self,
        rooms: u64,
        bytes: usize,
        span: Duration,
    ) -> anyhow::Result<Figures> {
        let cpu = self.server.cpu_micros();
        let begun = Instant::now();
        let keepers: Vec<_> =
            (0..rooms).map(|room| tokio::spawn(keep(self.logs[0].clone(), room, bytes, span))).collect();
        let mut took = Vec::new();
        let kept = async {
            for keeper in keepers {
                took.extend(keeper.await??);
            }
            anyhow::Ok(())
        };
        let [one, other] = &mut self.heard;
        tokio::select! {
            kept = kept => kept?,
            () = drain(one) => {}
            () = drain(other) => {}
        }
        let figures = Figures::of(took, begun.elapsed(), self.server.cpu_micros() - cpu);
        self.settle().await;
        Ok(figures)
    }

    /// One node sends `bytes` to the other, which sends them back: so many at once, `count` in all.
    pub(crate) async fn round_trips(
        &mut self,
        at_once: u64,
        bytes: usize,
        count: u64,
    ) -> anyhow::Result<Figures> {
        let cpu = self.server.cpu_micros();
        let begun = Instant::now();
        let [here, there] = &mut self.heard;
        let [near, far] = &self.logs;
        let echo = async {
            while let Some(heard) = there.recv().await {
                if let Heard::Message(message) = heard {
                    far.send(Some(IDS[0]), message);
                }
            }
        };
        let ask = async {
            let mut took = Vec::new();
            let send = || {
                let mut message = vec![0; bytes.max(8)];
                let now = begun.elapsed().as_micros() as u64;
                message[..8].copy_from_slice(&now.to_le_bytes());
                near.send(Some(IDS[1]), message.into())
            };
            for _ in 0..at_once {
                ensure!(send(), "the message was not taken");
            }
            while (took.len() as u64) < count {
                match timeout(PATIENCE, here.recv()).await.context("a message does not come back")? {
                    Some(Heard::Message(message)) => {
                        let sent = message.first_chunk::<8>().context("a message is too short")?;
                        took.push(
                            (begun.elapsed().as_micros() as u64).saturating_sub(u64::from_le_bytes(*sent)),
                        );
                        ensure!(send(), "the message was not taken");
                    }
                    other => bail!("{other:?} instead of a message"),
                }
            }
            Ok(took)
        };
        let took = tokio::select! {
            took = ask => took?,
            () = echo => bail!("a node does not listen any more"),
        };
        let figures = Figures::of(took, begun.elapsed(), self.server.cpu_micros() - cpu);
        self.settle().await;
        Ok(figures)
    }

    /// Waits until nothing more comes of what was measured.
    async fn settle(&mut self) {
        for heard in &mut self.heard {
            while timeout(QUIET, heard.recv()).await.is_ok_and(|heard| heard.is_some()) {}
        }
    }
}

/// Hears everything and does nothing.
async fn drain(heard: &mut Receiver<Heard>) {
    while heard.recv().await.is_some() {}
}

/// Keeps a room, and says how long each append took, in µs.
async fn keep(log: RedisRoomLog, number: u64, bytes: usize, span: Duration) -> anyhow::Result<Vec<u64>> {
    let room = RoomName::new(&format!("room-{number}-{}", fastrand::u32(..)))
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let Taken::Yours(head) = log.take(&room, IDS[0], LEASE, true).await? else { bail!("{room} is kept") };
    let (entries, tell) = ([vec![7; bytes].into()], vec![9; bytes].into());
    let mut took = Vec::new();
    let begun = Instant::now();
    let mut after = 0;
    while begun.elapsed() < span {
        let sent = Instant::now();
        let append = Append { term: head.term, after, entries: &entries, tell: &tell, lease: LEASE };
        let outcome = log.append(&room, append).await?;
        ensure!(outcome == Appended::Kept, "{outcome:?}");
        took.push(sent.elapsed().as_micros() as u64);
        after += 1;
    }
    log.remove(&room, head.term).await?;
    Ok(took)
}
