//! One connection and those who wait for it: while one batch is under way, others gather, and all go out in the next.
//! Nobody waits for a timer: a lone check is sent at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redis::{Cmd, Value};
use tidegate_core::time::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::call::Call;
use crate::link::{Batch, Connector, Lane, Link, LinkError, Refusal, Replies};
use crate::order::{Failure, Waiting};
use crate::script::Scripts;
use crate::witness::Witnesses;

/// Orders that may wait for one connection; beyond, callers are told so at once.
const MAX_WAITING: usize = 16_384;
/// The most tasks of one batch.
const MAX_BATCH: usize = 2_048;

/// What a driver does for somebody.
#[derive(Debug)]
pub(crate) enum Task {
    /// Decides, together with others.
    Order(Waiting),
    /// Runs commands of its own.
    Raw(Raw),
}

/// Commands of their own: all may be sent again where the server refuses one of them.
pub(crate) struct Raw {
    /// Makes the commands: whether scripts are called by name, and the deadline in the server's µs.
    pub(crate) commands: Arc<dyn Fn(&Scripts, bool, u64) -> Vec<Cmd> + Send + Sync>,
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
}

impl Common {
    pub(crate) fn new(options: DriverOptions) -> Self {
        Self {
            scripts: Scripts::new(),
            witnesses: options.witness.then(Witnesses::new),
            losses: AtomicU64::new(0),
            options,
            counters: Counters::default(),
        }
    }
}

/// How orders are put together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DriverOptions {
    /// Equal orders on one bucket ride as one.
    pub(crate) coalesce: bool,
    /// Many orders go out in one call of the script.
    pub(crate) batch: bool,
    /// How full buckets were seen is remembered.
    pub(crate) witness: bool,
    /// Scripts refuse themselves when they are late. Only where the server's clock decides.
    pub(crate) deadlines: bool,
    pub(crate) slack_ms: u64,
}

/// What happened, since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) orders: AtomicU64,
    pub(crate) script_calls: AtomicU64,
    pub(crate) plans_sent: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) connects: AtomicU64,
    pub(crate) lost: AtomicU64,
}

/// What a store did since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedisStats {
    /// Checks and looks that were sent.
    pub plans: u64,
    /// What was sent for them: equal checks of one bucket count once.
    pub plans_sent: u64,
    /// Calls of the deciding script.
    pub script_calls: u64,
    /// Round trips.
    pub round_trips: u64,
    /// Connections that were made.
    pub connects: u64,
    /// Connections that were lost.
    pub losses: u64,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> RedisStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RedisStats {
            plans: read(&self.orders),
            plans_sent: read(&self.plans_sent),
            script_calls: read(&self.script_calls),
            round_trips: read(&self.batches),
            connects: read(&self.connects),
            losses: read(&self.lost),
        }
    }

    fn add(counter: &AtomicU64, number: usize) {
        counter.fetch_add(number as u64, Ordering::Relaxed);
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
                self.lane.changed().await;
                Woken::Changed
            } else {
                let Self { lane, waiting, .. } = &mut self;
                tokio::select! {
                    biased;
                    count = waiting.recv_many(&mut tasks, MAX_BATCH) => Woken::By(count),
                    () = lane.changed() => Woken::Changed,
                }
            };
            match woken {
                Woken::By(0) => return,
                Woken::By(_) if was_up => self.work(&mut tasks).await,
                Woken::By(_) => refuse(&mut tasks, &self.why_not()),
                Woken::Changed => {
                    patient = self.changed(was_up);
                    if !patient && self.lane.link().is_none() {
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
            warn_of(link);
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
        let link = self.lane.link().filter(|_| self.common.options.deadlines);
        let clock = link.and_then(|link| link.clock().server_at_least(deadline));
        let batch = round.batch(&self.common, by_name, clock.map_or(0, Timestamp::as_micros));
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

/// Says once what an operator should know of a server.
fn warn_of(link: &Link) {
    let (server, facts) = (link.address(), link.facts());
    if facts.evicts() == Some(true) {
        tracing::warn!(
            %server,
            "the store may evict buckets, and each eviction forgets up to a burst: set maxmemory-policy noeviction"
        );
    }
    if let Some(advisory) = facts.lua_advisory() {
        tracing::warn!(%server, "{advisory}");
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

/// What goes out in one batch.
#[derive(Debug, Default)]
struct Round {
    calls: Vec<(Call, bool)>,
    /// Commands of their own, and how many replies they get.
    raws: Vec<(Raw, usize)>,
    deadline: Option<Instant>,
}

impl Round {
    /// Puts together what waits, in the order it came. Who has waited too long is told that nothing was sent.
    fn gather(tasks: &mut Vec<Task>, common: &Common) -> Self {
        let mut round = Self::default();
        let now = Instant::now();
        let epoch = common.losses.load(Ordering::Acquire);
        let too_late = || Failure::NotDone("the store was too busy to be asked in time".to_owned());
        for task in tasks.drain(..) {
            match task {
                Task::Order(waiting) if waiting.order.deadline <= now => {
                    drop(waiting.reply.send(Err(too_late())))
                }
                Task::Raw(raw) if raw.deadline <= now => drop(raw.reply.send(Err(too_late()))),
                Task::Order(mut waiting) => {
                    if let Some(witnesses) = &common.witnesses {
                        witnesses.attach(&mut waiting.order, epoch);
                    }
                    round.add(waiting, common.options, epoch);
                }
                Task::Raw(raw) => {
                    round.expect(raw.deadline);
                    round.raws.push((raw, 0));
                }
            }
        }
        let orders: usize = round.calls.iter().map(|(call, _)| call.orders()).sum();
        Counters::add(&common.counters.orders, orders);
        round
    }

    fn add(&mut self, waiting: Waiting, options: DriverOptions, epoch: u64) {
        self.expect(waiting.order.deadline);
        let order = &waiting.order;
        // The newest call of its slot; a server that is no Cluster has one slot.
        let asking = order.asking;
        let open =
            self.calls.iter_mut().rev().find(|(call, asks)| *asks == asking && call.slot() == order.slot);
        match open.filter(|(call, _)| options.batch && call.takes(order)) {
            Some((call, _)) => call.add(waiting),
            None => {
                let mut call = Call::new(order.slot, epoch, options.coalesce);
                call.add(waiting);
                self.calls.push((call, asking));
            }
        }
    }

    fn expect(&mut self, deadline: Instant) {
        self.deadline = Some(self.deadline.map_or(deadline, |known| known.min(deadline)));
    }

    fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.raws.is_empty()
    }

    /// Until when the first of them wants its answer.
    fn deadline(&self) -> Instant {
        self.deadline.unwrap_or_else(Instant::now)
    }

    fn batch(&mut self, common: &Common, by_name: bool, deadline: u64) -> Batch {
        let mut batch = Batch::new();
        for (call, asking) in &self.calls {
            if *asking {
                batch.push(&redis::cmd("ASKING"));
            }
            Counters::add(&common.counters.script_calls, 1);
            Counters::add(&common.counters.plans_sent, call.plans());
            batch.push(&call.command(&common.scripts.decide, by_name, deadline, common.options.slack_ms));
        }
        for (raw, count) in &mut self.raws {
            let commands = (raw.commands)(&common.scripts, by_name, deadline);
            *count = commands.len();
            for command in commands {
                if raw.asking {
                    batch.push(&redis::cmd("ASKING"));
                }
                batch.push(&command);
            }
        }
        batch
    }

    fn fail(self, failure: &Failure) {
        self.calls.into_iter().for_each(|(call, _)| call.fail(failure));
        for (raw, _) in self.raws {
            let _ = raw.reply.send(Err(failure.clone()));
        }
    }

    /// Hands out the replies. What the server did not know the script of is left over.
    fn answer(self, replies: Replies, by_name: bool) -> Answered {
        let mut answered = Answered::default();
        let mut replies = replies.into_iter();
        let mut next = |asking: bool| {
            if asking {
                replies.next();
            }
            replies.next().unwrap_or_else(|| Err(Refusal::Other("a reply is missing".into())))
        };
        for (call, asking) in self.calls {
            match next(asking) {
                Ok(value) => answered.now = call.answer(&value).or(answered.now),
                Err(Refusal::NoScript) if by_name => answered.unknown.calls.push((call, asking)),
                Err(refusal) => {
                    if belongs_elsewhere(&refusal) {
                        call.give_back(&refusal);
                    } else {
                        call.fail(&failure_of(&refusal));
                    }
                }
            }
        }
        for (raw, count) in self.raws {
            let replies: Replies = (0..count).map(|_| next(raw.asking)).collect();
            if by_name && replies.iter().any(|reply| matches!(reply, Err(Refusal::NoScript))) {
                answered.unknown.raws.push((raw, 0));
            } else {
                let _ = raw.reply.send(Ok(replies));
            }
        }
        answered.unknown.deadline = self.deadline;
        answered
    }
}

/// What came of a round.
#[derive(Debug, Default)]
struct Answered {
    unknown: Round,
    /// The time that a script read.
    now: Option<Timestamp>,
}

/// Whether a plan refused so is to be sent to another node, or again.
pub(crate) const fn belongs_elsewhere(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Moved { .. } | Refusal::Ask { .. } | Refusal::TryAgain)
}

/// What a refusal means for a plan: none of them comes after a write.
pub(crate) fn failure_of(refusal: &Refusal) -> Failure {
    let why = refusal.to_string();
    if refusal.is_misconfigured() {
        return Failure::Misconfigured(why);
    }
    match refusal {
        Refusal::Script(_) | Refusal::WrongType | Refusal::CrossSlot => Failure::Garbled(why),
        _ => Failure::NotDone(why),
    }
}
