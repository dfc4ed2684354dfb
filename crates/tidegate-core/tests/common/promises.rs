//! What a room promises, checked from its events and answers alone, without looking inside.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::room::draw::Permutation;
use tidegate_core::room::{
    Answer, CalledBy, EarlyEnd, EndedBy, Event, Flush, Identity, Method, Prefix, Room, Settings, Visitor,
    Waiting,
};

use super::admissions::Admissions;

/// What became of a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    Ready,
    Active,
    Held,
}

/// Follows a room and complains.
pub struct Promises {
    settings: Settings,
    /// Those who wait, by place.
    line: BTreeMap<u64, u64>,
    seats: BTreeMap<u64, Seat>,
    visitors: BTreeMap<u64, Visitor>,
    next: u64,
    drawn: Option<(u64, u64, Permutation)>,
    admitted: BTreeSet<u64>,
    /// The best position each number was told.
    positions: BTreeMap<u64, u64>,
    /// The last wait each number was told, while the order was known.
    waits: BTreeMap<u64, u64>,
    serving: u64,
    /// Since when the release rate is what it is, and every release since.
    releases: Admissions,
    /// Until when passes are valid, by number, given while seats are held so long.
    passes: BTreeMap<u64, u64>,
    /// Calls in which somebody who waited was called before others, with the order not random.
    pub calls: u64,
    pub direct: u64,
}

impl Promises {
    pub fn new(settings: Settings, now: u64) -> Self {
        let mut promises = Self {
            settings,
            line: BTreeMap::new(),
            seats: BTreeMap::new(),
            visitors: BTreeMap::new(),
            next: 1,
            drawn: None,
            admitted: BTreeSet::new(),
            positions: BTreeMap::new(),
            waits: BTreeMap::new(),
            serving: 0,
            releases: Admissions { taken: Vec::new(), changes: Vec::new() },
            passes: BTreeMap::new(),
            calls: 0,
            direct: 0,
        };
        promises.rate_from(now);
        promises
    }

    fn rate_from(&mut self, now: u64) {
        self.releases.check();
        let release = self.settings.spec().release;
        let (limit, window) = release.rate();
        self.releases =
            Admissions { taken: Vec::new(), changes: vec![(now, limit, window, release.burst())] };
    }

    fn place_of(&self, number: u64) -> u64 {
        match &self.drawn {
            Some((after, last, order)) if number > *after && number <= *last => {
                after + 1 + order.forward(number - after - 1)
            }
            _ => number,
        }
    }

    /// One command was done.
    pub fn told(&mut self, answer: &Answer, events: &[Event], room: &Room, now: u64) {
        let at = room.clock().as_micros();
        for event in events {
            self.happened(event, at);
        }
        self.keeps_count(room, now);
        match answer {
            Answer::Waiting(waiting) => {
                assert!(self.line.contains_key(&self.place_of(waiting.number.get())), "{answer:?}");
                if let Some(position) = waiting.position {
                    let number = waiting.number.get();
                    let ahead = self.line.range(..self.place_of(number)).count() as u64;
                    assert_eq!(position, ahead, "the position is who is ahead");
                    let best = *self.positions.get(&number).unwrap_or(&u64::MAX);
                    assert!(position <= best, "position of {number} grew from {best} to {position}");
                    self.positions.insert(number, position);
                }
                self.wait_grows_for_a_reason(waiting);
            }
            Answer::Ready(ready) => assert_eq!(self.seats[&ready.number.get()], Seat::Ready),
            Answer::Admitted(admitted) => {
                let number = admitted.number.get();
                assert_eq!(self.seats[&number], Seat::Active);
                assert!(admitted.start.as_micros() <= now && admitted.deadline.as_micros() > now);
                assert!(admitted.limit_at.is_none_or(|limit_at| admitted.deadline <= limit_at));
                self.passes.insert(number, admitted.deadline.as_micros());
            }
            _ => {}
        }
    }

    fn wait_grows_for_a_reason(&mut self, waiting: &Waiting) {
        let number = waiting.number.get();
        let Some(wait) = waiting.estimated_wait.filter(|_| waiting.position.is_some()) else {
            self.waits.remove(&number);
            return;
        };
        let high = wait.high.as_micros();
        let before = self.waits.insert(number, high).unwrap_or(u64::MAX);
        assert!(high <= before || wait.slower.is_some(), "the wait of {number} grew from {before} to {high}");
        assert!(wait.low <= wait.high);
    }

    fn happened(&mut self, event: &Event, at: u64) {
        match event {
            Event::Joined { number, visitor, .. } => {
                assert_eq!(number.get(), self.next, "numbers have no gaps");
                self.next += 1;
                self.line.insert(number.get(), number.get());
                self.sits(number.get(), *visitor);
            }
            Event::Recognised { number, visitor } => self.sits(number.get(), *visitor),
            Event::Called { number, by, .. } => self.called(number.get(), *by, at),
            Event::Admitted { number, .. } => self.let_in(number.get(), at),
            Event::Left { number, .. } | Event::Skipped { number } | Event::Expired { number } => {
                assert!(self.line.remove(&self.place_of(number.get())).is_some());
                self.visitors.remove(&number.get());
            }
            Event::Declined { number, .. } | Event::Abandoned { number } => {
                assert_eq!(self.seats.remove(&number.get()), Some(Seat::Ready), "{event:?}");
                self.visitors.remove(&number.get());
            }
            Event::Ended { number, by, held_until } => {
                assert_eq!(self.seats.remove(&number.get()), Some(Seat::Active));
                self.visitors.remove(&number.get());
                if held_until.is_some() {
                    self.seats.insert(number.get(), Seat::Held);
                }
                let is_early = matches!(by, EndedBy::Visitor | EndedBy::Origin);
                assert_eq!(held_until.is_some(), is_early && self.holds(), "{event:?}");
            }
            Event::Freed { number } => {
                assert_eq!(self.seats.remove(&number.get()), Some(Seat::Held));
            }
            Event::Returned { number, visitor, .. } => {
                self.line.remove(&self.place_of(number.get()));
                self.visitors.remove(&number.get());
                self.sits(number.get(), *visitor);
                assert_eq!(self.seats.insert(number.get(), Seat::Active), None);
                assert!(
                    self.seats.len() as u64 <= self.capacity(),
                    "a lost session came back to a full room"
                );
            }
            Event::Opened { drawn: Some(drawn) } => {
                let order = Permutation::new(&drawn.key, drawn.last - drawn.after);
                self.drawn = Some((drawn.after, drawn.last, order));
                let numbers: Vec<u64> = self.line.values().copied().collect();
                self.line = numbers.into_iter().map(|number| (self.place_of(number), number)).collect();
            }
            Event::Changed(settings) => {
                self.settings = settings.as_ref().clone();
                self.rate_from(at);
            }
            Event::Flushed(flush) => self.flushed(*flush),
            Event::Resumed { serving, last, .. } => {
                for number in self.next.max(serving + 1)..=*last {
                    self.line.insert(number, number);
                }
                self.next = last + 1;
            }
            _ => {}
        }
    }

    fn holds(&self) -> bool {
        self.settings.spec().session.early_end == EarlyEnd::HoldsSeat
    }

    fn capacity(&self) -> u64 {
        match self.settings.spec().method {
            Method::Passthrough => u64::MAX,
            _ => u64::from(self.settings.spec().capacity),
        }
    }

    /// One identity has one seat, and a prefix no more than it may have when somebody joins.
    fn sits(&mut self, number: u64, visitor: Visitor) {
        let is_known = |known: &Visitor| known.identity.is_some() && known.identity == visitor.identity;
        assert!(!self.visitors.values().any(is_known), "{visitor:?} has two seats");
        self.visitors.insert(number, visitor);
    }

    fn called(&mut self, number: u64, by: CalledBy, at: u64) {
        let place = self.place_of(number);
        if by == CalledBy::Line {
            self.calls += 1;
            if self.settings.spec().method != Method::Random {
                let first = self.line.first_key_value();
                assert_eq!(first, Some((&place, &number)), "overtaken");
            }
            self.released(at);
        }
        assert!(self.line.remove(&place).is_some());
        assert_eq!(self.seats.insert(number, Seat::Ready), None, "called twice");
        assert!(self.seats.len() as u64 <= self.capacity(), "called beyond the capacity");
    }

    fn let_in(&mut self, number: u64, at: u64) {
        assert!(self.admitted.insert(number), "admitted twice");
        if self.line.remove(&self.place_of(number)).is_some() {
            self.direct += 1;
            assert!(self.line.is_empty(), "admitted past those who wait");
            self.released(at);
            assert!((self.seats.len() as u64) < self.capacity(), "admitted beyond the capacity");
            self.seats.insert(number, Seat::Active);
        } else {
            assert_eq!(self.seats.insert(number, Seat::Active), Some(Seat::Ready));
        }
    }

    fn released(&mut self, at: u64) {
        if self.settings.spec().method != Method::Passthrough {
            self.releases.taken.push((at, 1));
        }
    }

    fn flushed(&mut self, flush: Flush) {
        for number in std::mem::take(&mut self.line).into_values() {
            self.visitors.remove(&number);
        }
        let holds = self.holds();
        let mut seats = BTreeMap::new();
        for (number, seat) in std::mem::take(&mut self.seats) {
            let kept = match (seat, flush) {
                (Seat::Ready, _) => None,
                (Seat::Active, Flush::Everybody) => holds.then_some(Seat::Held),
                (seat, _) => Some(seat),
            };
            if kept != Some(Seat::Active) {
                self.visitors.remove(&number);
            }
            seats.extend(kept.map(|seat| (number, seat)));
        }
        self.seats = seats;
    }

    /// What the room says of itself is what has happened, and nobody's pass outlives its seat.
    fn keeps_count(&mut self, room: &Room, now: u64) {
        let status = room.status(room.clock());
        assert_eq!(status.waiting, self.line.len() as u64);
        let taken = status.ready + status.active + status.held;
        assert_eq!(taken, self.seats.len() as u64);
        let first = self.line.first_key_value().map_or(self.next, |(place, _)| *place);
        assert_eq!(status.serving_number, first - 1);
        assert!(status.serving_number >= self.serving, "the serving number fell");
        self.serving = status.serving_number;
        self.passes.retain(|_, deadline| *deadline > now);
        if self.holds() {
            let sold = |number: &u64| !matches!(self.seats.get(number), Some(Seat::Active | Seat::Held));
            assert_eq!(
                self.passes.keys().copied().find(sold),
                None,
                "a seat was sold before its pass expired"
            );
        } else {
            self.passes.clear();
        }
    }

    /// Seats of an identity, and of a prefix.
    pub fn seats_of(&self, identity: Option<Identity>, prefix: Option<Prefix>) -> (usize, usize) {
        let count =
            |wanted: &dyn Fn(&Visitor) -> bool| self.visitors.values().filter(|seat| wanted(seat)).count();
        (
            count(&|seat| identity.is_some() && seat.identity == identity),
            count(&|seat| prefix.is_some() && seat.prefix == prefix),
        )
    }

    /// Checks what can only be checked over all of it.
    pub fn finish(&self) {
        self.releases.check();
    }
}
