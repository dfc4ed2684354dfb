//! One promise of the port each.

use core::future::poll_fn;
use core::task::{Poll, Waker};
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_core::room::{Answer, Command, Event, Flush, Room, RoomName, RoomState, Settings};
use tidegate_core::time::{Micros, Timestamp};

use super::super::site::join_all;
use super::{TestClock, ask, join, name, number_of, seats, settings, visitor};
use crate::rooms::{MAX_ROOMS, RoomError, RoomStore, RoomWatcher};

const SECOND: Micros = Micros::from_secs(1);

async fn with_room<S: RoomStore>(store: &S, text: &str, settings: &Settings) -> RoomName {
    let room = name(text);
    assert_eq!(store.put(&room, settings).await, Ok(Answer::Done), "a room can be made");
    room
}

pub(super) async fn racing_joins_of_one_visitor_give_one_ticket<S: RoomStore>(store: &S, _: &TestClock) {
    let room = with_room(store, "races", &settings(seats(3))).await;
    for identity in 1..=100 {
        let command = Command::Join(visitor(identity));
        let told = join_all((0..100).map(|_| store.ask(&room, &command))).await;
        let numbers: Vec<_> =
            told.into_iter().map(|told| number_of(&told.expect("the store answers").answer)).collect();
        assert_eq!(numbers.len(), 100);
        assert!(numbers[0].is_some_and(|number| number.get() == identity), "numbers have no gaps");
        assert!(numbers.iter().all(|number| *number == numbers[0]), "100 tabs are one visitor");
    }
}

pub(super) async fn the_capacity_holds_however_many_come_at_once<S: RoomStore>(store: &S, _: &TestClock) {
    let room = with_room(store, "crowd", &settings(seats(7))).await;
    let commands: Vec<_> = (1..=200).map(|identity| Command::Join(visitor(identity))).collect();
    let told = join_all(commands.iter().map(|command| store.ask(&room, command))).await;
    let admitted = |told: &&Result<crate::rooms::Told, RoomError>| {
        matches!(told.as_ref().expect("the store answers").answer, Answer::Admitted(_))
    };
    assert_eq!(told.iter().filter(admitted).count(), 7, "as many are let in as there are seats");
    let status = store.status(&room).await.expect("the store answers").status;
    assert_eq!((status.active, status.waiting, status.next_number), (7, 193, 201));
    let line = store.line(&room).await.expect("the store answers");
    assert_eq!(line.counts.iter().map(|count| u64::from(*count)).sum::<u64>(), 193);
    assert_eq!((line.serving_number, line.next_number, line.epoch), (7, 201, status.epoch));
}

pub(super) async fn a_freed_seat_goes_to_the_next_in_line<S: RoomStore>(store: &S, clock: &TestClock) {
    let mut spec = seats(1);
    spec.session.early_end = tidegate_core::room::EarlyEnd::FreesSeat;
    let room = with_room(store, "next", &settings(spec)).await;
    let (first, told) = join(store, &room, 1).await;
    assert!(matches!(told.answer, Answer::Admitted(_)), "nobody waits, so nobody has to");
    let (second, told) = join(store, &room, 2).await;
    assert!(matches!(told.answer, Answer::Waiting(waiting) if waiting.position == Some(0)));
    let (third, _) = join(store, &room, 3).await;
    clock.advance(SECOND);
    assert_eq!(ask(store, &room, Command::Leave(first)).await.answer, Answer::Left);
    let told = store.look(&room, &second).await.expect("the store answers");
    assert!(matches!(told.answer, Answer::Ready(_)), "a leave calls the next at once, not at a turn");
    let told = store.look(&room, &third).await.expect("the store answers");
    assert!(matches!(told.answer, Answer::Waiting(waiting) if waiting.position == Some(0)));
}

pub(super) async fn a_claim_is_told_the_same_session_again<S: RoomStore>(store: &S, clock: &TestClock) {
    let room = with_room(store, "claims", &settings(seats(0))).await;
    let (ticket, _) = join(store, &room, 1).await;
    store.put(&room, &settings(seats(1))).await.expect("the store answers");
    let first = ask(store, &room, Command::Claim(ticket)).await;
    assert!(matches!(first.answer, Answer::Admitted(_)));
    clock.advance(SECOND);
    let again = ask(store, &room, Command::Claim(ticket)).await;
    assert_eq!(again.answer, first.answer, "a reply that was lost can be asked for again");
    assert_eq!(again.at, first.at.saturating_add(SECOND));
}

pub(super) async fn a_look_changes_nothing<S: RoomStore>(store: &S, clock: &TestClock) {
    let room = with_room(store, "looks", &settings(seats(1))).await;
    let (inside, _) = join(store, &room, 1).await;
    let (waiting, _) = join(store, &room, 2).await;
    let before = store.status(&room).await.expect("the store answers");
    let first = join_all((0..50).map(|_| store.look(&room, &waiting))).await;
    assert!(first.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(store.status(&room).await.expect("the store answers"), before);
    // Neither is a session that is over ended by it.
    clock.advance(Micros::from_secs(3_600));
    let told = store.look(&room, &inside).await.expect("the store answers");
    assert_eq!(told.answer, Answer::Lapsed);
    let after = store.status(&room).await.expect("the store answers");
    assert_eq!((after.status.active, after.status.waiting), (1, 1));
}

pub(super) async fn rooms_do_not_know_each_other<S: RoomStore>(store: &S, _: &TestClock) {
    let (one, other) = (settings(seats(1)), settings(seats(2)));
    let b = with_room(store, "b", &other).await;
    let a = with_room(store, "a", &one).await;
    let (ticket, _) = join(store, &a, 1).await;
    assert_eq!(store.status(&b).await.expect("the store answers").status.active, 0);
    assert_eq!(store.look(&b, &ticket).await.expect("the store answers").answer, Answer::Lapsed);
    assert_eq!(store.rooms().await, Ok(vec![(a, one), (b, other)]), "rooms are told by name");
}

pub(super) async fn settings_are_put_and_changed<S: RoomStore>(store: &S, _: &TestClock) {
    let room = with_room(store, "settings", &settings(seats(1))).await;
    let (ticket, _) = join(store, &room, 1).await;
    let (waiting, _) = join(store, &room, 2).await;
    assert_eq!(store.put(&room, &settings(seats(2))).await, Ok(Answer::Done));
    assert_eq!(store.status(&room).await.expect("the store answers").settings, settings(seats(2)));
    let told = store.look(&room, &ticket).await.expect("the store answers");
    assert!(matches!(told.answer, Answer::Admitted(_)), "whoever is inside stays so");
    let told = store.look(&room, &waiting).await.expect("the store answers");
    assert!(matches!(told.answer, Answer::Ready(_)), "and there is a seat more");
    let mut opening = seats(2);
    opening.opening = Some(tidegate_core::room::Opening {
        at: Timestamp::MAX,
        order: tidegate_core::room::OpeningOrder::AsTheyCame,
    });
    let refused = store.put(&room, &settings(opening)).await;
    assert!(matches!(refused, Ok(Answer::Refused(_))), "what cannot be changed is refused");
}

pub(super) async fn a_room_that_is_not_there_is_an_error<S: RoomStore>(store: &S, _: &TestClock) {
    let room = with_room(store, "there", &settings(seats(1))).await;
    let (ticket, _) = join(store, &room, 1).await;
    let other = name("elsewhere");
    assert_eq!(store.ask(&other, &Command::Turn).await, Err(RoomError::UnknownRoom));
    assert_eq!(store.look(&other, &ticket).await, Err(RoomError::UnknownRoom));
    assert_eq!(store.status(&other).await, Err(RoomError::UnknownRoom));
    assert_eq!(store.line(&other).await, Err(RoomError::UnknownRoom));
    assert_eq!(store.remove(&other).await, Ok(false));
    assert_eq!(store.remove(&room).await, Ok(true));
    assert_eq!(store.ask(&room, &Command::Turn).await, Err(RoomError::UnknownRoom));
    assert_eq!(store.rooms().await, Ok(Vec::new()));
}

pub(super) async fn tickets_of_a_removed_room_are_worth_nothing<S: RoomStore>(store: &S, _: &TestClock) {
    let room = with_room(store, "again", &settings(seats(1))).await;
    join(store, &room, 1).await;
    ask(store, &room, Command::Flush(Flush::Everybody)).await;
    let (old, _) = join(store, &room, 2).await;
    assert_eq!(store.remove(&room).await, Ok(true));
    with_room(store, "again", &settings(seats(9))).await;
    for identity in 10..15 {
        join(store, &room, identity).await;
    }
    let told = store.look(&room, &old).await.expect("the store answers");
    assert_eq!(told.answer, Answer::Lapsed, "its number is somebody else's now");
    assert!(told.epoch > old.epoch);
}

pub(super) async fn there_is_a_most_of_rooms<S: RoomStore>(store: &S, _: &TestClock) {
    let settings = settings(seats(1));
    for number in 0..MAX_ROOMS {
        with_room(store, &format!("room-{number}"), &settings).await;
    }
    let one_more = name("one-more");
    assert_eq!(store.put(&one_more, &settings).await, Err(RoomError::TooManyRooms));
    assert_eq!(store.put(&name("room-5"), &settings).await, Ok(Answer::Done), "it is there");
    assert_eq!(store.remove(&name("room-5")).await, Ok(true));
    assert_eq!(store.put(&one_more, &settings).await, Ok(Answer::Done));
    assert_eq!(store.rooms().await.map(|rooms| rooms.len()), Ok(MAX_ROOMS));
}

pub(super) async fn a_turn_does_what_is_due_and_says_when_to_come_again<S: RoomStore>(
    store: &S,
    clock: &TestClock,
) {
    assert_eq!(store.turn().await, Ok(None), "nothing happens where there is no room");
    let (short, long) = (sessions_of(10), sessions_of(60));
    let a = with_room(store, "a", &short).await;
    let b = with_room(store, "b", &long).await;
    join(store, &b, 1).await;
    let (inside, told) = join(store, &a, 1).await;
    let (next, _) = join(store, &a, 2).await;
    let ends = told.at.saturating_add(Micros::from_secs(10));
    assert_eq!(store.turn().await, Ok(Some(ends)), "the first session to end");
    clock.advance(Micros::from_secs(10));
    let again = store.turn().await.expect("the store answers");
    assert!(again.is_some_and(|again| again > ends), "what was due is done");
    assert_eq!(store.look(&a, &inside).await.expect("the store answers").answer, Answer::Lapsed);
    let told = store.look(&a, &next).await.expect("the store answers");
    assert!(matches!(told.answer, Answer::Ready(_)), "the seat was given to the next without a tick");
    assert_eq!(store.status(&b).await.expect("the store answers").status.active, 1);
}

fn sessions_of(seconds: u64) -> Settings {
    let mut spec = seats(1);
    spec.session.limit = Some(Micros::from_secs(seconds));
    spec.session.idle = None;
    settings(spec)
}

/// A room beside the store's that is brought to the same state by what watchers are told alone.
struct Follower {
    room: Mutex<Room>,
    name: RoomName,
    told: Mutex<u64>,
    /// Who waits for a pause to be told.
    waker: Mutex<Option<Waker>>,
}

impl Follower {
    /// Ends when it was told that the room is paused: it may be told later than who asked.
    async fn paused(&self) {
        poll_fn(|context| {
            let mut waker = self.waker.lock();
            if self.room.lock().status(Timestamp::EPOCH).state == RoomState::Paused {
                return Poll::Ready(());
            }
            *waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl RoomWatcher for Follower {
    fn happened(&self, room: &RoomName, at: Timestamp, events: &[Event]) {
        assert_eq!(*room, self.name);
        assert!(!events.is_empty());
        let mut follower = self.room.lock();
        events.iter().for_each(|event| follower.replay(at, event).expect("events come in their order"));
        drop(follower);
        *self.told.lock() += events.len() as u64;
        if let Some(waker) = self.waker.lock().take() {
            waker.wake();
        }
    }
}

pub(super) async fn watchers_are_told_everything_in_order<S: RoomStore>(store: &S, clock: &TestClock) {
    let settings = settings(seats(2));
    let room = with_room(store, "watched", &settings).await;
    let epoch = store.status(&room).await.expect("the store answers").status.epoch;
    let follower = Arc::new(Follower {
        room: Mutex::new(Room::new(settings, epoch, clock.now())),
        name: room.clone(),
        told: Mutex::new(0),
        waker: Mutex::new(None),
    });
    store.watch(Arc::clone(&follower) as Arc<dyn RoomWatcher>);
    let commands: Vec<_> = (1..=50).map(|identity| Command::Join(visitor(identity))).collect();
    let tickets = join_all(commands.iter().map(|command| store.ask(&room, command))).await;
    assert_eq!(tickets.len(), 50);
    for second in 0..30 {
        clock.advance(SECOND);
        let (ticket, _) = join(store, &room, 1 + second).await;
        ask(store, &room, Command::Poll(ticket)).await;
        ask(store, &room, Command::Leave(ticket)).await;
        store.turn().await.expect("the store answers");
    }
    ask(store, &room, Command::SetState(RoomState::Paused)).await;
    // Whoever is told of this step was told of all before it.
    follower.paused().await;
    let status = store.status(&room).await.expect("the store answers");
    assert_eq!(follower.room.lock().status(clock.now()), status.status);
    assert!(*follower.told.lock() >= 80);
}
