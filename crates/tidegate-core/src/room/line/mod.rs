//! The line: who waits, in which order, and until when each place is kept without a poll.
//!
//! Numbers are given one after another. Everything about a ticket is found by its number ([`tickets`]), everything
//! about the order by its place ([`places`]): the same, except among those who were shuffled at the opening. Both are windows that slide along
//! with the line, so what is behind costs nothing. A waiter costs 4.2 bytes, and 8 and 4 more where its identity and its
//! prefix are known.

mod places;
mod tickets;

use super::draw::{Drawn, Order};
use super::number::{Place, QueueNumber, Visitor};
use super::settings::{MAX_SPAN, MAX_WAITING};
use crate::time::Timestamp;

use places::Places;
use tickets::Tickets;

/// The lease that ends at this instant or up to a second later: whole seconds since the Unix epoch, at most those of 2106.
pub(crate) fn lease_ending(at: Timestamp) -> u32 {
    u32::try_from(at.as_micros().div_ceil(1_000_000)).unwrap_or(u32::MAX - 1).min(u32::MAX - 1)
}

/// When a lease ends.
pub(crate) fn end_of(lease: u32) -> Timestamp {
    Timestamp::from_micros(u64::from(lease) * 1_000_000)
}

/// The last lease that has ended at this instant.
pub(crate) fn ended_lease(now: Timestamp) -> u32 {
    u32::try_from(now.as_micros() / 1_000_000).unwrap_or(u32::MAX - 1)
}

#[derive(Clone, Debug)]
pub(crate) struct Line {
    next: u64,
    places: Places,
    tickets: Tickets,
    order: Option<Order>,
}

impl Line {
    /// A line in which nobody is, whose first number is `next`.
    pub(crate) fn new(next: QueueNumber) -> Self {
        Self { next: next.get(), places: Places::default(), tickets: Tickets::default(), order: None }
    }

    /// The number that the next one to join gets.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// Live tickets.
    pub(crate) const fn waiting(&self) -> u64 {
        self.places.taken()
    }

    /// Whether there is room for one more ticket.
    pub(crate) fn has_room(&self, max_waiting: u32) -> bool {
        self.waiting() < u64::from(max_waiting.min(MAX_WAITING))
            && self.next <= QueueNumber::MAX.get()
            && self.next - self.serving() <= MAX_SPAN
    }

    /// Up to which place everybody has left the line.
    pub(crate) fn serving(&self) -> u64 {
        self.places.nth(0).map_or(self.next, |place| place.0).saturating_sub(1)
    }

    pub(crate) fn contains(&self, number: QueueNumber) -> bool {
        self.tickets.lease(number).is_some()
    }

    /// The lease of a live ticket: whole seconds.
    pub(crate) fn lease(&self, number: QueueNumber) -> Option<u32> {
        self.tickets.lease(number)
    }

    pub(crate) fn visitor(&self, number: QueueNumber) -> Option<Visitor> {
        self.tickets.visitor(number)
    }

    /// Live tickets ahead of this live one.
    pub(crate) fn position(&self, number: QueueNumber) -> Option<u64> {
        self.contains(number).then(|| self.places.rank(self.place_of(number)))
    }

    /// Whether the place of one number is before that of another.
    pub(crate) fn is_ahead(&self, one: QueueNumber, other: QueueNumber) -> bool {
        self.place_of(one) < self.place_of(other)
    }

    /// The live ticket with `position` others ahead.
    pub(crate) fn nth(&self, position: u64) -> Option<QueueNumber> {
        self.places.nth(position).map(|place| self.number_at(place))
    }

    /// One more at the end, under the number it was given: the next one, or one after it.
    pub(crate) fn join(&mut self, number: QueueNumber, visitor: Visitor, lease: u32) {
        self.places.insert(Place(number.get()));
        self.tickets.insert(number, visitor, lease);
        self.next = self.next.max(number.get() + 1);
    }

    pub(crate) fn renew(&mut self, number: QueueNumber, lease: u32) {
        self.tickets.renew(number, lease);
    }

    /// No live ticket's lease ends before `lease`.
    pub(crate) fn renew_all(&mut self, lease: u32) {
        self.tickets.renew_all(lease);
    }

    /// Tells whose a live ticket is.
    pub(crate) fn name(&mut self, number: QueueNumber, visitor: Visitor) {
        self.tickets.name(number, visitor);
    }

    /// A ticket leaves the line, for whatever reason; tells whose it was.
    pub(crate) fn remove(&mut self, number: QueueNumber) -> Option<Visitor> {
        let visitor = self.tickets.remove(number)?;
        self.places.remove(self.place_of(number));
        Some(visitor)
    }

    /// An instant before which no lease ends; `None` while nobody waits.
    pub(crate) fn earliest_end(&self) -> Option<Timestamp> {
        self.tickets.earliest().map(end_of)
    }

    /// The lowest `most` numbers whose leases have ended, into `ended`.
    pub(crate) fn ended(&mut self, now: Timestamp, most: usize, ended: &mut Vec<QueueNumber>) {
        self.tickets.ended(ended_lease(now), most, ended);
    }

    /// Numbers up to `number` are never given again.
    pub(crate) fn skip_numbers(&mut self, number: u64) {
        self.next = self.next.max(number.saturating_add(1));
    }

    /// Puts those who wait in a drawn order.
    pub(crate) fn shuffle(&mut self, drawn: Drawn) {
        let first = Place(drawn.after + 1);
        self.order = Some(Order::new(drawn));
        self.arrange(first);
    }

    /// A ticket of a line that is being restored, of a number above all before.
    pub(crate) fn restore(&mut self, number: QueueNumber, visitor: Visitor, lease: u32) {
        self.tickets.insert(number, visitor, lease);
    }

    /// The order of a line that is being restored, after all its tickets.
    pub(crate) fn restore_order(&mut self, drawn: Option<Drawn>) {
        self.order = drawn.map(Order::new);
        if let Some(first) = self.tickets.iter().map(|(number, _, _)| self.place_of(number)).min() {
            self.arrange(first);
        }
    }

    /// Takes the place of every ticket anew; none is before `first`.
    fn arrange(&mut self, first: Place) {
        let mut places = Places::starting_at(first);
        for (number, _, _) in self.tickets.iter() {
            places.insert(self.place_of(number));
        }
        self.places = places;
    }

    /// The draw that was made.
    pub(crate) fn drawn(&self) -> Option<&Drawn> {
        self.order.as_ref().map(Order::drawn)
    }

    /// Everybody leaves.
    pub(crate) fn clear(&mut self) {
        self.places = Places::default();
        self.tickets = Tickets::default();
    }

    /// Every live ticket by number, with its lease.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (QueueNumber, Visitor, u32)> {
        self.tickets.iter()
    }

    /// The live tickets after a number, with their leases.
    pub(crate) fn after(&self, number: u64) -> impl Iterator<Item = (QueueNumber, u32)> {
        self.tickets.after(number)
    }

    /// The number of the first block of 512 places that is kept, and the live tickets in each from it on.
    pub(crate) fn blocks(&self) -> (u64, impl Iterator<Item = u32>) {
        self.places.blocks()
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.places.bytes() + self.tickets.bytes()
    }

    fn place_of(&self, number: QueueNumber) -> Place {
        self.order.as_ref().map_or(Place(number.get()), |order| order.place_of(number))
    }

    fn number_at(&self, place: Place) -> QueueNumber {
        self.order.as_ref().map_or(QueueNumber::new(place.0), |order| order.number_at(place))
    }
}
