//! Asks and answers between nodes: put together into messages, and what is under way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_core::room::RoomName;
use tokio::sync::{Notify, oneshot};

use super::log::{MAX_PIECE_BYTES, NodeId, RoomLog};
use super::message::{Outcome, What, begin_mail, put_ask, put_outcome};

/// Messages to one node are at least so far apart, and hold what has gathered.
const SPACING: Duration = Duration::from_millis(2);
/// How long the post waits when the log takes nothing.
const PAUSE: Duration = Duration::from_millis(10);
/// The most bytes that wait to be sent.
const MAX_QUEUED_BYTES: usize = 8 << 20;
/// The most asks of this node that wait for an answer.
const MAX_PENDING: usize = 65_536;

#[derive(Default)]
pub(super) struct Post {
    next_id: AtomicU64,
    pending: Mutex<BTreeMap<u64, Pending>>,
    queue: Mutex<Queue>,
    work: Notify,
}

struct Pending {
    room: RoomName,
    /// The term of the keeper that is asked; 0 where that is not known.
    term: u64,
    answer: oneshot::Sender<Outcome>,
}

#[derive(Default)]
struct Queue {
    letters: BTreeMap<NodeId, VecDeque<Vec<u8>>>,
    bytes: usize,
}

/// An ask that is under way. It is forgotten when this is dropped.
pub(super) struct Asked<'a> {
    post: &'a Post,
    pub(super) id: u64,
    pub(super) answer: oneshot::Receiver<Outcome>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.post.pending.lock().remove(&self.id);
    }
}

impl Post {
    /// A new ask of the keeper of this term; `None` where too many are under way.
    pub(super) fn open(&self, room: &RoomName, term: u64) -> Option<Asked<'_>> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, receiver) = oneshot::channel();
        let mut pending = self.pending.lock();
        if pending.len() >= MAX_PENDING {
            return None;
        }
        pending.insert(id, Pending { room: room.clone(), term, answer });
        Some(Asked { post: self, id, answer: receiver })
    }

    /// Sends an ask; false where too much waits to be sent.
    pub(super) fn ask(&self, to: NodeId, id: u64, room: &RoomName, what: &What) -> bool {
        let mut letter = Vec::with_capacity(48);
        put_ask(&mut letter, id, room, what);
        self.put(to, letter)
    }

    /// Sends an answer. Where too much waits to be sent, whoever asked hears nothing.
    pub(super) fn answer(&self, to: NodeId, id: u64, outcome: &Outcome) {
        let mut letter = Vec::with_capacity(64);
        put_outcome(&mut letter, id, outcome);
        self.put(to, letter);
    }

    /// Tells a node something that it may not hear.
    pub(super) fn tell(&self, to: NodeId, put: impl FnOnce(&mut Vec<u8>)) {
        let mut letter = Vec::new();
        put(&mut letter);
        self.put(to, letter);
    }

    /// An answer has come.
    pub(super) fn answered(&self, id: u64, outcome: Outcome) {
        if let Some(pending) = self.pending.lock().remove(&id) {
            // Whoever asked may have given up.
            let _ = pending.answer.send(outcome);
        }
    }

    /// Somebody else keeps a room: who was asked in an earlier term may not answer any more.
    pub(super) fn moved(&self, room: &RoomName, term: u64) {
        let is_old = |_: &u64, pending: &mut Pending| pending.room == *room && pending.term < term;
        for (_, pending) in self.pending.lock().extract_if(.., is_old) {
            let _ = pending.answer.send(Outcome::Moved { may_be_done: true });
        }
    }

    fn put(&self, to: NodeId, letter: Vec<u8>) -> bool {
        let mut queue = self.queue.lock();
        if queue.bytes + letter.len() > MAX_QUEUED_BYTES {
            return false;
        }
        queue.bytes += letter.len();
        queue.letters.entry(to).or_default().push_back(letter);
        drop(queue);
        self.work.notify_one();
        true
    }

    /// Sends what gathers, for ever.
    pub(super) async fn run(&self, from: NodeId, log: &impl RoomLog) {
        loop {
            self.work.notified().await;
            while let Some((to, message, letters)) = self.next_message(from) {
                if !log.send(Some(to), message.into()) {
                    self.put_back(to, letters);
                    self.work.notify_one();
                    tokio::time::sleep(PAUSE).await;
                    break;
                }
            }
            tokio::time::sleep(SPACING).await;
        }
    }

    fn next_message(&self, from: NodeId) -> Option<(NodeId, Vec<u8>, Vec<Vec<u8>>)> {
        let mut queue = self.queue.lock();
        let mut first = queue.letters.first_entry()?;
        let to = *first.key();
        let mut message = begin_mail(from);
        let mut taken = Vec::new();
        while let Some(letter) =
            first.get_mut().pop_front_if(|letter| message.len() + letter.len() <= MAX_PIECE_BYTES)
        {
            message.extend(&letter);
            taken.push(letter);
        }
        if first.get().is_empty() {
            first.remove();
        }
        queue.bytes -= taken.iter().map(Vec::len).sum::<usize>();
        Some((to, message, taken))
    }

    fn put_back(&self, to: NodeId, letters: Vec<Vec<u8>>) {
        let mut queue = self.queue.lock();
        queue.bytes += letters.iter().map(Vec::len).sum::<usize>();
        let waiting = queue.letters.entry(to).or_default();
        letters.into_iter().rev().for_each(|letter| waiting.push_front(letter));
    }
}
