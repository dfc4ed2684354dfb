//! Orders for one call of the script for tokens: one bucket each in the short form, all asking the same.

use redis::Cmd;
use tidegate_core::time::Timestamp;

use crate::ask::{self, AskRow};
use crate::call::{MAX_KEYS, MAX_ORDERS};
use crate::keys::Keys;
use crate::order::{Order, Waiting};
use crate::riders::Riders;
use crate::script::Script;

/// Orders for one call.
#[derive(Debug)]
pub(crate) struct TokenCall {
    slot: u16,
    coalesce: bool,
    ask: AskRow,
    riders: Riders,
    keys: Keys,
    /// How many ask of each key.
    calls: Vec<u64>,
    at: Option<Timestamp>,
}

impl TokenCall {
    /// A call to a slot.
    pub(crate) fn new(slot: u16, epoch: u64, coalesce: bool, ask: AskRow) -> Self {
        let (riders, keys, calls) = (Riders::new(epoch), Keys::default(), Vec::new());
        Self { slot, coalesce, ask, riders, keys, calls, at: None }
    }

    pub(crate) const fn slot(&self) -> u16 {
        self.slot
    }

    pub(crate) const fn riders(&self) -> &Riders {
        &self.riders
    }

    /// How many plans the script sees.
    pub(crate) fn plans(&self) -> usize {
        self.keys.len()
    }

    /// Whether an order can go with those already here.
    pub(crate) fn takes(&self, order: &Order) -> bool {
        order.as_tokens() == Some(&self.ask)
            && (self.riders.is_empty()
                || (!order.alone
                    && !self.riders.is_alone()
                    && self.at == order.at
                    && self.riders.len() < MAX_ORDERS
                    && self.keys.len() < MAX_KEYS
                    && (self.coalesce || !self.touches(order))))
    }

    /// Whether it has to do with any bucket of the order.
    pub(crate) fn touches(&self, order: &Order) -> bool {
        order.buckets.iter().any(|bucket| self.keys.has(&bucket.key))
    }

    /// Adds an order, behind all others on the same bucket.
    pub(crate) fn add(&mut self, waiting: Box<Waiting>) {
        self.at = waiting.order.at;
        let Some(bucket) = waiting.order.buckets.first() else { return };
        let entry = self.keys.place_of(&bucket.key);
        if self.calls.len() <= entry {
            self.calls.push(0);
        }
        let Some(calls) = self.calls.get_mut(entry) else { return };
        let place = *calls;
        *calls += 1;
        self.riders.push(waiting, entry, place);
    }

    /// The command. `deadline` is in the server's time, 0 for none.
    pub(crate) fn command(&self, script: &Script, by_name: bool, deadline: u64, slack_ms: u64) -> Cmd {
        let at = self.at.map_or(0, Timestamp::as_micros);
        let (numbers, steps) = self.ask.encode_tokens(deadline, at, slack_ms);
        let keys = self.keys.iter().map(|key| key.as_slice());
        let arguments = [numbers.as_slice(), steps[0].as_bytes(), steps[1].as_bytes()];
        if self.calls.iter().all(|calls| *calls == 1) {
            return script.command(by_name, keys, &arguments);
        }
        let mut packed = Vec::with_capacity(4 + 2 * self.calls.len());
        ask::array(&mut packed, self.calls.len());
        self.calls.iter().for_each(|calls| ask::uint(&mut packed, *calls));
        let [numbers, step, over] = arguments;
        script.command(by_name, keys, &[numbers, step, over, &packed])
    }

    /// The orders, and how many numbers the state of each bucket takes in the reply.
    pub(crate) fn into_riders(self) -> (Riders, Vec<usize>) {
        let widths = vec![self.ask.width(); self.keys.len()];
        (self.riders, widths)
    }
}
