//! Snapshots, and logs of many pages.

use bytes::Bytes;
use tidegate_core::room::RoomName;

use super::{LONG, Node, append, entries, name, numbered, taken, texts};
use crate::rooms::shared::{Append, Appended, Loaded, RoomLog};

/// What is loaded after an entry.
async fn load<L: RoomLog>(node: &Node<L>, room: &RoomName, after: u64) -> Loaded {
    node.log.load(room, after).await.expect("the log can be read")
}

pub(super) async fn a_snapshot_stands_for_the_entries_before_it<L: RoomLog>([one, other]: &[Node<L>; 2]) {
    let room = name("snapshot");
    let term = taken(one, &room, LONG).await.term;
    assert_eq!(append(one, &room, (term, 0), &["a", "b", "c", "d"]).await, Ok(Appended::Kept));
    let pieces = texts(&["first", "", "third"]);
    assert_eq!(one.log.put_snapshot(&room, term, 3, &pieces).await, Ok(Appended::Kept));
    for after in 0..3 {
        let loaded = load(other, &room, after).await;
        assert_eq!(loaded.snapshot, Some((3, pieces.clone())), "after {after}");
        assert_eq!(loaded.entries, [(4, Bytes::from_static(b"d"))]);
    }
    assert_eq!(load(other, &room, 3).await, Loaded { snapshot: None, entries: vec![(4, "d".into())] });
    assert_eq!(load(other, &room, 4).await, Loaded::default());

    assert_eq!(append(one, &room, (term, 4), &["e"]).await, Ok(Appended::Kept));
    let second = texts(&["second"]);
    assert_eq!(one.log.put_snapshot(&room, term, 5, &second).await, Ok(Appended::Kept));
    assert_eq!(load(other, &room, 3).await, Loaded { snapshot: Some((5, second)), entries: Vec::new() });
    assert_eq!(append(one, &room, (term, 5), &["f"]).await, Ok(Appended::Kept));
    assert_eq!(entries(one, &room, 5).await, numbered(6, &["f"]));

    // One without pieces stands for entries all the same.
    assert_eq!(one.log.put_snapshot(&room, term, 6, &[]).await, Ok(Appended::Kept));
    assert_eq!(load(one, &room, 0).await, Loaded { snapshot: Some((6, Vec::new())), entries: Vec::new() });
    one.log.release(&room, term).await.expect("it can be released");
    assert_eq!(taken(other, &room, LONG).await.last, 6);
}

pub(super) async fn a_snapshot_makes_up_for_lost_entries<L: RoomLog>([one, _]: &[Node<L>; 2]) {
    let room = name("made-up");
    let term = taken(one, &room, LONG).await.term;
    assert_eq!(append(one, &room, (term, 0), &["a", "b"]).await, Ok(Appended::Kept));
    // The keeper knows of 40 entries, and the place of two.
    assert_eq!(append(one, &room, (term, 40), &["x"]).await, Ok(Appended::Behind { last: 2 }));
    let pieces = texts(&["all forty"]);
    assert_eq!(one.log.put_snapshot(&room, term, 40, &pieces).await, Ok(Appended::Kept));
    assert_eq!(append(one, &room, (term, 40), &["x"]).await, Ok(Appended::Kept));
    let whole = Loaded { snapshot: Some((40, pieces)), entries: vec![(41, "x".into())] };
    assert_eq!(load(one, &room, 0).await, whole);
    assert_eq!(load(one, &room, 39).await, whole);
}

pub(super) async fn a_snapshot_is_put_again_and_an_older_one_is_nothing<L: RoomLog>([one, _]: &[Node<L>; 2]) {
    let room = name("put-again");
    let term = taken(one, &room, LONG).await.term;
    assert_eq!(append(one, &room, (term, 0), &["a", "b", "c"]).await, Ok(Appended::Kept));
    for _ in 0..2 {
        assert_eq!(one.log.put_snapshot(&room, term, 2, &texts(&["two"])).await, Ok(Appended::Kept));
    }
    assert_eq!(one.log.put_snapshot(&room, term, 1, &texts(&["one"])).await, Ok(Appended::Kept));
    let whole = Loaded { snapshot: Some((2, texts(&["two"]))), entries: vec![(3, "c".into())] };
    assert_eq!(load(one, &room, 0).await, whole);
}

pub(super) async fn a_log_of_many_pages_is_loaded_whole<L: RoomLog>([one, other]: &[Node<L>; 2]) {
    let room = name("pages");
    let term = taken(one, &room, LONG).await.term;
    let pieces: Vec<Bytes> = (0..11_u8).map(|piece| Bytes::from(vec![piece; 300_000])).collect();
    assert_eq!(one.log.put_snapshot(&room, term, 0, &pieces).await, Ok(Appended::Kept));
    let mut all = Vec::new();
    for (number, length) in [(3_000_u64, 3), (20, 200_000), (700, 1_000)] {
        for some in (0..number).collect::<Vec<_>>().chunks(10) {
            let list: Vec<Bytes> =
                some.iter().map(|at| Bytes::from(vec![(at % 251) as u8; length])).collect();
            let after = all.len() as u64;
            let put = Append { term, after, entries: &list, tell: &Bytes::new(), lease: LONG };
            assert_eq!(one.log.append(&room, put).await, Ok(Appended::Kept));
            all.extend(list);
        }
    }
    let all: Vec<(u64, Bytes)> = (1..).zip(all).collect();
    let loaded = load(other, &room, 0).await;
    assert!(loaded.entries == all, "the whole log");
    let middle = load(other, &room, 2_990).await;
    assert!(middle.entries == all[2_990..], "from the middle on");
    // It stands for no entry: whoever is at entry 0 needs it not.
    assert_eq!(loaded.snapshot, None);
    assert_eq!(one.log.put_snapshot(&room, term, 3_000, &pieces).await, Ok(Appended::Kept));
    let loaded = load(other, &room, 1).await;
    assert!(loaded.snapshot == Some((3_000, pieces)), "every piece of the snapshot");
    assert!(loaded.entries == all[3_000..], "and the entries after it");
}

pub(super) async fn a_log_is_loaded_whole_while_snapshots_cut_it<L: RoomLog>([one, other]: &[Node<L>; 2]) {
    let count = 4_000_u64;
    for round in 0..5 {
        let room = name(&format!("cut-{round}"));
        let term = taken(one, &room, LONG).await.term;
        for after in (0..count).step_by(500) {
            let some: Vec<String> = (after + 1..=after + 500).map(|number| number.to_string()).collect();
            let some: Vec<&str> = some.iter().map(String::as_str).collect();
            assert_eq!(append(one, &room, (term, after), &some).await, Ok(Appended::Kept));
        }
        // Further than a page is long, so that what a load goes on from is not there any more.
        let cutting = async {
            for last in [1_000 + round, 2_500, 3_990] {
                let pieces = vec![Bytes::from(last.to_string()); 9];
                assert_eq!(one.log.put_snapshot(&room, term, last, &pieces).await, Ok(Appended::Kept));
            }
        };
        let loading = async {
            let mut before = 0;
            while before < 3_990 {
                let (from, to) = whole_log(other, &room, 0).await;
                assert!(from >= before && to == count, "{before}, then {from} to {to}");
                before = from;
            }
        };
        tokio::join!(cutting, loading);
    }
}

/// Entries that name their number, and a snapshot that names the last entry it stands for: whatever is loaded meanwhile has
/// no gap.
pub async fn entries_and_snapshots_do_not_disturb_each_other<L: RoomLog>(
    [one, other]: &[Node<L>; 2],
    count: u64,
) {
    let room = name("busy");
    let term = taken(one, &room, LONG).await.term;
    let (told, last) = tokio::sync::watch::channel(0_u64);
    let appending = async {
        for after in 0..count {
            let text = (after + 1).to_string();
            assert_eq!(append(one, &room, (term, after), &[&text]).await, Ok(Appended::Kept));
            told.send_replace(after + 1);
        }
    };
    let snapshots = async {
        let mut put = 0;
        while put < count {
            let at = *last.borrow();
            if at > put {
                let text = at.to_string();
                let pieces = vec![Bytes::from(text); 5];
                assert_eq!(one.log.put_snapshot(&room, term, at, &pieces).await, Ok(Appended::Kept));
                put = at;
            }
            tokio::task::yield_now().await;
        }
    };
    let loading = async {
        let mut seen = 0;
        while seen < count {
            let at_least = *last.borrow();
            let (from, to) = whole_log(other, &room, seen / 2).await;
            assert!(to >= at_least, "loaded up to {to}, {at_least} were kept before");
            assert!(from <= to);
            seen = to;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(appending, snapshots, loading);
    assert_eq!(whole_log(other, &room, 0).await, (count, count));
}

/// Loads a log whose entries name their number and whose snapshot's pieces name its last entry, and checks that it has no gap after
/// an entry; the snapshot's last entry (or `after`), and the last one of all.
pub async fn whole_log<L: RoomLog>(node: &Node<L>, room: &RoomName, after: u64) -> (u64, u64) {
    let loaded = load(node, room, after).await;
    let from = match &loaded.snapshot {
        Some((last, pieces)) => {
            assert!(*last > after, "a snapshot of {last} is of no use after {after}");
            assert!(pieces.iter().all(|piece| *piece == last.to_string()), "pieces of another snapshot");
            *last
        }
        None => after,
    };
    let mut next = from + 1;
    for (number, entry) in &loaded.entries {
        assert_eq!(*number, next, "a gap after {from}");
        assert_eq!(*entry, number.to_string(), "not the entry of this number");
        next += 1;
    }
    (from, next - 1)
}
