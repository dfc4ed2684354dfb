//! What goes out in one round trip: calls of the deciding script, and commands of their own.

use std::sync::atomic::Ordering;

use redis::{Cmd, cmd};
use tidegate_core::time::Timestamp;
use tokio::time::Instant;

use crate::call::Call;
use crate::driver::{Common, DriverOptions, Raw, Sending, Task};
use crate::link::{Batch, Refusal, Replies};
use crate::order::{Failure, Order, Waiting};
use crate::riders::Riders;
use crate::script::Scripts;
use crate::stats::Counters;
use crate::token_call::TokenCall;

/// The most calls of one batch that are for one kind of ask each.
const MAX_TOKEN_CALLS: usize = 4;

/// A call of one of the deciding scripts.
#[derive(Debug)]
enum AnyCall {
    Tokens(TokenCall),
    Mixed(Call),
}

impl AnyCall {
    fn slot(&self) -> u16 {
        match self {
            Self::Tokens(call) => call.slot(),
            Self::Mixed(call) => call.slot(),
        }
    }

    fn takes(&self, order: &Order) -> bool {
        match self {
            Self::Tokens(call) => call.takes(order),
            Self::Mixed(call) => call.takes(order),
        }
    }

    fn touches(&self, order: &Order) -> bool {
        match self {
            Self::Tokens(call) => call.touches(order),
            Self::Mixed(call) => call.touches(order),
        }
    }

    fn add(&mut self, waiting: Box<Waiting>) {
        match self {
            Self::Tokens(call) => call.add(waiting),
            Self::Mixed(call) => call.add(waiting),
        }
    }

    fn riders(&self) -> &Riders {
        match self {
            Self::Tokens(call) => call.riders(),
            Self::Mixed(call) => call.riders(),
        }
    }

    fn plans(&self) -> usize {
        match self {
            Self::Tokens(call) => call.plans(),
            Self::Mixed(call) => call.plans(),
        }
    }

    fn command(&self, scripts: &Scripts, by_name: bool, deadline: u64, slack_ms: u64) -> Cmd {
        match self {
            Self::Tokens(call) => call.command(&scripts.tokens, by_name, deadline, slack_ms),
            Self::Mixed(call) => call.command(&scripts.decide, by_name, deadline, slack_ms),
        }
    }

    fn into_riders(self) -> (Riders, Vec<usize>) {
        match self {
            Self::Tokens(call) => call.into_riders(),
            Self::Mixed(call) => call.into_riders(),
        }
    }
}

/// What goes out in one batch.
#[derive(Debug, Default)]
pub(crate) struct Round {
    calls: Vec<(AnyCall, bool)>,
    /// Commands of their own, and how many replies they get.
    raws: Vec<(Raw, usize)>,
    deadline: Option<Instant>,
}

impl Round {
    /// Puts together what waits, in the order it came. Who has waited too long is told that nothing was sent.
    pub(crate) fn gather(tasks: &mut Vec<Task>, common: &Common) -> Self {
        let mut round = Self::default();
        let now = Instant::now();
        let epoch = common.losses.load(Ordering::Acquire);
        let too_late = || Failure::NotDone("the store was too busy to be asked in time".to_owned());
        for task in tasks.drain(..) {
            match task {
                Task::Order(waiting) if waiting.order.deadline <= now => {
                    drop(waiting.reply.send(Err(too_late())));
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
        let orders: usize = round.calls.iter().map(|(call, _)| call.riders().len()).sum();
        Counters::add(&common.counters.orders, orders);
        round
    }

    fn add(&mut self, waiting: Box<Waiting>, options: DriverOptions, epoch: u64) {
        self.expect(waiting.order.deadline);
        let place = if options.batch { self.place_for(&waiting.order) } else { None };
        match place.and_then(|place| self.calls.get_mut(place)) {
            Some((call, _)) => call.add(waiting),
            None => {
                let call = self.new_call(&waiting, options, epoch);
                self.calls.push((call, waiting.order.asking));
                if let Some((call, _)) = self.calls.last_mut() {
                    call.add(waiting);
                }
            }
        }
    }

    /// The newest call that an order can join without overtaking another on the same bucket.
    fn place_for(&self, order: &Order) -> Option<usize> {
        for (place, (call, asking)) in self.calls.iter().enumerate().rev() {
            if *asking == order.asking && call.slot() == order.slot {
                if call.takes(order) {
                    return Some(place);
                }
                if call.touches(order) {
                    return None;
                }
            }
        }
        None
    }

    fn new_call(&self, waiting: &Waiting, options: DriverOptions, epoch: u64) -> AnyCall {
        let order = &waiting.order;
        let of_slot = self.calls.iter().filter(|(call, _)| call.slot() == order.slot);
        let tokens = of_slot.filter(|(call, _)| matches!(call, AnyCall::Tokens(_))).count();
        match order.as_tokens() {
            // A call has its price: beyond a few kinds of asks they are better off together.
            Some(ask) if options.packing.is_none() && tokens < MAX_TOKEN_CALLS => {
                AnyCall::Tokens(TokenCall::new(order.slot, epoch, options.coalesce, *ask))
            }
            _ => AnyCall::Mixed(Call::new(order.slot, epoch, options.coalesce, options.packing)),
        }
    }

    fn expect(&mut self, deadline: Instant) {
        self.deadline = Some(self.deadline.map_or(deadline, |known| known.min(deadline)));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.raws.is_empty()
    }

    /// Until when the first of them wants its answer.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline.unwrap_or_else(Instant::now)
    }

    pub(crate) fn batch(&mut self, common: &Common, sending: Sending<'_>) -> Batch {
        let Sending { scripts, by_name, deadline, .. } = sending;
        let mut batch = Batch::new();
        for (call, asking) in &self.calls {
            if *asking {
                batch.push(&cmd("ASKING"));
            }
            Counters::add(&common.counters.script_calls, 1);
            Counters::add(&common.counters.plans_sent, call.plans());
            batch.push(&call.command(scripts, by_name, deadline, common.options.slack_ms));
        }
        for (raw, count) in &mut self.raws {
            let commands = (raw.commands)(&sending);
            *count = commands.len();
            for command in commands {
                if raw.asking {
                    batch.push(&cmd("ASKING"));
                }
                batch.push(&command);
            }
        }
        batch
    }

    pub(crate) fn fail(self, failure: &Failure) {
        self.calls.into_iter().for_each(|(call, _)| call.into_riders().0.fail(failure));
        for (raw, _) in self.raws {
            let _ = raw.reply.send(Err(failure.clone()));
        }
    }

    /// Hands out the replies. What the server did not know the script of is left over.
    pub(crate) fn answer(self, replies: Replies, by_name: bool) -> Answered {
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
                Ok(value) => {
                    let (riders, widths) = call.into_riders();
                    answered.now = riders.answer(&value, &widths).or(answered.now);
                }
                Err(Refusal::NoScript) if by_name => answered.unknown.calls.push((call, asking)),
                Err(refusal) => {
                    if belongs_elsewhere(&refusal) {
                        call.into_riders().0.give_back(&refusal);
                    } else {
                        call.into_riders().0.fail(&failure_of(&refusal));
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
pub(crate) struct Answered {
    pub(crate) unknown: Round,
    /// The time that a script read.
    pub(crate) now: Option<Timestamp>,
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
