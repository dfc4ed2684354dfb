//! Who keeps a room, and what is appended to it.

use bytes::Bytes;
use tidegate_core::room::RoomName;

use super::{LONG, Node, SHORT, append, entries, name, numbered, taken, texts};
use crate::rooms::shared::{Append, Appended, Head, LogError, MAX_PIECE_BYTES, RoomLog, Taken};

async fn names<L: RoomLog>(node: &Node<L>) -> Vec<RoomName> {
    node.log.rooms().await.expect("the rooms can be listed")
}

pub(super) async fn a_room_is_made_and_has_one_keeper<L: RoomLog>([one, other]: &[Node<L>; 2]) {
    let room = name("made");
    assert_eq!(one.log.take(&room, one.id, LONG, false).await, Ok(Taken::NoRoom { was_removed: false }));
    assert!(!names(one).await.contains(&room));
    let head = taken(one, &room, LONG).await;
    assert_eq!(
        head,
        Head { term: head.term, former: 0, last: 0, may_have_lost: false },
        "a new room has lost nothing"
    );
    assert!(names(other).await.contains(&room));
    for make in [false, true] {
        let kept = other.log.take(&room, other.id, LONG, make).await;
        assert_eq!(kept, Ok(Taken::Kept { by: one.id, term: head.term }));
    }
    assert_eq!(append(one, &room, (head.term, 0), &["a"]).await, Ok(Appended::Kept));
    assert_eq!(names(one).await.iter().filter(|listed| **listed == room).count(), 1);
}

pub(super) async fn a_keeper_that_asks_again_has_a_new_term<L: RoomLog>([one, _]: &[Node<L>; 2]) {
    let room = name("again");
    let first = taken(one, &room, LONG).await;
    assert_eq!(append(one, &room, (first.term, 0), &["a"]).await, Ok(Appended::Kept));
    let second = taken(one, &room, LONG).await;
    assert!(second.term > first.term);
    assert_eq!((second.former, second.last, second.may_have_lost), (first.term, 1, false));
    assert_eq!(append(one, &room, (first.term, 1), &["b"]).await, Ok(Appended::Deposed));
    assert_eq!(append(one, &room, (second.term, 1), &["b"]).await, Ok(Appended::Kept));
}

pub(super) async fn a_lease_ends_and_the_next_keeper_has_a_higher_term<L: RoomLog>(
    [one, other]: &[Node<L>; 2],
) {
    let room = name("lease");
    let first = taken(one, &room, SHORT).await;
    let kept = other.log.take(&room, other.id, LONG, false).await;
    assert_eq!(kept, Ok(Taken::Kept { by: one.id, term: first.term }));
    tokio::time::sleep(SHORT * 2).await;
    // Nobody has taken it: whoever kept it last still may.
    assert_eq!(append(one, &room, (first.term, 0), &["a"]).await, Ok(Appended::Kept));
    let kept = other.log.take(&room, other.id, LONG, false).await;
    assert_eq!(kept, Ok(Taken::Kept { by: one.id, term: first.term }), "an append holds the room");

    let again = taken(one, &room, SHORT).await;
    tokio::time::sleep(SHORT * 2).await;
    let second = taken(other, &room, LONG).await;
    assert!(second.term > again.term);
    assert_eq!((second.former, second.last, second.may_have_lost), (again.term, 1, false));
}

pub(super) async fn an_append_without_entries_holds_the_room<L: RoomLog>([one, other]: &[Node<L>; 2]) {
    let room = name("held");
    let head = taken(one, &room, SHORT * 2).await;
    for _ in 0..6 {
        tokio::time::sleep(SHORT / 2).await;
        let hold = Append { term: head.term, after: 0, entries: &[], tell: &Bytes::new(), lease: SHORT * 2 };
        assert_eq!(one.log.append(&room, hold).await, Ok(Appended::Kept));
    }
    let kept = other.log.take(&room, other.id, LONG, false).await;
    assert_eq!(kept, Ok(Taken::Kept { by: one.id, term: head.term }));
    assert_eq!(entries(one, &room, 0).await, []);
}

pub(super) async fn a_released_room_is_taken_at_once<L: RoomLog>([one, other]: &[Node<L>; 2]) {
    let room = name("released");
    let first = taken(one, &room, LONG).await;
    assert_eq!(one.log.release(&room, first.term).await, Ok(()));
    let second = taken(other, &room, LONG).await;
    assert!(second.term > first.term);
    // It is another's by now.
    assert_eq!(one.log.release(&room, first.term).await, Ok(()));
    let kept = one.log.take(&room, one.id, LONG, false).await;
    assert_eq!(kept, Ok(Taken::Kept { by: other.id, term: second.term }));
}

pub(super) async fn a_deposed_keeper_changes_nothing<L: RoomLog>([one, other]: &[Node<L>; 2]) {
    let room = name("deposed");
    let old = taken(one, &room, LONG).await.term;
    assert_eq!(append(one, &room, (old, 0), &["a"]).await, Ok(Appended::Kept));
    one.log.release(&room, old).await.expect("it can be released");
    let new = taken(other, &room, LONG).await.term;
    assert_eq!(append(other, &room, (new, 1), &["b"]).await, Ok(Appended::Kept));

    assert_eq!(append(one, &room, (old, 2), &["x"]).await, Ok(Appended::Deposed));
    assert_eq!(append(one, &room, (old, 1), &["b"]).await, Ok(Appended::Deposed));
    assert_eq!(append(one, &room, (old, 9), &["x"]).await, Ok(Appended::Deposed), "not: behind");
    assert_eq!(append(one, &room, (old, 2), &[]).await, Ok(Appended::Deposed));
    assert_eq!(
        append(one, &room, (new + 1, 2), &["x"]).await,
        Ok(Appended::Deposed),
        "nor one of the future"
    );
    for last in [1, 2, 9] {
        let put = one.log.put_snapshot(&room, old, last, &texts(&["x"])).await;
        assert_eq!(put, Ok(Appended::Deposed));
    }
    assert_eq!(one.log.put_snapshot(&room, old, 2, &[]).await, Ok(Appended::Deposed));
    assert_eq!(one.log.remove(&room, old).await, Ok(Appended::Deposed));
    one.log.release(&room, old).await.expect("it is not there to be released");

    let loaded = other.log.load(&room, 0).await.expect("the log can be read");
    assert_eq!(loaded.snapshot, None);
    assert_eq!(entries(other, &room, 0).await, numbered(1, &["a", "b"]));
    let kept = one.log.take(&room, one.id, LONG, false).await;
    assert_eq!(kept, Ok(Taken::Kept { by: other.id, term: new }));
}

pub(super) async fn a_removed_room_is_gone_and_its_terms_go_on<L: RoomLog>([one, other]: &[Node<L>; 2]) {
    let room = name("removed");
    let first = taken(one, &room, LONG).await;
    assert_eq!(append(one, &room, (first.term, 0), &["a", "b"]).await, Ok(Appended::Kept));
    let put = one.log.put_snapshot(&room, first.term, 1, &texts(&["s"])).await;
    assert_eq!(put, Ok(Appended::Kept));
    assert_eq!(one.log.remove(&room, first.term).await, Ok(Appended::Kept));
    assert_eq!(
        one.log.remove(&room, first.term).await,
        Ok(Appended::Kept),
        "made again it is found to be done"
    );
    assert!(!names(other).await.contains(&room));
    assert_eq!(append(one, &room, (first.term, 2), &["c"]).await, Ok(Appended::Deposed));
    assert_eq!(other.log.take(&room, other.id, LONG, false).await, Ok(Taken::NoRoom { was_removed: true }));
    assert_eq!(other.log.load(&room, 0).await, Ok(crate::rooms::shared::Loaded::default()));

    let second = taken(other, &room, LONG).await;
    assert!(second.term > first.term, "{second:?} after {first:?}");
    assert_eq!((second.former, second.last, second.may_have_lost), (0, 0, false));
    assert!(names(one).await.contains(&room));
    assert_eq!(one.log.remove(&room, first.term).await, Ok(Appended::Deposed), "another room by now");
    assert_eq!(append(other, &room, (second.term, 0), &["z"]).await, Ok(Appended::Kept));
    assert_eq!(entries(one, &room, 0).await, numbered(1, &["z"]));
}

pub(super) async fn entries_are_numbered_without_a_gap<L: RoomLog>([one, other]: &[Node<L>; 2]) {
    let room = name("numbers");
    let term = taken(one, &room, LONG).await.term;
    assert_eq!(append(one, &room, (term, 0), &["a", "b", "c"]).await, Ok(Appended::Kept));
    one.log.release(&room, term).await.expect("it can be released");
    let head = taken(other, &room, LONG).await;
    assert_eq!(head.last, 3);
    assert_eq!(append(other, &room, (head.term, 3), &["", "\0\r\n"]).await, Ok(Appended::Kept));
    let all = numbered(1, &["a", "b", "c", "", "\0\r\n"]);
    for after in 0..7_u64 {
        let left = all.get(after as usize..).unwrap_or_default();
        assert_eq!(entries(one, &room, after).await, left, "after {after}");
    }
    assert_eq!(entries(one, &room, u64::MAX).await, []);
    let nowhere = one.log.load(&name("nowhere"), 0).await;
    assert_eq!(nowhere, Ok(crate::rooms::shared::Loaded::default()));
}

pub(super) async fn an_append_that_is_made_again_is_done_once<L: RoomLog>([one, _]: &[Node<L>; 2]) {
    let room = name("twice");
    let term = taken(one, &room, LONG).await.term;
    for _ in 0..3 {
        assert_eq!(append(one, &room, (term, 0), &["a", "b"]).await, Ok(Appended::Kept));
    }
    // Made again with what has come up meanwhile.
    assert_eq!(append(one, &room, (term, 0), &["a", "b", "c"]).await, Ok(Appended::Kept));
    assert_eq!(append(one, &room, (term, 1), &["b", "c", "d"]).await, Ok(Appended::Kept));
    assert_eq!(append(one, &room, (term, 2), &["c"]).await, Ok(Appended::Kept));
    assert_eq!(append(one, &room, (term, 2), &[]).await, Ok(Appended::Kept));
    assert_eq!(entries(one, &room, 0).await, numbered(1, &["a", "b", "c", "d"]));
    // The entries that were sent before may stand in a snapshot by now.
    assert_eq!(one.log.put_snapshot(&room, term, 4, &texts(&["s"])).await, Ok(Appended::Kept));
    assert_eq!(append(one, &room, (term, 1), &["b", "c", "d", "e"]).await, Ok(Appended::Kept));
    assert_eq!(entries(one, &room, 4).await, numbered(5, &["e"]));
}

pub(super) async fn an_append_after_what_is_not_there_is_behind<L: RoomLog>([one, _]: &[Node<L>; 2]) {
    let room = name("behind");
    let term = taken(one, &room, LONG).await.term;
    assert_eq!(append(one, &room, (term, 0), &["a"]).await, Ok(Appended::Kept));
    for list in [&["x"][..], &[]] {
        assert_eq!(append(one, &room, (term, 5), list).await, Ok(Appended::Behind { last: 1 }));
    }
    assert_eq!(entries(one, &room, 0).await, numbered(1, &["a"]));
}

pub(super) async fn what_is_too_large_is_refused<L: RoomLog>([one, _]: &[Node<L>; 2]) {
    let room = name("large");
    let term = taken(one, &room, LONG).await.term;
    let whole = vec![Bytes::from(vec![7; MAX_PIECE_BYTES])];
    let beyond = vec![Bytes::from(vec![7; MAX_PIECE_BYTES + 1])];
    let tell = Bytes::new();
    let put = |entries, tell| one.log.append(&room, Append { term, after: 0, entries, tell, lease: LONG });
    assert!(matches!(put(&beyond, &tell).await, Err(LogError::NotDone(_))));
    assert!(matches!(put(&[], &beyond[0]).await, Err(LogError::NotDone(_))));
    assert!(matches!(one.log.put_snapshot(&room, term, 0, &beyond).await, Err(LogError::NotDone(_))));
    assert!(!one.log.send(None, beyond[0].clone()));
    assert_eq!(put(&whole, &tell).await, Ok(Appended::Kept));
    let loaded = one.log.load(&room, 0).await.expect("the log can be read");
    assert_eq!(loaded.entries, [(1, whole[0].clone())]);
}

/// Two nodes want a room at the same time, again and again: each time one of them has it, and terms never come back.
pub async fn racing_nodes_have_one_keeper<L: RoomLog>([one, other]: &[Node<L>; 2], rounds: usize) {
    let room = name("race");
    let mut before = 0;
    let mut wins = [0, 0];
    for round in 0..rounds {
        let make = round == 0;
        let (first, second) = tokio::join!(
            one.log.take(&room, one.id, LONG, make),
            other.log.take(&room, other.id, LONG, make)
        );
        let (winner, head, loser) = match (first, second) {
            (Ok(Taken::Yours(head)), Ok(lost)) => (0, head, lost),
            (Ok(lost), Ok(Taken::Yours(head))) => (1, head, lost),
            neither => panic!("round {round}: {neither:?}"),
        };
        let node = if winner == 0 { one } else { other };
        assert_eq!(loser, Taken::Kept { by: node.id, term: head.term }, "round {round}");
        assert!(head.term > before, "round {round}: term {} after {before}", head.term);
        before = head.term;
        wins[winner] += 1;
        node.log.release(&room, head.term).await.expect("it can be released");
    }
    assert_eq!(wins[0] + wins[1], rounds);
}
