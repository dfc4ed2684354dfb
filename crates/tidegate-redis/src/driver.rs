//! One connection and those who wait for it: while one batch is under way, others gather, and all go out in the next.
//! Nobody waits for a timer: a lone check is sent at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redis::{Cmd, Value};
use tidegate_core::time::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::key::Packing;
use crate::link::{Connector, Lane, LinkError, Refusal};
use crate::order::{Failure, Waiting};
use crate::round::{Answered, Round};
use crate::script::Scripts;
use crate::stats::{Counters, Warnings};
use crate::witness::Witnesses;

/// Orders that may wait for one connection; beyond, callers are told so at once.
const MAX_WAITING: usize = 16_384;
/// The most tasks of one batch.
const MAX_BATCH: usize = 2_048;

/// What a driver does for somebody.
#[derive(Debug)]
pub(crate) enum Task {
    /// Decides, together with others.
    Order(Box<Waiting>),
    /// Runs commands of its own.
    Raw(Raw),
}

/// Makes commands at the moment they are sent.
pub(crate) type Commands = Arc<dyn Fn(&Sending<'_>) -> Vec<Cmd> + Send + Sync>;

/// What is known of the server that commands are being made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending<'a> {
    pub(crate) scripts: &'a Scripts,
    /// Whether it is believed to know the scripts: they are called by name then.
    pub(crate) by_name: bool,
    /// Until when the answer is wanted, in the server's µs; 0 where that is not known.
    pub(crate) deadline: u64,
    /// Which run of the server this is, where it would say.
    pub(crate) run_id: Option<&'a str>,
}

impl Task {
    fn deadline(&self) -> Instant {
        match self {
            Task::Order(waiting) => waiting.order.deadline,
            Task::Raw(raw) => raw.deadline,
        }
    }
}

/// Commands of their own: all may be sent again where the server refuses one of them.
pub(crate) struct Raw {
    pub(crate) commands: Commands,
    pub(crate) asking: bool,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<Vec<Result<Value, Refusal>>, Failure>>,
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Raw").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// What all drivers of a store have in common.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) scripts: Scripts,
    pub(crate) witnesses: Option<Witnesses>,
    /// How often a connection was made again after it was lost.
    pub(crate) losses: AtomicU64,
    pub(crate) options: DriverOptions,
    pub(crate) counters: Counters,
    warnings: Warnings,
}

impl Common {
    pub(crate) fn new(options: DriverOptions) -> Self {
        Self {
            scripts: Scripts::new(options.packing),
            witnesses: options.witness.then(Witnesses::new),
            losses: AtomicU64::new(0),
            options,
            counters: Counters::default(),
            warnings: Warnings::default(),
        }
    }
}

/// How orders are put together.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches that have nothing to do with one another")]
pub(crate) struct DriverOptions {
    /// Equal orders on one bucket ride as one.
    pub(crate) coalesce: bool,
    /// Many orders go out in one call of the script.
    pub(crate) batch: bool,
    /// How buckets share hashes, where they do.
    pub(crate) packing: Option<Packing>,
    /// How full buckets were seen is remembered.
    pub(crate) witness: bool,
    /// Scripts refuse themselves when they are late. Only where the server's clock decides.
    pub(crate) deadlines: bool,
    pub(crate) slack_ms: u64,
}

impl DriverOptions {
    /// For those who have no orders.
    pub(crate) const fn for_commands() -> Self {
        Self { coalesce: false, batch: false, packing: None, witness: false, deadlines: false, slack_ms: 0 }
    }
}

/// How to hand work to a driver.
#[derive(Clone, Debug)]
pub(crate) struct DriverHandle {
    tasks: mpsc::Sender<Task>,
    tried: watch::Receiver<bool>,
}

impl DriverHandle {
    /// Hands over a task; gives it back where too many wait already, or the driver has ended.
    pub(crate) fn submit(&self, task: Task) -> Result<(), Failure> {
        self.tasks.try_send(task).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Failure::NotDone("too many calls wait for the store".to_owned())
            }
            mpsc::error::TrySendError::Closed(_) => Failure::NotDone("the store is being closed".to_owned()),
        })
    }

    /// Waits until the first connection stands or could not be made.
    pub(crate) async fn tried(&self) {
        let _ = self.tried.clone().wait_for(|tried| *tried).await;
    }
}

/// Starts a driver. It ends when the last handle is dropped.
pub(crate) fn start(connector: Connector, common: Arc<Common>) -> DriverHandle {
    let (tasks, waiting) = mpsc::channel(MAX_WAITING);
    let (told, tried) = watch::channel(false);
    let lane = Lane::new(connector, fastrand::Rng::new());
    let driver = Driver { lane, common, waiting, told, connected_before: false };
    tokio::spawn(driver.run());
    DriverHandle { tasks, tried }
}

struct Driver {
    lane: Lane,
    common: Arc<Common>,
    waiting: mpsc::Receiver<Task>,
    told: watch::Sender<bool>,
    connected_before: bool,
}

/// Waits for either. Without a connection, however many ask, getting one comes first.
async fn first_of(
    is_up: bool,
    asked: impl Future<Output = usize>,
    changed: impl Future<Output = ()>,
) -> Woken {
    if is_up {
        tokio::select! {
            biased;
            count = asked => Woken::By(count),
            () = changed => Woken::Changed,
        }
    } else {
        tokio::select! {
            biased;
            () = changed => Woken::Changed,
            count = asked => Woken::By(count),
        }
    }
}

/// What woke a driver.
enum Woken {
    /// Somebody wants something, or, with nothing, the last handle is gone.
    By(usize),
    /// The connection came or went, or could not be made.
    Changed,
}

impl Driver {
    async fn run(mut self) {
        let mut tasks = Vec::with_capacity(MAX_BATCH);
        // At the start and right after a loss, callers wait for the first attempt: mostly the server is there.
        let mut patient = true;
        loop {
            tasks.clear();
            let was_up = self.lane.link().is_some();
            let woken = if patient && !was_up {
                self.hold(&mut tasks).await
            } else {
                let Self { lane, waiting, .. } = &mut self;
                let (changed, asked) = (lane.changed(), waiting.recv_many(&mut tasks, MAX_BATCH));
                first_of(was_up, asked, changed).await
            };
            match woken {
                Woken::By(0) => return,
                Woken::By(_) if was_up => self.work(&mut tasks).await,
                Woken::By(_) => refuse(&mut tasks, &self.why_not()),
                Woken::Changed => {
                    patient = self.changed(was_up);
                    if self.lane.link().is_some() {
                        self.work(&mut tasks).await;
                    } else if !patient {
                        while let Ok(task) = self.waiting.try_recv() {
                            tasks.push(task);
                        }
                        refuse(&mut tasks, &self.why_not());
                    }
                }
            }
            patient |= was_up && self.lane.link().is_none();
        }
    }

    /// Waits for the attempt to connect, and keeps those who come meanwhile, each until its deadline.
    async fn hold(&mut self, held: &mut Vec<Task>) -> Woken {
        loop {
            let Self { lane, waiting, .. } = self;
            let next = held.iter().map(Task::deadline).min();
            let (has_room, room) = (held.len() < MAX_BATCH, MAX_BATCH - held.len());
            tokio::select! {
                biased;
                () = lane.changed() => return Woken::Changed,
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    let now = Instant::now();
                    let mut late: Vec<Task> = held.extract_if(.., |task| task.deadline() <= now).collect();
                    refuse(&mut late, &self.why_not());
                }
                count = waiting.recv_many(held, room), if has_room => if count == 0 {
                    return Woken::By(0);
                },
            }
        }
    }

    /// Takes note of a connection that came, went, or could not be made; says whether to wait for the next attempt.
    fn changed(&mut self, was_up: bool) -> bool {
        let counters = &self.common.counters;
        let Some(link) = self.lane.link() else {
            Counters::add(&counters.lost, usize::from(was_up));
            let _ = self.told.send(true);
            return was_up;
        };
        Counters::add(&counters.connects, 1);
        if std::mem::replace(&mut self.connected_before, true) {
            // Whatever is on the other side may have forgotten what it held.
            self.common.losses.fetch_add(1, Ordering::AcqRel);
        } else {
            self.common.warnings.give(link);
        }
        let _ = self.told.send(true);
        true
    }

    fn why_not(&self) -> Failure {
        match self.lane.reason() {
            Some(reason) if reason.is_misconfigured() => Failure::Misconfigured(reason.to_string()),
            Some(reason) => Failure::NotDone(reason.to_string()),
            None => Failure::NotDone("the store is not connected".to_owned()),
        }
    }

    async fn work(&mut self, tasks: &mut Vec<Task>) {
        let round = Round::gather(tasks, &self.common);
        if round.is_empty() {
            return;
        }
        if let Ok(unknown) = self.send(round, true).await
            && !unknown.is_empty()
        {
            let _ = self.send(unknown, false).await;
        }
        if self.lane.link().is_none() {
            Counters::add(&self.common.counters.lost, 1);
        }
    }

    /// Sends a round; gives back what the server did not know the script of.
    async fn send(&mut self, mut round: Round, by_name: bool) -> Result<Round, LinkError> {
        let sent = Instant::now();
        let deadline = round.deadline();
        let deadlines = self.common.options.deadlines;
        let link = self.lane.link();
        let run_id = link.as_ref().and_then(|link| link.facts().run_id.clone());
        let clock = link.filter(|_| deadlines).and_then(|link| link.clock().server_at_least(deadline));
        let batch = round.batch(
            &self.common,
            Sending {
                scripts: &self.common.scripts,
                by_name,
                deadline: clock.map_or(0, Timestamp::as_micros),
                run_id: run_id.as_deref(),
            },
        );
        Counters::add(&self.common.counters.batches, 1);
        match self.lane.call(&batch, deadline).await {
            Ok(replies) => {
                let received = Instant::now();
                let Answered { unknown, now } = round.answer(replies, by_name);
                if let (Some(now), Some(link)) = (now, self.lane.link()) {
                    link.clock_mut().note(sent, received, now);
                }
                Ok(unknown)
            }
            Err(error) => {
                let failure = match &error {
                    LinkError::NotSent(why) => Failure::NotDone(why.to_string()),
                    LinkError::Lost(_) | LinkError::TimedOut => Failure::Unknown,
                };
                round.fail(&failure);
                Err(error)
            }
        }
    }
}

fn refuse(tasks: &mut Vec<Task>, failure: &Failure) {
    for task in tasks.drain(..) {
        match task {
            Task::Order(waiting) => drop(waiting.reply.send(Err(failure.clone()))),
            Task::Raw(raw) => drop(raw.reply.send(Err(failure.clone()))),
        }
    }
}
