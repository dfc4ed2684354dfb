//! Messages.

use core::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep, timeout};

use super::{LONG, Node, append_telling, name, taken};
use crate::rooms::shared::{Append, Appended, Heard, MAX_PIECE_BYTES, RoomLog};

/// Longer than a message should ever be under way.
const PATIENCE: Duration = Duration::from_secs(15);
/// Something that was not sent has had the time to come.
const QUIET: Duration = Duration::from_millis(300);

/// The next thing that is heard but for what is said of the connection.
///
/// # Panics
/// Panics where nothing comes, or messages are missed.
pub async fn next_message(heard: &mut Receiver<Heard>) -> Bytes {
    match timeout(PATIENCE, heard.recv()).await {
        Ok(Some(Heard::Message(message))) => message,
        other => panic!("no message: {other:?}"),
    }
}

async fn listening<L: RoomLog>(node: &Node<L>) -> Receiver<Heard> {
    let mut heard = node.log.listen(node.id);
    assert_eq!(timeout(PATIENCE, heard.recv()).await, Ok(Some(Heard::Up)));
    heard
}

async fn silent(heard: &mut Receiver<Heard>) {
    sleep(QUIET).await;
    assert!(heard.is_empty(), "{:?} was not to come", heard.recv().await);
}

pub(super) async fn messages_come_to_whom_they_are_sent<L: RoomLog>([one, other]: &[Node<L>; 2]) {
    let (mut of_one, mut of_other) = (listening(one).await, listening(other).await);
    assert!(one.log.send(Some(other.id), Bytes::from_static(b"\0yours\xff")));
    assert_eq!(next_message(&mut of_other).await, &b"\0yours\xff"[..]);
    assert!(one.log.send(None, Bytes::from_static(b"all")));
    assert_eq!(next_message(&mut of_one).await, "all");
    assert_eq!(next_message(&mut of_other).await, "all");
    assert!(one.log.send(Some(one.id), Bytes::from_static(b"mine")));
    assert_eq!(next_message(&mut of_one).await, "mine");
    silent(&mut of_other).await;

    // Those of one node come in the order they were sent.
    for number in 0..500_u32 {
        assert!(one.log.send(Some(other.id), number.to_string().into()));
    }
    for number in 0..500_u32 {
        assert_eq!(next_message(&mut of_other).await, number.to_string());
    }
    silent(&mut of_one).await;
}

pub(super) async fn what_is_told_with_an_append_comes_once<L: RoomLog>([one, other]: &[Node<L>; 2]) {
    let (mut of_one, mut of_other) = (listening(one).await, listening(other).await);
    let room = name("told");
    let term = taken(one, &room, LONG).await.term;
    assert_eq!(append_telling(one, &room, (term, 0), &["a"], "a is there").await, Ok(Appended::Kept));
    assert_eq!(append_telling(one, &room, (term, 0), &["a"], "a is there").await, Ok(Appended::Kept));
    assert_eq!(append_telling(one, &room, (term, 7), &["x"], "no").await, Ok(Appended::Behind { last: 1 }));
    assert_eq!(append_telling(other, &room, (term - 1, 1), &["x"], "no").await, Ok(Appended::Deposed));
    assert_eq!(append_telling(one, &room, (term, 1), &[], "beat").await, Ok(Appended::Kept));
    assert_eq!(append_telling(one, &room, (term, 1), &["b"], "").await, Ok(Appended::Kept));
    for heard in [&mut of_one, &mut of_other] {
        assert_eq!(next_message(heard).await, "a is there");
        assert_eq!(next_message(heard).await, "beat");
        silent(heard).await;
    }
}

pub(super) async fn a_message_of_the_largest_size_comes<L: RoomLog>([one, other]: &[Node<L>; 2]) {
    let mut heard = listening(other).await;
    let large: Bytes = (0..MAX_PIECE_BYTES).map(|at| (at % 253) as u8).collect();
    assert!(one.log.send(Some(other.id), large.clone()));
    assert!(next_message(&mut heard).await == large, "the message as it was sent");
    let room = name("told-much");
    let term = taken(one, &room, LONG).await.term;
    let put = Append { term, after: 0, entries: &[], tell: &large, lease: LONG };
    assert_eq!(one.log.append(&room, put).await, Ok(Appended::Kept));
    assert!(next_message(&mut heard).await == large, "what was told");
}
